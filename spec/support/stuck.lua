-- stuck: calls into C that do not react, and come back when they are told to.
local sys = require "sys"

local stuck = {}

--- A gate: { r, w } to come back, { r, w } to say that the task is inside. Both are numbers, so the table can be sent.
function stuck.gate()
	local r, w = sys.pipe()
	local ir, iw = sys.pipe()
	return { r = r, w = w, inside_r = ir, inside_w = iw }
end

--- Waits until a task (n tasks) is in C. There it stays.
function stuck.wait_inside(gate, n)
	local inside = 0
	while inside < (n or 1) do inside = inside + #sys.read(gate.inside_r) end
end

--- One task comes back.
function stuck.come_back(gate)
	sys.write(gate.w, "x")
end

--- The function of a task that gets stuck, then returns "back".
function stuck.task(gate)
	require "sys".stuck(gate.r, gate.inside_w)
	return "back"
end

return stuck
