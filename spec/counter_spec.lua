-- Counters: every change counts.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

describe("pool.counter", function()
	it("starts at 0 or at what it is given", function()
		assert.equal(0, pool.counter():get())
		assert.equal(-5, pool.counter(-5):get())
	end)

	it("add returns the new value, set the old one, cas whether it was as expected", function()
		local c = pool.counter(10)
		assert.equal(11, c:add())
		assert.equal(8, c:add(-3))
		assert.equal(8, c:set(100))
		assert.is_true(c:cas(100, 1))
		assert.same({ false, 1 }, { c:cas(100, 2) })
		assert.equal(1, c:get())
		assert.matches("^lua%-pool%.counter: .*%(1%)$", tostring(c))
	end)

	it("loses no change of four tasks", function()
		local c = pool.counter()
		local fs = {}
		for i = 1, 4 do
			fs[i] = pool.async(function(n)
				for _ = 1, 50000 do n:add(2) end
				for _ = 1, 1000 do
					repeat local v = n:get() until n:cas(v, v + 1)
				end
			end, c)
		end
		for i = 1, 4 do fs[i]:await() end
		assert.equal(4 * (2 * 50000 + 1000), c:get())
	end)

	it("gives each of many a number of its own", function()
		local c, fs, seen = pool.counter(), {}, {}
		for i = 1, 200 do fs[i] = pool.async(function(k) return k:add() end, c) end
		for i = 1, 200 do seen[fs[i]:await()] = true end
		for i = 1, 200 do assert.is_true(seen[i]) end
	end)

	if math.maxinteger then
		it("has 64 bits and wraps around", function()
			local c = pool.counter(math.maxinteger)
			assert.equal(math.mininteger, c:add())
			assert.equal("integer", math.type(c:get()))
		end)
	end

	it("refuses what is no whole number", function()
		local c = pool.counter()
		assert.error_matches(function() c:add(1.5) end, "whole number expected, got 1.5")
		assert.error_matches(function() c:add("1") end, "whole number expected, got string")
		assert.error_matches(function() c:set() end, "whole number expected, got no value")
		assert.error_matches(function() c:cas(1) end, "whole number expected, got no value")
		assert.error_matches(function() pool.counter(math.huge) end, "whole number expected, got inf")
		assert.error_matches(function() pool.counter(0 / 0) end, "whole number expected")
		assert.error_matches(function() c.add({}, 1) end, "counter expected, got table")
		assert.equal(0, c:get())
	end)
end)
