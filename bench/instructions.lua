-- The rows of tools/instructions.sh: work whose instructions do not depend on a second core. One row, n times:
--   lua bench/instructions.lua ROW N
-- without N: the names of the rows, with the N that is worth counting. What a row costs is the difference of two runs of
-- different N, so that what happens once (loading, opening a state) is not in it.
local pool = require "lua-pool"

local rows = {}
local order = {}
local function row(name, n, run)
	rows[name] = run
	order[#order + 1] = {name, n}
end

local function nothing() end

-- One worker, so that no count depends on who took what; a pool with `nice` does not spin.
local function one_worker() return pool.new {workers = 1, max_threads = 1, nice = 1} end

-- The three of tasks collect when they say so: where the collector stands at the end would else decide two per cent.

-- Per task: async, run, await; a thousand stand in the queue before the first runs, and all have run before the first is
-- awaited: so nobody is woken in between, which would depend on the machine's mood.
row("async1000", 10000, function(n)
	local p, t, gate = one_worker(), {}, pool.event()
	collectgarbage "stop"
	for round = 1, n / 1000 do
		gate:reset()
		local first = p:async(function(g, collect)
			if collect then collectgarbage() end
			collectgarbage "stop"
			g:wait()
		end, gate, round % 10 == 0)
		for i = 1, 1000 do t[i] = p:async(nothing) end
		gate:set()
		t[1000]:await()
		first:await()
		for i = 1, 1000 do t[i]:await() end
		if round % 10 == 0 then collectgarbage() end
	end
	p:close()
end)

-- Per child of a task: started and awaited inside a worker.
row("child", 10000, function(n)
	local p = one_worker()
	p:async(function(count)
		local lp = require "lua-pool"
		local function empty() end
		collectgarbage "stop"
		for _ = 1, count / 10000 do
			for _ = 1, 10000 do lp.async(empty):await() end
			collectgarbage()
		end
	end, n):await()
	p:close()
end)

-- The same, with what every recursive function has: itself and the module as upvalues.
row("child_recursive", 4000, function(n)
	local p = one_worker()
	local lp = pool
	p:async(function(count)
		local itself
		function itself(m) if m > 0 then return lp.async(itself, m - 1):await() end end
		collectgarbage "stop"
		for _ = 1, count / 4000 do
			for _ = 1, 1000 do itself(4) end
			collectgarbage()
		end
	end, n):await()
	p:close()
end)

-- Per row {id, name}, one way, to a worker: encoded by the sender, decoded there.
row("rows", 10000, function(n)
	local p, list = one_worker(), {}
	for i = 1, 1000 do list[i] = {id = i, name = "name" .. i % 100} end
	for _ = 1, n / 1000 do p:async(nothing, list):await() end
	p:close()
end)

-- Per number of a list, one way.
row("numbers", 500000, function(n)
	local p, list = one_worker(), {}
	for i = 1, 10000 do list[i] = i + 0.5 end
	for _ = 1, n / 10000 do p:async(nothing, list):await() end
	p:close()
end)

-- Per message: sent and received by one state.
row("channel", 10000, function(n)
	local ch = pool.channel(10)
	for i = 1, n do
		ch:send(i)
		ch:receive()
	end
end)

row("mutex", 20000, function(n)
	local m = pool.mutex()
	for _ = 1, n do
		m:lock()
		m:unlock()
	end
end)

-- Per element of a list, in a task of a pool with one worker, which therefore does all of it; batches of a fixed size, since
-- those that map chooses follow the time they take.
row("map", 20000, function(n)
	local p = one_worker()
	p:async(function(count)
		local lp = require "lua-pool"
		local list = {}
		for i = 1, 4000 do list[i] = i end
		for _ = 1, count / 4000 do lp.map(function(x) return x end, list, {batch = 200}) end
	end, n):await()
	p:close()
end)

local name, n = arg[1], tonumber(arg[2])
if not n then
	for _, r in ipairs(order) do print(r[1], r[2]) end
else
	assert(rows[name], "there is no row of that name")(n)
end
