-- named: objects of lua-pool that the whole process knows by a name, for programs with several Lua states (a server has
-- one per worker, and code that is loaded again gets new ones): they share what is made once. The table of names is
-- C (lib_named.c); the function that makes the object runs here, so that it may yield.
local core = require "lua-pool.core"

-- The standard pcall: that of a worker does not catch the task's own end, and the name must be given back then too.
local protected = core.rawpcall or pcall
core.rawpcall = protected
local begin, finish = core.named_begin, core.named_finish

--- named(name, fn) -> the object of this name; if there is none, what fn() answers gets the name. fn runs at most once at a
--- time in the process; who asks for the name meanwhile waits. An error of fn is raised here and leaves the name free.
--- named(name) -> the object, or nil. named(name, false) -> boolean: takes the name away.
local function named(name, fn)
	if type(name) ~= "string" then
		error(("bad argument #1 to 'named' (string expected, got %s)"):format(name == nil and "no value" or type(name)), 2)
	end
	local object, place, again = begin(name, fn)
	if again then return named(name, fn) end
	if not place then return object end
	return finish(place, name, protected(fn))
end

return named
