local loops = require "spec.support.loops"

local loop = loops.here "luv"
if loop then
	require "spec.support.loop_suite"(loop, describe, it)
else
	require("spec.support.missing").all(it, pending, "luv is not installed for this Lua")
end
