-- batch: what map and its kin run in the workers. Sent by name, so loading it is all that a worker pays.
-- Each answers how long it took, so that the sender can find the size of a batch that is worth the trip; then the results; and
-- if fn raised an error for an element, which one that was in the batch (false: not known) and the error. So a batch that is cut
-- short still has what came before.
local core = require "lua-pool.core"

local batch = {}
local now = core.now
local xpcall, error, rawequal, pairs = xpcall, error, rawequal, pairs

-- The loops. Which element they have come to is read from their local `i` when an error is raised: counting would cost each
-- element more than it may.
local function range(fn, first, last, out)
	for i = first, last do out[i - first + 1] = fn(i) end
end

local function items(fn, list, n, out)
	for i = 1, n do out[i] = fn(list[i]) end
end

local function each_range(fn, first, last)
	for i = first, last do fn(i) end
end

local function each_items(fn, list, n)
	for i = 1, n do fn(list[i]) end
end

local function pack(...)
	return { n = select("#", ...), ... }
end

local unpack = table.unpack or unpack -- luacheck: ignore (5.1)

local function calls(fn, list, n, out)
	for i = 1, n do
		local args = list[i]
		out[i] = pack(fn(unpack(args, 1, args.n)))
	end
end

-- Where the error that was raised last was raised: nil if nobody could look.
local place

local function note(err)
	place = core.loop_index(range, items, each_range, each_items, calls)
	return err
end

local answered = setmetatable({}, { __mode = "v" }) -- out: the results that are to be sent

-- One of a batch's results cannot be sent: the answer is what came before it, and why.
local function cut(took, out)
	if out == nil or not rawequal(out, answered.out) then return end
	local at, why
	for k, result in pairs(out) do
		local ok, reason = true, nil
		if not at or k < at then ok, reason = core.sendable(result) end
		if not ok then at, why = k, reason end
	end
	if not at then return end
	local before = {}
	for k, result in pairs(out) do
		if k < at then before[k] = result end
	end
	return took, before, at, (why:gsub("^value #1", "result"))
end
core.on_unsendable(cut)

-- The answer to the sender, after a protected loop.
local function answer(began, first, out, ok, err)
	local took = now() - began
	answered.out = out
	if ok then return took, out end
	core.output_uncaught(err) -- as if it were not caught here
	local at = place
	if at == nil then -- no room for a message handler: memory has run out, or LuaJIT's stack
		core.renew_state()
		error(err == "error in error handling" and "stack overflow (it left no room for a traceback)" or err, 0)
	end
	return took, out, at and at - first + 1, core.explained(err)
end

--- fn(i) for i = first … last: seconds, results.
function batch.range(fn, first, last)
	local began, out = now(), {}
	place = nil
	return answer(began, first, out, xpcall(range, note, fn, first, last, out))
end

--- fn(item) for each of n items, of which some may be nil.
function batch.items(fn, list, n)
	local began, out = now(), {}
	place = nil
	return answer(began, 1, out, xpcall(items, note, fn, list, n, out))
end

function batch.each_range(fn, first, last)
	local began = now()
	place = nil
	return answer(began, first, nil, xpcall(each_range, note, fn, first, last))
end

function batch.each_items(fn, list, n)
	local began = now()
	place = nil
	return answer(began, 1, nil, xpcall(each_items, note, fn, list, n))
end

--- fn(values…) for each of n packed lists of arguments: seconds, packed results.
function batch.calls(fn, list, n)
	local began, out = now(), {}
	place = nil
	return answer(began, 1, out, xpcall(calls, note, fn, list, n, out))
end

return batch
