-- Linearisability: what four threads see of a counter, a mutex, a channel is what one order of their calls would give.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local linear = require "spec.support.linear"
local scale = require "spec.support.scale"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local THREADS = 4

-- Runs body again and again with a fresh object, checks each history, and that the calls did overlap.
local function repeated(rounds, model, make, body)
	local overlaps, round, enough = 0, 0, scale(rounds, 10)
	-- On a busy machine one thread may do all its work before the next one starts: then once more.
	while round < enough or (overlaps == 0 and round < 50 * enough) do
		round = round + 1
		local history = linear.run(pool, THREADS, body, make(), round)
		overlaps = overlaps + linear.overlaps(history)
		local ok, why = linear.check(history, model)
		assert.is_true(ok, why)
	end
	assert.is_true(overlaps > 0, "the threads never met: this test showed nothing")
end

describe("the checker itself", function()
	local function call(op, arg, from, to, ...)
		return { op = op, arg = arg, call = from, ret = to, results = { n = select("#", ...), ... } }
	end

	it("accepts what has an order, and refuses what has none", function()
		local model = linear.counter(0)
		assert.is_true(linear.check({ { call("add", 1, 1, 4, 2) }, { call("add", 1, 2, 3, 1) } }, model))
		assert.is_false((linear.check({ { call("add", 1, 1, 2, 2) }, { call("add", 1, 3, 4, 1) } }, model))) -- in that order
		assert.is_false((linear.check({ { call("add", 1, 1, 4, 1) }, { call("add", 1, 2, 3, 1) } }, model))) -- one was lost
		local _, why = linear.check({ { call("get", nil, 1, 2, 7) } }, model)
		assert.matches("thread 1, 1%-2: get%(nil%) %-> 7", why)
	end)

	it("a call that never returned may have happened or not", function()
		local model = linear.counter(0)
		local pending = { op = "add", arg = 5, call = 1 }
		assert.is_true(linear.check({ { pending }, { call("get", nil, 2, 3, 5) } }, model))
		assert.is_true(linear.check({ { pending }, { call("get", nil, 2, 3, 0) } }, model))
		assert.is_false((linear.check({ { pending }, { call("get", nil, 2, 3, 4) } }, model)))
	end)

	it("knows a channel: its order, its bound, its end, and that hands meet", function()
		local model = linear.channel(1)
		assert.is_true(linear.check({ { call("send", "a", 1, 2, true), call("try_send", "b", 3, 4, nil, "full") } }, model))
		assert.is_false((linear.check({ { call("send", "a", 1, 2, true), call("send", "b", 3, 4, true) } }, model)))
		assert.is_false((linear.check({ { call("send", "a", 1, 2, true), call("receive", nil, 3, 4, "b") } }, model)))
		assert.is_false((linear.check({ { call("close", nil, 1, 2), call("send", "a", 3, 4, true) } }, model)))
		local hands = linear.channel(0)
		assert.is_true(linear.check({ { call("send", "a", 1, 3, true) }, { call("receive", nil, 2, 4, "a") } }, hands))
		assert.is_false((linear.check({ { call("send", "a", 1, 2, true) }, { call("receive", nil, 3, 4, "a") } }, hands)))
		assert.is_false((linear.check({ { call("lock", nil, 1, 2, true) }, { call("lock", nil, 3, 4, true) } }, linear.mutex())))
	end)

	it("finds the fault of an object that has one", function()
		-- Reading, then writing what was read: an event makes sure that another comes between.
		local read, written = pool.barrier(2), pool.counter()
		local history = linear.run(pool, 2, function(record, _, counter, both)
			record("add", 1, function()
				local v = counter:get()
				both:wait()
				counter:set(v + 1)
				return v + 1
			end)
		end, written, read)
		assert.is_false((linear.check(history, linear.counter(0))))
	end)
end)

describe("linearisable:", function()
	it("a counter", function()
		repeated(400, linear.counter(0), pool.counter, function(record, thread, counter, round)
			local seed = thread * 7919 + round * 104729
			for _ = 1, 12 do
				seed = (seed * 16807) % 2147483647
				local what = seed % 5
				if what < 2 then
					record("add", what + 1, counter.add, counter, what + 1)
				elseif what == 2 then
					record("set", thread, counter.set, counter, thread)
				elseif what == 3 then
					record("cas", { thread, -thread }, counter.cas, counter, thread, -thread)
				else
					record("get", nil, counter.get, counter)
				end
			end
		end)
	end)

	it("a mutex", function()
		repeated(300, linear.mutex(), pool.mutex, function(record, thread, m, round)
			local seed = thread * 7919 + round * 104729
			for _ = 1, 8 do
				seed = (seed * 16807) % 2147483647
				local locked
				if seed % 3 == 0 then
					locked = record("try_lock", nil, m.try_lock, m)
				elseif seed % 3 == 1 then
					locked = record("lock", nil, m.lock, m, 0.00002)
				else
					locked = record("lock", nil, m.lock, m)
				end
				if locked then record("unlock", nil, m.unlock, m) end
			end
		end)
	end)

	-- Two threads send, two receive; whoever is last of the senders closes, so that nobody waits for ever.
	local function traffic(record, thread, object, round)
		local ch, senders = object.channel, object.senders
		local seed = thread * 7919 + round * 104729
		for i = 1, 8 do
			seed = (seed * 16807) % 2147483647
			if thread <= 2 then
				local v = thread * 100 + i
				if seed % 3 == 0 then
					record("try_send", v, ch.try_send, ch, v)
				elseif seed % 3 == 1 then
					record("send", v, ch.send_within, ch, 0.00005, v)
				else
					record("send", v, ch.send_within, ch, 0.002, v)
				end
			elseif seed % 4 == 0 then
				record("try_receive", nil, ch.try_receive, ch)
			elseif seed % 4 == 1 then
				record("receive", nil, ch.receive, ch, 0.00005)
			elseif seed % 4 == 2 and not object.hands then
				record("len", nil, ch.len, ch)
			else
				record("receive", nil, ch.receive, ch)
			end
		end
		if thread <= 2 and senders:add(-1) == 0 then record("close", nil, ch.close, ch) end
	end

	for _, capacity in ipairs { 0, 1, 3 } do
		it("a channel of capacity " .. capacity, function()
			repeated(150, linear.channel(capacity), function()
				return { channel = pool.channel(capacity), senders = pool.counter(2), hands = capacity == 0 }
			end, traffic)
		end)
	end
end)
