-- options: checks the tables of options that users write. A wrong name suggests the nearest one, a
-- wrong value says what it should be.
local core = require "lua-pool.core"

local math, string, table = math, string, table -- a worker with few `libs` has them only while it opens
local options = {}

local floor, huge = math.floor, math.huge

-- Levenshtein distance (Wagner and Fischer): how many letters have to be changed.
local function distance(a, b)
	local row = {}
	for j = 0, #b do row[j] = j end
	for i = 1, #a do
		local diagonal = row[0]
		row[0] = i
		for j = 1, #b do
			local cost = a:byte(i) == b:byte(j) and 0 or 1
			local best = math.min(row[j] + 1, row[j - 1] + 1, diagonal + cost)
			diagonal, row[j] = row[j], best
		end
	end
	return row[#b]
end

--- The candidate (a key of `names`) that is nearest to `name`, if one is near at all.
function options.nearest(name, names)
	local best, least
	local sorted = {}
	for candidate in pairs(names) do sorted[#sorted + 1] = candidate end
	table.sort(sorted)
	for _, candidate in ipairs(sorted) do
		local d = distance(name:lower(), candidate)
		if not least or d < least then best, least = candidate, d end
	end
	return best and least <= math.max(2, #name / 3) and best or nil
end

local function fail(...)
	core.raise(string.format(...))
end

local function shown(v)
	return type(v) == "string" and string.format("%q", v) or tostring(v)
end

-- Each check answers the value to use, or nil and what was expected.
local check = {}

function check.integer(min, max)
	return function(v)
		if type(v) == "number" and v == floor(v) and v >= min and v <= max then return v end
		return nil, max == huge and ("a whole number of at least " .. min) or ("a whole number from %d to %d"):format(min, max)
	end
end

function check.seconds(v)
	if type(v) == "number" and v >= 0 then return v end
	return nil, "seconds (a number of at least 0)"
end

function check.positive_seconds(v)
	if type(v) == "number" and v > 0 then return v end
	return nil, "seconds (a number greater than 0)"
end

function check.bytes(min)
	return function(v)
		if type(v) == "number" and v == floor(v) and v >= min and v < 2 ^ 53 then return v end
		return nil, ("bytes (a whole number of at least %d)"):format(min)
	end
end

function check.fn(v)
	if type(v) == "function" then return v end
	return nil, "a function"
end

function check.fn_or_false(v)
	if type(v) == "function" or v == false then return v end
	return nil, "a function or false"
end

function check.boolean(v)
	if type(v) == "boolean" then return v end
	return nil, "a boolean"
end

function check.progress(v)
	if type(v) == "boolean" or type(v) == "function" then return v end
	return nil, "a boolean or a function(done, total)"
end

function check.string(v)
	if type(v) == "string" then return v end
	return nil, "a string"
end

local libraries = { base = true, package = true, coroutine = true, table = true, io = true, os = true, string = true,
	math = true, utf8 = true, debug = true, bit = true, jit = true, ffi = true }

function check.libs(v)
	if type(v) ~= "table" then return nil, "a list of library names" end
	for _, name in ipairs(v) do
		if not libraries[name] then return nil, "a list of library names (base, package, coroutine, table, io, os, string, ...)" end
	end
	return v
end

function check.jit(v)
	if v == "checked" or v == true then return v end
	return nil, '"checked" or true'
end

options.pool = {
	workers = check.integer(0, 1024),
	max_threads = check.integer(1, 1024),
	queue_limit = check.integer(1, 2 ^ 31),
	init = check.fn,
	finish = check.fn,
	on_error = check.fn_or_false,
	name = check.string,
	-- Lua's own limit of C levels, reached by string.gsub in its callback, takes half of it.
	stack_size = check.bytes(rawget(_G, "jit") and 4 * 2 ^ 20 or 2 ^ 20),
	idle_timeout = check.seconds,
	memory_limit = check.bytes(65536),
	nice = check.integer(0, 19),
	libs = check.libs,
	jit = check.jit,
	cancel_grace = check.seconds,
	exit_timeout = check.seconds,
	task_timeout = check.seconds,
}

options.group = { limit = check.integer(1, 2 ^ 31), ids = check.boolean }
options.map = { progress = check.progress, batch = check.integer(1, 2 ^ 31), window = check.integer(1, 2 ^ 31) }
options.imap = { progress = check.progress, batch = check.integer(1, 2 ^ 31), window = check.integer(1, 2 ^ 31),
	ordered = check.boolean }

options.dict = { max_items = check.integer(1, 2 ^ 53), max_bytes = check.bytes(1), ttl = check.positive_seconds,
	evict = check.boolean }

--- Checks `given` (a table or nil) against `known` and answers a copy. `what` names the function in errors.
function options.check(given, known, what)
	local result = {}
	if given == nil then return result end
	if type(given) ~= "table" then
		fail("%s: options must be a table, got %s", what, type(given))
	end
	for name, value in pairs(given) do
		local one = type(name) == "string" and known[name]
		if not one then
			local near = type(name) == "string" and options.nearest(name, known)
			fail("%s: unknown option %s%s", what, shown(name), near and (", did you mean '%s'?"):format(near) or "")
		end
		local ok, expected = one(value)
		if ok == nil then
			fail("%s: option '%s' must be %s, got %s", what, name, expected, shown(value))
		end
		result[name] = ok
	end
	return result
end

return options
