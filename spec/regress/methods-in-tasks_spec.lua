-- A task that was given an object but has not required lua-pool lacked the methods that are written in Lua.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

describe("methods that are written in Lua", function()
	it("are there in a task that has not required lua-pool", function()
		local p = pool.new {workers = 1}
		local q = pool.new {workers = 1}
		assert.same({2, 4}, p:async(function(other)
			return other:map(function(i) return 2 * i end, 2)
		end, q):await())
		assert.equal("nil", p:async(function(other) return type(other.no_such_method) end, q):await())
		p:close()
		q:close()
	end)
end)
