-- The scheduler: nothing waits for ever that could go on, nothing grows, a ring of waits is told.
local describe, it, pending, assert = describe, it, pending, assert
local pool = require "lua-pool"
local both = require "spec.support.both"
local child = require "spec.support.child"
local proc = require "spec.support.proc"
local scale = require "spec.support.scale"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local pack = both.pack
local sanitizer = os.getenv "LUA_POOL_SANITIZER" ~= nil

local function fib(n)
	if n < 2 then return n end
	local f = pool.async(fib, n - 1)
	return fib(n - 2) + f:await()
end

-- The same with both halves as tasks, awaited in either order.
local function tree(n, newest_first)
	if n < 2 then return n end
	local a, b = pool.async(tree, n - 1, newest_first), pool.async(tree, n - 2, newest_first)
	if newest_first then
		local y = b:await()
		return a:await() + y
	end
	return a:await() + b:await()
end

describe("fork-join with a task per call", function()
	for workers = 0, 2 do
		it(("fib(20) ends on %d workers, with few threads"):format(workers), function()
			local p = pool.new { workers = workers }
			local n, value = 20, 6765
			if sanitizer then n, value = 15, 610 end
			assert.equal(value, p:async(fib, n):await())
			local s = p:stats()
			assert.is_true(s.threads <= workers + 20, s.threads .. " threads")
			assert.equal(0, s.queued - s.cancelled > 0 and s.queued or 0)
			p:close()
		end)

		it(("ends with both halves as tasks, in either order of waiting, on %d workers"):format(workers), function()
			local p = pool.new { workers = workers }
			assert.equal(144, p:async(tree, 12, false):await())
			assert.equal(144, p:async(tree, 12, true):await())
			p:close()
		end)
	end

	it("ends without compensation: max_threads = workers", function()
		for workers = 1, 2 do
			local p = pool.new { workers = workers, max_threads = workers }
			assert.equal(144, p:async(tree, 12, false):await())
			assert.equal(144, p:async(tree, 12, true):await())
			p:close()
		end
	end)

	it("goes thousands of tasks deep, each awaiting the next", function()
		local p = pool.new { workers = 1, max_threads = 64 }
		local function deeper(n)
			if n == 0 then return 0 end
			return 1 + pool.async(deeper, n - 1):await()
		end
		local n = scale(2000, 300)
		assert.equal(n, p:async(deeper, n):await())
		p:close()
	end)

	it("leaves C stack for a task that is run deep inside of others", function()
		local p = pool.new { workers = 1, stack_size = (sanitizer and 8 or both.jit and 4 or 1) * 2 ^ 20,
			max_threads = 300 }
		local function overflow(s) return (s:gsub(".", overflow)) end
		local function deeper(n)
			local ok, err = pcall(overflow, "x")
			if ok or not tostring(err):find "overflow" then error("no overflow: " .. tostring(err)) end
			if n == 0 then return 0 end
			return 1 + pool.async(deeper, n - 1):await()
		end
		assert.equal(100, p:async(deeper, 100):await())
		p:close()
	end)

	it("raises an error of a leaf through all levels", function()
		local p = pool.new { workers = 2 }
		local function deeper(n)
			if n == 0 then error({ "leaf" }) end
			return pool.async(deeper, n - 1):await()
		end
		assert.same(pack(false, { "leaf" }), pack(p:async(deeper, 30):pawait()))
		p:close()
	end)
end)

describe("a chain of 2,000 futures", function()
	local n = scale(2000, 300)

	for workers = 1, 2 do
		it(("each awaiting the one before, ends on %d workers"):format(workers), function()
			local p = pool.new { workers = workers }
			local last = p:async(function() return 0 end)
			for _ = 1, n do last = p:async(function(before) return before:await() + 1 end, last) end
			assert.equal(n, last:await())
			p:close()
		end)

		it(("each awaiting one that is submitted after it, ends on %d workers"):format(workers), function()
			local p = pool.new { workers = workers, max_threads = 16 }
			local gate, futures, channels = pool.event(), {}, {}
			for i = 1, n do
				channels[i] = pool.channel(1)
				futures[i] = p:async(function(ch)
					gate:wait()
					return ch:receive():await() + 1
				end, channels[i])
			end
			local last = p:async(function() return 0 end)
			for i = n, 1, -1 do
				channels[i]:send(last)
				last = futures[i]
			end
			gate:set()
			assert.equal(n, last:await())
			p:close()
		end)
	end

	it("ends with workers = 0, submitted in order", function()
		local p = pool.new { workers = 0 }
		local last = p:async(function() return 0 end)
		for _ = 1, n do last = p:async(function(before) return before:await() + 1 end, last) end
		assert.equal(n, last:await())
		p:close()
	end)
end)

describe("tasks that wait for each other's work", function()
	for workers = 1, 2 do
		it(("producers and consumers end on %d workers, whoever is first"):format(workers), function()
			for _, consumer_first in ipairs { true, false } do
				local p = pool.new { workers = workers }
				local ch, n = pool.channel(2), scale(2000)
				local function produce()
					for i = 1, n do ch:send(i) end
					ch:close()
				end
				local function consume()
					local sum = 0
					for v in ch do sum = sum + v end
					return sum
				end
				local a = p:async(consumer_first and consume or produce)
				local b = p:async(consumer_first and produce or consume)
				a:wait()
				b:wait()
				assert.equal(n * (n + 1) / 2, (consumer_first and a or b):await())
				p:close()
			end
		end)

		it(("a pipeline of ten stages over channels without capacity ends on %d workers"):format(workers), function()
			local p = pool.new { workers = workers }
			local n, ends = scale(200), {}
			for i = 0, 10 do ends[i] = pool.channel(0) end
			for i = 10, 1, -1 do
				p:go(function(from, to)
					for v in from do to:send(v + 1) end
					to:close()
				end, ends[i - 1], ends[i])
			end
			p:go(function(to)
				for i = 1, n do to:send(i) end
				to:close()
			end, ends[0])
			local count = 0
			for v in ends[10] do
				count = count + 1
				assert.equal(count + 10, v)
			end
			assert.equal(n, count)
			p:close()
		end)
	end

	it("300 consumers before their one producer, at most 16 threads: it ends or is told, never silent", function()
		local r = child.run([[
			local p = pool.new { workers = 2, max_threads = 16 }
			local ch = pool.channel()
			local fs = {}
			for i = 1, 300 do fs[i] = p:async(function() return ch:receive() end) end
			local producer = p:async(function() for i = 1, 300 do ch:send(i) end end)
			local ended = producer:wait(5)
			if not ended then
				p:cancel_all()
				print "told"
			else
				local sum = 0
				for i = 1, 300 do sum = sum + fs[i]:await() end
				print(sum)
			end
			p:close()
		]])
		assert.equal(0, r.status)
		if r.out == "told\n" then
			assert.truthy(r.err:find("wait for others", 1, true), r.err)
			assert.truthy(r.err:find("max_threads", 1, true), r.err)
			assert.equal(1, select(2, r.err:gsub("wait for others", "")))
		else
			assert.equal("45150\n", r.out)
		end
	end)

	it("300 awaits of one future need no 300 threads when they come after it", function()
		local p = pool.new { workers = 2, max_threads = 16 }
		local f = p:async(function() return 7 end)
		local futures = {}
		for i = 1, 300 do futures[i] = p:async(function() return f:await() end) end
		for i = 1, 300 do assert.equal(7, futures[i]:await()) end
		p:close()
	end)

	it("a task that awaits one queued behind it ends, even at max_threads", function()
		for _, options in ipairs { { workers = 1, max_threads = 2 }, { workers = 2, max_threads = 3 } } do
			local p = pool.new(options)
			local first, futures = pool.channel(20), {}
			for i = 1, 20 do
				futures[i] = p:async(function() return first:receive():await() end)
			end
			local target = p:async(function() return "target" end)
			for _ = 1, 20 do first:send(target) end
			for i = 1, 20 do assert.equal("target", futures[i]:await(30)) end
			p:close()
		end
	end)
end)

describe("the order of tasks", function()
	it("is that of their submission, on one worker", function()
		local p = pool.new { workers = 1 }
		local ch = pool.channel()
		local n = scale(1000)
		for i = 1, n do p:go(function() ch:send(i) end) end
		for i = 1, n do assert.equal(i, ch:receive()) end
		p:close()
	end)

	it("starves none: the oldest runs though new ones keep coming", function()
		local p = pool.new { workers = 1 }
		local done = pool.event()
		local stop = pool.event()
		local function again()
			if not stop:is_set() then pool.go(again) end
		end
		p:go(again)
		p:go(again)
		p:go(function() done:set() end)
		assert.is_true(done:wait(30))
		stop:set()
		p:close()
	end)
end)

describe("a ring of waits", function()
	local function ring(n, p, timeout)
		local channels, futures = {}, {}
		for i = 1, n do channels[i] = pool.channel(1) end
		for i = 1, n do
			futures[i] = p:async(function(ch)
				local other = ch:receive()
				if timeout then return other:await(timeout) end
				return other:await()
			end, channels[i])
		end
		for i = 1, n do channels[i]:send(futures[i % n + 1]) end
		return futures
	end

	it("of one: a task that awaits itself gets an error that says so", function()
		local p = pool.new { workers = 1 }
		local f = ring(1, p)[1]
		local ok, err = f:pawait(30)
		assert.is_false(ok)
		assert.truthy(err:find("dead-lock", 1, true), err)
		p:close()
	end)

	for _, n in ipairs { 2, 5, 50 } do
		it(("of %d: the one that closes it gets the error, the others its consequence"):format(n), function()
			for workers = 1, 2 do
				local p = pool.new { workers = workers, on_error = false }
				local futures = ring(n, p)
				for i = 1, n do
					local ok, err = futures[i]:pawait(30)
					assert.is_false(ok)
					assert.truthy(tostring(err):find("dead-lock", 1, true), tostring(err))
				end
				p:close()
			end
		end)
	end

	it("across two pools is seen too", function()
		local p, q = pool.new { workers = 1, on_error = false }, pool.new { workers = 1, on_error = false }
		local a, b = pool.channel(1), pool.channel(1)
		local f = p:async(function() return a:receive():await() end)
		local g = q:async(function() return b:receive():await() end)
		a:send(g)
		b:send(f)
		for _, future in ipairs { f, g } do
			local ok, err = future:pawait(30)
			assert.is_false(ok)
			assert.truthy(tostring(err):find("dead-lock", 1, true), tostring(err))
		end
		p:close()
		q:close()
	end)

	it("can be caught by the one that closed it, and then nobody fails", function()
		local p = pool.new { workers = 1 }
		local ch = pool.channel(1)
		local f = p:async(function()
			local me = ch:receive()
			local ok = pcall(me.await, me)
			return ok and "awaited itself" or "caught"
		end)
		ch:send(f)
		assert.equal("caught", f:await(30))
		p:close()
	end)

	it("of waits with timeouts is no error", function()
		local p = pool.new { workers = 2, on_error = false }
		for _, f in ipairs(ring(3, p, 0.05)) do
			local ok, what, why = f:pawait(30)
			-- Each gets its own timeout, or the answer of one that had it before.
			assert.is_true(ok)
			assert.is_nil(what)
			assert.is_true(why == "timeout" or why == nil)
		end
		p:close()
	end)

	it("is not seen where there is none: many await one, in trees, over and over", function()
		local p = pool.new { workers = 2 }
		for _ = 1, scale(200) do
			local gate = pool.event()
			local root = p:async(function() gate:wait() return 1 end)
			local mid, leaves = {}, {}
			for i = 1, 3 do mid[i] = p:async(function() return root:await() end) end
			for i = 1, 9 do leaves[i] = p:async(function(f) return f:await() + root:await() end, mid[i % 3 + 1]) end
			gate:set()
			for i = 1, 9 do assert.equal(2, leaves[i]:await()) end
		end
		p:close()
	end)
end)

describe("memory", function()
	-- Bytes that `n` rounds add, after as many that warm up.
	local function growth(n, round)
		for i = 1, n do round(i) end
		both.collect()
		local before = proc.rss()
		for i = 1, n do round(i) end
		both.collect()
		return proc.rss() - before
	end

	it("is where it was after a million awaited tasks", function()
		local p = pool.new { workers = 2 }
		local function f(x) return x end
		-- The collector lets garbage grow with the heap that other tests have left: what it holds is not the question.
		local grown = growth(scale(500), function(k)
			local futures = {}
			for i = 1, 1000 do futures[i] = p:async(f, i) end
			for i = 1, 1000 do futures[i]:await() end
			if k % 10 == 0 then both.collect() end
		end)
		if not sanitizer then assert.is_true(grown < 3 * 2 ^ 20, "grew by " .. grown .. " bytes") end
		p:close()
	end)

	it("is where it was after a hundred thousand tasks with upvalues, tables and errors", function()
		local p = pool.new { workers = 2, on_error = false }
		local grown = growth(scale(50), function(k)
			local t = { k }
			local futures = {}
			for i = 1, 1000 do
				futures[i] = p:async(function(x)
					if x[1] % 10 == 0 then error(x) end
					return { x, t }
				end, { i })
			end
			for i = 1, 1000 do futures[i]:pawait() end
		end)
		if not sanitizer then assert.is_true(grown < 4 * 2 ^ 20, "grew by " .. grown .. " bytes") end
		p:close()
	end)

	it("is where it was after 200,000 refused calls of every kind", function()
		local co, long = coroutine.create(print), ("x"):rep(10000)
		local p = pool.new { workers = 1 }
		local closed = pool.new { workers = 1 }
		closed:close()
		local n = sanitizer and 500 or scale(20000) -- ThreadSanitizer keeps memory for each longjmp
		for _, call in ipairs {
			function() p:async(42) end,
			function() p:async(print, long, { 1, 2, co }) end,
			function() p:async(function() return co end) end,
			function() closed:async(print) end,
			function() pool.new { wokers = 2 } end,
			function() pool.map(print, 3, { bacth = 1 }) end,
		} do
			local grown = growth(n, function() if pcall(call) then error("was not refused") end end)
			if not sanitizer then assert.is_true(grown < 4 * 2 ^ 20, "grew by " .. grown .. " bytes") end
		end
		p:close()
	end)

	it("of refused calls with large arguments does not pile up", function()
		if sanitizer then return end
		local co, huge = coroutine.create(print), ("x"):rep(2 ^ 20)
		local before = proc.rss()
		for _ = 1, 500 do pcall(pool.async, print, { huge, co }) end
		assert.is_true(proc.rss() - before < 100 * 2 ^ 20, "grew by " .. proc.rss() - before .. " bytes")
	end)

	it("of tasks that wait in the queue is at most 400 bytes each besides their futures", function()
		if sanitizer then return end
		local p = pool.new { workers = 1, max_threads = 1, on_error = false }
		local up, gate = pool.event(), pool.event()
		p:go(function() up:set() gate:wait() end)
		up:wait()
		local n = 300000
		local function f() end
		for _ = 1, 10 do p:go(f) end
		both.collect()
		local before = proc.rss()
		for _ = 1, n do p:go(f) end
		both.collect()
		local each = (proc.rss() - before) / n
		gate:set()
		assert.is_true(p:close())
		assert.is_true(each <= 400, each .. " bytes each")
	end)

	it("of results that were awaited is given back when their futures go", function()
		if sanitizer then return end
		local p = pool.new { workers = 1 }
		local grown = growth(100, function() p:async(string.rep, "x", 2 ^ 20):await() end)
		assert.is_true(grown < 16 * 2 ^ 20, "grew by " .. grown .. " bytes")
		p:close()
	end)
end)

describe("the collector", function()
	local function busy()
		local p = pool.new { workers = 2 }
		local out = {}
		for i = 1, scale(300) do
			local t = { i, { i } }
			out[i] = p:async(function(u) return { u, t } end, { t, i })
		end
		for i = 1, #out do
			local r = out[i]:await()
			assert.equal(i, r[2][1])
			assert.equal(i, r[1][2])
		end
		p:close()
	end

	it("may run at every allocation", function()
		collectgarbage("setpause", 0)
		collectgarbage("setstepmul", 100000)
		busy()
		collectgarbage("setpause", 200)
		collectgarbage("setstepmul", both.has_close and 100 or 200)
	end)

	if both.has_close then
		it("may be generational, here and in the workers", function()
			collectgarbage("generational")
			busy()
			local p = pool.new { workers = 1, init = function() collectgarbage("generational") end }
			for i = 1, scale(500) do assert.equal(i, p:async(function(x) return { x } end, i):await()[1]) end
			p:close()
			collectgarbage("incremental")
		end)
	end

	it("may run finalisers that start tasks", function()
		local ran = pool.counter(0)
		local n = scale(100)
		local function finaliser() pool.go(function() ran:add(1) end) end
		for _ = 1, n do
			if newproxy then
				getmetatable(newproxy(true)).__gc = finaliser
			else
				setmetatable({}, { __gc = finaliser })
			end
		end
		both.collect()
		assert.is_true(proc.eventually(function() return ran:get() == n end, 30))
	end)

	it("of a worker may run finalisers that start tasks and await them", function()
		local ran = pool.counter(0)
		local p = pool.new { workers = 2 }
		p:async(function()
			local function finaliser()
				pool.async(function() ran:add(1) end):await()
			end
			for _ = 1, 20 do
				if newproxy then
					getmetatable(newproxy(true)).__gc = finaliser
				else
					setmetatable({}, { __gc = finaliser })
				end
			end
			collectgarbage()
			collectgarbage()
		end):await()
		assert.is_true(ran:get() <= 20)
		p:close()
	end)
end)

describe("threads that cannot be started", function()
	-- A core with allocations and thread starts that fail on demand: `make FAULTS=1`.
	local build = os.getenv "LUA_POOL_BUILD" or ""
	local faults = build:find "-faults$" ~= nil

	(sanitizer and pending or it)("are survived: the pool goes on with those it has, or runs tasks inside async", function()
		-- The system itself refuses: no faults needed. Stacks of 4 GB fit into the address space never, once or twice.
		for _, limit in ipairs { 3000000, 6000000, 10000000 } do
			local r = child.run([[
				local p = pool.new { workers = 4, name = "few" }
				local fs = {}
				for i = 1, 200 do fs[i] = p:async(function(x) return x, pool.worker_id() end, i) end
				local sum = 0
				for i = 1, 200 do sum = sum + fs[i]:await() end
				print(sum, p:stats().threads < 4)
				p:close()
				local function fib(n)
					if n < 2 then return n end
					local f = pool.async(fib, n - 1)
					return fib(n - 2) + f:await()
				end
				print(pool.async(fib, 10):await())
			]], { wrap = function(command)
				return "bash -c " .. child.quote(("ulimit -s 4000000; ulimit -v %d; %s"):format(limit, command))
			end })
			assert.equal("0|20100\ttrue\n55\n|", ("%d|%s|%s"):format(r.status, r.out, r.err))
		end
	end)

	if faults then
		it("may be the first, the second, every one, wherever memory fails before", function()
			for at = 0, scale(400, 60) do
				for _, how in ipairs { "", "+" } do
					local r = child.run([[
						local function work()
							local p = pool.new { workers = 2, on_error = false }
							local fs = {}
							for i = 1, 20 do fs[i] = p:async(function(x) return x end, i) end
							for i = 1, 20 do
								local ok, v = fs[i]:pawait()
								if ok and v ~= i then print("wrong result", v) end
							end
							p:close()
						end
						local ok, err = pcall(work)
						if not ok and not tostring(err):find("not enough memory") then print(err) end
						print "end"
					]], { env = ("LUA_POOL_FAULT=%d%s"):format(at, how), limit = 20 })
					local ended = r.out == "end\n" or r.err:find "not enough memory"
					assert.is_truthy(ended and r.status ~= 124 and r.status < 128, ("fault %d%s: %d %s %s"):format(at, how, r.status, r.out, r.err))
				end
			end
		end)
	end
end)
