-- What a task does about its end: errors of clean-up, coroutines, scopes that are left at the wrong moment.
local describe, it, assert, setup, teardown = describe, it, assert, setup, teardown
local pool = require "lua-pool"
local scale = require "spec.support.scale"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local is54 = _VERSION == "Lua 5.4"
local TSAN = os.getenv "LUA_POOL_SANITIZER" == "thread" -- it delivers no signal while uninstrumented code loops

describe("a task that is told to end", function()
	local p
	setup(function() p = pool.new { workers = 2, name = "cleanup", jit = jit and "checked" or nil } end)
	teardown(function() p:cancel_all() assert.is_true(p:close(20)) end)

	it("is not kept by a pcall that catches an error of its clean-up", function()
		if not is54 then return end
		local up, went_on = pool.event(), pool.event()
		local f = p:async(load [[
			local up, went_on = ...
			local pool = require "lua-pool"
			local function work()
				local c <close> = setmetatable({}, {__close = function()
					assert(not pcall(error, "caught as ever"))
					error "of the clean-up"
				end})
				up:set()
				pool.event():wait()
			end
			pcall(pcall, work)
			coroutine.wrap(function() pcall(work) end)()
			went_on:set()]], up, went_on)
		up:wait()
		assert.same({ false, "failed" }, { f:cancel(20) })
		local ok, err = f:pawait()
		assert.is_false(ok)
		assert.matches("of the clean%-up", err)
		assert.is_false(went_on:is_set())
	end)

	it("closes the coroutines that its end goes through, inner ones first", function()
		if not is54 then return end
		local up, ch = pool.event(), pool.channel(10)
		local f = p:async(load [[
			local up, ch = ...
			local pool = require "lua-pool"
			local function closer(name) return setmetatable({}, {__close = function() ch:send(name) end}) end
			local a <close> = closer "task"
			coroutine.resume(coroutine.create(function()
				local b <close> = closer "resumed"
				coroutine.wrap(function()
					local c <close> = closer "wrapped"
					up:set()
					pool.event():wait()
				end)()
			end))]], up, ch)
		up:wait()
		assert.is_true(f:cancel(20))
		assert.same({ "wrapped", "resumed", "task" }, { ch:receive(0), ch:receive(0), ch:receive(0) })
	end)

	it("keeps the debug hook that the state had", function()
		local one = pool.new { workers = 1, jit = jit and "checked" or nil, init = function()
			debug.sethook(function() end, "", 1000003)
		end }
		for _ = 1, TSAN and 0 or 5 do
			local up = pool.event()
			local f = one:async(function(u) u:set() while true do end end, up)
			up:wait()
			assert.is_true(f:cancel(20))
			local has, mask, count = one:async(function()
				local hook, m, c = debug.gethook()
				return hook ~= nil, m, c
			end):await()
			assert.same({ true, "", 1000003 }, { has, mask, count })
		end
		one:close()
	end)

	it("loads what it was loading: require is shielded", function()
		local loading, go = pool.event(), pool.event()
		package.preload["cut.off"] = function() loading:set() go:wait() return { loaded = true } end
		local one = pool.new { workers = 1 }
		package.preload["cut.off"] = nil
		local f = one:async(function() require "cut.off" require "lua-pool".sleep(100) end)
		loading:wait()
		f:cancel(0)
		go:set()
		assert.is_true(f:cancel(20))
		assert.is_true(one:async(function() return require "cut.off".loaded end):await())
		one:close()
	end)
end)

describe("a coroutine that cannot be resumed", function()
	it("is left alone when the task is cancelled at that moment", function()
		if not is54 or TSAN then return end
		for _ = 1, scale(200, 20) do
			local up = pool.event()
			local f = pool.async(function(u)
				u:set()
				local dead = coroutine.create(function() end)
				coroutine.resume(dead)
				while true do
					coroutine.resume(coroutine.running()) -- itself
					coroutine.resume(dead)
				end
			end, up)
			up:wait()
			assert.is_true(f:cancel(20))
		end
	end)
end)

describe("coroutine.close in a task", function()
	it("closes what may be closed, and says what not", function()
		if not is54 then return end
		assert.same({ true, false, "x", false, false, true }, { pool.async(load [[
			local co = coroutine.create(function() coroutine.yield() end)
			coroutine.resume(co)
			local a = coroutine.close(co)
			local failing = coroutine.create(function()
				local c <close> = setmetatable({}, {__close = function() error("x", 0) end})
				coroutine.yield()
			end)
			coroutine.resume(failing)
			local b, err = coroutine.close(failing)
			local running = pcall(coroutine.close, coroutine.running())
			local outer
			outer = coroutine.create(function() return coroutine.wrap(function() return pcall(coroutine.close, outer) end)() end)
			local _, normal = coroutine.resume(outer)
			return a, b, err, running, normal, (coroutine.close(coroutine.create(print)))]]):await() })
	end)
end)

describe("a deadline", function()
	local p
	setup(function() p = pool.new { workers = 2, name = "scopes", jit = jit and "checked" or nil } end)
	teardown(function() p:cancel_all() assert.is_true(p:close(20)) end)

	it("that passes at any moment of its scope is told inside it, and leaves nothing behind", function()
		if TSAN then return end
		local rounds = scale(3000, 100)
		local told = p:async(function(n)
			local lib = require "lua-pool"
			local count = 0
			for i = 1, n do
				local ok, err = pcall(lib.deadline, (i % 100) * 1e-6, function()
					for _ = 1, i % 7 * 300 do end
					if i % 3 == 0 then error "of its own" end
					if i % 3 == 1 then lib.sleep(2e-5) end
				end)
				if not ok and err == lib.TIMEOUT then
					count = count + 1
				elseif not ok and not tostring(err):find "of its own" then
					error("told outside: " .. tostring(err))
				end
				lib.sleep(1e-5) -- what was left behind would be told here
			end
			return count
		end, rounds):await()
		assert.is_true(told > 0)
	end)

	it("of two nested ones that pass together is told by the outer one", function()
		assert.same({ false, true, "outer" }, { p:async(function()
			local lib = require "lua-pool"
			local who = "outer"
			local ok, err = pcall(lib.deadline, 0.01, function()
				pcall(lib.deadline, 0.01, function() lib.event():wait() end)
				lib.sleep(0.02)
				who = "nobody"
			end)
			return ok, err == lib.TIMEOUT, who
		end):await() })
	end)

	it("is held back by a shield in it, and told right after", function()
		assert.same({ false, true, true }, { p:async(function()
			local lib = require "lua-pool"
			local whole = false
			local ok, err = pcall(lib.deadline, 0.005, function()
				lib.shield(function() lib.sleep(0.02) whole = true end)
				whole = false
			end)
			return ok, err == lib.TIMEOUT, whole
		end):await() })
	end)

	it("and a shield say what is wrong with their arguments", function()
		for _, where in ipairs { function(f) return pcall(f) end, function(f) return p:async(f):pawait() end } do
			for _, case in ipairs {
				{ function() require "lua-pool".deadline("x", print) end, "seconds expected, got string" },
				{ function() require "lua-pool".deadline(0 / 0, print) end, "seconds expected, got NaN" },
				{ function() require "lua-pool".deadline(1, 5) end, "#2.*function expected, got number" },
				{ function() require "lua-pool".shield(5) end, "#1.*function expected, got number" },
			} do
				local ok, err = where(case[1])
				assert.is_false(ok)
				assert.matches(case[2], err)
			end
		end
		local callable = setmetatable({}, { __call = function(_, a) return a end })
		assert.equal(3, pool.shield(callable, 3))
		assert.equal(4, pool.deadline(10, callable, 4))
	end)
end)
