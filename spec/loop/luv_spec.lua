local loops = require "spec.support.loops"

local loop = loops.here "luv"
if loop then
	require "spec.support.loop_suite"(loop, describe, it)
else
	pending("luv is not installed for this Lua")
end
