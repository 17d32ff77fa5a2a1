-- Timers: moments that can be waited for, together with other objects.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local both = require "spec.support.both"
local child = require "spec.support.child"
local proc = require "spec.support.proc"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

describe("pool.timer", function()
	it("is due after its time, not before, and stays so for everyone", function()
		local began = pool.now()
		local t = pool.timer(0.01)
		assert.equal(1, t:wait())
		assert.is_true(pool.now() - began >= 0.01)
		assert.equal(1, t:wait(0))
		assert.equal(1, pool.async(function(timer) return timer:wait() end, t):await())
	end)

	it("0 is due at once, math.huge never", function()
		assert.equal(1, pool.timer(0):wait(0))
		assert.equal(1, pool.timer(-5):wait(0))
		assert.same({ nil, "timeout" }, { pool.timer(math.huge):wait(0.002) })
	end)

	it("wakes all tasks that wait for it", function()
		local t, fs = pool.timer(0.01), {}
		for i = 1, 10 do fs[i] = pool.async(function(timer) return timer:wait() end, t) end
		for i = 1, 10 do assert.equal(1, fs[i]:await()) end
	end)

	it("with an interval it comes due again and again; each time is taken once", function()
		local began = pool.now()
		local t, n = pool.timer(0.002, 0.002), 0
		while n < 10 do n = n + t:wait() end
		assert.is_true(pool.now() - began >= 0.02)
		-- Shared by four tasks, they take no more times together than went by.
		began = pool.now()
		local shared, stop = pool.timer(0, 0.001), pool.event()
		local fs = {}
		for i = 1, 4 do
			fs[i] = pool.async(function(timer, e)
				local here, sum = require "lua-pool", 0
				while true do
					local k, times = here.select { e, timer }
					if k == 1 then return sum end
					sum = sum + times
				end
			end, shared, stop)
		end
		pool.timer(0.03):wait()
		stop:set()
		local sum = 0
		for i = 1, 4 do sum = sum + fs[i]:await() end
		local elapsed = pool.now() - began
		assert.is_true(sum >= 1 and sum <= elapsed / 0.001 + 1, sum .. " times in " .. elapsed)
	end)

	it("who is late takes all times that went by", function()
		local t = pool.timer(0, 0.001)
		pool.sleep(0.02)
		assert.is_true(t:wait() >= 20)
	end)

	it("in select: with others, several timers, the earliest first", function()
		local ch, late, early = pool.channel(), pool.timer(1000), pool.timer(0.005)
		assert.same({ 3, 1 }, { pool.select { ch, late, early } })
		assert.same({ nil, "timeout" }, { pool.select({ ch, late }, 0.002) })
		local list = {}
		for i = 1, 500 do list[i] = pool.timer(i == 321 and 0.003 or 100 + (i * 7919) % 500) end
		assert.same({ 321, 1 }, { pool.select(list) })
	end)

	it("set makes it due anew, close tells who waits, and set opens it again", function()
		local t, up = pool.timer(1000), pool.event()
		local f = pool.async(function(timer, e)
			e:set()
			return timer:wait()
		end, t, up)
		up:wait()
		t:set(0.001)
		assert.equal(1, f:await())
		t:set(1000)
		assert.same({ nil, "timeout" }, { t:wait(0) })
		local g = pool.async(function(timer) return timer:wait() end, t)
		assert.is_true(proc.eventually(function() return tostring(t):find "1 waiting" ~= nil end))
		t:close()
		assert.same({ nil, "closed" }, { g:await() })
		assert.same({ nil, "closed" }, { t:wait() })
		assert.same({ 1, nil, "closed" }, { pool.select { t } })
		t:cancel()
		t:set(0)
		assert.equal(1, t:wait())
	end)

	it("a wait for it can be cancelled, and leaves nothing behind", function()
		local t, up = pool.timer(1000), pool.event()
		local f = pool.async(function(timer, e)
			e:set()
			timer:wait()
		end, t, up)
		up:wait()
		assert.is_true(f:cancel())
		assert.is_nil(tostring(t):find "waiting")
	end)

	it("many timers, waited for, dropped, set and closed by many tasks", function()
		local shared = {}
		for i = 1, 8 do shared[i] = pool.timer(0.001 * i, 0.001) end
		local fs = {}
		for w = 1, 4 do
			fs[w] = pool.async(function(list, seed)
				local here, x = require "lua-pool", seed
				for _ = 1, 300 do
					x = (x * 16807) % 2147483647
					local t = list[x % 8 + 1]
					if x % 7 == 0 then
						t:set(0.0001 * (x % 20), x % 2 == 0 and 0.0005 or nil)
					elseif x % 7 == 1 then
						t:close()
					elseif x % 7 == 2 then
						here.timer(0.0002):wait()
					else
						here.select({ t, here.timer(0.0003), list[x % 5 + 1] })
					end
				end
				return true
			end, shared, 7919 * w)
		end
		for w = 1, 4 do assert.is_true(fs[w]:await()) end
		for i = 1, 8 do assert.is_nil(tostring(shared[i]):find "waiting") end
	end)

	it("needs one thread for all of them, which goes when they have gone", function()
		local before = proc.threads()
		local list = {}
		for i = 1, 100 do list[i] = pool.timer(50 + i) end
		pool.select(list, 0.001)
		assert.is_true(proc.threads() <= before + 1)
		if os.getenv "LUA_POOL_SANITIZER" then return end -- it has a thread of its own
		local r = child.run [[
			local proc = require "spec.support.proc"
			local before = proc.threads()
			pool.timer(0.001):wait()
			for _ = 1, 4 do collectgarbage() end
			print(proc.eventually(function() return proc.threads() == before end))
		]]
		assert.equal("true\n", r.out, r.err)
	end)

	it("says in tostring when it is due", function()
		assert.matches("^lua%-pool%.timer: .*%(due in %d+%.%d+ s%)$", tostring(pool.timer(1000)))
		assert.matches("%(due in %d+%.%d+ s, every 2%.000 s%)$", tostring(pool.timer(1000, 2)))
		assert.matches("%(due%)$", tostring(pool.timer(0)))
		local t = pool.timer(1)
		t:close()
		assert.matches("%(closed%)$", tostring(t))
	end)

	it("refuses what is no time", function()
		assert.error_matches(function() pool.timer() end, "number expected")
		assert.error_matches(function() pool.timer "soon" end, "number expected")
		assert.error_matches(function() pool.timer(0 / 0) end, "NaN")
		assert.error_matches(function() pool.timer(1, 0) end, "more than 0")
		assert.error_matches(function() pool.timer(1, -1) end, "more than 0")
		assert.error_matches(function() pool.timer(1, 0 / 0) end, "more than 0")
		assert.error_matches(function() pool.timer(1, {}) end, "number expected")
		assert.error_matches(function() pool.timer(1).wait(pool.event()) end, "timer expected, got event")
	end)

	if both.has_close then
		it("<close> closes it", function()
			both.chunk([[
				local pool = ...
				local kept
				do
					local t <close> = pool.timer(1000)
					kept = t
				end
				local n, why = kept:wait()
				assert(n == nil and why == "closed")
			]], pool)
		end)
	end
end)
