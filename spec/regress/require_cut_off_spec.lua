-- A task was cancelled while it required a module: on LuaJIT nobody could require it in that worker ever after.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end

describe("require in a task", function()
	local up, go, runs = pool.event(), pool.event(), pool.counter(0)
	package.preload.cut_off = function()
		runs:add(1)
		up:set()
		go:wait()
		return "whole"
	end
	package.preload.cut_off_broken = function() error("it is broken") end
	local p = pool.new { workers = 1, on_error = false }

	it("is not cut off: the module is whole for the next task, and the cancellation comes right after", function()
		local after = pool.event()
		local f = p:async(function(e)
			require "cut_off"
			e:set()
		end, after)
		up:wait()
		f:cancel(0)
		assert.equal("running", f:status())
		go:set()
		assert.is_true(f:cancel(20))
		assert.is_false(after:is_set())
		assert.equal("whole", p:async(function() return (require "cut_off") end):await())
		assert.equal(1, runs:get())
	end)

	it("leaves the errors of the module alone", function()
		local ok, err = p:async(function()
			local m = require "cut_off_broken"
			return m
		end):pawait()
		assert.is_false(ok)
		assert.truthy(err:find("^[^\n]*require_cut_off_spec%.lua:%d+: it is broken$"), err)
	end)

	it("returns what it always returns", function()
		local same, first = p:async(function()
			return require "string" == string, select("#", (require "cut_off"))
		end):await()
		assert.is_true(same)
		assert.equal(1, first)
		assert.is_true(p:close())
	end)
end)
