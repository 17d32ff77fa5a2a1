-- cancel: shield and deadline. On Lua 5.4 they are C functions; here is how they are made where C cannot be yielded
-- across: what could stop the task from outside is held back at the borders of the scope.
local core = require "lua-pool.core"

if core.shield then return { shield = core.shield, deadline = core.deadline } end

local cancel = {}

-- The standard functions: those of a worker do not catch the task's own end, which here has to be seen.
local rawpcall, rawxpcall = core.rawpcall or pcall, core.rawxpcall or xpcall
local begin, open, hold, finish, check, check_end = core.scope_begin, core.scope_open, core.scope_hold, core.scope_end,
	core.check_cancel, core.check_end
local error, select = error, select

local function after_shield(scope, ok, ...)
	finish(scope)
	if not ok then error((...), 0) end
	-- What arrived meanwhile is told right after, unless fn returns what a call has just taken.
	if select("#", ...) == 0 then check() else check_end() end
	return ...
end

--- shield(fn, ...) -> fn's results. Cancellation and deadlines are held back until fn has returned or raised. May be
--- nested. In the main state it holds deadlines back.
function cancel.shield(fn, ...)
	return after_shield(begin(fn), rawpcall(fn, ...))
end

local function inside(scope, fn, ...)
	open(scope)
	return hold(fn(...))
end

local function after_deadline(scope, ok, ...)
	if ok then
		finish(scope)
		return ...
	end
	error(finish(scope, (...)), 0)
end

--- deadline(seconds, fn, ...) -> fn's results. When the time is up, fn is stopped as if it were cancelled, and
--- TIMEOUT is raised here, as an ordinary error. Of nested ones the earlier counts. In the main state it
--- ends waits of lua-pool only.
function cancel.deadline(seconds, fn, ...)
	local scope = begin(fn, seconds)
	return after_deadline(scope, rawxpcall(inside, hold, scope, fn, ...))
end

return cancel
