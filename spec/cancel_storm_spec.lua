-- A short storm of cancellations (spec/storm/cancel.lua); `make check` has a longer one.
local describe, it, assert = describe, it, assert
local child = require "spec.support.child"

local seconds = tonumber(os.getenv "STORM_SECONDS") or 5

describe("a storm of cancellations", function()
	it("leaves nothing behind", function()
		local result = child.run("arg = { " .. seconds .. ", os.getenv 'STORM_SEED' }\ndofile 'spec/storm/cancel.lua'",
			{ bare = true, limit = seconds * 2 + 60 })
		io.write(result.out) -- its seed
		assert.equal("", result.err)
		assert.equal(0, result.status)
		assert.matches("%d+ tasks: %d+ cancelled", result.out)
	end)
end)
