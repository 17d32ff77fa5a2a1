-- dict: what dicts have that is written in Lua: their options, and update, which calls a function of the user.
local core = require "lua-pool.core"
local options = require "lua-pool.options"

local dict = {}
local methods = core.classes["lua-pool.dict"]
local peek, commit = core.dict_peek, core.dict_commit

--- pool.dict([opts]) -> dict, empty. opts: max_items, max_bytes, ttl (seconds), evict = false (full: refuse).
function dict.new(opts)
	local o = options.check(opts, options.dict, "pool.dict")
	return core.new_dict(o.max_items or 0, o.max_bytes or 0, o.ttl or 0, o.evict == false)
end

-- How often a function may find that its own state has changed the entry meanwhile. Another coroutine may have done
-- so; a function that does it itself will do so for ever.
local OWN_CHANGES = 50

local attempt

local function conclude(self, key, fn, version, own, ...)
	local done, why = commit(self, key, (...), version)
	if done then return ... end
	if done == nil then return nil, why end
	if why then own = own + 1 end
	if own > OWN_CHANGES then
		error("update: the function changes the entry of this key itself: it should return the new value instead", 3)
	end
	return attempt(self, key, fn, own)
end

function attempt(self, key, fn, own)
	local version, value = peek(self, key)
	return conclude(self, key, fn, version, own, fn(value))
end

--- dict:update(key, fn) -> what fn returned / nil, "full". The entry becomes fn(value): value is a copy of what is there,
--- or nil; a first result of nil takes the entry away. fn runs in the caller, with nothing locked; if somebody else
--- changed the entry meanwhile it is called again with the newer value, so that no change is lost. An error of fn
--- leaves the entry as it was.
function methods:update(key, fn)
	if not core.callable(fn) then
		error(("bad argument #2 to 'update' (function expected, got %s)"):format(type(fn)), 2)
	end
	return attempt(self, key, fn, 0)
end

return dict
