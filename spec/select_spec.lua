-- select: the first of several that is ready, and only that one.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local slow = os.getenv "LUA_POOL_SANITIZER" and 10 or 1

describe("pool.select", function()
	it("gives the index and the values of what was ready", function()
		local ch, ev, sem, m = pool.channel(5), pool.event(), pool.semaphore(0), pool.mutex()
		local list = { ch, ev, sem }
		assert.same({ nil, "timeout" }, { pool.select(list, 0) })
		assert.same({ nil, "timeout" }, { pool.select(list, 0.005) })
		ch:send("a", nil, "c")
		assert.same({ 1, "a", nil, "c" }, { pool.select(list) })
		sem:release()
		assert.same({ 3, true }, { pool.select(list) })
		assert.equal(0, sem:value())
		ev:set()
		assert.same({ 2, true }, { pool.select(list) })
		assert.same({ 1, true }, { pool.select { m } })
		assert.is_true(m:is_locked())
		m:unlock()
		pool.async(function(mu) mu:lock() end, m):await()
		assert.same({ 1, true, "abandoned" }, { pool.select { m } })
		m:unlock()
	end)

	it("waits for the first of several tasks, and raises what that one raised", function()
		local go, never = pool.event(), pool.event()
		local a = pool.async(function(e) e:wait() end, never)
		local b = pool.async(function(e) e:wait() return 1, 2 end, go)
		local c = pool.async(function(e) e:wait() error { code = 5 } end, never)
		assert.same({ nil, "timeout" }, { pool.select({ a, b, c }, 0.005) })
		go:set()
		assert.same({ 2, 1, 2 }, { pool.select { a, b, c } })
		never:set()
		local ok, err = pcall(pool.select, { c })
		assert.is_false(ok)
		assert.same({ code = 5 }, err)
	end)

	it("sends and receives, on both ends of one channel too", function()
		local ch = pool.channel()
		assert.same({ nil, "timeout" }, { pool.select({ ch, { ch, "send", 1 } }, 0.005) }) -- not with itself
		local f = pool.async(function(c) return c:receive() end, ch)
		local i, ok = pool.select { ch, { ch, "send", "x", 2 } }
		assert.same({ 2, true, "x" }, { i, ok, (f:await()) })
		local g = pool.async(function(c) return c:send "y" end, ch)
		assert.same({ 1, "y" }, { pool.select { ch, { ch, "send", 3 } } })
		assert.is_true(g:await())
		local full = pool.channel(1)
		assert.same({ 1, true }, { pool.select { { full, "send", nil, 2, n = 2 } } })
		assert.same({ nil, 2 }, { full:receive() })
		full:close()
		assert.same({ 1, nil, "closed" }, { pool.select { { full, "send", 1 } } })
		assert.same({ 1, nil, "closed" }, { pool.select { full } })
	end)

	it("two selects that send and receive crosswise meet", function()
		local a, b, n = pool.channel(), pool.channel(), math.floor(1000 / slow)
		local function run(mine, theirs, count)
			local gave, took = 0, 0
			for _ = 1, count do
				-- The first waits for the other to come; later it may have done its count, and nobody comes any more.
				local i = pool.select({ theirs, { mine, "send", 1 } }, gave + took == 0 and 60 or 0.2)
				if i == 1 then took = took + 1 elseif i == 2 then gave = gave + 1 else break end
			end
			return gave, took
		end
		local f = pool.async(function(fn, ...) pool = require "lua-pool" return fn(...) end, run, a, b, n)
		local gave, took = run(b, a, n)
		local g2, t2 = f:await()
		assert.same({ g2, t2 }, { took, gave })
		assert.is_true(gave + took > 0)
	end)

	it("over 1,000 objects, the same one twice, and closed ones", function()
		local list = {}
		for i = 1, 1000 do list[i] = pool.channel() end
		list[1001] = list[500]
		assert.same({ nil, "timeout" }, { pool.select(list, 0.002) })
		local f = pool.async(function(c) return c:send "hello" end, list[500])
		local i, v = pool.select(list)
		assert.is_true((i == 500 or i == 1001) and v == "hello")
		assert.is_true(f:await())
		local g = pool.async(function(c) c:close() end, list[777])
		assert.same({ 777, nil, "closed" }, { pool.select(list) })
		g:await()
		for k = 1, 1000 do assert.is_nil((tostring(list[k]):match "waiting")) end
	end)

	it("waits for groups, and raises what their tasks raised", function()
		local never, go, up = pool.event(), pool.event(), pool.semaphore(0)
		local function waits(e, u)
			u:release()
			e:wait()
		end
		local a, b = pool.group(), pool.group()
		a:go(waits, never, up)
		b:go(waits, go, up)
		up:acquire()
		up:acquire()
		assert.same({ nil, "timeout" }, { pool.select({ a, b }, 0.002) })
		go:set()
		assert.same({ 2, true }, { pool.select { a, b } })
		a:go(function() error("theirs", 0) end)
		local ok, err = pcall(pool.select, { a })
		assert.is_false(ok)
		assert.equal("theirs", err)
		local c = pool.group()
		c:cancel()
		local ok2, err2 = pcall(pool.select, { never, c })
		assert.is_false(ok2)
		assert.is_true(err2 == pool.CANCELLED)
	end)

	it("{object, method, arguments...} waits for what the method waits for", function()
		local ch, ev, sem, m, t, g = pool.channel(1), pool.event(), pool.semaphore(1), pool.mutex(), pool.timer(0), pool.group()
		ch:send "x"
		ev:set()
		local f = pool.async(function() return 1, 2 end)
		assert.same({ 1, "x" }, { pool.select { { ch, "receive" } } })
		assert.same({ 1, true }, { pool.select { { ev, "wait" } } })
		assert.same({ 1, true }, { pool.select { { sem, "acquire" } } })
		assert.same({ 1, true }, { pool.select { { m, "lock" } } })
		m:unlock()
		assert.same({ 1, 1 }, { pool.select { { t, "wait" } } })
		assert.same({ 1, true }, { pool.select { { g, "await" } } })
		assert.same({ 1, 1, 2 }, { pool.select { { f, "await" } } })
	end)

	it("waits for keys of dicts", function()
		local d, e, never = pool.dict(), pool.dict(), pool.event()
		assert.same({ nil, "timeout" }, { pool.select({ { d, "wait", "a" }, { e, "wait", 1 }, never }, 0.002) })
		e:set(1, { list = { 1, 2 }, text = ("x"):rep(1000) })
		local i, v = pool.select { { d, "wait", "a" }, { e, "wait", 1 }, never }
		assert.equal(2, i)
		assert.same({ 1, 2 }, v.list)
		assert.equal(1000, #v.text)
		assert.same(v, e:get(1)) -- it is still there, as after d:wait
		-- Several tasks, several keys of one dict; each gets its own value.
		local up, fs = pool.semaphore(0), {}
		for k = 1, 6 do
			fs[k] = pool.async(function(x, n, u, ev)
				u:release()
				return require "lua-pool".select { ev, { x, "wait", "key " .. n }, { x, "wait", "other " .. n } }
			end, d, k, up, never)
		end
		for _ = 1, 6 do up:acquire() end
		for k = 1, 6 do d:set((k % 2 == 0 and "key " or "other ") .. k, ("v"):rep(k * 20)) end
		for k = 1, 6 do assert.same({ k % 2 == 0 and 2 or 3, ("v"):rep(k * 20) }, { fs[k]:await() }) end
		-- One that is cancelled leaves nothing behind.
		local f = pool.async(function(x, u)
			u:release()
			require "lua-pool".select { { x, "wait", "never" }, { x, "wait", "never" }, { x, "wait", "nor this" } }
		end, d, up)
		up:acquire()
		assert.is_true(f:cancel())
		d:set("never", 1)
		assert.equal(1, d:wait("never", 0))
	end)

	it("locks read-write locks, to read or to write", function()
		local rw, never = pool.rwlock(), pool.event()
		local up, go = pool.event(), pool.event()
		local reader = pool.async(function(l, u, e)
			l:read_lock()
			u:set()
			e:wait()
			l:unlock()
		end, rw, up, go)
		up:wait()
		assert.same({ nil, "timeout" }, { pool.select({ never, { rw, "write_lock" } }, 0.002) })
		assert.same({ 2, true }, { pool.select { never, { rw, "read_lock" } } }) -- the writer has left the queue
		rw:unlock()
		go:set()
		assert.same({ 2, true }, { pool.select { never, { rw, "write_lock" } } })
		assert.is_nil((pool.async(function(l) return l:try_read_lock() end, rw):await()))
		rw:unlock()
		reader:await()
		assert.is_true((pool.select { never, { rw, "write_lock" }, { rw, "read_lock" } }) > 1) -- one of the two, not both
		rw:unlock()
		pool.async(function(l) require "lua-pool".select { { l, "write_lock" } } end, rw):await()
		assert.same({ 1, true, "abandoned" }, { pool.select { { rw, "write_lock" } } })
		rw:unlock()
		assert.matches("0 reading, 0 waiting%)", tostring(rw))
	end)

	it("four tasks that select among locks: one is inside, none is lost", function()
		local rw, m, inside, n = pool.rwlock(), pool.mutex(), pool.counter(), math.floor(400 / slow)
		local fs = {}
		for i = 1, 4 do
			fs[i] = pool.async(function(l, mu, c, count)
				local p, never = require "lua-pool", require "lua-pool".event()
				for _ = 1, count do
					local which = p.select { { l, "write_lock" }, never, mu }
					if which == 1 then
						if c:add() ~= 1 then error "two are inside" end
						c:add(-1)
						l:unlock()
					else
						mu:unlock()
					end
				end
			end, rw, m, inside, n)
		end
		for i = 1, 4 do fs[i]:await() end
		assert.matches("0 reading, 0 waiting%)", tostring(rw))
		assert.is_false(m:is_locked())
	end)

	it("is fair to all that are ready", function()
		local list, count = {}, {}
		for i = 1, 10 do
			list[i] = pool.channel(math.huge)
			count[i] = 0
			if i < 3 or i == 7 then for _ = 1, 1000 do list[i]:send(1) end end
		end
		for _ = 1, 900 do
			local i = pool.select(list)
			count[i] = count[i] + 1
		end
		assert.same({ 300, 300, 0, 0, 0, 0, 300, 0, 0, 0 }, count)
	end)

	it("consumes exactly one: four tasks share 1,000 permits", function()
		local s = { pool.semaphore(0), pool.semaphore(0), pool.semaphore(0) }
		local fs, n = {}, math.floor(1000 / slow)
		local stop = pool.event()
		for i = 1, 4 do
			fs[i] = pool.async(function(list, e)
				local p, got = require "lua-pool", 0
				list[4] = e
				while p.select(list) ~= 4 do got = got + 1 end
				return got
			end, s, stop)
		end
		for i = 1, n do s[i % 3 + 1]:release() end
		stop:set()
		local sum = 0
		for i = 1, 4 do sum = sum + fs[i]:await() end
		for i = 1, 3 do sum = sum + s[i]:value() end
		assert.equal(n, sum)
	end)

	it("can be cancelled, and leaves nothing behind", function()
		local ch, up = pool.channel(), pool.event()
		local f = pool.async(function(c, u) u:set() require "lua-pool".select { c, { c, "send", c } } end, ch, up)
		up:wait()
		assert.is_true(f:cancel())
		assert.same({ nil, "empty" }, { ch:try_receive() })
		assert.same({ nil, "full" }, { ch:try_send(1) })
	end)

	it("of nothing is an error, or a sleep", function()
		assert.error_matches(function() pool.select {} end, "list is empty")
		assert.same({ nil, "timeout" }, { pool.select({}, 0.002) })
	end)

	it("names the item that is wrong", function()
		local ch, m = pool.channel(), pool.mutex()
		assert.error_matches(function() pool.select { ch, 5 } end, "item #2.*got number")
		assert.error_matches(function() pool.select { ch, {} } end, "item #2.*got a table")
		assert.error_matches(function() pool.select { { ch, "sned", 1 } } end, "item #1")
		for _, what in ipairs { "counter", "barrier", "condition", "rwlock" } do
			local object = what == "barrier" and pool.barrier(2) or pool[what]()
			assert.error_matches(function() pool.select { object } end, "item #1.*got lua%-pool%." .. what)
		end
		local d, rw = pool.dict(), pool.rwlock()
		assert.error_matches(function() pool.select { ch, d } end, "item #2.*got lua%-pool%.dict")
		assert.error_matches(function() pool.select { ch, { d } } end, "item #2.*got {dict} without a method")
		assert.error_matches(function() pool.select { ch, { d, "get", 1 } } end, "item #2.*got {dict, \"get\"}")
		assert.error_matches(function() pool.select { ch, { d, "wait" } } end, "item #2.*key expected.*got nil")
		assert.error_matches(function() pool.select { ch, { d, "wait", 0 / 0 } } end, "item #2.*cannot be NaN")
		rw:read_lock()
		assert.error_matches(function() pool.select { ch, { rw, "write_lock" } } end, "item #2.*locked the rwlock already")
		rw:unlock()
		assert.error_matches(function() pool.select { ch, { ch, "send", 1, coroutine.create(print) } } end,
			"item #2.*value #2: cannot send a coroutine")
		m:lock()
		assert.error_matches(function() pool.select { ch, m } end, "item #2.*locked the mutex already")
		m:unlock()
		assert.error_matches(function() pool.select() end, "table expected")
		assert.error_matches(function() pool.select({ ch }, "1") end, "timeout in seconds expected")
		assert.is_false(m:is_locked())
	end)
end)
