-- A coroutine that left a suspended wait without being resumed in it, and goes on or is used again, entered the lists of
-- waits twice: the collector's end of the first wait then broke them (SIGSEGV).
local describe, it, assert = describe, it, assert
local child = require "spec.support.child"
local scale = require "spec.support.scale"

-- A loop of coroutines that knows errors: whom `kill` finds waiting gets one raised in the adapter's wait.
local LOOP = [[
	local loop = require "lua-pool.loop"
	local current, kill, inside
	local adapter = {}
	function adapter.running() return current, loop.caller() ~= current and "no" or nil end
	function adapter.wait(w)
		w.wake = function() end
		if inside then inside() end
		coroutine.yield()
		if kill then error("killed", 0) end
	end
	adapter.sleep = function() coroutine.yield() end
	pool.loop(adapter)
	local function resume(co)
		current = co
		local ok, err = coroutine.resume(co)
		current = nil
		assert(ok, err)
	end
]]

describe("a wait whose adapter raises", function()
	it("is over: hundreds of times, the collector at any time, what it had been given goes to others", function()
		local answer = child.told((LOOP .. [[
			local rounds = %d
			kill = true
			local go = pool.event()
			local f = pool.async(function(e) e:wait() return "result" end, go)
			local m, ch, lock = pool.mutex(), pool.channel(1), pool.rwlock()
			m:lock() -- the main state
			lock:write_lock()
			local errors = {}
			local cos = {}
			for i = 1, 5 do
				cos[i] = coroutine.create(function()
					for _ = 1, rounds do
						local what = ({ function() f:await() end, function() m:lock() end, function() ch:receive() end,
							function() lock:read_lock() end, function() pool.select { ch, m, f } end })[i]
						local ok, err = pcall(what)
						errors[tostring(ok) .. tostring(err)] = true
					end
				end)
			end
			for r = 1, rounds + 1 do
				for _, co in ipairs(cos) do resume(co) end
				if r == 3 then ch:send "message" end -- from one killed wait to the next
				if r %% 7 == 0 then collectgarbage() end
				if r <= rounds then
					local _, n = pool.report():gsub("coroutine ", "")
					assert(n == 5, pool.report())
				end
			end
			assert(not pool.report():find "coroutine ", pool.report())
			assert(ch:try_receive() == "message")
			for text in pairs(errors) do print(text) end
			cos = nil
			collectgarbage() collectgarbage()
			m:unlock()
			lock:unlock()
			assert(m:try_lock())
			m:unlock()
			go:set()
			print(f:await())
		]]):format(scale(300, 20)))
		assert.equal("0|falsekilled\nresult\n|", answer)
	end)

	it("may itself wait in it", function()
		local answer = child.told((LOOP .. [[
			local m, n, depth = pool.mutex(), pool.mutex(), 0
			m:lock()
			n:lock()
			inside = function()
				if depth > 0 then return end
				depth = 1
				local ok, why = pcall(m.lock, m)
				assert(ok, why)
				m:unlock()
				depth = 0
			end
			local done = 0
			for _ = 1, %d do
				local co = coroutine.create(function()
					n:lock()
					n:unlock()
					done = done + 1
				end)
				resume(co)
				assert(pool.report():find "coroutine ")
				collectgarbage()
				m:unlock()
				resume(co) -- the inner wait is over, the outer begins
				assert(pool.report():find("for mutex " .. tostring(n):match "0x%%x+", 1, true), pool.report())
				n:unlock()
				resume(co)
				assert(coroutine.status(co) == "dead")
				assert(not pool.report():find "coroutine ", pool.report())
				m:lock()
				n:lock()
			end
			print(done)
		]]):format(scale(50, 5)))
		assert.equal(("0|%d\n|"):format(scale(50, 5)), answer)
	end)

	it("is told when a wait that it gave up goes on all the same", function()
		local answer = child.told(LOOP .. [[
			local given
			adapter.wait = function(w)
				w.wake, given = function() end, w
				coroutine.yield()
			end
			local ch = pool.channel(1)
			local co = coroutine.create(function() print(select(2, pcall(ch.receive, ch))) end)
			resume(co)
			assert(tostring(ch):find "1 waiting", tostring(ch))
			loop.give_up(given)
			assert(not tostring(ch):find "1 waiting", tostring(ch))
			assert(not pool.report():find "coroutine ", pool.report())
			loop.give_up(given)
			resume(co)
		]])
		assert.truthy(answer:find "^0|.*the event loop's adapter has given this wait up, and yet its coroutine goes on\n|$", answer)
	end)
end)
