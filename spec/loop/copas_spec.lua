local loops = require "spec.support.loops"

local loop = loops.here "copas"
if loop then
	require "spec.support.loop_suite"(loop, describe, it)
else
	pending("copas is not installed for this Lua")
end
