-- cancel_all at whatever moment a worker is in: no task slips through between the queue and the worker's stack.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local scale = require "spec.support.scale"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

describe("cancel_all", function()
	it("reaches a task that was just taken", function()
		local p, never = pool.new { workers = 1 }, pool.event()
		for i = 1, scale(20000, 1000) do
			local f = p:async(function(e) e:wait() end, never)
			for _ = 1, i * 7 % 400 do end -- the worker comes a little further each time
			p:cancel_all()
			local _, why = f:wait(10)
			assert.is_nil(why, "it runs on")
			assert.equal("cancelled", f:status())
		end
		p:close()
	end)
end)
