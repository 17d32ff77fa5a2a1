-- Pools: their options, their limits, how they open and close.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local both = require "spec.support.both"
local child = require "spec.support.child"
local proc = require "spec.support.proc"
local scale = require "spec.support.scale"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local pack = both.pack
local here = debug.getinfo(1, "S").short_src
local sanitizer = os.getenv "LUA_POOL_SANITIZER" ~= nil

local function refused(options, ...)
	local ok, err = pcall(function() pool.new(options) end)
	assert.is_false(ok)
	for _, part in ipairs { ... } do assert.truthy(tostring(err):find(part, 1, true), tostring(err)) end
	return err
end

describe("pool.new", function()
	it("names a misspelt option and the nearest one", function()
		refused({ wokers = 2 }, here, "wokers", "did you mean 'workers'?")
		refused({ max_thread = 2 }, "did you mean 'max_threads'?")
		refused({ onerror = print }, "did you mean 'on_error'?")
		refused({ Workers = 2 }, "did you mean 'workers'?")
		local err = refused({ xyzzy = 2 }, "xyzzy")
		assert.is_nil(err:find("did you mean", 1, true), err)
		refused({ 2 }, "unknown option 1")
		refused({ [print] = 2 }, "unknown option")
	end)

	it("says for each option what it should have been", function()
		local wrong = {
			workers = { -1, 1.5, "2", 1025, 0 / 0, math.huge, -math.huge, true, {} },
			max_threads = { 0, -1, 1025, "many" },
			queue_limit = { 0, -1, 0.5, "1" },
			init = { 1, "f", true, {} },
			finish = { 1, {} },
			on_error = { 1, true, "stderr" },
			name = { 1, {}, true },
			stack_size = { 0, 1000, "1M", -1 },
			idle_timeout = { -1, "1", 0 / 0 },
			memory_limit = { 0, 1000, -1, "1M", 2 ^ 60 },
			nice = { -1, 20, 0.5, "5", true },
			libs = { "string", { "strnig" }, true },
			jit = { "on", false, 1 },
			cancel_grace = { -1, "1" },
			exit_timeout = { -1, "1" },
		}
		for name, values in pairs(wrong) do
			for _, v in ipairs(values) do refused({ [name] = v }, here, "'" .. name .. "'", "must be") end
		end
		refused(42, "options must be a table")
		refused("workers", "options must be a table")
		refused({ workers = 4, max_threads = 3 }, "max_threads", "workers")
	end)

	it("does not keep what it was given", function()
		local options = { workers = 1 }
		local p = pool.new(options)
		options.workers = 5
		assert.equal(1, p:stats().workers)
		p:close()
	end)

	it("does not change what it was given", function()
		local options = { workers = 1, name = "x" }
		pool.new(options):close()
		assert.same({ workers = 1, name = "x" }, options)
	end)

	it("works with 1, 64 and 1,000 workers", function()
		for _, n in ipairs { 1, 64, 1000 } do
			local p = pool.new { workers = n }
			assert.equal(n, p:stats().workers)
			local list = p:map(function(i) return i end, 200, { batch = 1 })
			for i = 1, 200 do assert.equal(i, list[i]) end
			assert.is_true(p:stats().threads <= n)
			p:close()
		end
	end)

	it("starts no thread before there is work, and one per task up to workers", function()
		local before = proc.threads()
		local p = pool.new { workers = 3 }
		assert.equal(before, proc.threads())
		assert.equal(0, p:stats().threads)
		local up, gate = pool.event(), pool.event()
		local f = p:async(function() up:set() gate:wait() end)
		up:wait()
		assert.equal(1, p:stats().threads)
		gate:set()
		f:await()
		p:close()
	end)

	it("with LUA_POOL_WORKERS sets the size of the default pool", function()
		assert.equal("0|3\n|", child.told("pool.async(function() end):await() print(pool.stats().workers)",
			{ env = "LUA_POOL_WORKERS=3" }))
		assert.equal("0|true\n|", child.told("pool.async(function() end):await() print(pool.stats().workers >= 1)",
			{ env = "LUA_POOL_WORKERS=nonsense" }))
	end)

	it("uses as many workers as the process may use cores", function()
		assert.equal("0|1\n|", child.told("print(pool.new():stats().workers)",
			{ wrap = function(command) return "taskset 1 " .. command end }))
	end)
end)

describe("pool.configure", function()
	it("sets the options of the default pool before its first use, and not after", function()
		assert.equal("0|2 named\nfalse true\n|", child.told [[
			pool.configure { workers = 2, name = "named" }
			pool.async(function() end):await()
			io.write(pool.stats().workers, " ", pool.async(function() return "named" end):await(), "\n")
			local ok, err = pcall(pool.configure, { workers = 3 })
			io.write(tostring(ok), " ", tostring(err:find("in use already", 1, true) ~= nil), "\n")
		]])
	end)

	it("checks its options as pool.new does", function()
		local ok, err = pcall(function() pool.configure { wokers = 1 } end)
		assert.is_false(ok)
		assert.truthy(err:find("did you mean 'workers'", 1, true) and err:find(here, 1, true), err)
	end)

	it("is not for tasks", function()
		local ok, err = pool.async(function() pool.configure { workers = 1 } end):pawait()
		assert.is_false(ok)
		assert.truthy(err:find("pool.configure", 1, true), err)
	end)
end)

describe("queue_limit", function()
	-- A pool whose only worker is held, and whose queue has room for `limit`.
	local function full(limit)
		local p = pool.new { workers = 1, max_threads = 1, queue_limit = limit, on_error = false }
		local up, gate = pool.event(), pool.event()
		local holder = p:async(function() up:set() gate:wait() end)
		up:wait()
		local queued = {}
		for i = 1, limit do queued[i] = assert(p:try_async(function() return i end)) end
		return p, queued, function() gate:set() holder:await() end
	end

	it("is the number of tasks that may wait: then try_async says 'full'", function()
		for _, limit in ipairs { 1, 2, 10 } do
			local p, queued, open = full(limit)
			for _ = 1, 3 do assert.same(pack(nil, "full"), pack(p:try_async(function() end))) end
			open()
			for i = 1, limit do assert.equal(i, queued[i]:await()) end
			assert.equal("again", assert(p:try_async(function() return "again" end)):await())
			p:close()
		end
	end)

	it("makes async wait for room", function()
		local p, queued, open = full(1)
		local q = pool.new { workers = 1 }
		local asked = pool.event()
		local submitter = q:async(function()
			asked:set()
			return p:async(function() return "second" end):await()
		end)
		asked:wait()
		assert.is_nil((submitter:wait(0.01)))
		open()
		assert.equal(1, queued[1]:await())
		assert.equal("second", submitter:await())
		p:close()
		q:close()
	end)

	it("does not hold for the pool's own tasks, which would wait for themselves", function()
		local p = pool.new { workers = 1, queue_limit = 1 }
		local function tree(depth)
			if depth == 0 then return 1 end
			local a, b, c = pool.async(tree, depth - 1), pool.async(tree, depth - 1), pool.try_async(tree, depth - 1)
			return a:await() + b:await() + c:await()
		end
		assert.equal(81, p:async(tree, 4):await())
		p:close()
	end)

	it("is given back by a task that was cancelled while it waited", function()
		local p, queued, open = full(1)
		assert.is_true(queued[1]:cancel())
		local f = p:try_async(function() return "in its place" end)
		assert.is_truthy(f)
		assert.same(pack(nil, "full"), pack(p:try_async(function() end)))
		open()
		assert.equal("in its place", f:await())
		p:close()
	end)

	it("is given back by a call that was refused", function()
		local p = pool.new { workers = 1, queue_limit = 1 }
		for _ = 1, 10 do
			assert.is_false((pcall(p.async, p, print, coroutine.create(print))))
			assert.is_false((pcall(p.try_async, p, 42)))
		end
		assert.equal(1, assert(p:try_async(function() return 1 end)):await())
		p:close()
	end)

	it("passes thousands of tasks through, none lost", function()
		local p = pool.new { workers = 2, queue_limit = 3 }
		local sum, n = pool.counter(0), scale(5000)
		for i = 1, n do p:go(function(k) sum:add(k) end, i) end
		p:close()
		assert.equal(n * (n + 1) / 2, sum:get())
	end)

	it("of a pool that is closed while somebody waits for room ends the wait", function()
		local p, queued, open = full(1)
		local q = pool.new { workers = 1 }
		local asked = pool.event()
		local submitter = q:async(function()
			asked:set()
			return pcall(p.async, p, function() return "late" end)
		end)
		asked:wait()
		assert.is_nil((p:close(0)))
		open()
		local ok, what = submitter:await(30)
		assert.is_true(ok == false or ok == true)
		if not ok then assert.truthy(what:find("closed", 1, true), what) end
		assert.equal(1, queued[1]:await())
		assert.is_true(p:close(30))
		q:close()
	end)
end)

describe("memory_limit", function()
	it("fails the task that passes it; the worker goes on", function()
		local p = pool.new { workers = 1, memory_limit = 16 * 2 ^ 20, on_error = false }
		for _ = 1, 3 do
			local f = p:async(function()
				local t = {}
				for i = 1, math.huge do t[i] = ("x"):rep(1000) .. i end
			end)
			local ok, err = f:pawait(60)
			assert.is_false(ok)
			assert.truthy(tostring(err):find("not enough memory", 1, true), tostring(err))
			assert.equal("fine", p:async(function() return "fine" end):await())
		end
		p:close()
	end)

	it("fails one huge allocation as well, and is the limit of each worker alone", function()
		local p = pool.new { workers = 2, memory_limit = 16 * 2 ^ 20, on_error = false }
		local up, gate = pool.event(), pool.event()
		local neighbour = p:async(function()
			local kept = { ("n"):rep(2 ^ 20) }
			up:set()
			gate:wait()
			return #kept[1]
		end)
		up:wait()
		local ok, err = p:async(function() return #("x"):rep(2 ^ 26) end):pawait()
		assert.is_false(ok)
		assert.truthy(tostring(err):find("memory", 1, true), tostring(err))
		gate:set()
		assert.equal(2 ^ 20, neighbour:await())
		p:close()
	end)

	it("lets a task catch the error and go on", function()
		local p = pool.new { workers = 1, memory_limit = 16 * 2 ^ 20 }
		local ok = p:async(function()
			local caught = pcall(string.rep, "x", 2 ^ 26)
			return not caught and #("y"):rep(1000)
		end):await()
		assert.equal(1000, ok)
		p:close()
	end)

	it("renews the state: init runs again, what the old one kept is gone", function()
		local opened = pool.counter(0)
		local p = pool.new { workers = 1, memory_limit = 16 * 2 ^ 20, on_error = false, init = function() opened:add(1) end }
		p:async(function() kept_here = 1 end):await() -- luacheck: ignore
		p:async(function()
			local t = {}
			for i = 1, math.huge do t[i] = ("x"):rep(1000) .. i end
		end):pawait()
		assert.is_nil((p:async(function() return kept_here end):await())) -- luacheck: ignore
		assert.equal(2, opened:get())
		p:close()
	end)

	it("does not take a result or an argument that is too large for the worker", function()
		local p = pool.new { workers = 1, memory_limit = 8 * 2 ^ 20, on_error = false }
		local ok, err = p:async(function(s) return #s end, ("x"):rep(2 ^ 24)):pawait()
		assert.is_false(ok)
		assert.truthy(tostring(err):find("memory", 1, true), tostring(err))
		assert.equal(1, p:async(function() return 1 end):await())
		p:close()
	end)
end)

describe("init", function()
	it("runs in each worker state before its first task, with its upvalues", function()
		local opened, mark = pool.counter(0), { "mark" }
		local p = pool.new { workers = 1, init = function()
			opened:add(1)
			set_by_init = mark[1] -- luacheck: ignore
		end }
		assert.equal("mark", p:async(function() return set_by_init end):await()) -- luacheck: ignore
		assert.equal("mark", p:async(function() return set_by_init end):await()) -- luacheck: ignore
		assert.equal(1, opened:get())
		p:close()
	end)

	it("may wait", function()
		local gate = pool.event()
		local p = pool.new { workers = 1, init = function() gate:wait() end }
		local f = p:async(function() return "after init" end)
		gate:set()
		assert.equal("after init", f:await())
		p:close()
	end)

	it("that raises: its error is that of every call that needs a worker", function()
		local p = pool.new { workers = 2, on_error = false, init = function() error({ code = "no database" }) end }
		local ok, err = p:async(function() end):pawait()
		assert.is_false(ok)
		assert.same({ code = "no database" }, err)
		for _, name in ipairs { "async", "try_async", "go" } do
			ok, err = pcall(p[name], p, function() end)
			assert.is_false(ok)
			assert.same({ code = "no database" }, err)
		end
		p:close()
		p = pool.new { workers = 2, on_error = false, init = function() error("text") end }
		ok, err = p:async(function() end):pawait()
		assert.is_false(ok)
		assert.truthy(err:find("^" .. here:gsub("%p", "%%%0") .. ":%d+: text"), err)
		assert.truthy(pcall(p.map, p, print, 3) == false)
		p:close()
	end)

	it("that raises fails all that was queued meanwhile, and close ends", function()
		local gate = pool.event()
		local p = pool.new { workers = 1, on_error = false, init = function() gate:wait() error("late", 0) end }
		local futures = {}
		for i = 1, 20 do futures[i] = p:async(function() end) end
		gate:set()
		for i = 1, 20 do
			local ok, err = futures[i]:pawait(30)
			assert.is_false(ok)
			assert.truthy(err:find("^late"), err)
		end
		assert.is_true(p:close(30))
	end)

	it("that requires a missing module: the error says which", function()
		local p = pool.new { workers = 1, on_error = false, init = function() require "no.such.module" end }
		local f = p:async(function() end)
		local ok, err = f:pawait()
		assert.is_false(ok)
		assert.truthy(err:find("no.such.module", 1, true), err)
		assert.truthy(f:traceback():find("no.such.module", 1, true), f:traceback())
		p:close()
	end)

	it("that cannot be sent is refused by pool.new", function()
		local co = coroutine.create(print)
		local ok, err = pcall(pool.new, { workers = 1, init = function() return co end })
		assert.is_false(ok)
		assert.truthy(err:find("init", 1, true) and err:find("co", 1, true), err)
	end)

	it("returns values in vain", function()
		local p = pool.new { workers = 1, init = function() return nil, "not an error", 3 end }
		assert.equal(1, p:async(function() return 1 end):await())
		p:close()
	end)

	it("starts no tasks, and is told so", function()
		local p = pool.new { workers = 1, on_error = false, init = function() pool.async(print) end }
		local ok, err = p:async(function() end):pawait(30)
		assert.is_false(ok)
		assert.truthy(err:find("init", 1, true), err)
		p:close()
	end)
end)

describe("finish", function()
	it("runs in each worker state when it closes, after its last task", function()
		local heard = pool.channel(10)
		local p = pool.new { workers = 1, finish = function() heard:send(told or "nothing") end } -- luacheck: ignore
		p:async(function() told = "by a task" end):await() -- luacheck: ignore
		assert.is_nil((heard:try_receive()))
		p:close()
		assert.equal("by a task", heard:try_receive())
		assert.is_nil((heard:try_receive()))
	end)

	it("that raises is told on stderr and stops nothing", function()
		local r = child.run [[
			local p = pool.new { workers = 1, finish = function() error("in finish") end }
			p:async(function() end):await()
			print(p:close())
		]]
		assert.equal(0, r.status)
		assert.equal("true\n", r.out)
		assert.truthy(r.err:find("in finish", 1, true), r.err)
	end)

	it("is not for a worker whose init failed", function()
		local finished = pool.counter(0)
		local p = pool.new { workers = 1, on_error = false, init = function() error("x") end, finish = function() finished:add(1) end }
		p:async(function() end):pawait()
		p:close()
		assert.equal(0, finished:get())
	end)
end)

describe("libs", function()
	it("limits what a worker has", function()
		local p = pool.new { workers = 1, libs = { "base", "string", "table" } }
		local got = p:async(function()
			return { os = os ~= nil, io = io ~= nil, debug = debug ~= nil, require = require ~= nil, package = package ~= nil,
				string = string ~= nil, upper = ("x"):upper(), table = table ~= nil, pcall = pcall ~= nil }
		end):await()
		assert.same({ os = false, io = false, debug = false, require = false, package = false, string = true, upper = "X",
			table = true, pcall = true }, got)
		p:close()
	end)

	it("left empty leaves the language itself", function()
		local p = pool.new { workers = 1, libs = {} }
		assert.equal(3, p:async(function(a, b) return a + b end, 1, 2):await())
		assert.is_true(p:async(function() return load == nil and io == nil end):await())
		p:close()
	end)
end)

describe("workers = 0", function()
	it("runs tasks inside async, in a state of their own, without threads", function()
		local before = proc.threads()
		local p = pool.new { workers = 0 }
		main_only = 1 -- luacheck: ignore
		local order = {}
		local f = p:async(function() return main_only == nil, pool.worker_id() ~= 0 end) -- luacheck: ignore
		order[1] = f:status()
		assert.same({ "done" }, order)
		assert.same(pack(true, true), pack(f:await()))
		main_only = nil -- luacheck: ignore
		local failed = p:async(function() error("x", 0) end)
		assert.equal("failed", failed:status())
		assert.same(pack(false, "x"), pack(failed:pawait()))
		assert.equal(before, proc.threads())
		assert.is_true(p:close())
	end)

	it("counts what it ran", function()
		local p = pool.new { workers = 0, on_error = false }
		for i = 1, 5 do p:async(function() return i end) end
		p:go(function() error("x") end)
		local s = p:stats()
		assert.equal(5, s.done)
		assert.equal(1, s.failed)
		assert.equal(0, s.running)
		assert.equal(0, s.queued)
		p:close()
		assert.equal(5, p:stats().done)
	end)

	it("runs tasks of tasks, map, imap, all and go", function()
		local p = pool.new { workers = 0 }
		local function fib(n)
			if n < 2 then return n end
			local f = pool.async(fib, n - 1)
			return fib(n - 2) + f:await()
		end
		assert.equal(55, p:async(fib, 10):await())
		assert.same({ 2, 4, 6 }, p:map(function(x) return 2 * x end, { 1, 2, 3 }))
		local sum = 0
		for r in p:imap(function(x) return x end, 10) do sum = sum + r end
		assert.equal(55, sum)
		p:close()
	end)

	it("says so when tasks are nested without end, and does not crash", function()
		if sanitizer then return end -- a thousand states take it minutes
		local r = child.run [[
			local p = pool.new { workers = 0, on_error = false }
			local function deeper() return pool.async(deeper):await() end
			local ok, err = p:async(deeper):pawait()
			print(ok, type(err))
			print(p:async(function() return "goes on" end):await())
			p:close()
		]]
		assert.equal("0|false string\ngoes on\n|", ("%d|%s|%s"):format(r.status, (r.out:gsub("\t", " ")), r.err))
	end)

	it("has no size to change", function()
		local p = pool.new { workers = 0 }
		local ok, err = pcall(p.resize, p, 2)
		assert.is_false(ok)
		assert.truthy(err:find("workers = 0", 1, true), err)
		p:close()
	end)

	it("closes only once its own task has ended", function()
		local p = pool.new { workers = 0 }
		local ok, err = p:async(function() return pcall(p.close, p) end):await()
		assert.is_false(ok)
		assert.truthy(err:find("cannot close", 1, true), err)
		p:close()
	end)
end)

describe("a pool", function()
	it("says what it is", function()
		local p = pool.new { workers = 2, name = "shown" }
		assert.truthy(tostring(p):find("^lua%-pool%.pool: 0x%x+ %('shown', 2 workers%)$"), tostring(p))
		p:close()
		assert.truthy(tostring(p):find("closed", 1, true), tostring(p))
		assert.equal("lua-pool.pool", getmetatable(p))
		assert.equal("lua-pool.pool", debug.getmetatable(p).__name)
	end)

	it("is the same pool for a task that it was sent to", function()
		local p = pool.new { workers = 1 }
		assert.is_true(pool.async(function(q) return q == p end, p):await())
		p:close()
	end)

	it("names its threads", function()
		local p = pool.new { workers = 1, name = "visible" }
		local name = p:async(function()
			for line in io.lines "/proc/thread-self/status" do return line end
		end):await()
		assert.truthy(name:find("visible", 1, true), name)
		p:close()
	end)

	it("counts: done, failed, cancelled, queued, running", function()
		local p = pool.new { workers = 1, max_threads = 1, on_error = false }
		local up, gate = pool.event(), pool.event()
		local f = p:async(function() up:set() gate:wait() end)
		up:wait()
		local g, h = p:async(function() error("x") end), p:async(function() end)
		local s = p:stats()
		assert.equal(1, s.running)
		assert.equal(2, s.queued)
		assert.equal(1, s.threads)
		h:cancel()
		gate:set()
		f:await()
		g:pawait()
		p:close()
		s = p:stats()
		assert.equal(1, s.done)
		assert.equal(1, s.failed)
		assert.equal(1, s.cancelled)
		assert.equal(0, s.queued)
		assert.equal(0, s.running)
		assert.equal(0, s.threads)
	end)

	it("times one task in sixteen: how long it waited, how long it ran", function()
		local p = pool.new { workers = 1, max_threads = 1 }
		local up, gate = pool.event(), pool.event()
		local first = p:async(function() up:set() gate:wait() end)
		up:wait()
		local futures = {}
		for i = 1, 32 do futures[i] = p:async(pool.sleep, 0.002) end
		pool.sleep(0.002)
		gate:set()
		first:await()
		pool.all(futures)
		p:close()
		local s = p:stats()
		local function timed(buckets, least) -- 2^20 ns is 1 ms
			local all, long = 0, 0
			for i, n in ipairs(buckets) do
				all = all + n
				if i > least then long = long + n end
			end
			return all, long
		end
		local waited, waited_long = timed(s.wait_ns_log2, 20)
		local ran, ran_long = timed(s.run_ns_log2, 20)
		assert.is_true(waited == 2 or waited == 3) -- the first one may have been the sample before
		assert.equal(waited, ran)
		assert.equal(ran, ran_long)
		assert.is_true(waited_long >= 2)
	end)
end)

describe("close", function()
	it("finishes what is queued, then all threads are gone", function()
		local before = proc.threads()
		local p = pool.new { workers = 2 }
		local ran, n = pool.counter(0), scale(1000)
		for _ = 1, n do p:go(function() ran:add(1) end) end
		assert.is_true(p:close())
		assert.equal(n, ran:get())
		assert.is_true(proc.eventually(function() return proc.threads() <= before end))
	end)

	it("lets tasks of the pool submit until they end, and nobody else", function()
		local p = pool.new { workers = 2 }
		local ran, up, gate = pool.counter(0), pool.event(), pool.event()
		p:go(function()
			up:set()
			gate:wait()
			for _ = 1, 50 do
				pool.go(function()
					ran:add(1)
					pool.async(function() ran:add(1) end):await()
				end)
			end
		end)
		up:wait()
		assert.same(pack(nil, "timeout"), pack(p:close(0)))
		local ok, err = pcall(p.async, p, function() end)
		assert.is_false(ok)
		assert.truthy(err:find("closed", 1, true), err)
		gate:set()
		assert.is_true(p:close())
		assert.equal(100, ran:get())
	end)

	it("may be called twice, by two at once, and before any task", function()
		local p = pool.new { workers = 2 }
		local up, gate = pool.event(), pool.event()
		p:go(function() up:set() gate:wait() end)
		up:wait()
		local q = pool.new { workers = 2 }
		local a, b = q:async(function() return p:close() end), q:async(function() return p:close() end)
		gate:set()
		assert.is_true(a:await())
		assert.is_true(b:await())
		assert.is_true(p:close())
		assert.is_true(q:close())
		assert.is_true(q:close())
		assert.is_true(pool.new { workers = 2 }:close())
	end)

	it("from inside one of the pool's own tasks raises", function()
		local p = pool.new { workers = 1 }
		local ok, err = p:async(function() return pcall(p.close, p) end):await()
		assert.is_false(ok)
		assert.truthy(err:find("cannot close the pool that runs it", 1, true), err)
		p:close()
	end)

	it("with a timeout gives up waiting, and may be called again", function()
		local p = pool.new { workers = 1 }
		local up, gate = pool.event(), pool.event()
		local f = p:async(function() up:set() gate:wait() return "whole" end)
		up:wait()
		assert.same(pack(nil, "timeout"), pack(p:close(0.001)))
		assert.same(pack(nil, "timeout"), pack(p:close(0)))
		gate:set()
		assert.is_true(p:close())
		assert.equal("whole", f:await())
	end)

	it("refuses further use with an error that names the pool", function()
		local p = pool.new { workers = 1, name = "shut" }
		p:close()
		for _, name in ipairs { "async", "try_async", "go" } do
			local ok, err = pcall(p[name], p, function() end)
			assert.is_false(ok)
			assert.truthy(err:find("'shut' is closed", 1, true), err)
		end
		local ok, err = pcall(p.map, p, function() end, 3)
		assert.is_false(ok)
		assert.truthy(err:find("closed", 1, true), err)
		assert.same({}, p:map(function() end, 0))
	end)

	it("leaves no thread, descriptor or memory after 1,000 pools", function()
		local n = scale(1000, 50)
		local function round()
			local p = pool.new { workers = 2, name = "one of many" }
			assert.equal(1, p:async(function() return 1 end):await())
			p:close()
		end
		for _ = 1, scale(100, 20) do round() end
		both.collect()
		local threads, descriptors, rss = proc.threads(), proc.descriptors(), proc.rss()
		for _ = 1, n do round() end
		both.collect()
		assert.is_true(proc.eventually(function() return proc.threads() <= threads end))
		assert.is_true(proc.eventually(function() return proc.descriptors() <= descriptors end))
		if not sanitizer then
			assert.is_true(proc.rss() - rss < 4 * 2 ^ 20, "grew by " .. (proc.rss() - rss) .. " bytes")
		end
	end)
end)

describe("cancel_all and close", function()
	it("is the fast way down", function()
		local p = pool.new { workers = 2 }
		local never, ran, futures = pool.event(), pool.counter(0), {}
		for i = 1, 20 do futures[i] = p:async(function() never:wait() ran:add(1) end) end
		p:cancel_all()
		assert.is_true(p:close(30))
		assert.equal(0, ran:get())
		for i = 1, 20 do assert.equal("cancelled", futures[i]:status()) end
	end)
end)

describe("a pool that is dropped", function()
	it("runs the tasks that are queued, and its threads leave", function()
		local before = proc.threads()
		local ran, gate = pool.counter(0), pool.event()
		do
			local p = pool.new { workers = 2 }
			for _ = 1, 100 do p:go(function() gate:wait() ran:add(1) end) end
		end
		both.collect()
		gate:set()
		assert.is_true(proc.eventually(function() return ran:get() == 100 end, 30))
		assert.is_true(proc.eventually(function() return proc.threads() <= before end, 30))
	end)

	it("may be dropped hundreds of times in the middle of its work", function()
		local before = proc.threads()
		local ran, n = pool.counter(0), scale(300)
		for i = 1, n do
			local p = pool.new { workers = 2 }
			p:go(function() ran:add(1) end)
			p:async(function() ran:add(1) end)
			p = nil -- luacheck: ignore
			if i % 10 == 0 then collectgarbage() end
		end
		both.collect()
		assert.is_true(proc.eventually(function() return ran:get() == 2 * n end, 30))
		assert.is_true(proc.eventually(function() return proc.threads() <= before end, 30))
	end)

	it("by its own task, which holds the last reference", function()
		local p = pool.new { workers = 1 }
		local up, gate, done = pool.event(), pool.event(), pool.event()
		p:go(function(q)
			up:set()
			gate:wait()
			q = nil -- luacheck: ignore
			collectgarbage()
			collectgarbage()
			done:set()
		end, p)
		up:wait()
		p = nil -- luacheck: ignore
		both.collect()
		gate:set()
		assert.is_true(done:wait(30))
	end)
end)

describe("resize", function()
	it("lets more tasks run at once, and fewer", function()
		local p = pool.new { workers = 1, max_threads = 8 }
		assert.equal(1, p:stats().workers)
		p:resize(4)
		assert.equal(4, p:stats().workers)
		p:async(function() end):await()
		p:resize(1)
		assert.equal(1, p:stats().workers)
		p:close()
	end)

	it("loses no task under load, up and down", function()
		local p = pool.new { workers = 2 }
		local ran, n = pool.counter(0), scale(4000)
		for i = 1, n do
			p:go(function() ran:add(1) end)
			if i % 50 == 0 then p:resize(i / 50 % 8 + 1) end
		end
		p:close()
		assert.equal(n, ran:get())
	end)

	it("above max_threads raises that bound", function()
		local p = pool.new { workers = 1, max_threads = 1 }
		p:resize(3)
		local arrived, gate, futures = pool.counter(0), pool.event(), {}
		for i = 1, 3 do
			futures[i] = p:async(function()
				if arrived:add(1) == 3 then gate:set() end
				return gate:wait(30)
			end)
		end
		for i = 1, 3 do assert.is_true(futures[i]:await()) end
		p:close()
	end)

	it("takes whole numbers from 1 on", function()
		local p = pool.new { workers = 1 }
		for _, wrong in ipairs { 0, -1, 1.5, 1e9, "x", {} } do
			assert.is_false((pcall(p.resize, p, wrong)))
		end
		assert.is_false((pcall(p.resize, p)))
		assert.equal(1, p:stats().workers)
		p:close()
	end)
end)

describe("nice", function()
	-- Of a thread: proc(5) counts after the name, which may hold anything but ")" at its end.
	local function niceness(which)
		local f = assert(io.open("/proc/" .. which .. "/stat"))
		local text = f:read "*a"
		f:close()
		return tonumber((text:match "^.*%) (.*)$":gsub("%S+ ", "", 16):match "^%S+"))
	end

	it("is how far the threads stand back behind the process's first one; 0 by default", function()
		local base = niceness "self"
		for _, n in ipairs { 0, 3 } do
			local p = pool.new { workers = 1, nice = n }
			assert.equal(math.min(base + n, 19), p:async(niceness, "thread-self"):await())
			p:close()
		end
		assert.equal(base, pool.async(niceness, "thread-self"):await())
		assert.equal(base, niceness "self")
	end)

	it("does not add up when a task starts the threads of another pool", function()
		local p = pool.new { workers = 1, nice = 3 }
		local inner = p:async(function(f)
			local q = require "lua-pool".new { workers = 1, nice = 4 }
			local n = q:async(f, "thread-self"):await()
			q:close()
			return n
		end, niceness):await()
		assert.equal(math.min(niceness "self" + 4, 19), inner)
		p:close()
	end)
end)

describe("idle_timeout", function()
	it("gives threads back, and a burst afterwards runs", function()
		local p = pool.new { workers = 4, idle_timeout = 0.01 }
		for _ = 1, 3 do
			local arrived, gate, futures = pool.counter(0), pool.event(), {}
			for i = 1, 4 do
				futures[i] = p:async(function()
					if arrived:add(1) == 4 then gate:set() end
					return gate:wait(30)
				end)
			end
			for i = 1, 4 do assert.is_true(futures[i]:await()) end
			assert.is_true(proc.eventually(function() return p:stats().threads == 0 end))
		end
		p:close()
	end)

	it("loses no task that arrives as a thread leaves", function()
		local p = pool.new { workers = 2, idle_timeout = 0 }
		for i = 1, scale(2000) do assert.equal(i, p:async(function(x) return x end, i):await(30)) end
		p:close()
	end)
end)

describe("an idle pool", function()
	it("uses no time of the processor", function()
		local r = child.run [[
			local p = pool.new { workers = 4 }
			local arrived, gate = pool.counter(0), pool.event()
			local fs = {}
			for i = 1, 4 do fs[i] = p:async(function() if arrived:add(1) == 4 then gate:set() end gate:wait() end) end
			for i = 1, 4 do fs[i]:await() end
			local function switches()
				local n = 0
				for dir in io.popen("ls -d /proc/$PPID/task/*"):lines() do
					for line in io.lines(dir .. "/status") do
						n = n + (tonumber(line:match "voluntary_ctxt_switches:%s*(%d+)") or 0)
					end
				end
				return n
			end
			pool.sleep(0.2) -- those that searched have parked
			local cpu = pool.now("process")
			pool.sleep(0.5)
			cpu = pool.now("process") - cpu
			print(cpu < 0.02 or cpu)
			p:close()
		]]
		assert.equal("0|true\n|", ("%d|%s|%s"):format(r.status, r.out, r.err))
	end)
end)

describe("require in workers", function()
	it("finds what the creating state finds: path, cpath, preload", function()
		local dir = child.tmpname()
		os.execute("mkdir " .. dir)
		local f = io.open(dir .. "/only_here.lua", "w")
		f:write "return { name = 'only here' }"
		f:close()
		local saved = package.path
		package.path = dir .. "/?.lua;" .. package.path
		package.preload["made.up"] = function() return { name = "preloaded" } end
		local p = pool.new { workers = 1 }
		package.path = saved
		package.preload["made.up"] = nil
		local a, b = p:async(function() return require "only_here".name, require "made.up".name end):await()
		p:close()
		os.execute("rm -r " .. dir)
		assert.equal("only here", a)
		assert.equal("preloaded", b)
	end)

	it("opens a C module in two tasks at the same moment, in many new pools", function()
		local n = scale(200, 10)
		for _ = 1, n do
			local p = pool.new { workers = 2 }
			local arrived, gate = pool.counter(0), pool.event()
			local function load_both()
				if arrived:add(1) == 2 then gate:set() end
				gate:wait()
				local a, lpeg = pcall(require, "lpeg")
				local b, lfs = pcall(require, "lfs")
				return a and type(lpeg.match) or "none", b and type(lfs.dir) or "none"
			end
			local f, g = p:async(load_both), p:async(load_both)
			local a, b = f:await(30)
			assert.same(pack(a, b), pack(g:await(30)))
			p:close()
		end
	end)
end)

if both.has_close then
	describe("a pool with <close>", function()
		it("is closed at the end of its scope, its tasks done", function()
			local ran = pool.counter(0)
			local p = both.chunk([[
				local pool, ran = ...
				local p <close> = pool.new { workers = 2 }
				for _ = 1, 100 do p:go(function() ran:add(1) end) end
				return p
			]], pool, ran)
			assert.equal(100, ran:get())
			assert.is_false((pcall(p.async, p, print)))
		end)

		it("is cancelled first when the scope is left by an error", function()
			local never, up = pool.event(), pool.event()
			local f
			local ok, err = pcall(both.chunk, [[
				local pool, never, up, out = ...
				local p <close> = pool.new { workers = 1 }
				out(p:async(function() up:set() never:wait() end))
				up:wait()
				error("left", 0)
			]], pool, never, up, function(future) f = future end)
			assert.is_false(ok)
			assert.equal("left", err)
			assert.equal("cancelled", f:status())
		end)
	end)
end
