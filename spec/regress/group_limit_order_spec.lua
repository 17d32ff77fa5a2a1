-- A member that came while another had just ended went before those that were held back.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local scale = require "spec.support.scale"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

describe("a group with a limit of 1", function()
	it("runs its members in the order in which they came, though they end while others come", function()
		local p = pool.new { workers = 2 }
		for _ = 1, scale(400, 50) do -- one round in six showed it
			local g, order = p:group { limit = 1 }, pool.channel(math.huge)
			for i = 1, 20 do g:go(function(o, k) o:send(k) end, order, i) end
			assert.is_true(g:await())
			for i = 1, 20 do assert.equal(i, (order:receive())) end
		end
		p:close()
	end)
end)
