-- harness: how a row is measured and printed. A row names several ways to do the same work; they take turns, so
-- that all see the same machine, and the medians are compared.
local pool = require "lua-pool"

local harness = {}

local REPETITIONS = tonumber(os.getenv "REPETITIONS" or 9)

--- Seconds per operation of f(n), which does n of them.
function harness.per_op(n, f)
	local start = pool.now()
	f(n)
	return (pool.now() - start) / n
end

function harness.median(list)
	table.sort(list)
	local n = #list
	return n % 2 == 1 and list[(n + 1) / 2] or (list[n / 2] + list[n / 2 + 1]) / 2
end

--- ways: {{n, f}, ...} (false: there is no such way) -> the median seconds per operation of each.
function harness.compare(ways)
	local samples, medians = {}, {}
	for i = 1, ways.n or #ways do
		samples[i] = {}
		if ways[i] then ways[i][2](math.max(1, math.floor(ways[i][1] / 4))) end -- warm
	end
	for _ = 1, REPETITIONS do
		for i = 1, ways.n or #ways do
			if ways[i] then
				collectgarbage()
				table.insert(samples[i], harness.per_op(ways[i][1], ways[i][2]))
			end
		end
	end
	for i = 1, ways.n or #ways do
		medians[i] = ways[i] and harness.median(samples[i]) or false
	end
	return (table.unpack or unpack)(medians, 1, ways.n or #ways)
end

-- ---- the machine ----

--- name -> seconds, from the C program beside this.
function harness.machine()
	local build = os.getenv "LUA_POOL_BUILD" or "build/5.4"
	local p = assert(io.popen(build .. "/bench/pingpong", "r"))
	local machine = {}
	for line in p:lines() do
		local name, ns = line:match "^(%w+) ([%d.]+)$"
		if name then machine[name] = tonumber(ns) / 1e9 end
	end
	p:close()
	assert(machine.memcpy, "bench/pingpong did not run: make bench builds it")
	return machine
end

--- A function that tells how many cores other programs have kept busy since this call.
function harness.others()
	local function busy()
		local f = io.open "/proc/stat"
		local line = f and f:read "*l" or ""
		if f then f:close() end
		local sum, i = 0, 0
		for n in line:gmatch "%d+" do
			i = i + 1
			if i ~= 4 and i ~= 5 then sum = sum + tonumber(n) end -- not: idle, waiting for a disk
		end
		return sum / 100 -- ticks to seconds, on every Linux that we know
	end
	local busy0, own0, start = busy(), os.clock(), pool.now()
	return function()
		return math.max(0, (busy() - busy0 - (os.clock() - own0)) / (pool.now() - start))
	end
end

--- Bytes of memory that the process really has.
function harness.resident()
	local f = assert(io.open "/proc/self/status")
	local text = f:read "*a"
	f:close()
	return tonumber(text:match "VmRSS:%s*(%d+)") * 1024
end

--- Bytes of memory that mappings of about `size` bytes really have: the used part of the stacks of threads that were
--- started with this size, if nothing else has it.
function harness.resident_stacks(size)
	local sum, count, here = 0, 0, false
	for line in io.lines "/proc/self/smaps" do
		local kb = line:match "^Size:%s*(%d+)"
		if kb then here = math.abs(kb * 1024 - size) <= 8192 end
		local rss = here and line:match "^Rss:%s*(%d+)"
		if rss then sum, count = sum + rss * 1024, count + 1 end
	end
	return sum, count
end

-- ---- lua-luv's work queue, for comparison ----

local has_luv, luv = pcall(require, "luv")
harness.luv = has_luv and luv

--- A function(n, ...) that queues n calls of fn(...) and waits for all; false without lua-luv.
function harness.luv_work(fn, cores)
	if not has_luv then return false end
	luv.os_setenv("UV_THREADPOOL_SIZE", tostring(cores)) -- as many threads as we have; read at its first use
	local done = 0
	local work = luv.new_work(fn, function() done = done + 1 end)
	return function(n, ...)
		done = 0
		for _ = 1, n do work:queue(...) end
		luv.run()
		assert(done == n)
	end
end

-- ---- printing ----

local function seconds(s)
	if s < 1e-6 then return ("%.0f ns"):format(s * 1e9) end
	if s < 1e-3 then return ("%.2f us"):format(s * 1e6) end
	return ("%.2f ms"):format(s * 1e3)
end

local show = {
	time = seconds,
	rate = function(s) return ("%.2f M/s"):format(1e-6 / s) end,
	bytes = function(b) return b < 4096 and ("%.0f B"):format(b) or ("%.1f KB"):format(b / 1024) end,
	times = function(x) return ("%.2fx"):format(x) end,
}
harness.show = show

local FORMAT = "%-46s %11s  %-22s %8s  %11s %8s  %-34s %s"

function harness.head()
	print((FORMAT:format("what", "lua-pool", "beside", "ratio", "lua-luv", "ratio", "target", ""):gsub("%s+$", "")))
	print(("-"):rep(152))
end

--- row: what, kind (of show), ours, beside = {name, value}, luv, target, hit
function harness.print(row)
	local form = show[row.kind or "time"]
	local function ratio(other)
		return other and ("%.2fx"):format(row.ours / other) or ""
	end
	local beside = row.beside
	local line = FORMAT:format(row.what, form(row.ours),
		beside and ("%10s %s"):format(form(beside[2]), beside[1]) or "", beside and ratio(beside[2]) or "",
		row.luv and form(row.luv) or "-", ratio(row.luv), row.target or "",
		row.target and (row.hit and "hit" or "MISS") or "")
	print((line:gsub("%s+$", "")))
	io.stdout:flush()
end

return harness
