-- Groups: tasks that are waited for together, fail together, are cancelled together.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local both = require "spec.support.both"
local child = require "spec.support.child"
local proc = require "spec.support.proc"
local scale = require "spec.support.scale"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local function raises(f, ...)
	local r = both.pack(pcall(f, ...))
	assert.is_false(r[1])
	return r[2]
end

-- A task that says that it is there, then waits until it is cancelled.
local function stays(up, never)
	up:release()
	never:wait()
end

describe("pool.group", function()
	it("waits for all of its tasks; their futures give the results; it can be used again", function()
		local g = pool.group()
		assert.is_true(g:await())
		for _ = 1, 2 do
			local fs = {}
			for i = 1, 100 do fs[i] = g:async(function(n) return n * 2, "x" end, i) end
			assert.is_true(g:await())
			for i = 1, 100 do
				assert.equal("done", fs[i]:status())
				assert.same({ i * 2, "x" }, { fs[i]:await() })
			end
		end
		assert.equal(0, g:count())
	end)

	it("go counts like async, and keeps no result", function()
		local g, n = pool.group(), pool.counter()
		for _ = 1, 50 do assert.equal(0, select("#", g:go(function(c) c:add() end, n))) end
		assert.is_true(g:await())
		assert.equal(50, n:get())
		g:go(function() error("from go", 0) end)
		assert.equal("from go", raises(g.await, g))
	end)

	it("is sent to its tasks, which may add tasks", function()
		local g, n = pool.group(), pool.counter()
		local function tree(group, counter, self, depth)
			counter:add()
			if depth > 0 then
				for _ = 1, 3 do group:go(self, group, counter, self, depth - 1) end
			end
		end
		g:async(tree, g, n, tree, 5)
		assert.is_true(g:await())
		assert.equal((3 ^ 6 - 1) / 2, n:get())
	end)

	it("its tasks run in its own pool, wherever they are added", function()
		local p = pool.new { workers = 1, name = "grouped", init = function() MARK = "here" end } -- luacheck: ignore
		local g = p:group()
		pool.async(function(group) group:async(function() assert(MARK == "here") end):await() end, g):await() -- luacheck: ignore
		assert.is_true(g:await())
		p:close()
	end)

	it("await works while it waits: one thread is enough", function()
		local p = pool.new { workers = 1, max_threads = 1 }
		local inlined = p:async(function()
			local here = require "lua-pool"
			local g, n = here.group(), here.counter()
			for _ = 1, 200 do
				g:async(function(group, c)
					if c:add() <= 50 then group:go(function(c1) c1:add() end, c) end
				end, g, n)
			end
			assert(g:await() and g:count() == 0)
			return n:get()
		end)
		assert.equal(250, inlined:await())
		assert.equal(250, p:stats().inlined)
		-- A group of the main state, awaited by a task that has the only thread.
		local g = p:group()
		local up = pool.event()
		local f = p:async(function(group, u)
			u:wait()
			return group:await()
		end, g, up)
		for _ = 1, 10 do g:go(function() end) end
		up:set()
		assert.is_true(f:await())
		p:close()
	end)

	it("await times out, 0 polls; a member that awaits its own group is told", function()
		local g, go = pool.group(), pool.event()
		g:go(function(e) e:wait() end, go)
		assert.same({ nil, "timeout" }, { g:await(0) })
		assert.same({ nil, "timeout" }, { g:await(0.005) })
		local f = g:async(function(group)
			local ok, err = pcall(group.await, group)
			return ok, err, group:await(0.002)
		end, g)
		local ok, err, none = f:await()
		assert.is_false(ok)
		assert.matches("dead%-lock", err)
		assert.is_nil(none)
		go:set()
		assert.is_true(g:await())
	end)

	it("says in tostring how many are left, and how it stands", function()
		local g, go, up = pool.group { limit = 1 }, pool.event(), pool.semaphore(0)
		assert.matches("^lua%-pool%.group: .*%(0 tasks left%)$", tostring(g))
		g:go(stays, up, go)
		for _ = 1, 2 do g:go(function() end) end
		up:acquire()
		assert.matches("%(3 tasks left, 2 held back%)$", tostring(g))
		go:set()
		g:await()
		g:cancel()
		assert.matches("%(0 tasks left, cancelled%)$", tostring(g))
		local h = pool.group()
		h:go(error, "x")
		pcall(h.await, h)
		assert.matches("%(0 tasks left, failed%)$", tostring(h))
	end)

	it("refuses what is none, and options that there are not", function()
		assert.error_matches(function() pool.group { limt = 2 } end, "pool.group: unknown option \"limt\", did you mean 'limit'")
		assert.error_matches(function() pool.group { limit = 0 } end, "'limit' must be a whole number")
		assert.error_matches(function() pool.group { ids = 1 } end, "'ids' must be a boolean")
		assert.error_matches(function() pool.group(3) end, "options must be a table")
		local g = pool.group()
		assert.error_matches(function() g:async(5) end, "bad argument #%d.*function expected")
		assert.error_matches(function() g:go() end, "function expected")
		assert.error_matches(function() g:async(print, coroutine.create(print)) end, "argument #%d: cannot send a coroutine")
		assert.error_matches(function() g:with(1) end, "function expected, got number")
		assert.error_matches(function() g.await(pool.event()) end, "group expected, got event")
		assert.error_matches(function() g:await "1" end, "timeout in seconds expected")
		assert.equal(0, g:count())
		assert.is_true(g:await())
	end)
end)

describe("the first error of a group", function()
	it("is raised by await, again and again, and cancels the siblings", function()
		local g, up, never = pool.group(), pool.semaphore(0), pool.event()
		local a, b = g:async(stays, up, never), g:async(stays, up, never)
		up:acquire()
		up:acquire()
		local f = g:async(function() error { code = 7 } end)
		assert.same({ code = 7 }, raises(g.await, g))
		assert.same({ code = 7 }, raises(g.await, g, 0))
		assert.same({ "cancelled", "cancelled", "failed" }, { a:status(), b:status(), f:status() })
		assert.matches("group_spec", f:traceback())
		local late = g:async(function() return 1 end) -- it starts no more
		assert.is_true(late:wait())
		assert.equal("cancelled", late:status())
	end)

	it("what has not begun never begins", function()
		local p = pool.new { workers = 1, max_threads = 1 }
		local g, n = p:group(), pool.counter()
		local up, go = pool.event(), pool.event()
		g:go(function(u, e)
			u:set()
			e:wait()
			error("first", 0)
		end, up, go)
		up:wait()
		for _ = 1, 500 do g:go(function(c) c:add() end, n) end
		go:set()
		assert.equal("first", raises(g.await, g))
		assert.equal(0, n:get())
		assert.is_true(proc.eventually(function() return p:stats().queued == 0 end))
		assert.equal(1, p:async(function() return 1 end):await())
		p:close()
	end)

	it("is the first of many that fail at once", function()
		for _ = 1, scale(200) do
			local g = pool.group()
			for i = 1, 4 do g:go(function(n) error("no " .. n, 0) end, i) end
			assert.matches("^no %d$", raises(g.await, g))
		end
	end)

	it("a member that was cancelled alone is no error", function()
		local g, up, never = pool.group(), pool.semaphore(0), pool.event()
		local f = g:async(stays, up, never)
		local other = g:async(function() return 5 end)
		up:acquire()
		assert.is_true(f:cancel())
		assert.is_true(g:await())
		assert.equal(5, other:await())
	end)

	it("that nobody awaits is reported once; an awaited one is not", function()
		local text = [[
			local g = pool.group()
			g:go(function() error("seen", 0) end)
			print(pcall(g.await, g))
			local h = pool.group()
			h:go(function() error("unseen", 0) end)
			while h:count() > 0 do pool.sleep(0.001) end
			g, h = nil, nil
			for _ = 1, 4 do collectgarbage() end
		]]
		local r = child.run(text)
		assert.equal(0, r.status, r.err)
		assert.equal("false\tseen\n", r.out)
		local _, times = r.err:gsub("unseen", "")
		assert.equal(1, times, r.err)
		assert.is_nil(r.err:find("\nseen", 1, true))
	end)
end)

describe("cancelling a group", function()
	it("in the middle: what waits never starts, what runs is told, its children too", function()
		local p = pool.new { workers = 2 }
		local g, up, never, n = p:group(), pool.semaphore(0), pool.event(), pool.counter()
		for _ = 1, 2 do
			g:go(function(u, e, fn)
				local f = require "lua-pool".async(fn, u, e)
				f:wait(100)
			end, up, never, stays)
		end
		for _ = 1, 2 do up:acquire() end
		for _ = 1, 100 do g:async(function(c) c:add() end, n) end
		assert.is_true(g:cancel())
		assert.equal(0, g:count())
		assert.equal(pool.CANCELLED, raises(g.await, g))
		-- The children are told by the same walk, but the group does not wait for what it did not start.
		assert.is_true(proc.eventually(function() return p:stats().running == 0 end))
		local late = g:async(function() end)
		late:wait()
		assert.equal("cancelled", late:status())
		assert.is_true(g:cancel())
		p:close()
	end)

	it("cancel(0) only asks; cancel(timeout) answers nil when a member is late", function()
		local g, up, go, done = pool.group(), pool.event(), pool.event(), pool.counter()
		g:go(function(u, e, d)
			require "lua-pool".shield(function()
				u:set()
				e:wait()
				d:add()
			end)
		end, up, go, done)
		up:wait()
		assert.same({ nil, "timeout" }, { g:cancel(0) })
		assert.same({ nil, "timeout" }, { g:cancel(0.005) })
		go:set()
		assert.is_true(g:cancel())
		assert.equal(1, done:get())
	end)

	it("by a member, or below one, raises there at once", function()
		local g, after = pool.group(), pool.counter()
		local f = g:async(function(group, c)
			group:cancel()
			c:add()
		end, g, after)
		assert.is_true(f:wait())
		assert.equal("cancelled", f:status())
		local h = pool.group()
		local outer = h:async(function(group, c)
			require "lua-pool".async(function(g1, c1)
				g1:cancel()
				c1:add()
			end, group, c):wait()
			c:add()
		end, h, after)
		assert.is_true(outer:wait())
		assert.equal("cancelled", outer:status())
		assert.equal(0, after:get())
	end)

	it("cancelling the task that made it reaches all its members, running, pending, held back", function()
		for _, limit in ipairs { 0, 1, 2 } do
			local p = pool.new { workers = 2, max_threads = 3 }
			local up, never, n = pool.semaphore(0), pool.event(), pool.counter()
			local owner = p:async(function(u, e, c, fn, l)
				local here = require "lua-pool"
				local g = here.group(l > 0 and { limit = l } or nil)
				for _ = 1, 2 do g:go(fn, u, e) end
				for _ = 1, 50 do g:go(function(c1) c1:add() end, c) end
				e:wait()
			end, up, never, n, stays, limit)
			for _ = 1, limit == 1 and 1 or 2 do up:acquire() end
			assert.is_true(owner:cancel())
			assert.is_true(proc.eventually(function()
				local s = p:stats()
				return s.running == 0 and s.queued == 0
			end))
			assert.equal(0, n:get())
			assert.is_true(p:close(10))
		end
	end)

	it("p:cancel_all takes what is held back as well", function()
		local p = pool.new { workers = 1 }
		local g, up, never, n = p:group { limit = 1 }, pool.semaphore(0), pool.event(), pool.counter()
		g:go(stays, up, never)
		for _ = 1, 20 do g:go(function(c) c:add() end, n) end
		up:acquire()
		p:cancel_all()
		assert.is_true(p:close(10))
		assert.equal(0, g:count())
		assert.equal(0, n:get())
	end)
end)

describe("the scope of a group", function()
	it("with cancels and waits, whatever happens, and passes results and errors on", function()
		local up, never, ended = pool.semaphore(0), pool.event(), pool.counter()
		local function member(u, e, c, fn)
			local ok = pcall(fn, u, e) -- its own end is not caught
			c:add(ok and 1000 or 100)
		end
		local kept
		assert.same({ 1, nil, 3 }, { pool.group():with(function(g, x)
			kept = g
			g:go(member, up, never, ended, stays)
			up:acquire()
			return x, nil, 3
		end, 1) })
		assert.equal(0, kept:count())
		assert.equal("mine", raises(function()
			pool.group():with(function(g)
				kept = g
				for _ = 1, 3 do g:go(member, up, never, ended, stays) end
				up:acquire()
				error("mine", 0)
			end)
		end))
		assert.equal(0, kept:count())
		assert.equal(0, ended:get())
		assert.same({ true, 6 }, { pool.group():with(function(g)
			local f = g:async(function(a, b) return a * b end, 2, 3)
			return g:await(), f:await()
		end) })
	end)

	it("with, in a task that is cancelled inside", function()
		local up, never = pool.semaphore(0), pool.event()
		local f = pool.async(function(u, e, fn)
			require "lua-pool".group():with(function(g)
				g:go(fn, u, e)
				g:await()
			end)
		end, up, never, stays)
		up:acquire()
		assert.is_true(f:cancel())
	end)

	if both.has_close then
		it("<close> cancels and waits; leaving by an error waits for all", function()
			both.chunk([[
				local pool, stays, raises = ...
				local up, never = pool.semaphore(0), pool.event()
				local kept
				do
					local g <close> = pool.group()
					kept = g
					g:go(stays, up, never)
					up:acquire()
				end
				assert(kept:count() == 0)
				assert(raises(function()
					local g <close> = pool.group()
					kept = g
					for _ = 1, 4 do g:go(stays, up, never) end
					up:acquire()
					error("mine", 0)
				end) == "mine")
				assert(kept:count() == 0)
				-- The error of a member, raised by await, leaves the scope.
				assert(raises(function()
					local g <close> = pool.group()
					kept = g
					g:go(stays, up, never)
					g:go(function() error("theirs", 0) end)
					g:await()
				end) == "theirs")
				assert(kept:count() == 0)
			]], pool, stays, raises)
		end)

		it("<close> in a task that is cancelled: the members end with it", function()
			local up, never, ended = pool.semaphore(0), pool.event(), pool.counter()
			local f = pool.async(function(u, e, c, text)
				load(text)(u, e, c)
			end, up, never, ended, [[
				local u, e, c = ...
				local g <close> = require "lua-pool".group()
				for _ = 1, 3 do
					g:go(function(u1, e1, c1)
						local mark <close> = setmetatable({}, { __close = function() c1:add() end })
						u1:release()
						e1:wait()
					end, u, e, c)
				end
				e:wait()
			]])
			for _ = 1, 3 do up:acquire() end
			assert.is_true(f:cancel())
			assert.equal(3, ended:get())
		end)
	end
end)

describe("options of a group", function()
	it("ids: the worker's id comes first, and no two that run at once have the same", function()
		local p = pool.new { workers = 4 }
		local g = p:group { ids = true }
		local busy, clash = {}, pool.counter()
		for i = 1, pool.id_count() do busy[i] = false end
		local flags = {}
		for i = 1, 16 do flags[i] = pool.counter() end
		local fs = {}
		for i = 1, 200 do
			fs[i] = g:async(function(id, a, b, list, c)
				local here = require "lua-pool"
				assert(id == here.worker_id() and a == "a" and b == nil)
				local flag = list[(id - 1) % 16 + 1]
				if flag:add() ~= 1 then c:add() end
				flag:add(-1)
				return id
			end, "a", nil, flags, clash)
		end
		assert.is_true(g:await())
		for i = 1, 200 do
			local id = fs[i]:await()
			assert.is_true(id >= 1 and id < pool.id_count())
		end
		assert.equal(0, clash:get())
		p:close()
	end)

	it("limit: so many run at once and no more, in order, and all of them", function()
		for _, workers in ipairs { 0, 1, 4 } do
			for _, limit in ipairs { 1, 3 } do
				local p = pool.new { workers = workers }
				local g = p:group { limit = limit }
				local inside, most, order = pool.counter(), pool.counter(), pool.channel(math.huge)
				for i = 1, 100 do
					g:go(function(n, m, o, k)
						local now = n:add()
						local before = m:get()
						while now > before and not m:cas(before, now) do before = m:get() end
						o:send(k)
						n:add(-1)
					end, inside, most, order, i)
				end
				assert.is_true(g:await())
				assert.is_true(most:get() <= limit)
				assert.equal(100, #order)
				if limit == 1 then
					for i = 1, 100 do assert.equal(i, (order:receive())) end
				end
				p:close()
			end
		end
	end)

	it("limit: members that add members; one that is held back can be cancelled", function()
		local g, n, up, go = pool.group { limit = 1 }, pool.counter(), pool.semaphore(0), pool.event()
		g:go(stays, up, go)
		up:acquire()
		local held, dropped = {}, {}
		for i = 1, 20 do
			held[i] = g:async(function(group, c)
				c:add()
				group:go(function(c1) c1:add() end, c)
			end, g, n)
			dropped[i] = g:async(function(c) c:add(1000) end, n)
		end
		assert.equal("pending", held[1]:status())
		for i = 1, 20 do assert.is_true(dropped[i]:cancel()) end
		assert.equal(21, g:count())
		assert.is_true(proc.eventually(function() return pool.stats().queued == 0 end))
		go:set()
		assert.is_true(g:await())
		assert.equal(40, n:get())
	end)

	it("limit: what is held back runs before a pool closes", function()
		local p = pool.new { workers = 2 }
		local g, n = p:group { limit = 1 }, pool.counter()
		for _ = 1, 50 do g:go(function(c) c:add() end, n) end
		assert.is_true(p:close())
		assert.equal(50, n:get())
		assert.error_matches(function() g:go(print) end, "is closed")
		assert.is_true(g:await())
	end)

	it("limit and queue_limit: neither waits for the other", function()
		local p = pool.new { workers = 1, queue_limit = 2 }
		local g, n = p:group { limit = 1 }, pool.counter()
		for _ = 1, 100 do g:go(function(c) c:add() end, n) end
		assert.is_true(g:await())
		assert.equal(100, n:get())
		p:close()
	end)
end)

describe("groups", function()
	it("do not pile up, however they end", function()
		local function round()
			for i = 1, 300 do
				local g = pool.group { limit = i % 3 == 0 and 1 or nil }
				for k = 1, 4 do g:go(function(a, b) if a % 5 == 0 and b == 2 then error("x", 0) end end, i, k) end
				if i % 2 == 0 then pcall(g.await, g) end
				if i % 7 == 0 then g:cancel() end
				pcall(g.await, g)
			end
			both.collect()
		end
		for _ = 1, 3 do round() end
		local before = proc.rss()
		for _ = 1, scale(30) do round() end
		if os.getenv "LUA_POOL_SANITIZER" then return end -- a sanitizer's own memory grows with what it has seen
		assert.is_true(proc.rss() - before < 3e6, ("%d bytes more"):format(proc.rss() - before))
	end)

	it("adding, failing, cancelling, awaiting all at once: everything ends, nothing is lost", function()
		for seed = 1, scale(60, 10) do
			local p = pool.new { workers = 1 + seed % 3, max_threads = 8, on_error = false }
			local g = p:group(seed % 2 == 0 and { limit = 1 + seed % 4 } or nil)
			local began, ended = pool.counter(), pool.counter()
			local helpers = {}
			for h = 1, 3 do
				helpers[h] = pool.async(function(group, b, e, s)
					local x = s
					for _ = 1, 60 do
						x = (x * 16807) % 2147483647
						if x % 50 == 0 then
							group:cancel(0)
						else
							local f = group:async(function(b1, e1, y)
								b1:add()
								if y % 40 == 1 then
									e1:add()
									error("failed", 0)
								end
								e1:add()
							end, b, e, x)
							if x % 9 == 0 then f:cancel(0) end
							if x % 11 == 0 then f:wait() end
							if x % 13 == 0 then pcall(group.await, group, 0.0005) end
						end
					end
				end, g, began, ended, seed * 7919 + h)
			end
			for h = 1, 3 do helpers[h]:await() end
			local ok, err = pcall(g.await, g, 20)
			assert.is_true(ok or err == "failed" or err == pool.CANCELLED, tostring(err))
			assert.equal(0, g:count())
			assert.is_true(proc.eventually(function() return p:stats().queued == 0 end))
			assert.is_true(p:close(20))
			assert.is_true(ended:get() <= began:get())
		end
	end)
end)
