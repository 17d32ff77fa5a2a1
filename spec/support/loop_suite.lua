-- loop_suite: what holds under each event loop. Each file of spec/loop calls it with the name of its loop.
--
-- In most of the specs two coroutines of one loop wait for each other: if a call blocked the thread instead of
-- suspending its coroutine, the other one would never run, and the spec would not end.
local pool = require "lua-pool"
local both = require "spec.support.both"
local scale = require "spec.support.scale"
local assert = require "luassert"

return function(loop, describe, it)
	local all = loop.all
	local pack = both.pack

	describe("under " .. loop.name, function()
		-- In what order a loop runs its coroutines is its own affair: each waits for what it needs.
		local function wait_until(check)
			while not check() do loop.sleep(0.001) end
		end
		local function waited_for(object, n)
			wait_until(function() return tostring(object):find((n or 1) .. " waiting", 1, true) end)
		end

		it("the loop in charge is found by itself, inside its coroutines only", function()
			local inside
			all(function() inside = pool.loop() end)
			assert.equal(loop.name, inside)
			assert.is_nil(pool.loop())
		end)

		-- Each: what one coroutine calls, what another does then, what the call answers.
		local e, ch, full, sem, m, rw, cond, bar, dict, t
		local calls = {
			{ "event:wait", function() return e:wait() end, function() e:set() end, { true } },
			{ "channel:receive", function() return ch:receive() end, function() ch:send(1, nil, "x") end, { n = 3, 1, nil, "x" } },
			{ "channel:send", function() return ch:send "m" end, function() assert.equal("m", ch:receive()) end, { true } },
			{ "channel:send to a full one", function() return full:send(2) end,
				function() assert.equal(1, full:receive()) end, { true } },
			{ "channel:send_within", function() return ch:send_within(60, "m") end,
				function() assert.equal("m", ch:receive()) end, { true } },
			{ "channel:send to one that is closed", function() return ch:send "m" end, function() ch:close() end, { n = 2, nil, "closed" } },
			{ "a loop over a channel", function()
				local got = {}
				for v in ch do got[#got + 1] = v end
				return both.unpack(got)
			end, function()
				ch:send(1)
				ch:send(2)
				ch:close()
			end, { 1, 2 } },
			{ "semaphore:acquire", function() return sem:acquire() end, function() sem:release() end, { true } },
			{ "semaphore:guard", function() return sem:guard():release() end, function() sem:release() end, { true } },
			{ "semaphore:with", function() return sem:with(function(...) return sem:value(), ... end, "in") end, function() sem:release() end,
				{ 0, "in" } },
			{ "mutex:lock", function() return m:lock(), m:unlock() end, function() m:unlock() end, { true }, function() m:lock() end },
			{ "mutex:guard", function() return m:guard():release() end, function() m:unlock() end, { true }, function() m:lock() end },
			{ "mutex:with", function() return m:with(function(...) return ... end, 1, 2) end, function() m:unlock() end,
				{ 1, 2 }, function() m:lock() end },
			{ "rwlock:write_lock", function() return rw:write_lock(), rw:unlock() end, function() rw:unlock() end,
				{ true }, function() rw:read_lock() end },
			{ "rwlock:read_guard", function() return rw:read_guard():release() end, function() rw:unlock() end,
				{ true }, function() rw:write_lock() end },
			{ "rwlock:with_read", function() return rw:with_read(function() return "in" end) end, function() rw:unlock() end,
				{ "in" }, function() rw:write_lock() end },
			{ "condition:wait", function()
				m:lock()
				local answer = pack(cond:wait(m))
				m:unlock()
				return both.unpack(answer, 1, answer.n)
			end, function()
				m:lock()
				cond:signal()
				waited_for(m) -- it is signalled, and wants the mutex
				m:unlock()
			end, { true } },
			{ "barrier:wait", function() return bar:wait() end, function() assert.equal(2, bar:wait()) end, { 1 } },
			{ "timer:wait", function() return pool.timer(0.004):wait() end, function() end, { 1 } },
			{ "pool.select", function() return pool.select { ch, e } end, function() e:set() end, { 2, true } },
			{ "pool.select that sends", function() return pool.select { e, { ch, "send", 5 } } end,
				function() assert.equal(5, ch:receive()) end, { 2, true } },
			{ "pool.select of a key", function()
				local key = "key " .. 1 -- nothing else keeps this string
				local list = { e, { dict, "wait", key } }
				list[3] = { rw, "write_lock" }
				return pool.select(list)
			end, function()
				both.collect()
				dict:set("key 1", { 5 })
			end, { 2, { 5 } }, function() rw:read_lock() end },
			{ "pool.select of a rwlock", function() return pool.select { e, { rw, "write_lock" } }, rw:unlock() end,
				function() rw:unlock() end, { 2 }, function() rw:read_lock() end },
			{ "future:await", function() return t:await() end, function() e:set() end, { "done", 2 } },
			{ "future:pawait", function() return t:pawait() end, function() e:set() end, { true, "done", 2 } },
			{ "future:wait", function() return t:wait() end, function() e:set() end, { true } },
			{ "future:cancel", function() return t:cancel() end, function() end, { true } },
			{ "pool.all", function() return pool.all({ t })[1] end, function() e:set() end, { "done" } },
			{ "pool.any", function() return pool.any { t } end, function() e:set() end, { 1, "done", 2 } },
			{ "pool.as_completed", function()
				for future, i in pool.as_completed { t } do return future == t, i end
			end, function() e:set() end, { true, 1 } },
			{ "pool.map", function()
				return both.unpack(pool.map(function(i)
					e:wait()
					return i * i
				end, 3, { batch = 1 }))
			end, function() e:set() end, { 1, 4, 9 } },
			{ "pool.imap", function()
				local sum = 0
				for v in pool.imap(function(i)
					e:wait()
					return i
				end, 4, { batch = 1 }) do sum = sum + v end
				return sum
			end, function() e:set() end, { 10 } },
			{ "group:await", function()
				local g = pool.group()
				g:async(function() e:wait() end)
				return g:await()
			end, function() e:set() end, { true } },
			{ "pool.sleep", function() return pool.sleep(0.005) end, function() end, { n = 0 } },
			{ "pool.deadline", function() return pool.deadline(60, function() return e:wait() end) end, function() e:set() end, { true } },
			{ "pool.shield", function() return pool.shield(function() return e:wait() end) end, function() e:set() end, { true } },
			{ "pcall of a wait", function() return pcall(e.wait, e) end, function() e:set() end, { true, true } },
		}
		for _, call in ipairs(calls) do
			it(call[1] .. " suspends its coroutine and answers as ever", function()
				e, ch, full, sem, m, rw, cond, bar = pool.event(), pool.channel(), pool.channel(1), pool.semaphore(0), pool.mutex(),
					pool.rwlock(), pool.condition(), pool.barrier(2)
				dict = pool.dict()
				full:send(1)
				t = pool.async(function(go)
					go:wait()
					return "done", 2
				end, e)
				local order, answer = {}, nil
				local function waits()
					order[#order + 1] = "call"
					answer = pack(call[2]())
				end
				local held = not call[5]
				all(function()
					wait_until(function() return held end)
					waits()
				end, function()
					if call[5] then call[5]() end -- it holds what the other waits for
					held = true
					wait_until(function() return order[1] end)
					order[#order + 1] = "act"
					call[3]()
				end)
				assert.same({ "call", "act" }, order)
				call[4].n = call[4].n or #call[4]
				assert.same(call[4], answer)
				t:cancel()
			end)
		end

		it("async with a queue limit waits for room, and so does pool:close for the tasks", function()
			local p = pool.new { workers = 1, queue_limit = 1 }
			local go = pool.event()
			local results = {}
			all(function()
				local list = {}
				for i = 1, 5 do
					list[i] = p:async(function(k, g)
						g:wait()
						return k
					end, i, go)
				end
				for i = 1, 5 do results[i] = list[i]:await() end
				results.closed = p:close()
			end, function() go:set() end)
			assert.same({ 1, 2, 3, 4, 5, closed = true }, results)
		end)

		it("a wait that is over by its time answers that, and the loop has gone on meanwhile", function()
			local never, turns, answers = pool.event(), 0, {}
			all(function()
				for i = 1, 3 do answers[i] = pack(never:wait(0.01)) end
				answers[4] = pack(pool.select({ never }, 0.01))
				answers[5] = pack(pool.mutex():lock(0.01))
				turns = turns + 1000
			end, function()
				while turns < 1000 do
					loop.sleep(0.001)
					turns = turns + 1
				end
			end)
			for i = 1, 4 do assert.same({ n = 2, nil, "timeout" }, answers[i]) end
			assert.same({ n = 1, true }, answers[5])
			assert.is_true(turns > 1005)
		end)

		it("what is ready, and a timeout of 0, go on at once", function()
			all(function()
				local set = pool.event()
				set:set()
				assert.is_true(set:wait())
				assert.same({ n = 2, nil, "timeout" }, pack(pool.event():wait(0)))
				assert.same({ n = 2, nil, "empty" }, pack(pool.channel():try_receive()))
			end)
		end)

		it("an error of a task and CANCELLED are raised in the coroutine that awaits", function()
			all(function()
				local ok, err = pcall(function() return pool.async(function() error({ code = 7 }) end):await() end)
				assert.is_false(ok)
				assert.equal(7, err.code)
				local go = pool.event()
				local f = pool.async(function(g) g:wait() end, go)
				f:cancel(0)
				ok, err = pcall(f.await, f)
				assert.is_false(ok)
				assert.is_true(err == pool.CANCELLED)
			end)
		end)

		it("a deadline scope ends the waits of its own coroutine only", function()
			local go, log = pool.event(), {}
			all(function()
				local ok, err = pcall(pool.deadline, 0.01, function() go:wait() end)
				log.first = { ok, err == pool.TIMEOUT }
				go:set()
			end, function()
				log.second = { pcall(pool.deadline, 60, function() return go:wait() end) }
			end, function()
				log.third = { go:wait() }
			end)
			assert.same({ first = { false, true }, second = { true, true }, third = { true } }, log)
		end)

		it("a mutex belongs to its coroutine: others wait, none may unlock it", function()
			local lock, inside, most, log = pool.mutex(), 0, 0, {}
			local function enter()
				for _ = 1, 5 do
					lock:with(function()
						inside = inside + 1
						most = math.max(most, inside)
						loop.sleep(0.001)
						inside = inside - 1
					end)
				end
			end
			all(enter, enter, enter)
			assert.equal(1, most)
			all(function()
				lock:lock()
				log.again = { pcall(lock.lock, lock) }
				wait_until(function() return log.try end)
				lock:unlock()
			end, function()
				wait_until(function() return log.again end)
				log.unlock = { pcall(lock.unlock, lock) }
				log.try = pack(lock:try_lock())
			end)
			assert.is_false(log.again[1])
			assert.matches("locked the mutex already", log.again[2])
			assert.is_false(log.unlock[1])
			assert.matches("another task", log.unlock[2])
			assert.same({ n = 2, nil, "locked" }, log.try)
		end)

		it("what a coroutine that has ended left locked is abandoned to the next one", function()
			local lock, answer = pool.mutex(), nil
			all(function() lock:lock() end)
			all(function()
				answer = pack(lock:lock(10))
				lock:unlock()
			end)
			assert.same({ n = 2, true, "abandoned" }, answer)
		end)

		it("a coroutine that waits for a mutex gets it when the one that holds it ends without unlocking", function()
			local lock, answer = pool.mutex(), nil
			all(function()
				lock:lock()
				waited_for(lock)
			end, function()
				wait_until(function() return lock:is_locked() end)
				answer = pack(lock:lock())
				lock:unlock()
			end)
			assert.same({ n = 2, true, "abandoned" }, answer)
		end)

		it("coroutines that wait for each other's mutexes are told of the dead-lock", function()
			local a, b, err = pool.mutex(), pool.mutex(), nil
			all(function()
				a:lock()
				wait_until(function() return b:is_locked() end)
				b:lock()
				b:unlock()
				a:unlock()
			end, function()
				b:lock()
				waited_for(b)
				err = select(2, pcall(a.lock, a))
				b:unlock()
			end)
			assert.matches("^[^\n]*dead%-lock", err)
		end)

		it("the report shows suspended coroutines: where they wait, for what, and who holds it", function()
			local here = debug.getinfo(1, "S").short_src:gsub("^%./", "")
			local lock, never, found, own, holder = pool.mutex(), pool.event(), {}, {}, nil
			local function entries()
				local list = {}
				for _, entry in ipairs(pool.report "list") do
					if entry.coroutine then list[entry.coroutine] = entry end
				end
				return list
			end
			local function address()
				return tostring(coroutine.running()):match "0x%x+"
			end
			local line = debug.getinfo(1, "l").currentline
			all(function()
				holder = address()
				lock:lock()
				wait_until(function() return own[3] and entries()[own[3]] and tostring(lock):find "1 waiting" end)
				found = entries()
				found.text = pool.report()
				never:set()
				lock:unlock()
			end, function()
				own[1] = address()
				wait_until(function() return lock:is_locked() end)
				lock:lock()
				lock:unlock()
			end, function()
				own[2] = address()
				pool.select { never, pool.channel() }
			end, function()
				own[3] = address()
				never:wait()
			end)
			local waits = found[own[1]]
			assert.same({ "waiting", true }, { waits.state, waits.main })
			assert.equal(("%s:%d"):format(here, line + 12), waits.at)
			assert.is_true(waits.objects[1] == lock)
			assert.same({ main = true, coroutine = holder }, waits.holder)
			assert.matches("coroutine " .. own[1] .. " of the main state waits at .* for mutex 0x%x+, held by coroutine " .. holder ..
				" of the main state", found.text)
			assert.equal(2, #found[own[2]].objects)
			assert.is_true(found[own[3]].objects[1] == never)
			assert.same({}, entries()) -- all gone again
		end)

		it("where a coroutine cannot be suspended a wait says why, and the loop is not blocked", function()
			local never, errors = pool.event(), {}
			all(function()
				errors[1] = select(2, pcall(table.sort, { 3, 2, 1 }, function(x, y)
					never:wait()
					return x < y
				end))
				errors[2] = select(2, pcall(string.gsub, "x", "x", function() pool.channel():receive() end))
				errors[3] = select(2, pcall(string.gsub, "x", "x", function() pool.sleep(1) end))
			end)
			for i = 1, 3 do assert.matches("cannot wait here", errors[i]) end
			assert.matches("spec/support/loop_suite.lua:%d+: cannot", errors[1])
		end)

		it("outside all coroutines a call blocks its thread, as without a loop", function()
			assert.equal(5, pool.async(function() return 5 end):await())
			assert.same({ n = 2, nil, "timeout" }, pack(pool.event():wait(0.001)))
		end)

		it("a call that blocks the thread for a mutex of a suspended coroutine is a dead-lock", function()
			local lock = pool.mutex()
			pool.loop(loop.adapter)
			local co = coroutine.create(function()
				lock:lock()
				coroutine.yield()
				lock:unlock()
			end)
			assert(coroutine.resume(co))
			local _, err = pcall(lock.lock, lock)
			pool.loop(loop.usual)
			assert.matches("dead%-lock", err)
			assert(coroutine.resume(co))
		end)

		it("pool.loop 'none' makes calls block inside the loop too", function()
			local log = {}
			all(function()
				pool.loop "none"
				log.name = pool.loop()
				log.begun = true
				pool.sleep(0.01)
				log.ended = true
				pool.loop(loop.usual)
			end, function()
				while not log.ended do
					log.between = log.between or log.begun
					loop.sleep(0.001)
				end
			end)
			assert.same({ begun = true, ended = true }, log)
		end)

		it("a ticker goes on while 1,000 coroutines await, and the loop ends when nothing is left to do", function()
			local n = scale(1000, 50)
			local go, awaiting, done, ticks = pool.event(), 0, 0, 0
			local list = {}
			for i = 1, n do
				list[i] = function()
					local f = pool.async(function(g, k)
						g:wait()
						return k
					end, go, i)
					awaiting = awaiting + 1
					assert(f:await() == i)
					done = done + 1
				end
			end
			list[n + 1] = function()
				while done < n do
					loop.sleep(0.001)
					if awaiting == n then ticks = ticks + 1 end
					if ticks == 20 then go:set() end -- twenty ticks while all of them wait
				end
			end
			all(both.unpack(list))
			assert.equal(n, done)
			assert.is_true(ticks >= 20)
		end)

		it("thousands of awaits one after the other and side by side lose no wake-up", function()
			local n, done = scale(300, 20), 0
			local function many()
				for i = 1, n do
					assert(pool.async(function(k) return k end, i):await() == i)
					done = done + 1
				end
			end
			all(many, many, many, many)
			assert.equal(4 * n, done)
		end)

		it("one future awaited by many coroutines, and a channel between coroutines and tasks", function()
			local go, sum, ways = pool.event(), 0, pool.channel()
			local f = pool.async(function(g)
				g:wait()
				return 7
			end, go)
			local function waits()
				local v = f:await()
				sum = sum + v
			end
			all(waits, waits, waits, function() go:set() end)
			assert.equal(21, sum)
			local got = {}
			local echo = pool.async(function(c)
				for _ = 1, 100 do c:send(c:receive() + 1) end
			end, ways)
			all(function()
				for i = 1, 100 do
					ways:send(i)
					got[i] = ways:receive()
				end
				echo:await()
			end)
			for i = 1, 100 do assert.equal(i + 1, got[i]) end
		end)

		if loop.abandon then
			it("a coroutine that is never resumed leaves nothing: messages, permits and locks go to the next one", function()
				ch, full, sem, m, rw, cond, e = pool.channel(), pool.channel(1), pool.semaphore(0), pool.mutex(), pool.rwlock(),
					pool.condition(), pool.event()
				local went_on, log = 0, {}
				full:send(1)
				local function give_up(fn)
					loop.abandon(function()
						fn()
						went_on = went_on + 1
					end)
				end
				all(function()
					m:lock()
					rw:read_lock()
					give_up(function() ch:receive() end)
					give_up(function() full:send(2) end)
					give_up(function() sem:acquire() end)
					give_up(function() m:lock() end)
					give_up(function() rw:write_lock() end)
					give_up(function() e:wait() end)
					give_up(function() pool.select { ch, e, { full, "send", 3 } } end)
					give_up(function() pool.select { { rw, "write_lock" }, { rw, "write_lock" }, m, { pool.dict(), "wait", "key" } } end)
					give_up(function() pool.sleep(0.001) end)
					give_up(function()
						local mine = pool.mutex()
						mine:lock()
						cond:wait(mine)
					end)
					both.collect()
					for _, o in ipairs { ch, full, sem, m, cond } do
						assert.is_nil(tostring(o):match "[1-9]%d* waiting", tostring(o))
					end
					m:unlock()
					rw:unlock()
					sem:release()
					log[1] = sem:try_acquire()
					log[2] = m:try_lock()
					log[3] = rw:try_read_lock()
					log[4] = full:receive()
					m:unlock()
					rw:unlock()
					e:set()
				end)
				all(function() log[5] = ch:receive() end, function() ch:send "kept" end)
				assert.same({ true, true, true, 1, "kept" }, log)
				assert.equal(0, went_on)
			end)

			it("hundreds of waits that are never resumed, collected and reported at any time: nothing breaks, no report tells of the dead", function()
				local went_on, lines = 0, 0
				local rounds = scale(15, 5)
				ch, sem, m, rw, e = pool.channel(), pool.semaphore(0), pool.mutex(), pool.rwlock(), pool.event()
				all(function()
					local f = pool.async(function(go) go:wait() return "result" end, e)
					m:lock()
					rw:write_lock()
					local kinds = { function() f:await() end, function() m:lock() end, function() ch:receive() end,
						function() sem:acquire() end, function() rw:read_lock() end, function() pool.select { ch, m, f } end,
						function() pool.deadline(60, function() pool.shield(function() f:await() end) end) end }
					for round = 1, rounds do
						for _, kind in ipairs(kinds) do
							loop.abandon(function()
								kind()
								went_on = went_on + 1
							end, round % 5 == 0 and function() lines = lines + select(2, pool.report():gsub("coroutine ", "")) end)
						end
						if round % 3 == 0 then both.collect() end
						if round % 4 == 0 then pool.report() end
					end
					both.collect()
					assert.is_nil(pool.report():find "coroutine ", pool.report())
					m:unlock()
					rw:unlock()
					assert.is_true(m:try_lock())
					assert.is_true(rw:try_write_lock())
					m:unlock()
					rw:unlock()
					e:set()
					assert.equal("result", f:await())
				end)
				assert.equal(0, went_on)
				assert.is_true(lines >= math.floor(rounds / 5) * 7, lines)
			end)

			it("a task whose awaiter is gone ends, and its future gives its result to others", function()
				local go, f = pool.event(), nil
				all(function()
					f = pool.async(function(g)
						g:wait()
						return "result"
					end, go)
					loop.abandon(function() f:await() end)
					both.collect()
					go:set()
					assert.equal("result", f:await())
				end)
			end)

			it("what a wait was given in the moment in which its coroutine went is given on", function()
				local got
				ch, sem, m = pool.channel(1), pool.semaphore(0), pool.mutex()
				all(function()
					m:lock()
					loop.abandon(function() ch:receive() end, function() ch:send "first" end)
					loop.abandon(function() sem:acquire() end, function() sem:release() end)
					loop.abandon(function() m:lock() end, function() m:unlock() end)
					both.collect()
					got = { ch:receive(), sem:try_acquire(), m:try_lock() }
					m:unlock()
				end)
				assert.same({ "first", true, true }, got)
			end)
		end
	end)
end
