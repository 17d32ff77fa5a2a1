-- version: the one place where the version of lua-pool is written. The Makefile compiles it into lua-pool.core, and the
-- rockspec's begins with it.
-- Lua files and a core of different versions know nothing of each other's functions: they are refused at `require`, here and in
-- the core (which may meet Lua files that do not ask).
local VERSION = "scm"

local version = { VERSION = VERSION }

local function place(name, path)
	local found = package and package.searchpath and path and package.searchpath(name, path)
	return found or "at a place that package does not tell"
end

--- Raises if the core is of another version.
function version.check(core)
	if core.VERSION == VERSION then return end
	error(("lua-pool: the Lua files are of version %s (%s), but lua-pool.core is of version %s (%s): "
		.. "install one anew, or take the other out of package.path or package.cpath"):format(VERSION, version.path(),
		core.VERSION or "unknown, an older one", core.PATH or place("lua-pool.core", package and package.cpath)), 0)
end

--- Where this file is, for people.
local here = select(2, ...)
function version.path()
	return type(here) == "string" and here or place("lua-pool.version", package and package.path)
end

return version
