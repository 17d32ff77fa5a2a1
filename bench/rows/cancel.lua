-- cancel: how long from the request to the end of a task, by what it does; and what it costs while nobody cancels.
local pool = require "lua-pool"
local harness = require "bench.harness"

local rows = {}
local function row(name, measure)
	table.insert(rows, {name = name, measure = measure})
end

-- name, fn(up, what): goes on for ever once it has called up:set()
local kinds = {
	{"loop", function(up) up:set() while true do end end},
	{"pcall loop", function(up) up:set() while true do pcall(function() while true do end end) end end},
	{"coroutine", function(up)
		up:set()
		while true do coroutine.wrap(function() while true do coroutine.yield() end end)() end
	end},
	{"sleep", function(up) up:set() require "lua-pool".sleep(1000) end},
	{"read of a pipe", function(up, fifo)
		local f = assert(io.open(fifo, "r+")) -- both ends: nobody ever writes
		up:set()
		f:read(1)
	end},
}

row("cancel to end", function(_, report)
	-- On LuaJIT a compiled loop cannot be stopped: there the compiler is off in these workers.
	local p = pool.new {workers = 1, name = "bench-cancel", jit = jit and "checked" or nil}
	local N = 400
	local fifo = os.tmpname()
	os.remove(fifo)
	os.execute("mkfifo " .. fifo)
	for _, kind in ipairs(kinds) do
		local times = {}
		for i = 1, N do
			local up = pool.event()
			local f = p:async(kind[2], up, fifo)
			up:wait()
			pool.sleep(0.0002) -- it is in the midst of it
			local start = pool.now()
			assert(f:cancel(10))
			times[i] = pool.now() - start
		end
		table.sort(times)
		local p50, p99 = times[math.ceil(N * 0.5)], times[math.ceil(N * 0.99)]
		report {what = ("cancel a %s, p50"):format(kind[1]), ours = p50, target = "<= 50 us", hit = p50 <= 50e-6}
		report {what = ("cancel a %s, p99"):format(kind[1]), ours = p99, target = "<= 3 ms", hit = p99 <= 3e-3}
	end
	os.remove(fifo)
	p:close(5)
end)

-- All threads of the process on one core, or on those it had: the two cores of a virtual machine may differ by half.
local function one_core(on)
	local f = assert(io.open "/proc/self/status")
	local text = f:read "*a"
	f:close()
	local pid = text:match "Pid:%s*(%d+)"
	local cores = text:match "Cpus_allowed_list:%s*(%S+)"
	os.execute(("taskset -acp %s %s >/dev/null"):format(on or cores:match "^%d+", pid))
	return cores
end

-- The same work in a task, which can be cancelled at any moment, and in the main state, which has none of the machinery.
row("cost of being stoppable", function(_, report)
	local function loop(n)
		local x = 0
		for i = 1, n do x = (x * 31 + i) % 1000003 end
		return x
	end
	local function pcalls(n)
		local f = function() end
		for _ = 1, n do pcall(f) end
	end
	local function resumes(n)
		local co = coroutine.wrap(function() while true do coroutine.yield() end end)
		for _ = 1, n do co() end
	end
	local p = pool.new {workers = 1, name = "bench-cost"}
	p:async(function() end):await() -- its thread is there
	local cores = one_core()
	for _, work in ipairs {{"a loop", loop, 3e6}, {"pcall", pcalls, 1e6}, {"resume and yield", resumes, 1e6}} do
		local ours, plain = harness.compare {
			{work[3], function(n) p:async(work[2], n):await() end},
			{work[3], work[2]},
		}
		report {what = work[1] .. " in a task, uncancelled", ours = ours, beside = {"main state", plain}}
	end
	one_core(cores)
	p:close()
end)

return rows
