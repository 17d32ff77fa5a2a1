-- Cancellation aimed at the worst moments: just before a system call, and at the end of a task.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local sys = require "sys"
local cancelling = require "spec.support.cancelling"
local scale = require "spec.support.scale"
local scratch = require "spec.support.scratch"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local TSAN = os.getenv "LUA_POOL_SANITIZER" == "thread" -- it delivers no signal while uninstrumented code loops

describe("a signal that comes just before a system call", function()
	it("is sent again: none of 10,000 cancellations is lost", function()
		if TSAN then return end
		local AT_ONCE = 8
		local p = pool.new { workers = AT_ONCE, name = "before" }
		local nobody_writes = sys.pipe()
		local fs = {}
		for _ = 1, scale(10000 / AT_ONCE, 20) do
			local up = pool.barrier(AT_ONCE + 1)
			for i = 1, AT_ONCE do
				fs[i] = p:async(function(b, fd)
					local s = require "sys"
					b:wait()
					-- The handler runs in this call, and then it reads: only another signal can end that.
					s.read_after_signal(fd)
				end, up, nobody_writes)
			end
			up:wait()
			for i = 1, AT_ONCE do fs[i]:cancel(0) end
			for i = 1, AT_ONCE do assert.is_true(fs[i]:cancel(20)) end
		end
		assert.is_true(p:close(20))
	end)
end)

-- Cancels a task as it ends, n times; then next_task(i) -> a future of the task that follows on the same worker.
-- The aim is corrected after each shot, so that about half of them come too late.
local function at_the_end(n, next_task, check)
	local p = pool.new { workers = 1, max_threads = 1, name = "after" }
	local length, hits = 2000, 0
	for i = 1, n do
		local up = pool.counter()
		local f = p:async(function(u, k)
			u:set(1)
			for _ = 1, k do end
			return "result"
		end, up, math.floor(length))
		local g = next_task(p, i)
		while up:get() == 0 do end -- luacheck: ignore
		cancelling.spin(math.random() * 10e-6)
		local cancelled, status = f:cancel()
		-- What it says is how it ended.
		assert.equal(f:status(), cancelled and "cancelled" or status)
		local ok, value = f:pawait()
		assert.equal(not cancelled, ok)
		assert.is_true(value == (cancelled and pool.CANCELLED or "result"))
		if cancelled then hits = hits + 1 end
		length = cancelled and length / 1.05 or math.min(length * 1.05, 1e6)
		check(g, i)
	end
	assert.is_true(p:close(20))
	return hits
end

describe("a cancellation that comes as the task ends", function()
	it("interrupts no system call of the next one, 10,000 times", function()
		local from, to = sys.pipe()
		local n = scale(10000, 200)
		local hits = at_the_end(n, function(p)
			return p:async(function(r, w)
				local s = require "sys"
				s.write_later(w, 60)
				return s.read(r)
			end, from, to)
		end, function(g)
			local text, err = g:await()
			assert.equal("x", text, err)
		end)
		assert.is_true(hits > n / 20 and hits < n * 19 / 20, hits .. " of " .. n .. " came in time")
	end)

	it("nor io.read of a pipe or io.popen", function()
		local from, to = sys.pipe()
		at_the_end(scale(400, 20), function(p, i)
			return p:async(function(r, w, popen)
				if popen then return io.popen("sleep 0.002; echo x"):read "*a" end
				require "sys".write_later(w, 200)
				return io.open("/proc/self/fd/" .. r):read(1) .. "\n"
			end, from, to, i % 4 == 0)
		end, function(g) assert.equal("x\n", g:await()) end)
	end)

	-- SQLite writes through a journal, with locks and syncs: an EINTR in the middle would be an error or a lost row.
	it("nor a database", function()
		local dir = scratch.folder()
		local n = scale(300, 20)
		at_the_end(n, function(p, i)
			return p:async(function(path, k)
				local environment = require "luasql.sqlite3".sqlite3()
				local db = assert(environment:connect(path))
				assert(db:execute "create table if not exists t (k integer primary key, v text)")
				assert(db:execute(("insert into t values (%d, 'x')"):format(k)))
				local cursor = assert(db:execute "select count(*), max(k) from t")
				local count, max = cursor:fetch()
				cursor:close()
				db:close()
				environment:close()
				return ("%d %d"):format(count, max)
			end, dir .. "/rows.db", i)
		end, function(g, i) assert.equal(("%d %d"):format(i, i), g:await()) end)
		scratch.remove(dir)
	end)

	it("leaves nothing that the next task could see", function()
		at_the_end(scale(2000, 100), function(p) return p:async(cancelling.traces) end,
			function(g) assert.equal("nothing", g:await()) end)
	end)
end)
