local loops = require "spec.support.loops"

local loop = loops.here "cqueues"
if not loop then
	require("spec.support.missing").all(it, pending, "cqueues is not installed for this Lua")
	return
end
require "spec.support.loop_suite"(loop, describe, it)

describe("under cqueues", function()
	local cqueues = require "cqueues"
	local both = require "spec.support.both"
	local pool = require "lua-pool"

	-- A chunk of its own: on LuaJIT a function of this file has an environment that holds the test's controllers.
	local wait_then = both.chunk "return function(gate, ...) gate:wait() return ... end"

	it("a future can be polled beside other objects, and polled again once it has ended", function()
		local go, first, second, third = pool.event(), nil, nil, nil
		loop.all(function()
			local f = pool.async(wait_then, go, 5)
			first = cqueues.poll(f, 0.01)
			go:set()
			second = cqueues.poll(f) == f
			third = cqueues.poll(f, 60) == f and f:await()
			assert.equal("r", f:events())
			assert.equal(0, f:timeout())
		end)
		assert.equal(0.01, first)
		assert.is_true(second)
		assert.equal(5, third)
	end)

	it("several coroutines poll one future, one polls several", function()
		local go, n = pool.event(), 0
		local a, b = pool.async(wait_then, go, 1), pool.async(wait_then, go, 2)
		local function poller()
			while a:status() ~= "done" or b:status() ~= "done" do cqueues.poll(a, b) end
			n = n + a:await() + b:await()
		end
		loop.all(poller, poller, poller, function() go:set() end)
		assert.equal(9, n)
	end)

	it("a generator inside a coroutine is not suspended by the loop: its wait says why", function()
		local err
		loop.all(function()
			local generator = coroutine.wrap(function()
				err = select(2, pcall(pool.sleep, 0.001))
				coroutine.yield "value"
			end)
			assert.equal("value", generator())
		end)
		assert.matches("not the one that cqueues has resumed", err)
	end)

	it("controllers side by side and one inside another: each wakes its own", function()
		local outer, inner, log = cqueues.new(), cqueues.new(), {}
		local ping, pong = pool.channel(), pool.channel()
		inner:wrap(function()
			for _ = 1, 20 do pong:send(ping:receive() + 1) end
			log.inner = true
		end)
		outer:wrap(function()
			assert(inner:loop())
			log.inner_ended = true
		end)
		outer:wrap(function()
			for i = 1, 20 do
				ping:send(i)
				assert.equal(i + 1, pong:receive())
			end
			log.outer = true
		end)
		assert(outer:loop())
		assert.same({ inner = true, inner_ended = true, outer = true }, log)
	end)
end)
