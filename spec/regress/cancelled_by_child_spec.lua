-- A cancelled tree ends from any of its ends: who hears it first from its child, before the request has reached
-- itself, is cancelled too, and not a task that failed.
local pool = require "lua-pool"
local scale = require "spec.support.scale"

describe("a cancelled tree", function()
	it("has no task that failed, whichever of them is told first", function()
		local one = pool.new { workers = 1, on_error = function() end }
		local rounds = scale(300)
		for _ = 1, rounds do
			local up = pool.event()
			local f = one:async(function(u)
				local lib = require "lua-pool"
				lib.async(function(u2)
					local lib2 = require "lua-pool"
					lib2.async(function(u3) u3:set() lib2.event():wait() end, u2):await()
				end, u):await()
			end, up)
			up:wait()
			assert.is_true(f:cancel(20))
		end
		assert.is_true(one:close(20))
		local s = one:stats()
		assert.equal(0, s.failed)
		assert.equal(3 * rounds, s.cancelled)
	end)
end)
