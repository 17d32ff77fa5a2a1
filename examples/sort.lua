-- Sorts random numbers on all cores, and beside it on one:
--
--   lua examples/sort.lua [N]        (10,000,000)
--
-- The numbers lie in an array that all tasks share, so a task is given a slice of it and nothing is copied. Each task
-- sorts its slice; then the slices are merged in pairs, until one is left. A merge is itself divided among tasks.
-- Prints what either way took, and whether the result is what it should be.
local pool = require "lua-pool"

local N = tonumber(arg[1] or 1e7)
if not N or N < 1 or N ~= math.floor(N) then
	io.stderr:write("the number of elements must be a whole number of at least 1\n")
	os.exit(1)
end

local WORKERS = math.max(1, pool.stats().workers)
local PARTS = 1 -- a power of 2, so that the merges come out even
while PARTS < WORKERS do PARTS = PARTS * 2 end

-- ---- what runs in the workers ----

local function fill(slice)
	for i = 1, #slice do slice[i] = math.random() end -- each worker has random numbers of its own
end

local function is_sorted(slice)
	local last = -math.huge
	for _, v in slice:pairs() do
		if v < last then return false end
		last = v
	end
	return true
end

-- ---- merging ----

-- Divides the merge of x and y into `to` in two halves that need nothing of each other, and so on down to `pieces`:
-- what is below the middle of the longer one, and the rest.
local function divide(to, x, y, pieces, list)
	if #x < #y then x, y = y, x end
	if pieces == 1 or #x < 2 then
		list[#list + 1] = { to = to, x = x, y = y }
		return
	end
	local middle = math.floor(#x / 2)
	local below = y:search(x[middle + 1]) - 1
	divide(to:slice(1, middle + below), x:slice(1, middle), y:slice(1, below), pieces / 2, list)
	divide(to:slice(middle + below + 1), x:slice(middle + 1), y:slice(below + 1), pieces / 2, list)
end

local function merge(m) m.to:merge(m.x, m.y) end

-- Merges neighbours of `sorted`, slices of one array, into `to`; answers the slices of `to`, half as many.
local function merge_round(sorted, to)
	local merges, merged, first = {}, {}, 1
	for i = 1, #sorted, 2 do
		local x, y = sorted[i], sorted[i + 1]
		local here = to:slice(first, first + #x + #y - 1)
		first = first + #here
		merged[#merged + 1] = here
		divide(here, x, y, PARTS * 2 / #sorted, merges)
	end
	pool.each(merge, merges, { batch = 1 })
	return merged
end

local function parallel_sort(a)
	local slices = a:chunks(PARTS)
	while #slices < PARTS do slices[#slices + 1] = a:slice(#a + 1) end -- fewer numbers than parts
	pool.each(function(s) s:sort() end, slices, { batch = 1 })
	local from, to = a, pool.array(a:type(), #a)
	while #slices > 1 do
		slices = merge_round(slices, to)
		from, to = to, from
	end
	return from
end

-- ---- both ways ----

local function timed(f, ...)
	local start = pool.now()
	local result = f(...)
	return pool.now() - start, result
end

local numbers = pool.array("f64", N)
pool.each(fill, numbers:chunks(WORKERS * 4), { batch = 1 })
local alone = pool.array("f64", numbers)
local sum = numbers:sum()

local one = timed(alone.sort, alone)
local all, sorted = timed(parallel_sort, numbers)

local fine = sorted:equal(alone) and math.abs(sorted:sum() - sum) <= 1e-9 * N
for _, ok in ipairs(pool.map(is_sorted, sorted:chunks(WORKERS * 4), { batch = 1 })) do fine = fine and ok end
print(("%d numbers: %.3f s on one core, %.3f s with %d workers: %.2f times as fast"):format(N, one, all, WORKERS, one / all))
print(fine and "sorted, and the same both ways" or "NOT SORTED")
os.exit(fine, true)
