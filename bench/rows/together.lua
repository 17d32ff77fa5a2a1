-- together: rows of what tasks share: channels, mutexes, counters, groups.
local pool = require "lua-pool"
local harness = require "bench.harness"

local rows = {}
local function row(name, measure)
	table.insert(rows, {name = name, measure = measure})
end

-- A worker that stays: bench.harness measures in the main state, the other end runs here.
local function other_end(fn, ...)
	return pool.async(fn, ...)
end

-- Coroutines of one thread hand a value over with cqueues' condition: its nearest thing to a channel.
local function cqueues_channel(capacity)
	local ok, cqueues = pcall(require, "cqueues")
	local has, condition = pcall(require, "cqueues.condition")
	if not ok or not has then return false end
	return function(n)
		local loop, filled, emptied = cqueues.new(), condition.new(), condition.new()
		local list, first, last, sum = {}, 1, 0, 0
		loop:wrap(function()
			for i = 1, n do
				while last - first + 1 >= capacity do emptied:wait() end
				last = last + 1
				list[last] = i
				filled:signal()
			end
		end)
		loop:wrap(function()
			for _ = 1, n do
				while last < first do filled:wait() end
				sum = sum + list[first]
				list[first] = nil
				first = first + 1
				emptied:signal()
			end
		end)
		assert(loop:loop())
		assert(sum == n * (n + 1) / 2)
	end
end

-- lua-luv has no channel: its async handle wakes a loop with a value, and drops those that come before it has looked. Here
-- the value goes from a thread of luv to the main loop, one at a time, each answered by the next.
local function luv_async(n)
	local luv = harness.luv
	local got = 0
	local handle
	handle = luv.new_async(function()
		got = got + 1
		if got == n then handle:close() else handle:send(got) end
	end)
	handle:send(0)
	luv.run()
end

row("burst through a channel", function(_, report)
	local ch = pool.channel(1000)
	local send, receive = ch.send, ch.receive
	local ours, table_queue, cq = harness.compare {n = 3,
		{50, function(n)
			for _ = 1, n do
				for i = 1, 1000 do send(ch, i) end
				for _ = 1, 1000 do receive(ch) end
			end
		end},
		{200, function(n)
			local list = {}
			for _ = 1, n do
				for i = 1, 1000 do list[i] = i end
				for i = 1, 1000 do
					assert(list[i] == i)
					list[i] = nil
				end
			end
		end},
		cqueues_channel(1000) and {50, function(n) cqueues_channel(1000)(n * 1000) end},
	}
	report {what = "channel: 1,000 sent, 1,000 received, each", ours = ours / 1000, beside = {"a plain table", table_queue / 1000},
		target = "<= 0.30 us", hit = ours / 1000 <= 0.3e-6}
	if cq then
		report {what = "channel: 1,000 sent, 1,000 received, each", ours = ours / 1000,
			beside = {"cqueues, 1 thread", cq / 1000}}
	end
end)

row("channel between threads", function(_, report)
	local function to_worker(capacity)
		return function(n)
			local ch = pool.channel(capacity)
			local f = other_end(function(c, count)
				for _ = 1, count do c:receive() end
			end, ch, n)
			for i = 1, n do ch:send(i) end
			f:await()
		end
	end
	local function from_workers(senders)
		return function(n)
			local ch, fs = pool.channel(1000), {}
			for k = 1, senders do
				fs[k] = other_end(function(c, count)
					for i = 1, count do c:send(i) end
				end, ch, n / senders)
			end
			for _ = 1, n do ch:receive() end
			for k = 1, senders do fs[k]:await() end
		end
	end
	local one, many, hand, luv = harness.compare {n = 4,
		{100000, to_worker(1000)},
		{100000, from_workers(4)},
		{2000, to_worker(0)},
		harness.luv and {2000, luv_async},
	}
	report {what = "channel of 1,000, one to one, per message", kind = "rate", ours = one}
	report {what = "channel of 1,000, four to one, per message", kind = "rate", ours = many}
	report {what = "rendezvous between two threads, per message", ours = hand, luv = luv}
end)

row("mutex", function(_, report)
	local m = pool.mutex()
	local lock, unlock = m.lock, m.unlock
	local alone, guarded, plain = harness.compare {
		{200000, function(n)
			for _ = 1, n do
				lock(m)
				unlock(m)
			end
		end},
		{200000, function(n)
			local with = m.with
			local function nothing() end
			for _ = 1, n do with(m, nothing) end
		end},
		{1000000, function(n)
			local function nothing() end
			for _ = 1, n do
				nothing()
				nothing()
			end
		end},
	}
	report {what = "mutex: lock and unlock, nobody else", ours = alone, beside = {"two empty calls", plain},
		target = "<= 0.10 us", hit = alone <= 0.1e-6}
	report {what = "mutex: with(fn), nobody else", ours = guarded, beside = {"two empty calls", plain}}
	local contended, counter = harness.compare {
		{40000, function(n)
			local mu, fs = pool.mutex(), {}
			for k = 1, 2 do
				fs[k] = other_end(function(x, count)
					for _ = 1, count do
						x:lock()
						x:unlock()
					end
				end, mu, n / 2)
			end
			for k = 1, 2 do fs[k]:await() end
		end},
		{400000, function(n)
			local c, fs = pool.counter(), {}
			for k = 1, 2 do
				fs[k] = other_end(function(x, count)
					for _ = 1, count do x:add() end
				end, c, n / 2)
			end
			for k = 1, 2 do fs[k]:await() end
			assert(c:get() == n)
		end},
	}
	report {what = "mutex: lock and unlock, two threads", ours = contended}
	report {what = "counter: add, two threads", ours = counter}
end)

row("counter", function(_, report)
	local c, t = pool.counter(), {n = 0}
	local add = c.add
	local ours, plain = harness.compare {
		{500000, function(n) for _ = 1, n do add(c) end end},
		{1000000, function(n) for _ = 1, n do t.n = t.n + 1 end end},
	}
	report {what = "counter: add, nobody else", ours = ours, beside = {"t.n = t.n + 1", plain}}
end)

row("group", function(_, report)
	local function nothing() end
	local fs = {}
	local ours, futures = harness.compare {
		{50, function(n)
			for _ = 1, n do
				local g = pool.group()
				for _ = 1, 1000 do g:go(nothing) end
				g:await()
			end
		end},
		{50, function(n)
			for _ = 1, n do
				for i = 1, 1000 do fs[i] = pool.async(nothing) end
				for i = 1, 1000 do fs[i]:await() end
			end
		end},
	}
	report {what = "group of 1,000, per task", ours = ours / 1000, beside = {"1,000 futures", futures / 1000}}
	local p = pool.new {workers = 1, max_threads = 1}
	local inside, alone = harness.compare {
		{20, function(n)
			p:async(function(count)
				local here = require "lua-pool"
				local child = function() end
				for _ = 1, count do
					local g = here.group()
					for _ = 1, 1000 do g:go(child) end
					g:await()
				end
			end, n):await()
		end},
		{20, function(n)
			p:async(function(count)
				local here = require "lua-pool"
				local child, list = function() end, {}
				for _ = 1, count do
					for i = 1, 1000 do list[i] = here.async(child) end
					for i = 1, 1000 do list[i]:await() end
				end
			end, n):await()
		end},
	}
	report {what = "group of 1,000 in a worker, per task", ours = inside / 1000, beside = {"1,000 futures", alone / 1000}}
	p:close()
end)

return rows
