-- Names: what is made once in the process, for all of its Lua states.
local describe, it, assert, pending = describe, it, assert, pending
local pool = require "lua-pool"
local child = require "spec.support.child"
local scale = require "spec.support.scale"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

describe("pool.named", function()
	it("is one object in every state, made once however many ask for it at the same time", function()
		for round = 1, scale(50, 5) do
			local name, made, begin = "once " .. round, pool.counter(), pool.barrier(4)
			local fs = {}
			for i = 1, 4 do
				fs[i] = pool.async(function(n, m, b)
					local here = require "lua-pool"
					b:wait()
					return here.named(n, function()
						m:add()
						here.sleep(0.001)
						return here.channel(5)
					end)
				end, name, made, begin)
			end
			local ch = fs[1]:await()
			ch:send(round)
			for i = 2, 4 do assert.is_true(fs[i]:await() == ch) end
			assert.is_true(pool.named(name, error) == ch)
			assert.equal(round, (pool.named(name):receive()))
			assert.equal(1, made:get())
			assert.is_true(pool.named(name, false))
		end
	end)

	it("without a function it only asks; false takes the name away, not the object", function()
		assert.is_nil(pool.named "jobs")
		local m = pool.named("jobs", pool.mutex)
		assert.is_true(pool.named "jobs" == m)
		assert.is_true(pool.async(function() return require "lua-pool".named "jobs" end):await() == m)
		assert.is_true(pool.named("jobs", false))
		assert.is_false(pool.named("jobs", false))
		assert.is_nil(pool.named "jobs")
		m:lock()
		m:unlock()
		local other = pool.named("jobs", pool.mutex)
		assert.is_false(other == m)
		pool.named("jobs", false)
	end)

	it("an error leaves the name free, and who waited makes it then", function()
		assert.error_matches(function() pool.named("fails", function() error "broken" end) end, "broken")
		assert.is_nil(pool.named "fails")
		local up, go = pool.event(), pool.event()
		local first = pool.async(function(u, g)
			require "lua-pool".named("fails", function()
				u:set()
				g:wait()
				error("broken", 0)
			end)
		end, up, go)
		up:wait()
		local second = pool.async(function()
			local here = require "lua-pool"
			return here.named("fails", here.event)
		end)
		go:set()
		local ok, err = first:pawait()
		assert.is_false(ok)
		assert.equal("broken", err)
		local made = second:await()
		assert.is_true(pool.named "fails" == made)
		pool.named("fails", false)
	end)

	it("so does a task that is cancelled while it makes the object", function()
		local up, never = pool.event(), pool.event()
		local first = pool.async(function(u, e)
			require "lua-pool".named("cancelled", function()
				u:set()
				e:wait()
			end)
		end, up, never)
		up:wait()
		assert.is_nil(pool.named "cancelled")
		local waits = pool.async(function()
			return require "lua-pool".named("cancelled", require "lua-pool".counter)
		end)
		local asks = pool.async(function()
			return require "lua-pool".named("cancelled", require "lua-pool".counter)
		end)
		assert.is_true(first:cancel())
		local c = waits:await()
		assert.is_true(c == asks:await())
		assert.is_true(c == pool.named "cancelled")
		pool.named("cancelled", false)
	end)

	it("any object of lua-pool may have a name: pools, futures, groups, buffers", function()
		local p = pool.named("a pool", function() return pool.new { workers = 1 } end)
		local f = pool.async(function()
			local q = require "lua-pool".named "a pool"
			return q:async(function() return 5 end):await()
		end)
		assert.equal(5, f:await())
		pool.named("a pool", false)
		p:close()
		for i, make in ipairs { pool.group, pool.event, pool.rwlock, function() return pool.buffer(8) end,
			function() return pool.async(function() return 1 end) end } do
			local o = pool.named("thing " .. i, make)
			assert.is_true(pool.named("thing " .. i) == o)
			pool.named("thing " .. i, false)
		end
	end)

	it("a channel that loses its name closes if nobody else can reach it", function()
		pool.named("lonely", function() return pool.channel() end)
		local up = pool.event()
		local f = pool.async(function(u)
			local ch = require "lua-pool".named "lonely"
			u:set()
			return ch:receive()
		end, up)
		up:wait()
		for _ = 1, 4 do collectgarbage() end
		assert.is_nil((f:wait(0.01)))
		pool.named("lonely", false)
		for _ = 1, 4 do collectgarbage() end
		assert.same({ nil, "closed" }, { f:await() })
	end)

	it("a forked child begins without names, even if one was being made; the parent's stay", function()
		if not child.may_fork then return pending "no fork under this sanitizer" end
		assert.equal("0|child nil nil child's 1 refused\nparent 7 made\n|", child.told [[
			local sys = require "sys"
			local jobs = pool.named("jobs", function() return pool.channel(5) end)
			jobs:send(7)
			local up, go = pool.event(), pool.event()
			local f = pool.async(function(u, g)
				local here = require "lua-pool"
				return here.named("half", function()
					u:set()
					g:wait()
					return here.counter(5)
				end)
			end, up, go)
			up:wait()
			local pid = sys.fork()
			if pid == 0 then
				io.write("child ", tostring(pool.named "jobs"), " ", tostring(pool.named "half"))
				local mine = pool.named("half", function() return pool.channel(1) end) -- does not wait for the parent's
				mine:send "child's"
				local own = pool.async(function() return require "lua-pool".named "half":receive() end):await()
				io.write(" ", own, " ", #pool.named("jobs", function() return pool.buffer(1) end))
				local ok, err = pcall(jobs.receive, jobs)
				print(not ok and err:find("parent process", 1, true) and " refused" or err)
				os.exit(0, true)
			end
			sys.wait(pid)
			go:set()
			print("parent " .. pool.named "jobs":receive() .. (f:await():get() == 5 and pool.named "half" == f:await() and " made" or ""))
		]])
	end)

	it("the function may yield, use other names, but not its own", function()
		local co = coroutine.wrap(function()
			return pool.named("outer", function()
				coroutine.yield "paused"
				return pool.named("inner", pool.event)
			end)
		end)
		assert.equal("paused", co())
		local e = co()
		assert.is_true(pool.named "inner" == e and pool.named "outer" == e)
		pool.named("inner", false)
		pool.named("outer", false)
		assert.error_matches(function()
			pool.named("self", function() return pool.named("self", pool.event) end)
		end, "asks for this very name")
		assert.is_nil(pool.named "self")
	end)

	it("refuses what is no name, no function, no object", function()
		assert.error_matches(function() pool.named() end, "string expected")
		assert.error_matches(function() pool.named(5, pool.event) end, "string expected, got number")
		assert.error_matches(function() pool.named("x", 5) end, "function expected, got number")
		assert.error_matches(function() pool.named("x", function() return {} end) end, "must answer an object of lua%-pool, not a table")
		assert.error_matches(function() pool.named("x", function() end) end, "not a nil")
		assert.is_nil(pool.named "x")
		assert.is_true(pool.named("", pool.event) == pool.named "")
		assert.is_nil(pool.named "\0")
		pool.named("", false)
	end)
end)
