-- The loop of examples/pollloop: an adapter that the program brings along itself.
local loops = require "spec.support.loops"

local loop = loops.here "custom"
if loop then
	require "spec.support.loop_suite"(loop, describe, it)

	local pool = require "lua-pool"
	local child = require "spec.support.child"

	describe("examples/pollloop/main.lua", function()
		it("awaits sums in coroutines of its loop while another coroutine ticks", function()
			local r = assert(pool.run { child.lua, "examples/pollloop/main.lua", "2", timeout = 60 })
			assert.equal(0, r.code, r.stderr)
			local lines = {}
			for line in r.stdout:gmatch "[^\n]+" do lines[#lines + 1] = line end
			assert.equal("the loop ticked meanwhile", table.remove(lines))
			table.sort(lines)
			assert.same({ "1 to 1 million: 2999998", "1 to 2 million: 5999997" }, lines)
		end)
	end)
elseif require("spec.support.both").jit then
	require("spec.support.missing").all(it, pending, "lua-posix is not installed for this Lua")
else
	pending "lua-posix is not installed for this Lua" -- Debian has it for 5.1 only
end
