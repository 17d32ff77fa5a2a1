-- A signal handler of the script's own runs while the main state waits, and the wait goes on.
local describe, it, assert = describe, it, assert
local child = require "spec.support.child"

local function run(script)
	return child.run("local sys = require 'sys' " .. script, { limit = 20 })
end

describe("a handler of the script's", function()
	it("does not end an await, a lock, a wait in a coroutine; a condition wakes for no reason", function()
		local r = run [[
			local ran = 0
			local function on_signal(fn)
				sys.signal(sys.SIGUSR1, function() ran = ran + 1 fn() end)
				assert(sys.later(sys.SIGUSR1, 30))
			end
			local go = pool.event()
			local f = pool.async(function(e) e:wait() return "result" end, go)
			on_signal(function() go:set() end)
			print(f:await())

			local mu, up, free = pool.mutex(), pool.event(), pool.event()
			local owner = pool.async(function(x, u, e) x:lock() u:set() e:wait() x:unlock() end, mu, up, free)
			up:wait()
			on_signal(function() free:set() end)
			print(mu:lock())
			owner:await()

			local co = coroutine.wrap(function()
				local e = pool.event()
				on_signal(function() e:set() end)
				print("coroutine", e:wait())
			end)
			co()

			local c = pool.condition()
			on_signal(function() end)
			print("condition", c:wait(mu))
			print(ran)
		]]
		assert.equal("", r.err)
		assert.equal("result\ntrue\ncoroutine\ttrue\ncondition\ttrue\n4\n", r.out)
		assert.equal(0, r.status)
	end)

	it("may raise: that ends the wait, as Ctrl-C does", function()
		local r = run [[
			local m, c, b = pool.mutex(), pool.condition(), pool.barrier(2)
			sys.signal(sys.SIGUSR1, function() error("from the handler", 0) end)
			m:lock()
			for _, wait in ipairs {
				function() pool.event():wait() end,
				function() c:wait(m) end,
				function() b:wait() end,
				function() pool.rwlock():with_write(function() pool.sleep(100) end) end,
				coroutine.wrap(function() pool.sleep(100) end),
			} do
				assert(sys.later(sys.SIGUSR1, 20))
				print(pcall(wait))
			end
			m:unlock()
		]]
		assert.equal("", r.err)
		assert.equal(("false\tfrom the handler\n"):rep(5), r.out)
		assert.equal(0, r.status)
	end)

	-- ThreadSanitizer holds signals back until the thread is in a call that it knows: never, in a loop of Lua.
	for _, chain in ipairs(os.getenv "LUA_POOL_SANITIZER" == "thread" and {} or { "true", "false" }) do
		it("for SIGURG gets its own signals and none of ours, chained to ours: " .. chain, function()
			local r = run([[
				local chain = ]] .. chain .. [[
				local urgent = 0
				local function urgency() urgent = urgent + 1 end
				if not chain then sys.signal(sys.SIGURG, urgency) end
				local p = pool.new {workers = 1, jit = jit and "checked" or nil}
				p:async(function() end):await()
				if chain then sys.signal(sys.SIGURG, urgency, true) end
				local function stop_one()
					local up = pool.event()
					local f = p:async(function(u) u:set() while true do end end, up)
					up:wait()
					return f:cancel(10)
				end
				print(stop_one(), stop_one(), urgent)
				for i = 1, 3 do
					sys.raise(sys.SIGURG)
					for _ = 1, 10 do end
					print(urgent, stop_one())
				end
			]])
			assert.equal("", r.err)
			assert.equal("true\ttrue\t0\n1\ttrue\n2\ttrue\n3\ttrue\n", r.out)
			assert.equal(0, r.status)
		end)
	end
end)
