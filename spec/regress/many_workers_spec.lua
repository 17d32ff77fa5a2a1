-- More workers live at once than 1,024, each with an id of its own; and what resize makes of threads that are parked.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local both = require "spec.support.both"
local scale = require "spec.support.scale"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

describe("worker ids", function()
	it("are enough for 1,100 threads, and no two have the same", function()
		assert.is_true(pool.id_count() >= 16385)
		local n = 2 * scale(550)
		local stack = both.jit and 4 * 2 ^ 20 or 2 ^ 20
		local pools = {}
		for i = 1, 2 do pools[i] = pool.new { workers = n / 2, max_threads = n / 2, stack_size = stack } end
		local here, go, fs = pool.semaphore(0), pool.event(), {}
		for i = 1, n do
			fs[i] = pools[i % 2 + 1]:async(function(h, g)
				local lib = require "lua-pool"
				h:release()
				g:wait()
				return lib.worker_id(), lib.id_count()
			end, here, go)
		end
		for _ = 1, n do assert.is_true(here:acquire(60)) end
		go:set()
		local seen = {}
		for i = 1, n do
			local id, count = fs[i]:await(60)
			assert.equal(pool.id_count(), count)
			assert.is_true(id >= 1 and id < count and id == math.floor(id))
			assert.is_nil(seen[id])
			seen[id] = true
		end
		for i = 1, 2 do assert.is_true(pools[i]:close(60)) end
	end)
end)

describe("resize", function()
	it("lets threads go that are parked and were not surplus before", function()
		local p = pool.new { workers = 4 }
		local here, go, fs = pool.semaphore(0), pool.event(), {}
		for i = 1, 4 do fs[i] = p:async(function(h, g) h:release() g:wait() end, here, go) end
		for _ = 1, 4 do assert.is_true(here:acquire(20)) end
		go:set()
		for i = 1, 4 do fs[i]:await(20) end
		local till = pool.now() + 30
		while p:stats().idle < 4 and pool.now() < till do pool.sleep(0.001) end
		p:resize(1)
		while p:stats().threads > 1 and pool.now() < till do pool.sleep(0.01) end
		assert.equal(1, p:stats().threads)
		assert.equal(7, p:async(function() return 7 end):await(20))
		p:close()
	end)

	it("goes with reports, submissions and waits of others", function()
		local p, q = pool.new { workers = 2, max_threads = 8 }, pool.new { workers = 3 }
		local stop = pool.event()
		local resizes = q:async(function(pp, s)
			local n = 0
			while not s:is_set() do
				n = n + 1
				pp:resize(1 + n % 4)
			end
			return n
		end, p, stop)
		local reports = q:async(function(s)
			local lib, n = require "lua-pool", 0
			while not s:is_set() do
				n = n + 1
				assert(type(lib.report()) == "string")
			end
			return n
		end, stop)
		local function down(n, fn)
			if n == 0 then return 0 end
			return 1 + require "lua-pool".async(fn, n - 1, fn):await()
		end
		for _ = 1, scale(300, 20) do
			local fs = {}
			for k = 1, 6 do fs[k] = p:async(down, 5, down) end
			for k = 1, 6 do assert.equal(5, fs[k]:await(60)) end
		end
		stop:set()
		assert.is_true(resizes:await(20) > 0)
		assert.is_true(reports:await(20) > 0)
		assert.is_true(p:close(20))
		assert.is_true(q:close(20))
	end)
end)
