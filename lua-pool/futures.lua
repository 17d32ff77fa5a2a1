-- futures: waiting for several futures: all, any, as_completed. None of them cancels what it did not make.
local core = require "lua-pool.core"

local futures = {}
local wait_any = core.wait_any

-- How many futures a wait looks at first, and for how long: tasks start in the order they were submitted, so those
-- that end next are usually among the oldest. Only when none of them ends in PATIENCE seconds does one wait look at
-- all: done each time, that would take quadratic time for many thousands.
local WINDOW, PATIENCE = 64, 0.01

local function check(list, what)
	if type(list) ~= "table" then
		error(("bad argument #1 to '%s' (list of futures expected, got %s)"):format(what, type(list)), 3)
	end
	local n = list.n or #list
	for i = 1, n do
		if not core.is_future(list[i]) then
			error(("bad argument #1 to '%s' (element %d is not a future but a %s)"):format(what, i, type(list[i])), 3)
		end
	end
	return n
end

-- Iterates over the futures of a list in the order in which they end: index, future; nil at the deadline.
-- `pending` holds the indices that have not been answered, oldest first.
local function by_end(list, n, deadline)
	local pending, first = {}, 1
	for i = 1, n do pending[i] = i end
	return function()
		while first <= #pending and not pending[first] do first = first + 1 end
		if first > #pending then return nil end
		local window, at, count, k = {}, {}, 0, first
		local which, limit
		local last = #pending
		repeat
			limit = limit and last or WINDOW
			while k <= last and count < limit do
				if pending[k] then
					count = count + 1
					window[count], at[count] = list[pending[k]], k
				end
				k = k + 1
			end
			local left = deadline and math.max(0, deadline - core.now())
			local all, patience = k > last, left
			if not all then patience = math.min(PATIENCE, left or PATIENCE) end
			which = wait_any(window, count, patience, not deadline)
			if not which and all then return nil, "timeout" end
		until which
		local index = pending[at[which]]
		pending[at[which]] = false
		return index, list[index]
	end
end
futures.by_end = by_end

local function first_of(...)
	return (...)
end

--- all(list [, timeout]) -> the first result of each, in order, with `n`; raises the first error of any as soon as
--- it happens; nil, "timeout". Blocks.
function futures.all(list, timeout)
	local n = check(list, "all")
	local results = { n = n }
	local deadline = timeout and core.now() + timeout
	local next_ended, left = by_end(list, n, deadline), n
	while left > 0 do
		local i, future = next_ended()
		if not i then return nil, "timeout" end
		results[i] = first_of(future:await())
		left = left - 1
	end
	return results
end

local function reason(err)
	local ok, text = pcall(tostring, err)
	return ok and text or ("(error object is a %s)"):format(type(err))
end

--- any(list [, timeout]) -> index, results… of the first that succeeds; nil, "timeout"; an error with every reason
--- when all failed. Blocks.
function futures.any(list, timeout)
	local n = check(list, "any")
	if n == 0 then error("any: the list of futures is empty: none can succeed", 2) end
	local deadline = timeout and core.now() + timeout
	local next_ended, reasons = by_end(list, n, deadline), {}
	for _ = 1, n do
		local i, future = next_ended()
		if not i then return nil, "timeout" end
		if future:status() == "done" then return i, future:await() end
		local _, err = future:pawait()
		reasons[i] = ("  #%d: %s"):format(i, reason(err))
	end
	error(("any: all %d futures failed:\n%s"):format(n, table.concat(reasons, "\n")), 2)
end

--- as_completed(list) -> iterator of future, index, in the order in which they end. Each step blocks.
function futures.as_completed(list)
	local n = check(list, "as_completed")
	local next_ended = by_end(list, n)
	return function()
		local i, future = next_ended()
		if i then return future, i end
	end
end

return futures
