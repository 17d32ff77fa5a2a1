local loops = require "spec.support.loops"

local loop = loops.here "cqueues"
if loop then
	require "spec.support.loop_suite"(loop, describe, it)
else
	pending("cqueues is not installed for this Lua")
end
