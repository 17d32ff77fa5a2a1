-- Locks: what is locked is unlocked, whoever ends however; nobody waits for ever.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local is54 = _VERSION == "Lua 5.4"
local slow = os.getenv "LUA_POOL_SANITIZER" and 10 or 1

-- Until the object says that so many wait.
local function waiting(o, n)
	while not tostring(o):find("[%( ]" .. n .. " waiting") do pool.sleep(0.0002) end
end

describe("pool.mutex", function()
	it("is locked by one at a time", function()
		local m, inside, n = pool.mutex(), pool.counter(), 2000 / slow
		local fs = {}
		for i = 1, 4 do
			fs[i] = pool.async(function(mu, c, count)
				for k = 1, count do
					mu:lock()
					if c:add(1) ~= 1 then error "two are inside" end
					if k % 50 == 0 then pool.sleep(0) end
					c:add(-1)
					mu:unlock()
				end
			end, m, inside, n)
		end
		for i = 1, 4 do fs[i]:await() end
		assert.is_false(m:is_locked())
	end)

	it("try_lock and timeouts answer instead of waiting", function()
		local m, up, go = pool.mutex(), pool.event(), pool.event()
		local f = pool.async(function(mu, u, g) mu:lock() u:set() g:wait() mu:unlock() end, m, up, go)
		up:wait()
		assert.same({ nil, "locked" }, { m:try_lock() })
		assert.same({ nil, "timeout" }, { m:lock(0) })
		assert.same({ nil, "timeout" }, { m:lock(0.005) })
		assert.same({ nil, "timeout" }, { m:guard(0.005) })
		go:set()
		f:await()
		assert.is_true(m:try_lock())
		m:unlock()
	end)

	it("is handed over in the order of waiting", function()
		local m, order, fs = pool.mutex(), pool.channel(math.huge), {}
		m:lock()
		for i = 1, 5 do
			fs[i] = pool.async(function(mu, o, k) mu:lock() o:send(k) mu:unlock() end, m, order, i)
			waiting(m, i)
		end
		m:unlock()
		for i = 1, 5 do assert.equal(i, order:receive()) end
	end)

	it("locking twice and unlocking what another owns raise", function()
		local m = pool.mutex()
		assert.error_matches(function() m:unlock() end, "not locked")
		m:lock()
		assert.error_matches(function() m:lock() end, "has locked the mutex already")
		assert.error_matches(function() m:lock(1) end, "has locked the mutex already")
		assert.error_matches(function() m:try_lock() end, "has locked the mutex already")
		assert.error_matches(function() pool.async(function(mu) mu:unlock() end, m):await() end, "locked by another task")
		m:unlock()
	end)

	it("an owner that ends, fails or is cancelled leaves it abandoned, never locked", function()
		local m = pool.mutex()
		pool.async(function(mu) mu:lock() end, m):await()
		assert.same({ true, "abandoned" }, { m:lock() })
		m:unlock()
		assert.same({ true }, { m:lock() })
		m:unlock()
		pool.async(function(mu) mu:lock() error "x" end, m):pawait()
		assert.same({ true, "abandoned" }, { m:try_lock() })
		m:unlock()
		local up = pool.event()
		local f = pool.async(function(mu, u) mu:lock() u:set() pool.sleep(100) end, m, up)
		up:wait()
		local g = pool.async(function(mu) return mu:lock() end, m)
		waiting(m, 1)
		assert.is_true(f:cancel())
		assert.same({ true, "abandoned" }, { g:await() })
		m:guard():release()
	end)

	it("with unlocks whatever happens, and passes results and errors on", function()
		local m = pool.mutex()
		assert.same({ 1, nil, 3, n = nil }, { m:with(function(...) return ... end, 1, nil, 3) })
		assert.is_false(m:is_locked())
		local err = {}
		local ok, got = pcall(m.with, m, function()
			assert(m:is_locked())
			error(err)
		end)
		assert.is_false(ok)
		assert.is_true(got == err)
		assert.is_false(m:is_locked())
		assert.error_matches(function() m:with(function() m:unlock() end) end, "has unlocked the mutex itself")
		assert.error_matches(function() m:with() end, "function expected")
		assert.error_matches(function() m:with(5) end, "function expected, got number")
		assert.is_false(m:is_locked())
	end)

	it("with can be yielded through", function()
		local m = pool.mutex()
		local co = coroutine.wrap(function() return m:with(function(a) return coroutine.yield(a) + 1 end, 7) end)
		assert.equal(7, co())
		assert.is_true(m:is_locked())
		assert.equal(42, co(41))
		assert.is_false(m:is_locked())
	end)

	it("with in a task that is cancelled", function()
		local m, up = pool.mutex(), pool.event()
		local f = pool.async(function(mu, u) mu:with(function() u:set() pool.sleep(100) end) end, m, up)
		up:wait()
		assert.is_true(m:is_locked())
		assert.is_true(f:cancel())
		assert.is_true((m:lock(5)))
		m:unlock()
	end)

	it("guards unlock when released, collected, and at the end of their scope", function()
		local m = pool.mutex()
		local g = m:guard()
		assert.matches("lua%-pool%.guard.*mutex", tostring(g))
		assert.is_true(m:is_locked())
		assert.is_true(g:release())
		assert.is_false(g:release())
		assert.is_false(m:is_locked())
		g = m:guard()
		m:unlock()
		m:lock()
		assert.is_false(g:release()) -- that was for another locking
		m:unlock()
		m:guard()
		collectgarbage() collectgarbage()
		assert.is_false(m:is_locked())
		if is54 then
			local f = assert(load [[
				local m, fail = ...
				local g <close> = m:guard()
				if fail then error "x" end
				return m:is_locked()
			]])
			assert.is_true(f(m))
			assert.is_false(m:is_locked())
			assert.is_false((pcall(f, m, true)))
			assert.is_false(m:is_locked())
		end
	end)

	if is54 then
		it("a task that is cancelled at any instruction leaves no guard behind", function()
			local m = pool.mutex()
			local body = load [[
				local m, up = ...
				up:set()
				while true do local g <close> = m:guard() end
			]]
			for i = 1, math.floor(200 / slow) do
				local up = pool.event()
				local f = pool.async(body, m, up)
				up:wait()
				for _ = 1, i * 7 % 500 do end -- luacheck: ignore
				assert.is_true(f:cancel())
				assert.is_true((m:lock(5)))
				m:unlock()
			end
		end)
	end

	it("locked and dropped ones do not pile up", function()
		for _ = 1, 20000 do pool.mutex():lock() end
		collectgarbage() collectgarbage()
		local before = collectgarbage "count"
		for _ = 1, 20000 do pool.mutex():lock() end
		collectgarbage() collectgarbage()
		assert.is_true(collectgarbage "count" < before + 500)
	end)

	it("pawait answers a dead-lock as a failure: false and the error", function()
		local f = pool.async(function()
			local me = pool.channel(1)
			local go = pool.event()
			local outer
			outer = pool.async(function(ch, e)
				e:wait()
				local mine = ch:receive()
				local ok, err = mine:pawait()
				local again, err2 = pcall(mine.await, mine)
				return ok, err, again, err2
			end, me, go)
			me:send(outer)
			go:set()
			return outer:await()
		end)
		local ok, err, again, err2 = f:await()
		assert.is_false(ok)
		assert.matches("sync_spec%.lua:%d+: dead%-lock: .*is this task", err)
		assert.is_false(again)
		assert.matches("dead%-lock: .*is this task", err2)
	end)

	it("turned-round order: the one who closes the ring is told, the other goes on", function()
		local a, b = pool.mutex(), pool.mutex()
		local up = { pool.event(), pool.event() }
		local function take(first, second, mine, other)
			first:lock()
			mine:set()
			other:wait()
			return second:lock()
		end
		local f = pool.async(take, a, b, up[1], up[2])
		local g = pool.async(take, b, a, up[2], up[1])
		local r = { { f:pawait() }, { g:pawait() } }
		assert.is_true(r[1][1] ~= r[2][1])
		local failed, went = r[1][1] and r[2] or r[1], r[1][1] and r[1] or r[2]
		assert.matches("dead%-lock", tostring(failed[2]))
		assert.same({ true, true, "abandoned" }, went)
	end)

	it("with a time limit there is no dead-lock, and both can be cancelled", function()
		local a, b = pool.mutex(), pool.mutex()
		local up = { pool.event(), pool.event() }
		local function take(first, second, mine, other)
			first:lock()
			mine:set()
			other:wait()
			return second:lock(100)
		end
		local f = pool.async(take, a, b, up[1], up[2])
		local g = pool.async(take, b, a, up[2], up[1])
		waiting(a, 1)
		waiting(b, 1)
		assert.is_true(f:cancel())
		assert.same({ true, "abandoned" }, { g:await() })
	end)
end)

describe("pool.condition", function()
	it("gives the mutex up while it waits, and has it again afterwards", function()
		local m, c = pool.mutex(), pool.condition()
		m:lock()
		local f = pool.async(function(mu, co)
			mu:lock()
			local r = co:wait(mu)
			local owned = not pcall(mu.lock, mu)
			mu:unlock()
			return r, owned
		end, m, c)
		assert.equal(0, c:signal())
		m:unlock()
		waiting(c, 1)
		m:with(function() assert.equal(1, c:signal()) end)
		assert.same({ true, true }, { f:await() })
	end)

	it("broadcast wakes all, signal one", function()
		local m, c, fs = pool.mutex(), pool.condition(), {}
		for i = 1, 5 do
			fs[i] = pool.async(function(mu, co) mu:lock() co:wait(mu) mu:unlock() return true end, m, c)
		end
		waiting(c, 5)
		assert.equal(1, c:signal())
		waiting(c, 4)
		assert.equal(4, c:broadcast())
		for i = 1, 5 do assert.is_true(fs[i]:await()) end
	end)

	it("ping-pong: no signal is lost", function()
		local m, c, turn = pool.mutex(), pool.condition(), pool.counter(0)
		local function play(mu, co, t, me, n)
			for _ = 1, n do
				mu:lock()
				while t:get() ~= me do co:wait(mu) end
				t:set(1 - me)
				co:signal()
				mu:unlock()
			end
			return true
		end
		local n = 10000 / slow
		local f = pool.async(play, m, c, turn, 0, n)
		local g = pool.async(play, m, c, turn, 1, n)
		assert.is_true(f:await() and g:await())
	end)

	it("times out with the mutex locked", function()
		local m, c = pool.mutex(), pool.condition()
		m:lock()
		assert.same({ nil, "timeout" }, { c:wait(m, 0.005) })
		assert.same({ nil, "timeout" }, { c:wait(m, 0) })
		assert.is_true(m:is_locked())
		m:unlock()
	end)

	it("a cancelled wait locks again before it raises", function()
		local m, c, seen = pool.mutex(), pool.condition(), pool.channel(1)
		local f = pool.async(function(mu, co, s)
			mu:with(function()
				local watch = setmetatable({}, { __close = function() s:send(not pcall(mu.lock, mu)) end })
				local run = load and load "local w, co, mu = ... local x <close> = w co:wait(mu)"
				if run then return run(watch, co, mu) end
				s:send(true)
				co:wait(mu)
			end)
		end, m, c, seen)
		waiting(c, 1)
		m:lock()
		local k = pool.async(function(ff) return ff:cancel() end, f)
		waiting(m, 1)
		m:unlock()
		assert.is_true(k:await())
		assert.is_true(seen:receive())
		assert.same({ true }, { m:lock() })
		m:unlock()
	end)

	it("waiting without owning the mutex is an error", function()
		local m, c = pool.mutex(), pool.condition()
		assert.error_matches(function() c:wait(m) end, "not locked by this task")
		assert.error_matches(function() c:wait() end, "mutex expected")
		assert.error_matches(function() c:wait(pool.event()) end, "mutex expected, got event")
		m:lock()
		assert.error_matches(function()
			pool.async(function(co, mu) co:wait(mu) end, c, m):await()
		end, "not locked by this task")
		m:unlock()
		assert.matches("condition: .*0 waiting", tostring(c))
	end)
end)

describe("pool.semaphore", function()
	it("gives out its permits", function()
		local s = pool.semaphore(2)
		assert.is_true(s:acquire())
		assert.is_true(s:try_acquire())
		assert.same({ nil, "empty" }, { s:try_acquire() })
		assert.same({ nil, "timeout" }, { s:acquire(0.005) })
		s:release()
		s:release(2)
		assert.equal(3, s:value())
		assert.matches("3 permits, 0 waiting", tostring(s))
	end)

	it("bounds how many are inside", function()
		local s, inside = pool.semaphore(3), pool.counter()
		local fs = {}
		for i = 1, 8 do
			fs[i] = pool.async(function(sem, c)
				for _ = 1, 50 do
					sem:acquire()
					if c:add() > 3 then error "too many" end
					pool.sleep(0)
					c:add(-1)
					sem:release()
				end
			end, s, inside)
		end
		for i = 1, 8 do fs[i]:await() end
		assert.equal(3, s:value())
	end)

	it("a waiter that is cancelled takes no permit with it", function()
		local s = pool.semaphore(0)
		local f = pool.async(function(sem) sem:acquire() end, s)
		waiting(s, 1)
		assert.is_true(f:cancel())
		s:release()
		assert.is_true(s:try_acquire())
	end)

	it("with and guards give their permit back, once, whatever happens", function()
		local s = pool.semaphore(1)
		local function inside(...) return s:value(), ... end
		assert.same({ 0, 1, nil, 3, n = 4 }, table.pack and table.pack(s:with(inside, 1, nil, 3)) or { n = 4, s:with(inside, 1, nil, 3) })
		assert.equal(1, s:value())
		local failure = { code = 1 }
		local ok, err = pcall(s.with, s, function() error(failure) end)
		assert.is_false(ok)
		assert.equal(failure, err)
		assert.equal(1, s:value())
		local g = s:guard()
		assert.matches("lua%-pool%.guard.*semaphore", tostring(g))
		assert.equal(0, s:value())
		assert.same({ nil, "timeout" }, { s:guard(0.005) })
		assert.is_true(g:release())
		assert.is_false(g:release())
		assert.equal(1, s:value())
		s:guard()
		collectgarbage() collectgarbage()
		assert.equal(1, s:value())
		assert.error_matches(function() s:with() end, "bad argument #1 to 'with' %(function expected, got n")
		assert.error_matches(function() s.with(1, print) end, "semaphore expected")
		assert.error_matches(function() s:guard "x" end, "timeout in seconds expected")
		assert.equal(1, s:value())
		if is54 then
			local f = assert(load [[
				local s, fail = ...
				local g <close> = s:guard()
				if fail then error "x" end
				return s:value()
			]])
			assert.equal(0, f(s))
			assert.equal(1, s:value())
			assert.is_false((pcall(f, s, true)))
			assert.equal(1, s:value())
		end
	end)

	it("tasks that are cancelled at any instruction of with keep no permit", function()
		local s = pool.semaphore(2)
		local p = pool.new { workers = 1, jit = "checked" }
		for i = 1, math.floor(300 / slow) do
			local up = pool.event()
			local f = p:async(function(sem, e)
				e:set()
				while true do sem:with(function() end) end
			end, s, up)
			up:wait()
			for _ = 1, i * 7 % 500 do end -- luacheck: ignore
			assert.is_true(f:cancel())
			if i % 10 == 0 then p:async(function() collectgarbage() collectgarbage() end):await() end
			if is54 then assert.equal(2, s:value()) end -- LuaJIT: what was caught between two instructions is the collector's
		end
		p:async(function() collectgarbage() collectgarbage() end):await()
		assert.equal(2, s:value())
		p:close()
	end)

	it("refuses wrong numbers", function()
		assert.error_matches(function() pool.semaphore(-1) end, "number from 0")
		assert.error_matches(function() pool.semaphore(1.5) end, "whole number")
		assert.error_matches(function() pool.semaphore() end, "number expected")
		assert.error_matches(function() pool.semaphore(0):release(0) end, "number from 1")
		assert.error_matches(function() pool.semaphore(4294967295):release() end, "at most 4294967295 permits")
	end)
end)

describe("pool.rwlock", function()
	it("has many readers or one writer", function()
		local rw, state = pool.rwlock(), pool.counter()
		local fs = {}
		for i = 1, 6 do
			fs[i] = pool.async(function(l, c, me, n)
				for _ = 1, n do
					if me <= 2 then
						l:write_lock()
						if c:add(1000) ~= 1000 then error "not alone" end
						c:add(-1000)
					else
						l:read_lock()
						if c:add(1) > 6 then error "with a writer" end
						c:add(-1)
					end
					l:unlock()
				end
			end, rw, state, i, 2000 / slow)
		end
		for i = 1, 6 do fs[i]:await() end
		assert.matches("0 reading, 0 waiting%)", tostring(rw))
	end)

	it("readers are inside together; a writer that waits comes before later readers", function()
		local rw, up, go = pool.rwlock(), pool.event(), pool.event()
		local f = pool.async(function(l, u, g) l:read_lock() u:set() g:wait() l:unlock() end, rw, up, go)
		up:wait()
		assert.is_true(rw:read_lock(0))
		rw:unlock()
		local w = pool.async(function(l) l:write_lock() l:unlock() return "wrote" end, rw)
		waiting(rw, 1)
		assert.same({ nil, "locked" }, { rw:try_read_lock() })
		assert.same({ nil, "locked" }, { rw:try_write_lock() })
		assert.same({ nil, "timeout" }, { rw:write_lock(0.005) })
		go:set()
		assert.equal("wrote", w:await())
		f:await()
	end)

	it("guards and with_read, with_write let out again", function()
		local rw = pool.rwlock()
		assert.is_true(rw:read_guard():release())
		local g = rw:write_guard()
		assert.matches("locked for writing", tostring(rw))
		assert.is_true(g:release())
		assert.is_false(g:release())
		assert.equal(5, rw:with_read(function(x) return x end, 5))
		assert.error_matches(function() rw:with_write(function() error "inside" end) end, "inside")
		assert.is_true(rw:try_write_lock())
		rw:unlock()
	end)

	it("a task that ends inside lets go; a writer leaves a mark", function()
		local rw = pool.rwlock()
		pool.async(function(l) l:read_lock() end, rw):await()
		assert.same({ true }, { rw:write_lock() })
		rw:unlock()
		pool.async(function(l) l:write_lock() end, rw):await()
		assert.same({ true, "abandoned" }, { rw:read_lock() })
		rw:unlock()
		assert.same({ true, "abandoned" }, { rw:write_lock() })
		rw:unlock()
		assert.same({ true }, { rw:read_lock() })
		rw:unlock()
	end)

	it("locking twice and unlocking without raise", function()
		local rw = pool.rwlock()
		assert.error_matches(function() rw:unlock() end, "has not locked")
		rw:read_lock()
		assert.error_matches(function() rw:read_lock() end, "for reading already")
		assert.error_matches(function() rw:write_lock() end, "cannot become a writer")
		assert.error_matches(function() pool.async(function(l) l:unlock() end, rw):await() end, "has not locked")
		rw:unlock()
	end)
end)

describe("pool.barrier", function()
	it("lets all go when the last has come, each with its number", function()
		local b, fs, sum = pool.barrier(4), {}, 0
		for _ = 1, 3 do
			for i = 1, 3 do fs[i] = pool.async(function(bar) return bar:wait() end, b) end
			local n = b:wait()
			for i = 1, 3 do n = n + fs[i]:await() end
			assert.equal(1 + 2 + 3 + 4, n)
			sum = sum + n
		end
		assert.equal(30, sum)
	end)

	it("who times out or is cancelled has not come", function()
		local b = pool.barrier(2)
		assert.same({ nil, "timeout" }, { b:wait(0) })
		assert.same({ nil, "timeout" }, { b:wait(0.005) })
		local f = pool.async(function(bar) bar:wait() end, b)
		while not tostring(b):find "1 of 2" do pool.sleep(0.0002) end
		assert.is_true(f:cancel())
		assert.matches("0 of 2 are here", tostring(b))
		local g = pool.async(function(bar) return bar:wait() end, b)
		assert.equal(3, b:wait() + g:await())
	end)

	it("refuses wrong sizes", function()
		assert.error_matches(function() pool.barrier(0) end, "number from 1")
		assert.error_matches(function() pool.barrier "x" end, "number expected")
		assert.equal(1, pool.barrier(1):wait())
	end)
end)

describe("pool.once", function()
	it("runs the function once, and everyone gets its results", function()
		local runs = pool.counter()
		local o = pool.once(function(a) runs:add() return a, nil, { 1 } end)
		local fs = {}
		for i = 1, 8 do fs[i] = pool.async(function(once, n) return once(n) end, o, i) end
		local first = fs[1]:await()
		for i = 1, 8 do
			local a, b, t = fs[i]:await()
			assert.same({ first, nil, { 1 } }, { a, b, t })
		end
		assert.same({ first, nil, { 1 } }, { o:call(99) })
		assert.equal(1, runs:get())
		assert.is_true(o:is_done())
		assert.matches("done", tostring(o))
	end)

	it("after an error, or the end of the task that ran it, the next caller tries again", function()
		local runs, up = pool.counter(), pool.event()
		local o = pool.once(function(how)
			runs:add()
			if how == "fail" then error { code = 7 } end
			if how == "hang" then up:set() pool.sleep(100) end
			if how == "thread" then return coroutine.create(print) end
			return how
		end)
		local ok, err = pcall(o, "fail")
		assert.is_false(ok)
		assert.same({ code = 7 }, err)
		local f = pool.async(function(once) return once "hang" end, o)
		up:wait()
		assert.matches("running", tostring(o))
		assert.is_true(f:cancel())
		assert.error_matches(function() o "thread" end, "result #1: cannot send a coroutine")
		assert.is_false(o:is_done())
		assert.equal("good", o "good")
		assert.equal("good", o "fail")
		assert.equal(4, runs:get())
	end)

	it("a function that calls itself is told so", function()
		local box = pool.channel(1)
		local o = pool.once(function() local me = box:receive() return me() end)
		box:send(o)
		assert.error_matches(function() o() end, "would wait for its own end")
	end)

	it("refuses what is no function", function()
		assert.error_matches(function() pool.once() end, "function expected, got no value")
		assert.error_matches(function() pool.once(5) end, "function expected, got number")
		assert.error_matches(function() pool.once(function() return coroutine.create(print) end)() end, "cannot send")
	end)
end)
