-- batch: what map and its kin run in the workers. Sent by name, so loading it is all that a worker pays.
-- Each answers how long it took, so that the sender can find the size of a batch that is worth the trip.
local core = require "lua-pool.core"

local batch = {}
local now = core.now

--- fn(i) for i = first … last: seconds, results.
function batch.range(fn, first, last)
	local began, out = now(), {}
	for i = first, last do out[i - first + 1] = fn(i) end
	return now() - began, out
end

--- fn(item) for each of n items, of which some may be nil.
function batch.items(fn, items, n)
	local began, out = now(), {}
	for i = 1, n do out[i] = fn(items[i]) end
	return now() - began, out
end

function batch.each_range(fn, first, last)
	local began = now()
	for i = first, last do fn(i) end
	return now() - began
end

function batch.each_items(fn, items, n)
	local began = now()
	for i = 1, n do fn(items[i]) end
	return now() - began
end

local function pack(...)
	return { n = select("#", ...), ... }
end

local unpack = table.unpack or unpack -- luacheck: ignore (5.1)

--- fn(values…) for each of n packed lists of arguments: seconds, packed results.
function batch.calls(fn, calls, n)
	local began, out = now(), {}
	for i = 1, n do
		local args = calls[i]
		out[i] = pack(fn(unpack(args, 1, args.n)))
	end
	return now() - began, out
end

return batch
