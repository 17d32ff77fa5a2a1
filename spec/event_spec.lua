-- Events: set once, and everyone goes on.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

describe("pool.event", function()
	it("is not set at first; set, reset and is_set say what it is", function()
		local e = pool.event()
		assert.is_false(e:is_set())
		e:set()
		assert.is_true(e:is_set())
		e:set()
		assert.is_true(e:wait())
		assert.is_true(e:wait(0))
		e:reset()
		assert.is_false(e:is_set())
	end)

	it("says in tostring whether it is set", function()
		local e = pool.event()
		assert.matches("^lua%-pool%.event: .*%(not set%)$", tostring(e))
		e:set()
		assert.matches("%(set%)$", tostring(e))
	end)

	it("wakes all tasks that wait, and those who come later", function()
		local e, arrived = pool.event(), pool.semaphore(0)
		local fs = {}
		for i = 1, 20 do
			fs[i] = pool.async(function(ev, a, n) a:release() return ev:wait() and n end, e, arrived, i)
		end
		for _ = 1, 20 do arrived:acquire() end
		e:set()
		for i = 1, 20 do assert.equal(i, fs[i]:await()) end
		assert.is_true(pool.async(function(ev) return ev:wait() end, e):await())
	end)

	it("times out, and 0 only asks", function()
		local e = pool.event()
		assert.same({ nil, "timeout" }, { e:wait(0) })
		local t = pool.now()
		assert.same({ nil, "timeout" }, { e:wait(0.02) })
		assert.is_true(pool.now() - t >= 0.02)
		assert.same({ nil, "timeout" }, { e:wait(-1) })
	end)

	it("a wait can be cancelled; the event stays usable", function()
		local e, up = pool.event(), pool.event()
		local f = pool.async(function(ev, u) u:set() ev:wait() end, e, up)
		up:wait()
		assert.is_true(f:cancel())
		e:set()
		assert.is_true(e:wait(0))
	end)

	it("is one object in every state", function()
		local e = pool.event()
		local back = pool.async(function(ev) ev:set() return ev end, e):await()
		assert.is_true(back == e)
		assert.is_true(e:is_set())
	end)

	it("refuses what is no event and no timeout", function()
		local e = pool.event()
		assert.error_matches(function() e.set(1) end, "event expected, got number")
		assert.error_matches(function() e.wait(pool.counter()) end, "event expected, got counter")
		assert.error_matches(function() e:wait("1") end, "timeout in seconds expected, got string")
		assert.error_matches(function() e:wait(0 / 0) end, "NaN")
	end)
end)
