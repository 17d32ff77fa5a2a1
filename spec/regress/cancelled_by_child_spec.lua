-- A cancelled tree ends from any of its ends: who hears it first from its child, before the request has reached
-- itself, is cancelled too, and not a task that failed.
local pool = require "lua-pool"
local both = require "spec.support.both"
local scale = require "spec.support.scale"

describe("a cancelled tree", function()
	it("has no task that failed, whichever of them is told first", function()
		local tree = both.chunk [[
			local pool = require "lua-pool"
			local function leaf(up) up:set() pool.event():wait() end
			local function child(up) pool.async(leaf, up):await() end
			return function(up) pool.async(child, up):await() end]]
		local one = pool.new { workers = 1, on_error = false }
		local rounds = scale(300)
		for _ = 1, rounds do
			local up = pool.event()
			local f = one:async(tree, up)
			assert.is_true(up:wait(30))
			assert.is_true(f:cancel(20))
		end
		assert.is_true(one:close(20))
		local s = one:stats()
		assert.equal(0, s.failed)
		assert.equal(3 * rounds, s.cancelled)
	end)
end)
