-- A task that does not react is given up, and the pool goes on without its thread: nothing waits for it, until it comes back.
local describe, it, assert, before_each, after_each = describe, it, assert, before_each, after_each
local pool = require "lua-pool"
local both = require "spec.support.both"
local child = require "spec.support.child"
local scale = require "spec.support.scale"
local stuck = require "spec.support.stuck"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local TSAN = os.getenv "LUA_POOL_SANITIZER" == "thread" -- it delivers no signal while uninstrumented code loops

local function seven() return 7 end

for _, workers in ipairs { 1, 3 } do
	describe("a pool of " .. workers .. " whose threads are all stuck", function()
		local p, gate, heard
		before_each(function()
			gate, heard = stuck.gate(), pool.channel(math.huge)
			local h = heard
			p = pool.new { workers = workers, max_threads = workers, cancel_grace = 0.03, name = "stuck",
				on_error = function(err) h:send(err) end }
		end)
		after_each(function()
			p:cancel_all()
			assert.is_true(p:close(20))
		end)

		local function fill()
			local fs = {}
			for i = 1, workers do fs[i] = p:async(stuck.task, gate) end
			stuck.wait_inside(gate, workers)
			return fs
		end

		local function let_go(n)
			local left = p:stats().stuck - (n or workers)
			for _ = 1, n or workers do stuck.come_back(gate) end
			while p:stats().stuck > left do pool.sleep(0.001) end
		end

		it("by tasks that are cancelled: cancel says true, who awaits hears it, the rest runs", function()
			local fs = fill()
			local others = {}
			for i = 1, workers do
				others[i] = pool.async(function(f)
					local ok, err = f:pawait()
					return ok, err == require "lua-pool".CANCELLED, f:status()
				end, fs[i])
			end
			local queued = p:async(seven)
			for i = 1, workers do assert.is_true(fs[i]:cancel(20)) end
			assert.equal(7, queued:await())
			for i = 1, workers do
				assert.same({ false, true, "cancelled" }, { others[i]:await() })
				assert.same({ true }, { fs[i]:cancel() })
			end
			assert.same({ workers, workers, workers }, { p:stats().abandoned, p:stats().stuck, p:stats().cancelled })
			for _ = 1, workers do
				assert.matches("async at .-stuck_threads_spec.lua:%d+.* does not react, and was cancelled: it is abandoned", heard:receive(20))
			end
			let_go()
			-- What they return is thrown away; their threads are used again.
			for i = 1, workers do assert.equal("cancelled", fs[i]:status()) end
			assert.equal(7, p:async(seven):await())
			assert.same({ nil, "timeout" }, { heard:receive(0) })
			assert.same({ workers, 0, workers }, { p:stats().abandoned, p:stats().stuck, p:stats().cancelled })
		end)

		it("is closed without waiting for them, and they end by themselves", function()
			local fs = fill()
			for i = 1, workers do fs[i]:cancel(0) end
			p:go(seven)
			assert.is_true(p:close(20))
			for i = 1, workers do assert.equal("cancelled", fs[i]:status()) end
			assert.equal(workers, p:stats().stuck)
			let_go()
			assert.error_matches(function() p:async(seven) end, "is closed")
		end)

		it("has as many others in their places, and then says in every error by what it is stuck", function()
			local first = fill()
			for i = 1, workers do assert.is_true(first[i]:cancel(20)) end
			local second = fill()
			local queued, group = p:async(seven), p:group()
			group:go(seven)
			for i = 1, workers do assert.is_true(second[i]:cancel(20)) end
			local ok, err = queued:pawait(20)
			assert.is_false(ok)
			local why = ("pool 'stuck' is stuck: its %d threads?, and the %d in whose place they came, are in calls that do not come back:" ..
				"\n\ttask .-%%(async at .-stuck_threads_spec.lua"):format(workers, workers)
			assert.matches(why, err)
			assert.matches(why, queued:traceback())
			assert.error_matches(function() group:await(20) end, "is stuck")
			assert.error_matches(function() p:async(seven) end, why)
			assert.error_matches(function() p:go(seven) end, why)
			assert.error_matches(function() p:map(seven, 3) end, "is stuck")
			assert.equal(2 * workers, p:stats().stuck)
			let_go(1)
			-- One that came back takes work again, whether its place was taken or not.
			while true do
				local submitted, f = pcall(p.async, p, seven)
				if submitted then
					local ran, x = f:pawait(20)
					if ran then assert.equal(7, x) break end
				end
				pool.sleep(0.001)
			end
			let_go(2 * workers - 1)
			assert.equal(7, p:async(seven):await())
		end)
	end)
end

describe("a task that does not react", function()
	local p, gate
	before_each(function()
		gate = stuck.gate()
		p = pool.new { workers = 1, cancel_grace = 0.03, name = "stuck", on_error = false }
	end)
	after_each(function()
		p:cancel_all()
		assert.is_true(p:close(20))
	end)

	it("when its time is up (task_timeout): who awaits it gets TIMEOUT", function()
		local q = pool.new { workers = 1, cancel_grace = 0.03, task_timeout = 0.02, on_error = false }
		local f = q:async(stuck.task, gate)
		local other = pool.async(function(g) local _, err = g:pawait() return err == require "lua-pool".TIMEOUT end, f)
		local queued = q:async(seven)
		local ok, err = f:pawait(20)
		assert.is_false(ok)
		assert.is_true(err == pool.TIMEOUT)
		assert.equal("failed", f:status())
		assert.same({ false, "failed" }, { f:cancel(20) })
		assert.matches("did not react when its time was up.*async called at .-stuck_threads_spec", f:traceback())
		assert.is_true(other:await())
		assert.equal(7, queued:await())
		assert.same({ 1, 1 }, { q:stats().abandoned, q:stats().failed })
		local g = q:group()
		local gate2 = stuck.gate()
		g:async(stuck.task, gate2)
		local mapped = pool.async(function(pl, gt, t) return pcall(pl.map, pl, t, { gt }) end, q, stuck.gate(), stuck.task)
		ok, err = pcall(g.await, g, 20)
		assert.is_false(ok)
		assert.is_true(err == pool.TIMEOUT or tostring(err):find "is stuck" ~= nil)
		assert.is_false((mapped:await()))
		stuck.come_back(gate)
		stuck.come_back(gate2)
		q:cancel_all()
		assert.is_true(q:close(20))
	end)

	it("in a deadline: the task fails with TIMEOUT", function()
		local f = p:async(function(task, g) require "lua-pool".deadline(0.01, task, g) end, stuck.task, gate)
		local ok, err = f:pawait(20)
		assert.is_false(ok)
		assert.is_true(err == pool.TIMEOUT)
		stuck.come_back(gate)
	end)

	it("loses what it has locked to others, who are told; when it comes back its clean-up runs, and unlocking raises", function()
		local m, rw, guarded, log = pool.mutex(), pool.rwlock(), pool.mutex(), pool.channel(10)
		local f = p:async(function(m1, rw1, m2, l, task, g)
			local lib = require "lua-pool"
			lib.scope(function(s)
				s:defer(function()
					local ok1, err1 = pcall(m1.unlock, m1)
					local ok2, err2 = pcall(rw1.unlock, rw1)
					l:send(ok1, err1, ok2, err2)
					local own = lib.mutex()
					own:lock()
					own:unlock()
					lib.sleep(0.001)
					l:send(lib.async(function() return "of the clean-up" end):await())
				end)
				s:add(m2:guard())
				m1:lock()
				rw1:write_lock()
				task(g)
			end)
		end, m, rw, guarded, log, stuck.task, gate)
		stuck.wait_inside(gate)
		local waits = pool.async(function(x) return select(2, x:lock(20)) end, m)
		assert.is_true(f:cancel(20))
		assert.equal("abandoned", waits:await())
		assert.same({ true, "abandoned" }, { guarded:lock(20) })
		assert.same({ true, "abandoned" }, { rw:read_lock(20) })
		stuck.come_back(gate)
		local ok1, err1, ok2, err2 = log:receive(20)
		assert.is_false(ok1)
		assert.matches("not locked", err1)
		assert.is_false(ok2)
		assert.matches("has not locked", err2)
		assert.equal("of the clean-up", log:receive(20))
		guarded:unlock() -- its guard did not
		rw:unlock()
	end)

	it("in a shield is waited for, however long: the grace runs from the delivery", function()
		local after = pool.channel(2)
		local f = p:async(function(task, g, a)
			local lib = require "lua-pool"
			lib.shield(function() task(g) a:send "shielded" end)
			a:send "not here"
		end, stuck.task, gate, after)
		stuck.wait_inside(gate)
		assert.same({ nil, "timeout" }, { f:cancel(0.3) })
		assert.same({ "running", 0 }, { f:status(), p:stats().abandoned })
		stuck.come_back(gate)
		assert.is_true(f:cancel(20))
		assert.same({ "shielded", nil, 0 }, { after:receive(0), (after:try_receive()), p:stats().abandoned })
	end)

	it("in its clean-up is given up after its grace, and told at every point when it comes back", function()
		local log = pool.channel(5)
		local f = p:async(function(task, g, l)
			local lib = require "lua-pool"
			lib.scope(function(s)
				s:defer(function() lib.check_cancel() l:send "not here" end)
				s:defer(function() l:send "clean-up" task(g) end)
				l:send "up"
				lib.event():wait(1000)
			end)
		end, stuck.task, gate, log)
		assert.equal("up", log:receive(20))
		f:cancel(0)
		stuck.wait_inside(gate)
		assert.is_true(f:cancel(20))
		assert.same({ "clean-up", 1 }, { log:receive(0), p:stats().abandoned })
		stuck.come_back(gate)
		while p:stats().stuck > 0 do pool.sleep(0.001) end
		assert.is_nil((log:try_receive()))
	end)

	it("on top of the tasks that await it is given up with them, or alone", function()
		local log = pool.channel(5)
		local function parent(task, g, l)
			local lib = require "lua-pool"
			local kid = lib.async(function(t, g1)
				return require "lua-pool".async(t, g1):await()
			end, task, g)
			l:send(kid)
			local ok, err = kid:pawait()
			l:send(ok, err == lib.CANCELLED)
			return "parent"
		end
		local f = p:async(parent, stuck.task, gate, log)
		stuck.wait_inside(gate)
		local kid = log:receive(20)
		assert.is_true(f:cancel(20))
		assert.is_true(kid:cancel(20))
		assert.equal(3, p:stats().abandoned)
		assert.equal(7, p:async(seven):await())
		stuck.come_back(gate)
		while p:stats().stuck > 0 do pool.sleep(0.001) end
		assert.is_nil((log:try_receive()))

		f = p:async(parent, stuck.task, gate, log)
		stuck.wait_inside(gate)
		kid = log:receive(20)
		assert.is_true(kid:cancel(20))
		assert.equal("running", f:status())
		assert.equal(7, p:async(seven):await())
		stuck.come_back(gate)
		assert.equal("parent", f:await(20))
		assert.same({ false, true }, { log:receive(0) })
		assert.same({ 5, 0 }, { p:stats().abandoned, p:stats().stuck })
	end)

	it("is awaited by a sibling in a group that is cancelled: nothing waits for it", function()
		local g = p:group()
		g:async(stuck.task, gate)
		stuck.wait_inside(gate)
		assert.is_true(g:cancel(20))
		assert.equal(0, g:count())
		assert.error_matches(function() g:await(20) end, "cancelled")
		stuck.come_back(gate)
	end)

	it("is in the report, and no part of a pool that waits for itself", function()
		local f = p:async(stuck.task, gate)
		stuck.wait_inside(gate)
		assert.is_true(f:cancel(20))
		local text = pool.report()
		assert.matches("stuck_threads_spec.lua:%d+%) on worker %d+ of pool 'stuck' was abandoned: it does not react", text)
		stuck.come_back(gate)
	end)

	it("may come back at any moment of its giving up", function()
		if TSAN then return end
		local q = pool.new { workers = 2, cancel_grace = 0.001, on_error = false }
		local m = pool.mutex()
		for i = 1, scale(24, 5) do
			local g = stuck.gate()
			local f = q:async(function(lock, task, gt) lock:lock() task(gt) lock:unlock() end, m, stuck.task, g)
			stuck.wait_inside(g)
			f:cancel(0)
			pool.sleep(0.1 + (i % 20 - 10) * 2e-4)
			stuck.come_back(g)
			assert.is_true(f:wait(20))
			assert.equal("cancelled", f:status())
			assert.is_true(m:lock(20))
			m:unlock()
			for _, fd in pairs(g) do require "sys".close(fd) end
		end
		while q:stats().stuck > 0 do pool.sleep(0.001) end
		for _ = 1, 10 do assert.equal(7, q:async(seven):await()) end
		assert.is_true(q:close(20))
	end)
end)

describe("a program with stuck threads", function()
	local preamble = [[
		local stuck = require "spec.support.stuck"
		local p = pool.new { workers = 2, cancel_grace = 0.02, exit_timeout = 0.1 }
		local gate = stuck.gate()
		local f, g = p:async(stuck.task, gate), p:async(stuck.task, gate)
		stuck.wait_inside(gate, 2)
	]]
	local function run(script) return child.run(preamble .. script, { limit = 20 }) end

	it("says so once for each, where they were started, and ends", function()
		local r = run [[
			print(f:cancel(), g:cancel(), p:async(function() return 7 end):await())
			p:close()
			print "closed"
		]]
		assert.same({ 0, "true\ttrue\t7\nclosed\n" }, { r.status, r.out })
		local said = "lua%-pool: a task failed: task [^\n]-%.lua:%d+%) on worker %d+ of pool 'lua%-pool' does not react"
		assert.equal(2, select(2, r.err:gsub(said, "")), r.err)
	end)

	it("ends by os.exit in a task", function()
		local r = run [[
			f:cancel() g:cancel()
			p:async(function() os.exit(3) end):await()
		]]
		assert.equal(3, r.status)
	end)

	it("ends though they come back while it does", function()
		local r = run [[
			f:cancel() g:cancel()
			p:close()
			stuck.come_back(gate)
			stuck.come_back(gate)
		]]
		assert.equal(0, r.status)
	end)

	it("ends though one that was given up calls os.exit itself", function()
		local r = run [[
			f:cancel() g:cancel()
			stuck.come_back(gate)
			pool.sleep(0.01)
			os.exit(0, true)
		]]
		assert.equal(0, r.status)
	end)

	it("ends with detached ones", function()
		local r = run [[
			p:go(stuck.task, gate)
			p:resize(3)
			stuck.wait_inside(gate)
			p:cancel_all()
			p:close()
			print "closed"
		]]
		assert.same({ 0, "closed\n" }, { r.status, r.out })
	end)

	if child.may_fork then
		it("forks: the child's pool has no stuck threads", function()
			local r = run [[
				f:cancel() g:cancel()
				local sys = require "sys"
				local pid = sys.fork()
				if pid == 0 then
					local x = p:async(function() return 7 end):await()
					sys._exit(x == 7 and p:stats().stuck == 0 and 5 or 6)
				end
				print(sys.wait(pid))
			]]
			assert.same({ 0, "5\n" }, { r.status, r.out })
		end)
	end

	if both.jit then
		it("in loops that LuaJIT has compiled goes on", function()
			local r = child.run([[
				local p = pool.new { workers = 1, cancel_grace = 0.02, on_error = function(e) print((e:match "does not react")) end }
				local up = pool.event()
				local function spin(u)
					local n = 0
					for i = 1, 1e5 do n = n + i end
					u:set()
					while n > 0 do n = n + 1 end
				end
				local f = p:async(spin, up)
				up:wait()
				pool.sleep(0.01) -- it is in machine code by then, or else stops
				local h = p:async(function() return 7 end)
				print(f:cancel(), f:status(), h:await())
				local q = pool.new { workers = 1, cancel_grace = 0.02, task_timeout = 0.05 , on_error = false }
				local t = q:async(spin, up)
				local _, err = t:pawait()
				print(err == pool.TIMEOUT, t:status(), q:async(function() return 8 end):await())
				p:close() q:close()
			]], { limit = 20 })
			assert.equal(0, r.status, r.err)
			assert.matches("true\tcancelled\t7\n", r.out)
			assert.matches("true\tfailed\t8\n", r.out)
		end)
	end
end)
