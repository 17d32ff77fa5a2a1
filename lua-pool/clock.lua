-- clock: sleeping until a time of a clock.
local core = require "lua-pool.core"

local clock = {}

local clocks = { monotonic = true, realtime = true, boottime = true }

-- The wall clock can be set, and that of the boot goes on while the machine is suspended: they are looked at again
-- every so many seconds.
local LOOK = 1

--- sleep_until(time [, clock]): until now(clock) is at least `time`. A time that has passed returns at once. A wall clock
--- ("realtime") that is set back meanwhile makes it longer, one that is set forward shorter. Blocks, keeps the worker.
function clock.sleep_until(time, name)
	if type(time) ~= "number" or time ~= time then
		error(("bad argument #1 to 'sleep_until' (time in seconds expected, got %s)"):format(
			type(time) == "number" and "NaN" or type(time)), 2)
	end
	name = name == nil and "monotonic" or name
	if not clocks[name] then
		error(('bad argument #2 to \'sleep_until\' (clock "monotonic", "realtime" or "boottime" expected, got %s)'):format(
			type(name) == "string" and ("%q"):format(name) or type(name)), 2)
	end
	repeat
		local left = time - core.now(name)
		core.sleep(name ~= "monotonic" and left > LOOK and LOOK or left)
	until time <= core.now(name)
end

return clock
