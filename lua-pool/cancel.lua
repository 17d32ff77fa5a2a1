-- cancel: shield and deadline, scopes around a call.
local core = require "lua-pool.core"

local cancel = {}

-- The standard pcall: that of a worker does not catch the task's own end, which here has to be seen.
local protected = core.rawpcall or pcall
core.rawpcall = protected
local error = error

local function after_shield(ok, ...)
	core.shield_end()
	if not ok then error((...), 0) end
	core.check_cancel() -- what arrived meanwhile is told right after
	return ...
end

--- shield(fn, ...) -> fn's results. Cancellation and deadlines are held back until fn has returned. May be
--- nested. Outside tasks it only calls fn.
function cancel.shield(fn, ...)
	core.shield_begin()
	return after_shield(protected(fn, ...))
end

local function after_deadline(scope, ok, ...)
	local own = not ok and core.is_own((...)) and (...) == core.TIMEOUT
	local outer_is_up = core.deadline_end(scope)
	if ok then return ... end
	if own and not outer_is_up then error(core.TIMEOUT, 0) end
	error((...), 0)
end

--- deadline(seconds, fn, ...) -> fn's results. When the time is up, fn is stopped as if it were cancelled, and
--- TIMEOUT is raised here, as an ordinary error. Of nested ones the earlier counts. In the main state it
--- ends waits of lua-pool only.
function cancel.deadline(seconds, fn, ...)
	return after_deadline(core.deadline_begin(seconds), protected(fn, ...))
end

return cancel
