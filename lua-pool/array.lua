-- array: what arrays and buffers have that is written in Lua: dividing them among tasks.
local math = math -- a worker with few `libs` has them only while it opens
local core = require "lua-pool.core"

local array = {}

local function argument(number, name, what, got)
	error(("bad argument #%d to '%s' (%s expected, got %s)"):format(number, name, what,
		type(got) == "number" and tostring(got) or type(got)), 3)
end

--- a:chunks(n) -> list of at most n slices, which are of the same length (or one element longer) and together all of a.
function array.chunks(a, n)
	if type(n) ~= "number" or n < 1 or n ~= math.floor(n) or n > 2 ^ 31 then
		argument(1, "chunks", "number of chunks (whole, at least 1)", n)
	end
	local len, list, first = #a, {}, 1
	n = math.min(n, len)
	for i = 1, n do
		local last = math.floor(len / n) * i + math.min(i, len % n)
		list[i] = a:slice(first, last)
		first = last + 1
	end
	return list
end

--- In a worker: to[i] = fn(from[i]).
function array.apply(fn, from, to)
	for i = 1, #from do to[i] = fn(from[i]) end
end

-- Chunks that are worth a task, and enough of them that nobody waits long for the slowest.
local LEAST, PER_WORKER = 1000, 4

--- a:map(fn [, type]) -> a new array (of that type, or a's) of fn(a[i]), made by the tasks of the pool. fn is sent once
--- per chunk. Blocks; the first error cancels the rest and is raised.
function array.map(a, fn, kind)
	if not core.callable(fn) then
		argument(1, "map", "function", fn)
	end
	local p = core.default()
	local to = core.array(kind or a:type(), #a)
	local n = math.max(1, math.min(p:stats().workers * PER_WORKER, math.floor(#a / LEAST)))
	local from, into = a:chunks(n), to:chunks(n)
	local apply = array.apply
	p:each(function(i) apply(fn, from[i], into[i]) end, #from, { batch = 1 }, true)
	return to
end

for _, name in ipairs { "lua-pool.array", "lua-pool.buffer" } do
	local methods = core.classes[name]
	methods.chunks, methods.map = array.chunks, array.map
end

return array
