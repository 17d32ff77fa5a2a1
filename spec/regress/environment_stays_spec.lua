-- LuaJIT: what a task had done to its function's environment (setfenv, module) was still so in the next call of that
-- function on that worker.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local both = require "spec.support.both"
local _ENV = _G -- luacheck: ignore
if not both.jit then return end
setfenv(1, _G) -- tasks get the ordinary globals, not the test runner's

describe("a function's environment", function()
	local p = pool.new { workers = 1, on_error = false }

	local function clean(f, ...)
		for i = 1, 4 do
			local before, after = p:async(f, i, ...):await()
			assert.equal("home", before)
			assert.is_true(after ~= "home")
		end
	end

	it("is its own in each call: setfenv(1, t)", function()
		clean(function()
			local raw = rawequal
			local before = raw(getfenv(1), _G) and "home" or "moved"
			setfenv(1, { getfenv = getfenv, mine = true })
			return before, mine and "moved" -- luacheck: ignore
		end)
	end)

	it("is its own in each call: module", function()
		clean(function(i)
			local before = getfenv(1) == _G and "home" or "moved"
			module("environment_stays_" .. i) -- luacheck: ignore
			return before, _NAME -- luacheck: ignore
		end)
	end)

	it("is its own in each call: setfenv(0, t)", function()
		clean(function()
			local before = getfenv(0) == getfenv(1) and getfenv(0).string and "home" or "moved"
			local inner = loadstring "return getfenv(1).string and 'home' or 'moved'"
			before = inner() == "home" and before or "moved"
			setfenv(0, { loadstring = loadstring })
			return before, getfenv(0).string and "home"
		end)
	end)

	it("is its own in each call: debug.setfenv of the running function", function()
		clean(function()
			local before = getfenv(1) == _G and "home" or "moved"
			debug.setfenv(debug.getinfo(1, "f").func, { x = "moved" })
			return before, x -- luacheck: ignore
		end)
	end)

	it("is that of each, where one call runs on top of another of the same function", function()
		local function same(depth, chan)
			local async, before = require "lua-pool".async, getfenv(1) == _G
			if depth == 0 then return before end
			setfenv(1, { mine = "still mine" })
			local child = chan:receive() -- not this very function, whose environment would travel with it
			chan:send(child)
			return before, async(child, 0, chan):await(), mine -- luacheck: ignore
		end
		local ch = pool.channel(2)
		ch:send(same)
		for _ = 1, 3 do
			assert.same({ true, true, "still mine" }, { p:async(same, 1, ch):await() })
		end
	end)

	it("is given back when a child that ran on its worker has changed it", function()
		local function same(depth, chan)
			local async = require "lua-pool".async
			local before = getfenv(1) == _G
			if depth == 0 then
				setfenv(1, { other = true })
				return before
			end
			local child = chan:receive()
			chan:send(child)
			local inner = async(child, depth - 1, chan):await()
			return before, inner, getfenv(1) == _G
		end
		local ch = pool.channel(2)
		ch:send(same)
		for _ = 1, 3 do
			local before, inner, after = p:async(same, 1, ch):await()
			assert.same({ true, true, true }, { before, inner, after })
		end
		assert.is_true(p:close())
	end)
end)
