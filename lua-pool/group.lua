-- group: tasks that belong together. The object is C (lib_group.c); here its options are checked, and `with`, the twin
-- of `<close>` for Luas that have none.
local core = require "lua-pool.core"
local options = require "lua-pool.options"

local group = {}

-- The standard pcall: that of a worker does not catch the task's own end, which has to close the group too.
local protected = core.rawpcall or pcall
core.rawpcall = protected

local function make(pool, opts, what)
	local o = options.check(opts, options.group, what)
	return core.new_group(pool, o.limit or 0, o.ids)
end

--- pool.group([opts]) -> group in the pool that async means here. opts: limit (members that run at once), ids (the worker's
--- id is each member's first argument).
function group.new(opts)
	return make(nil, opts, "pool.group")
end

--- p:group([opts]) -> group whose members run in this pool.
function group.of(pool, opts)
	return make(pool, opts, "pool:group")
end

local function leave(g, ok, ...)
	g:cancel()
	if not ok then error((...), 0) end
	return ...
end

--- g:with(fn, ...) -> results of fn(g, ...). When fn returns or raises, the group is cancelled and waited for: what
--- shall end well has been awaited before. Blocks.
core.classes["lua-pool.group"].with = function(g, fn, ...)
	if not core.callable(fn) then
		error(("bad argument #1 to 'with' (function expected, got %s)"):format(type(fn)), 2)
	end
	return leave(g, protected(fn, g, ...))
end

return group
