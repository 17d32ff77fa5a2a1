-- core: rows of tasks, values, cancellation. measure(context, report) reports one line or more; a line has the
-- target that it is held to.
local pool = require "lua-pool"
local harness = require "bench.harness"

local rows = {}
local function row(name, measure)
	table.insert(rows, {name = name, measure = measure})
end

local function nothing() end

-- ---- one task ----

row("round trip", function(c, report)
	local function one() return pool.worker_id() end
	local luv_run = harness.luv_work(function() end, c.cores)
	local elsewhere = 0
	local ours, plain, luv = harness.compare {n = 3,
		{20000, function(n)
			for _ = 1, n do
				if pool.async(one):await() ~= 0 then elsewhere = elsewhere + 1 end
			end
		end},
		{200000, function(n) for _ = 1, n do pcall(one) end end},
		luv_run and {500, function(n) for _ = 1, n do luv_run(1) end end},
	}
	assert(elsewhere > 0, "no task ran on another thread")
	report {what = "round trip, warm", ours = ours, beside = {"pcall", plain}, luv = luv,
		target = "<= 0.60 us", hit = ours <= 0.6e-6}
	report {what = "round trip, warm", ours = ours, beside = {"futex, one core", c.machine.same},
		target = "<= 0.15x futex ping-pong, one core", hit = ours <= 0.15 * c.machine.same}
end)

row("many tasks", function(c, report)
	local luv_run = harness.luv_work(function() end, c.cores)
	local futures = {}
	local ours, plain, luv = harness.compare {n = 3,
		{50, function(n)
			for _ = 1, n do
				for i = 1, 1000 do futures[i] = pool.async(nothing) end
				for i = 1, 1000 do futures[i]:await() end
			end
		end},
		{200, function(n) for _ = 1, n do for _ = 1, 1000 do pcall(nothing) end end end},
		luv_run and {50, function(n) for _ = 1, n do luv_run(1000) end end},
	}
	report {what = "async x1000, then await x1000", kind = "rate", ours = ours / 1000, beside = {"pcall", plain / 1000},
		luv = luv and luv / 1000, target = ">= 4 M tasks/s", hit = ours / 1000 <= 0.25e-6}
	if luv then
		report {what = "async x1000, then await x1000", kind = "rate", ours = ours / 1000, luv = luv / 1000,
			target = ">= 2x lua-luv (ratio <= 0.50x)", hit = ours <= luv / 2}
	end
end)

-- Both in the same worker; one worker only, so that nobody else can take the child.
row("fork and join", function(_, report)
	local p = pool.new {workers = 1, max_threads = 1}
	local function measure(f) -- in the worker: seconds per child
		return function(n) p:async(f, n):await() end
	end
	local ours, plain = harness.compare {
		{20000, measure(function(n)
			local here = require "lua-pool"
			local child = function() end
			for _ = 1, n do here.async(child):await() end
		end)},
		{100000, measure(function(n)
			local child = function() end
			for _ = 1, n do pcall(child) end
		end)},
	}
	report {what = "fork-join inside a worker, per child", ours = ours, beside = {"pcall", plain},
		target = "<= 8x pcall", hit = ours <= 8 * plain}

	-- fib(20) has 21,891 calls, each of which is a task.
	local tree, calls = harness.compare {
		{1, measure(function()
			local here = require "lua-pool"
			local function fib(n)
				if n < 2 then return n end
				local a, b = here.async(fib, n - 1), here.async(fib, n - 2)
				return a:await() + b:await()
			end
			return fib(20)
		end)},
		{1, measure(function()
			local function fib(n)
				if n < 2 then return n end
				local _, a = pcall(fib, n - 1)
				local _, b = pcall(fib, n - 2)
				return a + b
			end
			return fib(20)
		end)},
	}
	report {what = "fib(20), a task per call, per task", ours = tree / 21891, beside = {"pcall", calls / 21891}}
	p:close()
end)

-- ---- many at once ----

row("map", function(_, report)
	local N = 200000
	local list = {}
	for i = 1, N do list[i] = i end
	local function trivial(x) return x + 1 end
	local function sequential(times)
		for _ = 1, times do
			local out = {}
			for i = 1, N do
				local _, x = pcall(trivial, list[i])
				out[i] = x
			end
			assert(#out == N)
		end
	end
	local over_list, over_range, plain = harness.compare {
		{1, function(times) for _ = 1, times do pool.map(trivial, list) end end},
		{1, function(times) for _ = 1, times do pool.map(trivial, N) end end},
		{1, sequential},
	}
	report {what = "map of x + 1 over a list, per element", ours = over_list / N, beside = {"pcall in a loop", plain / N},
		target = "<= 1.0x", hit = over_list <= plain}
	report {what = "map of x + 1 over 1..n, per element", ours = over_range / N, beside = {"pcall in a loop", plain / N},
		target = "<= 1.0x", hit = over_range <= plain}
end)

row("speed-up", function(c, report)
	local function work(n)
		local x = 0
		for i = 1, n do x = (x * 31 + i) % 1000003 end
		return x
	end
	local n = 1000
	repeat
		n = n * 2
	until harness.per_op(1, function() work(n) end) > 0.004
	n = math.floor(n * 0.001 / harness.per_op(5, function(k) for _ = 1, k do work(n) end end))
	local TASKS = 100
	local luv_run = harness.luv_work(work, c.cores)
	local futures = {}
	local ours, plain, luv = harness.compare {n = 3,
		{1, function()
			for i = 1, TASKS do futures[i] = pool.async(work, n) end
			for i = 1, TASKS do futures[i]:await() end
		end},
		{1, function() for _ = 1, TASKS do pcall(work, n) end end},
		luv_run and {1, function() luv_run(TASKS, n) end},
	}
	local least = c.cores * 0.925
	report {what = ("100 tasks of 1 ms on %d cores"):format(c.cores), ours = ours, beside = {"one core", plain}, luv = luv,
		target = ("speed-up >= %.2f (ratio <= %.2fx)"):format(least, 1 / least), hit = plain / ours >= least}
end)

-- ---- values ----

row("scalars", function(_, report)
	local has_codec, codec = pcall(require, "bench_codec")
	if not has_codec then error("make bench builds the module bench_codec", 0) end
	local both = {}
	for i = 1, 9 do
		local encode, decode = codec(100000, 42, 1.5, "three")
		both[i] = encode + decode
	end
	local ours = harness.median(both)
	report {what = "3 scalars, encode + decode", ours = ours, target = "<= 50 ns", hit = ours <= 50e-9}
end)

local function size(t) return #t end

-- One way: to the worker, which answers one number.
local function one_way(what, build, limit)
	return function(_, report)
		local value = build()
		local ours, plain = harness.compare {
			{10, function(n) for _ = 1, n do pool.async(size, value):await() end end},
			{10, function(n) for _ = 1, n do build() end end},
		}
		report {what = what, ours = ours, beside = {"building it", plain},
			target = ("<= %.1fx"):format(limit), hit = ours <= limit * plain}
	end
end

row("rows", one_way("10,000 rows {id, name}, one way", function()
	local list = {}
	for i = 1, 10000 do list[i] = {id = i, name = "name " .. i} end
	return list
end, 1.9))

row("numbers", one_way("100,000 numbers, one way", function()
	local list = {}
	for i = 1, 100000 do list[i] = i * 0.5 end
	return list
end, 2.5))

row("string", function(c, report)
	local s = ("x"):rep(1024 * 1024)
	local luv_run = harness.luv_work(function(text) return #text end, c.cores)
	local ours, trip, luv = harness.compare {n = 3,
		{200, function(n) for _ = 1, n do pool.async(size, s):await() end end},
		{20000, function(n) for _ = 1, n do pool.async(nothing):await() end end},
		luv_run and {200, function(n) for _ = 1, n do luv_run(1, s) end end},
	}
	local least = c.machine.memcpy + trip
	report {what = "1 MiB string, one way", ours = ours, beside = {"memcpy + trip", least}, luv = luv,
		target = "<= 1.5x", hit = ours <= 1.5 * least}
end)

-- ---- memory ----

row("memory", function(_, report)
	-- The only worker is busy, so what follows stays in the queue.
	local N = 100000
	local p = pool.new {workers = 1, max_threads = 1}
	local up, go = pool.event(), pool.event()
	local first = p:async(function(u, g)
		u:set()
		while not g:is_set() do end
	end, up, go)
	up:wait()
	local futures = {}
	for i = 1, N do futures[i] = false end
	collectgarbage()
	local before = harness.resident()
	for i = 1, N do futures[i] = p:async(nothing) end
	local each = (harness.resident() - before) / N
	go:set()
	first:await()
	for i = 1, N do futures[i]:await() end
	p:close()
	report {what = "memory per queued small task, with its future", kind = "bytes", ours = each,
		target = "<= 400 B", hit = each <= 400}

	-- Larger than any that ended before: the system would give us one of those instead.
	local WORKERS, STACK = 64, 6007 * 4096
	local q = pool.new {workers = WORKERS, stack_size = STACK}
	collectgarbage()
	before = harness.resident()
	local here, leave = pool.counter(0), pool.event()
	local waiting = {}
	for i = 1, WORKERS do
		waiting[i] = q:async(function(n, g)
			n:add(1)
			g:wait()
		end, here, leave)
	end
	while here:get() < WORKERS do pool.sleep(0.001) end
	leave:set()
	for i = 1, WORKERS do waiting[i]:await() end
	local threads = q:stats().threads
	local stacks, found = harness.resident_stacks(STACK)
	assert(found >= WORKERS, "the stacks of the workers were not found")
	local idle = (harness.resident() - before - stacks) / threads
	report {what = "memory per idle worker, besides its stack", kind = "bytes", ours = idle,
		beside = {"used stack", stacks / threads}, target = "<= 64 KB", hit = idle <= 64 * 1024}
	q:close()
end)

return rows
