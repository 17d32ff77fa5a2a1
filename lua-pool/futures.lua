-- futures: waiting for several futures: all, any, as_completed. None of them cancels what it did not make.
local math, table = math, table -- a worker with few `libs` has them only while it opens
local core = require "lua-pool.core"

local futures = {}
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

local function left(deadline)
	return deadline and math.max(0, deadline - core.now())
end

local function first_of(...)
	return (...)
end

--- all(list [, timeout]) -> the first result of each, in order, with `n`; raises the first error of any as soon as
--- it happens; nil, "timeout". Blocks.
function futures.all(list, timeout)
	local n = check(list, "all")
	local results = { n = n }
	local deadline = timeout and core.now() + timeout
	local ends = core.ends(list, n)
	for _ = 1, n do
		local i = ends:next(left(deadline))
		if not i then
			ends:close()
			return nil, "timeout"
		end
		local future = list[i]
		if future:status() ~= "done" then ends:close() end
		results[i] = first_of(future:await())
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
	local ends, reasons = core.ends(list, n), {}
	for _ = 1, n do
		local i = ends:next(left(deadline))
		if not i then
			ends:close()
			return nil, "timeout"
		end
		local future = list[i]
		if future:status() == "done" then
			ends:close()
			return i, future:await()
		end
		local _, err = future:pawait()
		reasons[i] = ("  #%d: %s"):format(i, reason(err))
	end
	error(("any: all %d futures failed:\n%s"):format(n, table.concat(reasons, "\n")), 2)
end

--- as_completed(list) -> iterator of future, index, in the order in which they end (those that have ended
--- already too). Each step blocks.
function futures.as_completed(list)
	local n = check(list, "as_completed")
	local ends = core.ends(list, n)
	return function()
		local i = ends:next()
		if i then return list[i], i end
	end
end

return futures
