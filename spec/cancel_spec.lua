-- Cancellation: whatever a task does, cancel ends it, and the next task on that worker notices nothing.
local describe, it, assert, setup, teardown, before_each, after_each =
	describe, it, assert, setup, teardown, before_each, after_each
local pool = require "lua-pool"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local is54 = _VERSION == "Lua 5.4"
local sanitized = os.getenv "LUA_POOL_SANITIZER"
-- TSan delivers no signal while uninstrumented code loops
local TSAN = sanitized == "thread"

-- How often each kind of work is cancelled, at random moments.
local ROUNDS = tonumber(os.getenv "LUA_POOL_ROUNDS") or (sanitized and 30 or 200)

math.randomseed(os.time())

local function spin(seconds)
	local until_ = pool.now() + seconds
	while pool.now() < until_ do end -- luacheck: ignore
end

-- Works without end; each begins with up:set().
local loops = {
	["an empty loop"] = function(up) up:set() while true do end end,
	["tail calls"] = function(up) up:set() local function f() return f() end f() end,
	["a pcall loop"] = function(up)
		up:set()
		while true do pcall(function() while true do end end) end
	end,
	["an xpcall whose handler loops"] = function(up)
		up:set()
		while true do xpcall(function() while true do end end, function() while true do end end) end
	end,
	["an xpcall whose handler is looping already"] = function(up)
		xpcall(function() error "x" end, function() up:set() while true do end end)
		while true do end
	end,
	["nested coroutines"] = function(up)
		up:set()
		local function nest(n)
			if n == 0 then while true do coroutine.yield() end end
			local co = coroutine.create(nest)
			while true do coroutine.resume(co, n - 1) coroutine.yield() end
		end
		local co = coroutine.create(nest)
		while true do coroutine.resume(co, 3) end
	end,
	["coroutine.wrap in pcall"] = function(up)
		up:set()
		while true do pcall(coroutine.wrap(function() while true do end end)) end
	end,
	["gsub with a callback"] = function(up)
		up:set()
		local s = ("x"):rep(1000)
		while true do s:gsub(".", function(c) return c end) end
	end,
	["sort with a comparator"] = function(up)
		up:set()
		while true do
			local t = {}
			for i = 1, 200 do t[i] = (i * 7919) % 200 end
			table.sort(t, function(a, b) return a < b end)
		end
	end,
	["load with a reader"] = function(up)
		up:set()
		while true do load(function() while true do end end) end
	end,
	["metamethods"] = function(up)
		up:set()
		local t = setmetatable({}, { __index = function(_, k) return k end, __add = function(a) return a end })
		while true do t = t + t[1] end
	end,
	["a generator in a for loop"] = function(up)
		up:set()
		while true do
			for _ in coroutine.wrap(function() for i = 1, 100 do coroutine.yield(i) end end) do end
		end
	end,
}
if is54 then
	loops["__close inside loops"] = load [[
		local up = ...
		up:set()
		while true do local c <close> = setmetatable({}, { __close = function() end }) end]]
end

-- Waits without end: fn(up, ...) and what it waits for.
local waits = {
	["sleep"] = { function(up) up:set() require "lua-pool".sleep(1000) end },
	["an event"] = { function(up, e) up:set() e:wait() end, pool.event() },
	["an event with a timeout"] = { function(up, e) up:set() e:wait(1000) end, pool.event() },
	["await of another task"] = { function(up, f) up:set() f:await() end, "future" },
	["a child of its own"] = { function(up, e)
		local p = require "lua-pool"
		local child = p.async(function(ev) ev:wait() end, e)
		up:set()
		child:await()
	end, pool.event() },
	["as_completed"] = { function(up, f) up:set() for _ in require "lua-pool".as_completed { f } do end end, "future" },
	-- Short ones: a pipe that is left to the collector waits for its process.
	["a subprocess"] = { function(up) up:set() while true do io.popen("sleep 0.01"):read "a" end end },
}
if pool.channel then
	waits["a channel, receiving"] = { function(up, ch) up:set() ch:receive() end, pool.channel(1) }
	waits["a channel, sending"] = { function(up, ch) up:set() while true do ch:send(1) end end, pool.channel(1) }
	waits["a rendezvous"] = { function(up, ch) up:set() ch:send(1) end, pool.channel(0) }
end
if pool.mutex then
	local m = pool.mutex()
	m:lock()
	waits["a mutex"] = { function(up, mutex) up:set() mutex:lock() end, m }
	waits["a condition"] = { function(up, c)
		local own = require "lua-pool".mutex()
		own:lock()
		up:set()
		c:wait(own)
	end, pool.condition() }
	waits["a semaphore"] = { function(up, s) up:set() s:acquire() end, pool.semaphore(0) }
	waits["a barrier"] = { function(up, b) up:set() b:wait() end, pool.barrier(1000) }
end

-- Cancels fn at a random moment: before it starts, as it starts, while it runs.
local function cancel_at_random(p, fn, ...)
	local up = pool.event()
	local f = p:async(fn, up, ...)
	local moment = math.random(3)
	if moment == 2 then
		up:wait()
	elseif moment == 3 then
		up:wait()
		spin(math.random() * 0.0002)
	end
	local cancelled, status = f:cancel(20)
	assert.is_true(cancelled, status)
	assert.equal("cancelled", f:status())
	local ok, err = f:pawait()
	assert.is_false(ok)
	assert.is_true(err == pool.CANCELLED)
	assert.equal("cancelled", tostring(err))
	assert.equal(7, p:async(function(x) return x end, 7):await())
end

describe("cancel ends", function()
	local p
	setup(function() p = pool.new { workers = 2, name = "cancel", jit = jit and "checked" or nil } end)
	teardown(function() p:cancel_all() assert.is_true(p:close(20)) end)

	if not TSAN then
		for name, fn in pairs(loops) do
			it(name .. ", at any moment", function()
				for _ = 1, ROUNDS do cancel_at_random(p, fn) end
			end)
		end
	end

	for name, wait in pairs(waits) do
		it("a wait for " .. name .. ", at any moment", function()
			local release = pool.event()
			local what = wait[2]
			if what == "future" then what = p:async(function(e) e:wait() end, release) end
			for _ = 1, ROUNDS do cancel_at_random(p, wait[1], what) end
			release:set()
		end)
	end
end)

describe("cancel", function()
	local p
	before_each(function() p = pool.new { workers = 2, cancel_grace = 0.05, name = "cancel" } end)
	after_each(function() p:cancel_all() assert.is_true(p:close(20)) end)

	it("of a pending task means that it never starts", function()
		local one = pool.new { workers = 1 }
		local go, up, ran = pool.event(), pool.event(), pool.event()
		local first = one:async(function(u, g) u:set() g:wait() end, up, go)
		up:wait()
		-- The first gives up its permit while it waits: a sleeping task holds on to it.
		go:set()
		first:await()
		local busy = one:async(function(u) u:set() require "lua-pool".sleep(1000) end, up)
		local f = one:async(function(r) r:set() end, ran)
		assert.is_true(f:cancel())
		busy:cancel()
		one:close()
		assert.is_false(ran:is_set())
	end)

	it("after the end says how it ended", function()
		local f = p:async(function() return 1 end)
		f:await()
		local cancelled, status = f:cancel()
		assert.is_false(cancelled)
		assert.equal("done", status)
		assert.equal(1, f:await())
		local g = p:async(error, "x")
		g:wait()
		assert.same({ false, "failed" }, { g:cancel() })
	end)

	it("twice, and by two tasks at once, is once", function()
		local up = pool.event()
		local f = p:async(function(u, e) u:set() e:wait() end, up, pool.event())
		up:wait()
		local a = pool.async(function(x) return x:cancel() end, f)
		local b = pool.async(function(x) return x:cancel() end, f)
		assert.is_true(a:await())
		assert.is_true(b:await())
		assert.is_true(f:cancel())
	end)

	it("with a timeout of 0 only asks", function()
		local up = pool.event()
		local f = p:async(function(u, e) u:set() e:wait() end, up, pool.event())
		up:wait()
		local first = f:cancel(0)
		assert.is_true(first == nil or first == true)
		assert.is_true(f:wait(20))
		assert.equal("cancelled", f:status())
	end)

	it("wakes everyone who awaits the task", function()
		local up, never = pool.event(), pool.event()
		local f = p:async(function(u, e) u:set() e:wait() end, up, never)
		up:wait()
		local waiting = {}
		for i = 1, 5 do
			waiting[i] = pool.async(function(x)
				local ok, err = pcall(x.await, x)
				return ok, err == require "lua-pool".CANCELLED
			end, f)
		end
		assert.is_true(f:cancel())
		for i = 1, 5 do assert.same({ false, true }, { waiting[i]:await() }) end
	end)

	it("of oneself raises at once", function()
		local ch = pool.channel(1)
		local f = p:async(function(c)
			local me = c:receive()
			pcall(function() me:cancel() end)
			return "went on"
		end, ch)
		ch:send(f)
		assert.is_true(f:wait(20))
		assert.equal("cancelled", f:status())
	end)

	it("goes down to children, not to tasks that are only awaited", function()
		local up, never = pool.event(), pool.event()
		local other_up = pool.event()
		local other = p:async(function(u, e) u:set() e:wait() return "alive" end, other_up, never)
		other_up:wait()
		local child_up = pool.event()
		local parent = p:async(function(u, c, e, o)
			local lib = require "lua-pool"
			lib.async(function(c2, e2) c2:set() e2:wait() end, c, lib.event())
			c:wait()
			u:set()
			o:await()
			e:wait()
		end, up, child_up, never, other)
		up:wait()
		assert.is_true(parent:cancel(20))
		assert.equal("running", other:status())
		never:set()
		assert.equal("alive", other:await())
		assert.is_true(p:close(20)) -- the child has ended too
		assert.equal(2, p:stats().cancelled)
	end)

	it("reaches a child that runs inlined, and a grandchild", function()
		local one = pool.new { workers = 1 }
		local up = pool.event()
		local f = one:async(function(u)
			local lib = require "lua-pool"
			lib.async(function(u2)
				local lib2 = require "lua-pool"
				lib2.async(function(u3) u3:set() lib2.event():wait() end, u2):await()
			end, u):await()
		end, up)
		up:wait()
		assert.is_true(f:cancel(20))
		assert.is_true(one:close(20))
		assert.equal(3, one:stats().cancelled)
	end)

	it("leaves children of a task that ended by itself alone", function()
		local go = pool.event()
		local parent = p:async(function(g)
			local lib = require "lua-pool"
			return lib.async(function(e) e:wait() return "done" end, g)
		end, go)
		local child = parent:await()
		assert.is_false((parent:cancel()))
		go:set()
		assert.equal("done", child:await())
	end)

	it("of an ancestor that waits for us raises in us too", function()
		if not pool.channel then return end
		local ch = pool.channel(1)
		local f = p:async(function(c)
			local lib = require "lua-pool"
			lib.async(function(c2)
				local ancestor = c2:receive()
				pcall(function() ancestor:cancel() end)
				while true do lib.sleep(1) end
			end, c):await()
		end, ch)
		ch:send(f)
		assert.is_true(f:wait(20))
		assert.equal("cancelled", f:status())
	end)

	it("lets the clean-up block, once, for the grace", function()
		if not is54 then return end
		local up, cleaned, never = pool.event(), pool.event(), pool.event()
		local f = p:async(load [[
			local up, cleaned, never = ...
			local pool = require "lua-pool"
			local c <close> = setmetatable({}, { __close = function()
				assert(pool.async(function() return 5 end):await() == 5)
				pool.sleep(0.001)
				cleaned:set()
			end })
			up:set()
			never:wait()]], up, cleaned, never)
		up:wait()
		assert.is_true(f:cancel(20))
		assert.is_true(cleaned:is_set())
	end)

	it("cuts a clean-up off that does not end", function()
		if not is54 or TSAN then return end
		local up = pool.event()
		local f = p:async(load [[
			local up = ...
			local c <close> = setmetatable({}, { __close = function() while true do pcall(function() while true do end end) end end })
			up:set()
			while true do end]], up)
		up:wait()
		assert.is_true(f:cancel(20))
	end)

	it("cannot be caught, but that of an awaited task can", function()
		local up, never = pool.event(), pool.event()
		local other = p:async(function(e) e:wait() end, never)
		local f = p:async(function(u, o)
			u:set()
			local ok, err = pcall(function() o:await() end)
			return ok, err == require "lua-pool".CANCELLED, tostring(err)
		end, up, other)
		up:wait()
		other:cancel()
		assert.same({ false, true, "cancelled" }, { f:await() })
	end)

	it("with a task that is stuck in C: says so, and the pool goes on", function()
		local answer
		for _ = 1, 100 do -- it may be told in the instant before it enters C: then again
			local up = pool.event()
			local f = p:async(function(u)
				u:set()
				return (("a"):rep(34) .. "b"):find(("a?"):rep(34) .. ("a"):rep(34) .. "$") -- minutes of work
			end, up)
			up:wait()
			spin(0.001)
			answer = { f:cancel(0.05) }
			if answer[1] == nil then break end
		end
		assert.same({ nil, "timeout" }, answer)
		assert.equal(1, p:async(function() return 1 end):await())
		p = pool.new {} -- after_each closes this one; the stuck thread is abandoned at the end of the process
	end)
end)

describe("shield", function()
	local p
	before_each(function() p = pool.new { workers = 2, name = "shield" } end)
	after_each(function() p:cancel_all() assert.is_true(p:close(20)) end)

	it("holds a request back until its function has returned, then delivers it", function()
		local up, go, committed, after = pool.event(), pool.event(), pool.event(), pool.event()
		local f = p:async(function(u, g, c, a)
			local lib = require "lua-pool"
			lib.shield(function()
				lib.shield(function() u:set() g:wait() end)
				assert(lib.cancel_requested())
				lib.check_cancel()
				c:set()
			end)
			a:set()
		end, up, go, committed, after)
		up:wait()
		f:cancel(0)
		go:set()
		assert.is_true(f:wait(20))
		assert.equal("cancelled", f:status())
		assert.is_true(committed:is_set())
		assert.is_false(after:is_set())
	end)

	it("passes results and errors", function()
		assert.same({ 1, nil, 3 }, { p:async(function()
			return require "lua-pool".shield(function(...) return ... end, 1, nil, 3)
		end):await() })
		local ok, err = p:async(function() require "lua-pool".shield(error, { code = 4 }) end):pawait()
		assert.is_false(ok)
		assert.equal(4, err.code)
		assert.equal(5, pool.shield(function() return 5 end))
	end)
end)

describe("deadline", function()
	local p
	setup(function() p = pool.new { workers = 2, name = "deadline", jit = jit and "checked" or nil } end)
	teardown(function() p:cancel_all() assert.is_true(p:close(20)) end)

	it("stops a wait, in a task and in the main state", function()
		local ok, err = pcall(pool.deadline, 0.01, function() pool.event():wait() end)
		assert.is_false(ok)
		assert.is_true(err == pool.TIMEOUT)
		assert.equal("timeout", tostring(err))
		assert.same({ false, true }, { p:async(function()
			local lib = require "lua-pool"
			local done, e = pcall(lib.deadline, 0.01, function() lib.event():wait() end)
			return done, e == lib.TIMEOUT
		end):await() })
	end)

	it("stops a loop that calls pcall", function()
		if TSAN then return end
		assert.same({ false, true }, { p:async(function()
			local lib = require "lua-pool"
			local done, e = pcall(lib.deadline, 0.01, function()
				while true do pcall(function() while true do end end) end
			end)
			return done, e == lib.TIMEOUT
		end):await() })
	end)

	it("returns the results of what was in time, and leaves nothing behind", function()
		assert.same({ 1, 2 }, { pool.deadline(1000, function() return 1, 2 end) })
		assert.same({ 1, 2 }, { p:async(function()
			local lib = require "lua-pool"
			return lib.deadline(1000, function() return 1, 2 end)
		end):await() })
	end)

	it("of two nested ones: the earlier counts", function()
		local inner, outer = p:async(function()
			local lib = require "lua-pool"
			local inner
			local ok, err = pcall(lib.deadline, 0.02, function()
				local _, e = pcall(lib.deadline, 1000, function() lib.event():wait() end)
				inner = e
			end)
			return inner == nil, ok == false and err == lib.TIMEOUT
		end):await()
		assert.is_true(inner) -- the outer one passes through the inner pcall
		assert.is_true(outer)
		assert.same({ true, "went on" }, { p:async(function()
			local lib = require "lua-pool"
			return lib.deadline(1000, function()
				local ok, err = pcall(lib.deadline, 0.01, function() lib.event():wait() end)
				return ok == false and err == lib.TIMEOUT, "went on"
			end)
		end):await() })
	end)

	it("for every task of a pool: task_timeout", function()
		local q = pool.new { workers = 1, task_timeout = 0.02 }
		local ok, err = q:async(function() require "lua-pool".event():wait() end):pawait()
		assert.is_false(ok)
		assert.is_true(err == pool.TIMEOUT)
		assert.equal(1, q:async(function() return 1 end):await())
		q:close()
	end)
end)

describe("after a cancelled task", function()
	it("system calls of the next task are not interrupted", function()
		local p = pool.new { workers = 1, name = "late" }
		local rounds = tonumber(os.getenv "LUA_POOL_LATE_ROUNDS") or (sanitized and 20 or 150)
		for i = 1, rounds do
			local up = pool.event()
			local f = p:async(function(u, n)
				u:set()
				for _ = 1, n do end -- ends by itself at about the moment of the request
			end, up, (i * 37) % 4000)
			local g = p:async(function() return io.popen("echo x"):read "a" end)
			up:wait()
			f:cancel(0)
			assert.equal("x\n", g:await())
		end
		p:close()
	end)
end)
