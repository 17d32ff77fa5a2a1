-- A task that is told to end inside a protected call of ours: the end goes through it, and nothing is left half done.
local describe, it, assert, before_each, after_each = describe, it, assert, before_each, after_each
local pool = require "lua-pool"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

describe("a task that is cancelled", function()
	local p, up
	before_each(function()
		p = pool.new { workers = 1, name = "inside" }
		up = pool.event()
	end)
	after_each(function()
		p:cancel_all()
		assert.is_true(p:close(20))
	end)

	-- An object whose sending does not end by itself.
	local function slow(u)
		return setmetatable({}, {
			__pool_encode = function() u:set() require "lua-pool".event():wait(1000) end,
			__pool_decode = function() end,
		})
	end

	for what, send in pairs {
		["its result"] = function(object) return object end,
		["a child's argument"] = function(object) require "lua-pool".async(function() end, object) end,
		["a message"] = function(object) require "lua-pool".channel(1):send(object) end,
		["a value of a dict"] = function(object) require "lua-pool".dict():set("key", object) end,
		["what is deep in a table"] = function(object) return { { 1, key = { object } } } end,
	} do
		it("while __pool_encode of " .. what .. " runs ends cancelled", function()
			local f = p:async(function(make, fn, u) return fn(make(u)) end, slow, send, up)
			assert.is_true(up:wait(20))
			assert.is_true(f:cancel(20))
			assert.equal("cancelled", f:status())
			assert.same({ 1, { 2 } }, p:async(function(...) return { ... } end, 1, { 2 }):await())
		end)
	end

	it("while a method is loaded leaves that to the next task", function()
		local ch = pool.channel(1)
		local f = p:async(function(u, c)
			REAL = require -- luacheck: ignore
			function require(name) -- luacheck: ignore
				if name ~= "lua-pool" then return REAL(name) end -- luacheck: ignore
				u:set()
				c:receive()
			end
			return c.with
		end, up, ch)
		assert.is_true(up:wait(20))
		assert.is_true(f:cancel(20))
		assert.equal("cancelled", f:status())
		assert.equal("function", p:async(function(c)
			require = REAL -- luacheck: ignore
			return type(c.with)
		end, ch):await())
	end)
end)
