local loops = require "spec.support.loops"

local loop = loops.here "copas"
if loop then
	require "spec.support.loop_suite"(loop, describe, it)
elseif require("spec.support.both").jit then
	require("spec.support.missing").all(it, pending, "copas is not installed for this Lua")
else
	pending "copas is not installed for this Lua" -- Debian has it for 5.1 only
end
