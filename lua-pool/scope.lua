-- scope: what Lua 5.4 does with `<close>`, for every Lua: pool.scope, and `obj:with(fn)` on all that has an end.
--
-- A task that is cancelled is told once, and then has its grace for the clean-up. That one error may strike anywhere in here:
-- so all that follows fn runs protected, and what it could not close is closed after it.
local core = require "lua-pool.core"

local scope = {}

-- The standard pcall: that of a worker does not catch the task's own end, which has to close things too.
local protected = core.rawpcall or pcall
core.rawpcall = protected
local error, getmetatable, select, type = error, getmetatable, select, type
local unpack = table.unpack or unpack -- luacheck: ignore (5.1)

local Scope = {}
Scope.__index = Scope
Scope.__name = "lua-pool.scope"

local function check_scope(s, what)
	if getmetatable(s) ~= Scope then
		error(("bad argument #1 to '%s' (scope expected, got %s): call it as scope:%s(...)"):format(what, type(s), what), 3)
	end
	if s.ended then error(("scope:%s: the scope has ended"):format(what), 3) end
end

--- s:add(object) -> the object, which is closed (its __close) when the scope ends. nil and false are let through, as
--- `<close>` does.
function Scope.add(s, object)
	check_scope(s, "add")
	if object == nil or object == false then return object end
	local close = core.closer(object)
	if not close then
		error(("bad argument #1 to 'add' (object with an end expected, got %s): scope:defer(fn, ...) calls a function"):format(
			type(object)), 2)
	end
	local n = s.n + 1
	s[n] = { call = close, object }
	s.n = n
	return object
end

--- s:defer(fn, ...): fn(...) is called when the scope ends.
function Scope.defer(s, fn, ...)
	check_scope(s, "defer")
	if type(fn) ~= "function" then
		error(("bad argument #1 to 'defer' (function expected, got %s)"):format(type(fn)), 2)
	end
	local n = s.n + 1
	s[n] = { call = fn, args = select("#", ...), ... }
	s.n = n
end

function Scope.__tostring(s)
	return ("lua-pool.scope (%s)"):format(s.ended and "ended" or s.n .. " to close")
end

-- Runs protected. What is told before the entry is taken away leaves it there; after that it strikes in what closes, as it
-- may strike in a `__close` of Lua 5.4.
local function close_last(s)
	local n = s.n
	local entry = s[n]
	s[n], s.n = nil, n - 1
	if entry.args then return entry.call(unpack(entry, 1, entry.args)) end
	return entry.call(entry[1], s.err)
end

-- Closes what is left, last first. An error takes the place of the one before; the others are closed all the same.
local function close_all(s)
	while s.n > 0 do
		local ok, err = protected(close_last, s)
		if not ok then s.failed, s.err = true, err end
	end
	s.ended = true
end

local function keep(s, ok, ...)
	if ok then
		s.results, s.count = { ... }, select("#", ...)
	else
		s.failed, s.err = true, (...)
	end
end

local function body(s, fn, ...)
	keep(s, protected(fn, ...))
	close_all(s)
end

local function run(s, fn, ...)
	local ok, err = protected(body, s, fn, ...)
	if not ok then -- told between two of the protected calls: the second time is not before the grace is over
		s.failed, s.err = true, err
		close_all(s)
	end
	if s.failed then error(s.err, 0) end
	return unpack(s.results, 1, s.count)
end

local function new()
	return setmetatable({ n = 0 }, Scope)
end

local function check_fn(fn, what)
	if not core.callable(fn) then
		error(("bad argument #1 to '%s' (function expected, got %s)"):format(what, type(fn)), 3)
	end
end

--- scope(fn, ...) -> results of fn(s, ...). What was given to s is closed when fn returns, raises, or is cancelled: last first,
--- each with the error or nil; an error in between takes the place of the one before, and the rest is closed all the same.
function scope.scope(fn, ...)
	check_fn(fn, "scope")
	local s = new()
	return run(s, fn, s, ...)
end

--- object:with(fn, ...) -> results of fn(object, ...). Then the object is closed, as `<close>` does: also when fn raises or is
--- cancelled.
function scope.with(object, fn, ...)
	check_fn(fn, "with")
	local s = new()
	s:add(object)
	return run(s, fn, object, ...)
end

-- Those that have a `with` of their own (locks, files, processes, groups) know better what their end is.
for _, name in ipairs { "pool", "future", "channel", "timer" } do
	local methods = core.classes["lua-pool." .. name]
	if methods and not methods.with then methods.with = scope.with end
end

return scope
