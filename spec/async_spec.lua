-- Tasks and their futures: async, go, try_async, await and its kin.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local both = require "spec.support.both"
local child = require "spec.support.child"
local scale = require "spec.support.scale"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local pack, unpack = both.pack, both.unpack

-- A pool whose only worker is held by a task until open() is called: what is submitted meanwhile is pending.
local function held()
	local p = pool.new { workers = 1, max_threads = 1, on_error = false }
	local up, gate = pool.event(), pool.event()
	local holder = p:async(function() up:set() gate:wait() end)
	up:wait()
	return p, function() gate:set() holder:await() end
end

describe("a task", function()
	it("runs on another thread with nothing configured", function()
		assert.equal("0|1 true\n|", child.told [[
			local id = pool.async(function() return pool.worker_id() end):await()
			print(id, pool.worker_id() == 0)
		]]:gsub("\t", " ") .. "")
	end)

	it("gets exactly its arguments and gives exactly its results", function()
		local function echo(...) return ... end
		local lists = { pack(), pack(nil), pack(nil, nil, nil), pack(1, nil, 3), pack(nil, 2, nil), pack(false), pack(false, nil) }
		local many = { n = 250 }
		for i = 1, 250, 2 do many[i] = i end
		lists[#lists + 1] = many
		for _, list in ipairs(lists) do
			local got = pack(pool.async(echo, unpack(list, 1, list.n)):await())
			assert.equal(list.n, got.n)
			for i = 1, list.n do assert.equal(list[i], got[i]) end
			local again = pack(pool.async(echo, unpack(list, 1, list.n)):pawait())
			assert.equal(list.n + 1, again.n)
			assert.is_true(again[1])
		end
	end)

	it("knows how many arguments it got", function()
		local function count(...) return select("#", ...) end
		assert.equal(0, pool.async(count):await())
		assert.equal(1, pool.async(count, nil):await())
		assert.equal(200, pool.async(count, unpack({}, 1, 200)):await())
	end)

	it("returns some thousand values or says that there are too many", function()
		local ok, err = pool.async(function()
			return (table.unpack or unpack)({}, 1, 5000)
		end):pawait()
		if not ok then assert.truthy(tostring(err):find "too many") end
		assert.equal(5001, select("#", pool.async(function()
			return (table.unpack or unpack)({}, 1, 5000)
		end):pawait()))
	end)

	it("sees its upvalues as they were at the call, fresh each time", function()
		local n, t = 1, { 1 }
		local function step()
			n = n + 1
			t[#t + 1] = n
			return n, #t
		end
		local p = pool.new { workers = 1 }
		for _ = 1, 3 do
			local a, b = p:async(step):await()
			assert.equal(2, a)
			assert.equal(2, b)
		end
		assert.equal(1, n)
		assert.same({ 1 }, t)
		n = 10
		assert.equal(11, (p:async(step):await()))
		p:close()
	end)

	it("leaves what it puts into globals in its worker", function()
		local p = pool.new { workers = 1 }
		p:async(function() left_here = 42 end):await() -- luacheck: ignore
		assert.equal(42, p:async(function() return left_here end):await()) -- luacheck: ignore
		assert.is_nil(rawget(_G, "left_here"))
		p:close()
	end)

	it("may be any callable: library functions, C functions of modules, tables with __call", function()
		assert.equal("ababab", pool.async(string.rep, "ab", 3):await())
		assert.equal(3, pool.async(select, "#", 1, 2, 3):await())
		local callable = setmetatable({ factor = 3 }, { __call = function(self, x) return self.factor * x end })
		assert.equal(21, pool.async(callable, 7):await())
		assert.equal("x", pool.async(tostring, "x"):await())
	end)

	it("may be pool.async itself, which gives a future of a future", function()
		local inner = pool.async(pool.async, function(x) return x + 1 end, 1):await()
		assert.equal(2, inner:await())
	end)

	it("uses coroutines as everywhere, and awaits inside of them", function()
		local a, b, c = pool.async(function()
			local co = coroutine.wrap(function(x)
				local y = coroutine.yield(x + 1)
				return pool.async(function(v) return v * 10 end, y):await()
			end)
			return co(1), co(5), coroutine.isyieldable and coroutine.isyieldable() or false
		end):await()
		assert.equal(2, a)
		assert.equal(50, b)
		assert.is_false(c)
	end)

	it("that yields outside a coroutine fails", function()
		local ok, err = pool.async(function() coroutine.yield(1) end):pawait()
		assert.is_false(ok)
		assert.truthy(err:find "yield")
	end)

	it("starts tasks of the pool that runs it, the main program those of the default pool", function()
		local p = pool.new { workers = 2, init = function() which_pool = "p" end } -- luacheck: ignore
		local function which() return which_pool or "default" end -- luacheck: ignore
		assert.equal("default", pool.async(which):await())
		assert.equal("p", p:async(which):await())
		assert.equal("p", p:async(function() return pool.async(which):await() end):await())
		assert.equal("p", p:async(function() return pool.map(which, 1)[1] end):await())
		assert.equal("default", pool.async(function() return pool.async(which):await() end):await())
		-- A pool that was sent keeps its meaning.
		assert.equal("p", pool.async(function() return p:async(which):await() end):await())
		p:close()
	end)

	it("is submitted by a task that a task submitted, five deep, on one worker", function()
		local p = pool.new { workers = 1 }
		local function deeper(n)
			if n == 0 then return "bottom" end
			return pool.async(deeper, n - 1):await()
		end
		assert.equal("bottom", p:async(deeper, 5):await())
		p:close()
	end)

	it("runs once though its future is dropped and the collector runs", function()
		local runs = pool.counter(0)
		local n = scale(2000)
		local p = pool.new { workers = 2 }
		for i = 1, n do
			p:async(function() runs:add(1) end)
			if i % 100 == 0 then collectgarbage() end
		end
		both.collect()
		p:close()
		assert.equal(n, runs:get())
	end)

	it("prints whole lines", function()
		local n = scale(200)
		local r = child.run(([[
			local function say(i) for k = 1, 20 do print(("x"):rep(100), i, ("y"):rep(100)) end end
			pool.map(say, %d, { batch = 1 })
		]]):format(n))
		assert.equal(0, r.status)
		local lines = 0
		for line in r.out:gmatch "[^\n]*\n" do
			lines = lines + 1
			assert.truthy(line:find("^" .. ("x"):rep(100) .. "\t%d+\t" .. ("y"):rep(100) .. "\n$"), line)
		end
		assert.equal(20 * n, lines)
	end)

	it("has random numbers of its own worker", function()
		local n = 8
		local p = pool.new { workers = n }
		local arrived, gate, futures = pool.counter(0), pool.event(), {}
		for i = 1, n do
			futures[i] = p:async(function()
				local x = math.random(2 ^ 30)
				if arrived:add(1) == n then gate:set() end
				gate:wait() -- every task holds a worker: eight of them
				return x, pool.worker_id()
			end)
		end
		local seen, ids = {}, {}
		for i = 1, n do
			local x, id = futures[i]:await()
			assert.is_nil(seen[x], "two workers begin with the same number")
			assert.is_nil(ids[id])
			seen[x], ids[id] = true, true
		end
		p:close()
	end)

	it("knows its worker: ids from 1 to id_count() - 1, the same for tasks of one worker", function()
		assert.equal(0, pool.worker_id())
		local n = pool.id_count()
		local p = pool.new { workers = 1 }
		local id, count = p:async(function() return pool.worker_id(), pool.id_count() end):await()
		assert.is_true(id >= 1 and id < n)
		assert.equal(n, count)
		assert.equal(id, p:async(pool.worker_id):await())
		p:close()
	end)

	it("does not start with the wrong arguments of async", function()
		local here = debug.getinfo(1, "S").short_src
		for _, wrong in ipairs { 42, "f", {}, true, pool.event() } do
			local ok, err = pcall(function() pool.async(wrong) end)
			assert.is_false(ok)
			assert.truthy(err:find("function expected, got", 1, true), err)
			assert.truthy(err:find(here, 1, true), err)
		end
		for _, name in ipairs { "async", "try_async", "go" } do
			local ok, err = pcall(function() pool[name](nil) end)
			assert.is_false(ok)
			assert.truthy(err:find("bad argument #1", 1, true) and err:find("got nil", 1, true), err)
			ok, err = pcall(function() pool[name]() end)
			assert.is_false(ok)
			assert.truthy(err:find("function expected, got n", 1, true), err)
		end
	end)
end)

describe("await", function()
	it("gives the same outcome each time, as a fresh copy", function()
		local f = pool.async(function() return { 1, { 2 } }, "x" end)
		local a, x = f:await()
		local b = f:await()
		assert.same({ 1, { 2 } }, a)
		assert.same(a, b)
		assert.equal("x", x)
		assert.is_false(rawequal(a, b))
		a[2][1] = "changed"
		assert.same({ 1, { 2 } }, (f:await()))
	end)

	it("gives the same outcome to two coroutines, to tasks that the future was sent to, and after cancel", function()
		local gate = pool.event()
		local f = pool.async(function() gate:wait() return 5, nil, 7 end)
		local up = pool.counter(0)
		local function look(future, t)
			up:add(1)
			return t.f == future, future:await()
		end
		local others = {}
		for i = 1, 3 do others[i] = pool.async(look, f, { f = f }) end
		gate:set()
		for _ = 1, 2 do
			local co = coroutine.create(function() return f:await() end)
			assert.same(pack(true, 5, nil, 7), pack(coroutine.resume(co)))
		end
		for i = 1, 3 do assert.same(pack(true, 5, nil, 7), pack(others[i]:await())) end
		assert.same(pack(false, "done"), pack(f:cancel()))
		assert.same(pack(5, nil, 7), pack(f:await()))
	end)

	it("raises the same error each time", function()
		local f = pool.async(function() error({ code = 1 }) end)
		for _ = 1, 3 do
			local ok, err = pcall(f.await, f)
			assert.is_false(ok)
			assert.same({ code = 1 }, err)
			assert.same(pack(false, { code = 1 }), pack(f:pawait()))
		end
	end)

	it("with a timeout answers nil, 'timeout' and leaves the task alone", function()
		local gate = pool.event()
		local f = pool.async(function() gate:wait() return 9 end)
		for _, name in ipairs { "await", "pawait", "wait", "cancel" } do
			if name ~= "cancel" then
				for _, t in ipairs { 0, -1, -math.huge, 0.001, 1e-300 } do
					assert.same(pack(nil, "timeout"), pack(f[name](f, t)))
				end
			end
		end
		gate:set()
		assert.equal(9, f:await(math.huge))
		assert.equal(9, f:await(1e300))
		assert.equal(9, f:await(0)) -- it has ended: no time needed
		assert.equal(true, f:wait(0))
		assert.same(pack(true, 9), pack(f:pawait(nil)))
	end)

	it("refuses a timeout that is no number of seconds", function()
		local f = pool.async(function() end)
		for _, name in ipairs { "await", "pawait", "wait", "cancel" } do
			for _, wrong in ipairs { "1", {}, true, 0 / 0 } do
				local ok, err = pcall(f[name], f, wrong)
				assert.is_false(ok)
				assert.truthy(err:find("bad argument #", 1, true) and err:find("timeout in seconds expected", 1, true), err)
			end
		end
		f:await()
	end)

	it("of something else is an error that says what it was", function()
		local f = pool.async(function() end)
		for _, wrong in ipairs { 42, "x", pool.event(), pool } do
			local ok, err = pcall(f.await, wrong)
			assert.is_false(ok)
			assert.truthy(err:find("future expected, got", 1, true), err)
		end
		f:await()
	end)

	it("wakes many waiters at once", function()
		local gate = pool.event()
		local p = pool.new { workers = 2 }
		local f = p:async(function() gate:wait() return "all" end)
		local up, all_up, others = pool.counter(0), pool.event(), {}
		for i = 1, 40 do
			others[i] = p:async(function()
				if up:add(1) == 40 then all_up:set() end
				return f:await()
			end)
		end
		all_up:wait() -- all are running: those that wait make place for the next
		gate:set()
		for i = 1, 40 do assert.equal("all", others[i]:await()) end
		p:close()
	end)

	it("hands a future from task to task", function()
		local f = pool.async(function()
			return pool.async(function()
				return pool.async(function() return "deep" end)
			end)
		end)
		assert.equal("deep", f:await():await():await())
	end)

	it("gives a future's result after its pool was closed, and after it was dropped", function()
		local p = pool.new { workers = 1 }
		local f, g = p:async(function() return "kept" end), p:async(function() error("kept too", 0) end)
		p:close()
		assert.equal("kept", f:await())
		assert.same(pack(false, "kept too"), pack(g:pawait()))
		p = pool.new { workers = 1 }
		f = p:async(function() return "still" end)
		p = nil -- luacheck: ignore
		both.collect()
		assert.equal("still", f:await())
	end)
end)

describe("a future", function()
	it("goes from pending to running to done", function()
		local p, open = held()
		local up, gate = pool.event(), pool.event()
		local f = p:async(function() up:set() gate:wait() end)
		assert.equal("pending", f:status())
		open()
		up:wait()
		assert.equal("running", f:status())
		gate:set()
		f:await()
		assert.equal("done", f:status())
		local g = p:async(function() error("x") end)
		g:wait()
		assert.equal("failed", g:status())
		g:pawait()
		p:close()
	end)

	it("says what it is", function()
		local f = pool.async(function() end)
		f:await()
		assert.truthy(tostring(f):find("^lua%-pool%.future: 0x%x+ %(done%)$"), tostring(f))
		assert.equal("lua-pool.future", getmetatable(f))
		assert.equal("lua-pool.future", debug.getmetatable(f).__name)
	end)

	it("is the same object for those to whom it was sent", function()
		local f = pool.async(function() end)
		local channel = pool.channel(1)
		channel:send { f, f }
		local t = channel:receive()
		assert.is_true(t[1] == f and t[2] == f)
		assert.is_false(f == pool.async(function() end))
	end)

	it("has no fields that one could set by mistake", function()
		local f = pool.async(function() end)
		assert.is_false((pcall(function() f.x = 1 end)))
		assert.is_nil(f.no_such_method)
		f:await()
	end)

	it("waits without raising the task's error", function()
		local f = pool.async(function() error("x") end)
		assert.is_true(f:wait())
		assert.is_true(f:wait())
		f:pawait()
	end)
end)

describe("cancel of a task that has not started", function()
	it("ends it at once: it never runs, and everyone is told", function()
		local p, open = held()
		local ran = pool.counter(0)
		local f = p:async(function() ran:add(1) end)
		assert.is_true(f:cancel())
		assert.equal("cancelled", f:status())
		assert.is_true(f:cancel())
		assert.is_true(f:cancel(0))
		local ok, err = pcall(f.await, f)
		assert.is_false(ok)
		assert.is_true(err == pool.CANCELLED)
		assert.equal("cancelled", tostring(err))
		assert.same(pack(false, pool.CANCELLED), pack(f:pawait()))
		assert.is_true(f:wait())
		assert.is_nil(f:traceback())
		open()
		p:close()
		assert.equal(0, ran:get())
	end)

	it("wakes the five tasks that await it", function()
		local p, open = held()
		local f = p:async(function() end)
		local q = pool.new { workers = 1 }
		local up, all_up, waiters = pool.counter(0), pool.event(), {}
		for i = 1, 5 do
			waiters[i] = q:async(function()
				if up:add(1) == 5 then all_up:set() end
				local ok, err = f:pawait()
				return ok, err == pool.CANCELLED
			end)
		end
		all_up:wait()
		assert.is_true(f:cancel())
		for i = 1, 5 do assert.same(pack(false, true), pack(waiters[i]:await())) end
		open()
		p:close()
		q:close()
	end)

	it("works from a task, and in any number and order", function()
		local p, open = held()
		local futures, ran = {}, pool.counter(0)
		local n = scale(2000, 600)
		for i = 1, n do futures[i] = p:async(function() ran:add(1) return i end) end
		assert.is_true(pool.async(function(f) return f:cancel() end, futures[1]):await())
		for i = n, 2, -1 do
			if i % 3 ~= 0 then assert.is_true(futures[i]:cancel(0)) end
		end
		open()
		for i = 3, n, 3 do assert.equal(i, futures[i]:await()) end
		assert.equal(math.floor(n / 3), ran:get())
		assert.equal("cancelled", futures[2]:status())
		p:close()
	end)

	it("of a task that ended says how it ended, and keeps the result", function()
		local f = pool.async(function() return 1 end)
		f:wait()
		assert.same(pack(false, "done"), pack(f:cancel()))
		assert.equal(1, f:await())
		local g = pool.async(function() error("x", 0) end)
		g:wait()
		assert.same(pack(false, "failed"), pack(g:cancel(0)))
		assert.same(pack(false, "x"), pack(g:pawait()))
	end)
end)

describe("cancel of a task that waits", function()
	it("ends its wait, for ever or with a timeout, with CANCELLED", function()
		for _, timeout in ipairs { false, 1000 } do
			local up, never = pool.event(), pool.event()
			local f = pool.async(function() up:set() never:wait(timeout or nil) return "not reached" end)
			up:wait()
			assert.is_true(f:cancel())
			assert.equal("cancelled", f:status())
			assert.same(pack(false, pool.CANCELLED), pack(f:pawait()))
		end
	end)

	it("ends its await of another task, which goes on", function()
		local gate, up, here = pool.event(), pool.event(), pool.event()
		local other = pool.async(function() here:set() gate:wait() return "other" end)
		local f = pool.async(function(o) up:set() return o:await() end, other)
		here:wait()
		up:wait()
		assert.is_true(f:cancel())
		assert.equal("running", other:status())
		gate:set()
		assert.equal("other", other:await())
	end)
end)

describe("go", function()
	it("returns nothing and runs", function()
		local done = pool.event()
		assert.equal(0, select("#", pool.go(function() done:set() end)))
		assert.is_true(done:wait(30))
	end)
end)

describe("try_async", function()
	it("is async where there is no limit", function()
		assert.equal(3, pool.try_async(function(a, b) return a + b end, 1, 2):await())
	end)
end)

if both.has_close then
	describe("a future with <close>", function()
		it("is cancelled and has ended when its scope is left", function()
			local up, never = pool.event(), pool.event()
			local f = both.chunk([[
				local pool, up, never = ...
				local f <close> = pool.async(function() up:set() never:wait() end)
				up:wait()
				return f
			]], pool, up, never)
			assert.equal("cancelled", f:status())
		end)
	end)
end
