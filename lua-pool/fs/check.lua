-- check: the arguments that the functions of fs have in common.
local core = require "lua-pool.core"
local math = math -- a worker with few `libs` has them only while it opens
local options = require "lua-pool.options"

local check = {}

local function bad(n, what, expected, got)
	core.raise(("bad argument #%d to '%s' (%s expected, got %s)"):format(n, what, expected, type(got)))
end

--- Raises, in the caller of the function `what`, unless its n-th argument is a path.
function check.path(path, what, n)
	if type(path) ~= "string" then bad(n or 1, what, "path (a string)", path) end
end

function check.data(data, what, n)
	if type(data) ~= "string" and type(data) ~= "number" then bad(n or 2, what, "data (a string)", data) end
end

--- Permissions: a number, or a string of octal digits ("644"); nil stays nil.
function check.permissions(mode)
	local number = mode
	if type(mode) == "string" then
		number = mode:find "^[0-7]+$" and tonumber(mode, 8)
	end
	if type(number) == "number" and number == math.floor(number) and number >= 0 and number <= 4095 then return number end
	return nil, 'permissions (octal digits in a string, "644", or a number up to 4095)'
end

function check.boolean(v)
	if type(v) == "boolean" then return v end
	return nil, "a boolean"
end

function check.count(v)
	if type(v) == "number" and v >= 1 and (v == math.floor(v) or v == math.huge) then return v end
	return nil, "a whole number of at least 1"
end

function check.fn(v)
	if type(v) == "function" then return v end
	return nil, "a function"
end

--- The options of the function `what`, which was called by a user.
function check.options(given, known, what)
	return options.check(given, known, what)
end

return check
