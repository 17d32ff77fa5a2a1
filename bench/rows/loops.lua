-- loops: what an await costs inside the coroutines of an event loop, beside libuv's own work queue; and whether the loop
-- goes on meanwhile.
local pool = require "lua-pool"
local harness = require "bench.harness"

local rows = {}
local function row(name, measure)
	table.insert(rows, {name = name, measure = measure})
end

-- name, spawn(fn) runs fn as a coroutine of the loop, start(fn) does so from inside of it, sleep(seconds), run() until
-- nothing is left to do.
local loops = {}
if harness.luv then
	local luv = harness.luv
	local function after(seconds, fn)
		local t = luv.new_timer()
		t:start(math.ceil(seconds * 1000), 0, function()
			t:close()
			fn()
		end)
	end
	table.insert(loops, {
		name = "luv",
		spawn = function(fn) after(0, coroutine.wrap(fn)) end,
		start = function(fn) coroutine.wrap(fn)() end,
		sleep = function(seconds)
			local co = coroutine.running()
			after(seconds, function() assert(coroutine.resume(co)) end)
			coroutine.yield()
		end,
		run = function() luv.run() end,
	})
end
local has_cqueues, cqueues = pcall(require, "cqueues")
if has_cqueues then
	local controller = cqueues.new()
	table.insert(loops, {
		name = "cqueues",
		spawn = function(fn) controller:wrap(fn) end,
		start = function(fn) controller:wrap(fn) end,
		sleep = cqueues.sleep,
		run = function() assert(controller:loop()) end,
	})
end

row("loops: await", function(c, report)
	local function one_by_one(loop)
		return function(n)
			loop.spawn(function()
				for _ = 1, n do pool.async(function() end):await() end
			end)
			loop.run()
		end
	end
	local function side_by_side(loop)
		return function(n)
			for _ = 1, n do
				loop.spawn(function()
					for _ = 1, 1000 do loop.start(function() pool.async(function() end):await() end) end
				end)
				loop.run()
			end
		end
	end
	local luv_run = harness.luv_work(function() end, c.cores)
	for _, loop in ipairs(loops) do
		local ours, luv, many, luv_many = harness.compare {n = 4,
			{2000, one_by_one(loop)},
			luv_run and {500, function(n) for _ = 1, n do luv_run(1) end end},
			{10, side_by_side(loop)},
			luv_run and {10, function(n) for _ = 1, n do luv_run(1000) end end},
		}
		report {what = "await under " .. loop.name .. ", one after the other", ours = ours, luv = luv,
			target = luv and "<= lua-luv's queue", hit = luv and ours <= luv}
		report {what = "await under " .. loop.name .. ", 1,000 side by side", ours = many / 1000, luv = luv_many and luv_many / 1000}
	end
end)

-- How late a timer of 1 ms is, with nothing else to do, and from the moment on when 10,000 coroutines await tasks, until all
-- of them have ended. The pool has one worker, so that the loop has a core to itself.
row("loops: ticker", function(_, report)
	local p = pool.new {workers = 1, name = "bench-loops"}
	local function ticks(loop, awaited)
		local late, begun, left = {}, 0, awaited
		for _ = 1, awaited do
			loop.spawn(function()
				local f = p:async(function()
					local x = 0
					for i = 1, 10000 do x = x + i % 7 end
					return x
				end)
				begun = begun + 1
				f:await()
				left = left - 1
			end)
		end
		loop.spawn(function()
			while begun < awaited do loop.sleep(0.001) end
			while left > 0 or (awaited == 0 and #late < 300) do
				local start = pool.now()
				loop.sleep(0.001)
				late[#late + 1] = math.max(0, pool.now() - start - 0.001) -- luv counts whole milliseconds
			end
		end)
		loop.run()
		assert(#late > 100, "the tasks ended before the measurement began")
		table.sort(late)
		return late[math.ceil(#late * 0.5)], late[math.ceil(#late * 0.99)]
	end
	for _, loop in ipairs(loops) do
		local idle50, idle99, busy50, busy99 = {}, {}, {}, {}
		for i = 1, 5 do
			idle50[i], idle99[i] = ticks(loop, 0)
			busy50[i], busy99[i] = ticks(loop, 10000)
		end
		report {what = "1 ms ticker of " .. loop.name .. ", 10,000 awaited: late, p50", ours = harness.median(busy50),
			beside = {"none awaited", harness.median(idle50)}}
		report {what = "1 ms ticker of " .. loop.name .. ", 10,000 awaited: late, p99", ours = harness.median(busy99),
			beside = {"none awaited", harness.median(idle99)}}
	end
	p:close()
end)

return rows
