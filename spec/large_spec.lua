-- Large values: strings that stay with their sender until a task takes them, results that futures hold.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local both = require "spec.support.both"
local child = require "spec.support.child"
local proc = require "spec.support.proc"
local scale = require "spec.support.scale"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end

local MIB = 1024 * 1024
-- A sanitizer keeps what was freed for a while, to find late uses.
local kept = os.getenv "LUA_POOL_SANITIZER" and 300 * MIB or 0

-- A large string that tells its bytes apart.
local function large(seed, n)
	local part = {}
	for i = 0, 255 do part[#part + 1] = string.char((i * 7 + seed) % 256) end
	return table.concat(part):rep(math.floor(n / 256))
end

-- Compares in the worker and answers the length; the worker makes its own.
local function check(make, seed, n, s)
	return s == make(seed, n) and #s or -1
end

describe("a large string", function()
	it("arrives byte for byte, of any size around the border", function()
		for _, n in ipairs { 32767, 32768, 32769, 65536, 10 ^ 6, 4 * MIB } do
			local s = large(5, n + 256):sub(1, n)
			assert.equal(n, pool.async(function(text) return #text end, s):await())
			assert.is_true(pool.async(function(text) return text end, s):await() == s)
		end
		for seed = 1, 20 do
			assert.equal(MIB, pool.async(check, large, seed, MIB, large(seed, MIB)):await())
		end
	end)

	it("arrives as often as it was sent: in one call, in tables, as upvalue, to many tasks", function()
		local s = large(3, math.floor(MIB / 4))
		assert.equal(5 * MIB / 4, pool.async(function(a, t, b)
			return #a + #t[1] + #t.x + #b + #s
		end, s, { s, x = s }, s):await())
		local futures = {}
		for i = 1, 50 do futures[i] = pool.async(check, large, 3, math.floor(MIB / 4), s) end
		for i = 1, 50 do assert.equal(MIB / 4, futures[i]:await()) end
	end)

	it("is kept by nobody once its task has it", function()
		local function size(s) return #s end
		pool.async(size, large(1, MIB)):await()
		both.collect()
		local before, most = proc.rss(), 0
		for i = 1, scale(200) do
			assert.equal(MIB, pool.async(size, large(i, MIB)):await())
			most = math.max(most, proc.rss())
		end
		assert.is_true(most - before < 60 * MIB + kept, most - before)
		pool.async(size, "x"):await() -- a call of ours lets the last ones go
		both.collect()
		assert.is_true(collectgarbage "count" < 20 * 1024, collectgarbage "count")
	end)

	it("of a call that was refused, or cancelled before it ran, is let go", function()
		local p = pool.new { workers = 1, max_threads = 1 }
		local up, go = pool.event(), pool.event()
		local first = p:async(function(u, g) u:set() g:wait() end, up, go)
		up:wait()
		for i = 1, 40 do
			assert.is_false((pcall(p.async, p, print, large(i, MIB), coroutine.create(print))))
			local f = p:async(print, large(i, MIB))
			assert.is_true(f:cancel())
		end
		go:set()
		first:await()
		p:close()
		pool.async(print):wait()
		both.collect()
		assert.is_true(collectgarbage "count" < 20 * 1024, collectgarbage "count")
	end)

	it("is intact in a task that outlives the state that sent it", function()
		local told = child.told([[
			pool.configure { workers = 2, exit_timeout = 20 }
			local last, up = pool.event(), pool.event()
			for i = 1, 6 do -- four of them are still queued when the state closes
				pool.go(function(s, i, g, u)
					u:set()
					pool.sleep(0.02)
					io.write(s == ("abcdefg" .. i):rep(100000) and "same " or "OTHER ")
				end, ("abcdefg" .. i):rep(100000), i, last, up)
			end
			up:wait()
		]])
		assert.equal("0|" .. ("same "):rep(6) .. "|", told)
	end)
end)

describe("large results", function()
	it("that nobody takes do not pile up", function()
		local function make(n) return ("x"):rep(n) end
		pool.async(make, MIB):wait()
		both.collect()
		local before = proc.rss()
		for _ = 1, scale(400) do pool.async(make, MIB):wait() end
		local grown = proc.rss() - before
		assert.is_true(grown < 100 * MIB + kept, grown)
	end)

	it("leave a collector that the program has stopped alone", function()
		collectgarbage()
		collectgarbage "stop"
		local seen = setmetatable({}, { __mode = "k" })
		seen[{}] = true
		for _ = 1, 20 do pool.async(string.rep, "x", MIB):wait() end
		local alive = next(seen) ~= nil
		collectgarbage "restart"
		assert.is_true(alive)
	end)
end)

describe("a worker that only loads code", function()
	it("does not grow", function()
		local p = pool.new { workers = 1 }
		p:async(print):wait()
		-- Another function each time, so that each is loaded; nothing else in the task makes garbage.
		local before = p:async(function() return collectgarbage "count" end):await()
		local body = ("local a = 1 "):rep(100)
		for i = 1, scale(3000) do
			p:async(load or loadstring, "return 1", "=x"):await()
			local f = assert((loadstring or load)("local up = ... " .. body .. " return function() return up, " .. i .. " end"))(i)
			p:async(f):wait()
		end
		local after = p:async(function() return collectgarbage "count" end):await()
		p:close()
		assert.is_true(after - before < 12 * 1024, after - before)
	end)
end)
