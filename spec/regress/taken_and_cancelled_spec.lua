-- A task that is cancelled just after a call has taken something for it (a message, a permit, a turn): nothing is lost.
-- Either the call raises, and has taken nothing, or its code comes to do something with it.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local sys = require "sys"
local scale = require "spec.support.scale"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

-- In a task: takes something by take(lib, ...), is asked to end, has the hook that is to stop it, and only then looks at
-- what it has.
local function taker(up, handled, take, ...)
	local lib = require "lua-pool"
	local a, b = take(lib, ...)
	up:set()
	while not debug.gethook() do end -- luacheck: ignore
	handled:add(1)
	return a, b
end

-- Runs it in a worker of p, whose request comes once it has taken. All that it took arrives.
local function handed(take, ...)
	local p = pool.new { workers = 1, max_threads = 1, name = "taker" }
	local up, handled = pool.event(), pool.counter()
	local f = p:async(taker, up, handled, take, ...)
	up:wait()
	local cancelled, status = f:cancel(20)
	assert.equal(1, handled:get())
	assert.is_false(cancelled)
	assert.equal("done", status)
	local a, b = f:await()
	assert.is_true(p:close(20))
	return a, b
end

describe("a task that is cancelled right after it has taken something goes on for some lines:", function()
	it("a message that was there, by each way to receive one", function()
		for _, take in ipairs {
			function(_, ch) return ch:receive() end,
			function(_, ch) return ch:receive(10) end,
			function(_, ch) return ch:try_receive() end,
			function(_, ch) for m in ch do return m end end,
			function(lib, ch) local _, m = lib.select { ch } return m end,
			function(_, ch) return coroutine.wrap(function() return ch:receive() end)() end,
			function(_, ch) local co = coroutine.create(function() return ch:receive() end)
				return select(2, coroutine.resume(co)) end,
			function(_, ch) return select(2, pcall(ch.receive, ch)) end,
			function(lib, ch) return lib.shield(ch.receive, ch) end,
			function(lib, ch) return lib.deadline(100, ch.receive, ch) end,
		} do
			local ch = pool.channel(10)
			ch:send "first"
			ch:send "second"
			assert.equal("first", (handed(take, ch)))
			assert.equal("second", ch:try_receive())
		end
	end)

	it("a message that it had to wait for, at every capacity", function()
		for _, capacity in ipairs { 0, 1, math.huge } do
			local ch, up, handled = pool.channel(capacity), pool.event(), pool.counter()
			local f = pool.async(taker, up, handled, function(_, c) return c:receive() end, ch)
			assert.is_true(ch:send "message")
			up:wait()
			assert.is_false(f:cancel(20))
			assert.equal("message", f:await())
			assert.equal(1, handled:get())
		end
	end)

	it("the answer of a send, which is what happened", function()
		for _, capacity in ipairs { 0, 1, math.huge } do
			local ch = pool.channel(capacity)
			local other = pool.async(function(c) return c:receive() end, ch)
			assert.is_true((handed(function(_, c) return c:send "message" end, ch)))
			assert.equal("message", other:await())
		end
	end)

	it("a permit", function()
		for _, take in ipairs {
			function(_, s) return s:acquire() end,
			function(_, s) return s:acquire(10) end,
			function(_, s) return s:try_acquire() end,
			function(lib, s) return lib.select { s } == 1 end,
		} do
			local sem = pool.semaphore(1)
			assert.is_true((handed(take, sem)))
			assert.equal(0, sem:value())
		end
	end)

	it("a lock, which the task may then give back in order", function()
		local m, rw = pool.mutex(), pool.rwlock()
		handed(function(_, l) l:lock() return true end, m)
		handed(function(_, l) l:write_lock() return true end, rw)
		handed(function(_, l) l:read_lock() return true end, rw)
		handed(function(lib, l) lib.select { { l, "write_lock" } } return true end, rw)
		assert.is_true((m:lock(10)))
		m:unlock()
	end)

	it("a signal of a condition, a turn at a barrier, a timer's time", function()
		local m, c, waits = pool.mutex(), pool.condition(), pool.event()
		local signaller = pool.async(function(mutex, condition, w)
			w:wait()
			mutex:lock()
			local n = condition:signal()
			mutex:unlock()
			return n
		end, m, c, waits)
		assert.is_true((handed(function(_, mutex, condition, w)
			mutex:lock()
			w:set()
			local ok = condition:wait(mutex)
			mutex:unlock()
			return ok
		end, m, c, waits)))
		assert.equal(1, signaller:await())
		local b = pool.barrier(2)
		local other = pool.async(function(barrier) return barrier:wait() end, b)
		assert.equal(3, handed(function(_, barrier) return barrier:wait() end, b) + other:await())
		local t = pool.timer(0)
		assert.equal(1, (handed(function(_, timer) return timer:wait() end, t)))
	end)

	it("what it has received it may still send, where that needs no waiting", function()
		local from, to, up = pool.channel(1), pool.channel(1), pool.event()
		from:send "message"
		local f = pool.async(function(a, b, u)
			local m = a:receive()
			u:set()
			while not debug.gethook() do end -- luacheck: ignore
			local one = b:send(m)
			return one, b:send "there is no room"
		end, from, to, up)
		up:wait()
		assert.is_true(f:cancel(20)) -- the second send would have to wait
		assert.equal("message", to:try_receive())
		assert.is_nil((to:try_receive()))
	end)

	it("and is told if it goes on for longer, or takes another", function()
		for _, body in ipairs {
			function(ch, u) ch:receive() u:set() while not u:is_set() or u:is_set() do u:is_set() end end,
			function(ch, u)
				ch:receive()
				u:set()
				while not debug.gethook() do end -- luacheck: ignore
				ch:receive()
			end,
			function(ch, u)
				ch:receive()
				u:set()
				while not debug.gethook() do end -- luacheck: ignore
				require "lua-pool".check_cancel()
			end,
		} do
			local p = pool.new { workers = 1, jit = jit and "checked" or nil }
			local ch, up = pool.channel(10), pool.event()
			ch:send "first"
			ch:send "second"
			local f = p:async(body, ch, up)
			up:wait()
			assert.is_true(f:cancel(20))
			assert.equal("second", ch:try_receive())
			assert.is_true(p:close(20))
		end
	end)

	it("but a system call that was cut short to tell it is never taken for its result", function()
		local ch, up, nobody_writes = pool.channel(1), pool.event(), sys.pipe()
		for _ = 1, 20 do
			ch:send "message"
			local f = pool.async(function(c, u, fd)
				local s = require "sys"
				c:receive()
				u:set()
				return s.read(fd)
			end, ch, up, nobody_writes)
			up:wait()
			assert.is_true(f:cancel(20))
			up:reset()
		end
	end)

	it("nor is a request that was there before the call: a shield ends with it", function()
		local log, up, go = pool.channel(10), pool.event(), pool.event()
		local f = pool.async(function(l, u, g)
			local lib = require "lua-pool"
			lib.shield(function() u:set() g:wait() l:send "inside" end)
			l:send "outside"
		end, log, up, go)
		up:wait()
		f:cancel(0)
		go:set()
		assert.is_true(f:cancel(20))
		assert.equal("inside", log:try_receive())
		assert.is_nil((log:try_receive()))
	end)
end)

describe("a message that is being opened when the task is cancelled", function()
	local function message(decode)
		local meta = { __pool_encode = function(v) return v.up, v.n end, __pool_decode = decode }
		return function(up, n) return setmetatable({ up = up, n = n }, meta) end
	end

	it("arrives, if __pool_decode returns soon", function()
		local make = message(function(up, n)
			up:set()
			while not debug.gethook() do end -- luacheck: ignore
			return n
		end)
		local ch, up = pool.channel(2), pool.event()
		ch:send(make(up, 7))
		local f = pool.async(function(c) return c:receive() end, ch)
		up:wait()
		assert.is_false(f:cancel(20))
		assert.equal(7, f:await())
	end)

	it("is the channel's first again, if __pool_decode is cut off, or waits", function()
		for _, decode in ipairs {
			function(up) up:set() while debug.gethook() or true do up:is_set() end end,
			function(up) up:set() require "lua-pool".sleep(100) end,
		} do
			for _, receive in ipairs {
				function(c) return c:receive() end,
				function(c) return require "lua-pool".select { c } end,
			} do
				local p = pool.new { workers = 1, jit = jit and "checked" or nil }
				local ch, up = pool.channel(2), pool.event()
				local slow = message(decode)(up, 1)
				ch:send(slow)
				ch:send "the next"
				local f = p:async(receive, ch)
				up:wait()
				assert.is_true(f:cancel(20))
				assert.equal(2, #ch)
				assert.is_true(p:close(20))
			end
		end
	end)
end)

-- Each form of a receiver: takes messages until there are no more, and counts what it has got.
local forms = {
	returns = function(ch) return ch:receive() end,
	line = function(ch, got, sum)
		while true do
			local m = ch:receive()
			if not m then return end
			sum:add(m)
			got:add(1)
		end
	end,
	loop = function(ch, got, sum)
		for m in ch do
			sum:add(m)
			got:add(1)
		end
	end,
	chosen = function(ch, got, sum)
		local select = require "lua-pool".select
		while true do
			local _, m = select { ch }
			if not m then return end
			sum:add(m)
			got:add(1)
		end
	end,
	protected = function(ch, got, sum)
		while true do
			local _, m = pcall(ch.receive, ch)
			if not m then return end
			sum:add(m)
			got:add(1)
		end
	end,
	passed_on = function(ch, _, _, out)
		repeat
			local m = ch:receive()
		until not m or not out:send(m)
	end,
	coroutine = function(ch, got, sum)
		local next_one = coroutine.wrap(function()
			while true do coroutine.yield(ch:receive()) end
		end)
		for m in next_one do
			sum:add(m)
			got:add(1)
		end
	end,
}

-- Sends 1 ... n. Cancelled itself: goes on where the one before it was.
local function sender(ch, sent, n)
	for i = sent:get() + 1, n do
		if ch:send(i) then sent:add(1) end
	end
end

local function storm(n, capacity, receiver)
	local RECEIVERS = 3
	local p = pool.new { workers = RECEIVERS + 1, name = "storm" }
	local ch, out, got, sum, sent = pool.channel(capacity), pool.channel(math.huge), pool.counter(), pool.counter(), pool.counter()
	local arrived, total, fs = 0, 0, {}
	local function count(m)
		if m then arrived, total = arrived + 1, total + m end
	end
	local function ended(f)
		if f:status() == "done" then count((f:await())) end
		assert.is_true(f:status() ~= "failed", f:traceback())
	end
	local source = p:async(sender, ch, sent, n)
	for i = 1, RECEIVERS do fs[i] = p:async(receiver, ch, got, sum, out) end
	while source:status() ~= "done" do
		local i = math.random(RECEIVERS + 1)
		if i > RECEIVERS then
			if math.random(4) == 1 and source:cancel(30) then source = p:async(sender, ch, sent, n) end
		else
			if math.random(2) == 1 then fs[i]:cancel(0) end
			if math.random(2) == 1 then pool.sleep(math.random() * 0.0002) end
			fs[i]:cancel(30)
			ended(fs[i])
			fs[i] = p:async(receiver, ch, got, sum, out)
		end
		assert.is_true(source:status() ~= "failed", source:traceback())
	end
	ch:close()
	for i = 1, RECEIVERS do
		fs[i]:wait()
		ended(fs[i])
	end
	for m in ch do count(m) end
	out:close()
	for m in out do count(m) end
	assert.equal(n, sent:get())
	assert.equal(n, got:get() + arrived)
	assert.equal(n * (n + 1) / 2, sum:get() + total)
	assert.is_true(p:close(30))
end

describe("messages, whose receivers and sender are cancelled all the time,", function()
	local EACH = scale(200000 / 21, 200) -- with TEST_SCALE=500 it is a million
	for name, receiver in pairs(forms) do
		it("arrive all, once (" .. name .. ")", function()
			for _, capacity in ipairs { 0, 3, math.huge } do storm(math.floor(EACH), capacity, receiver) end
		end)
	end
end)

describe("permits, whose takers are cancelled all the time,", function()
	it("come all back", function()
		local PERMITS, TASKS = 2, 3
		local sem, p = pool.semaphore(PERMITS), pool.new { workers = TASKS }
		local forms_of_taking = {
			function(s) while true do s:acquire() s:release() end end,
			function(s) while true do if s:try_acquire() then s:release() end require "lua-pool".sleep(0) end end,
			function(s) while true do if s:acquire(0.00001) then s:release() end end end,
			function(s) while true do require "lua-pool".select { s } s:release() end end,
		}
		for _ = 1, scale(3000, 50) do
			local fs = {}
			for i = 1, TASKS do fs[i] = p:async(forms_of_taking[math.random(#forms_of_taking)], sem) end
			pool.sleep(math.random() * 0.0002)
			for i = 1, TASKS do fs[i]:cancel(0) end
			for i = 1, TASKS do assert.is_true(fs[i]:cancel(30)) end
			assert.equal(PERMITS, sem:value())
		end
		assert.is_true(p:close(30))
	end)
end)
