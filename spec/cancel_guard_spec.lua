-- What is guarded stays whole: a mutex whose guard is being made when its task is stopped, a shielded section.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local cancelling = require "spec.support.cancelling"
local scale = require "spec.support.scale"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local is54 = _VERSION == "Lua 5.4"
local TSAN = os.getenv "LUA_POOL_SANITIZER" == "thread" -- it delivers no signal while uninstrumented code loops

describe("a mutex whose guard is being made", function()
	it("is not left locked, at whichever instruction the task is stopped, 10,000 times", function()
		if not is54 then return end
		local p = pool.new { workers = 1, name = "guards" }
		local m, ch = pool.mutex(), pool.channel(1)
		local stopped = 0
		for i = 1, scale(10000, 200) do
			local f = p:async(load [[
				local m, ch, k = ...
				local me = ch:receive()
				debug.sethook(function()
					k = k - 1
					if k == 0 then me:cancel() end -- oneself: raises here
				end, "", 1)
				for _ = 1, 3 do
					local g <close> = m:guard()
					local x = 1
				end
				debug.sethook()]], m, ch, i % 60 + 1)
			ch:send(f)
			f:wait()
			if f:status() == "cancelled" then stopped = stopped + 1 else assert.equal("done", f:status()) end
			assert.is_false(m:is_locked())
		end
		assert.is_true(stopped > 0)
		-- A hook of the task's own outlives it, as every change of its state does: but not one that stopped it.
		assert.is_true(p:close(20))
	end)

	it("nor when it is stopped from outside", function()
		if not is54 or TSAN then return end
		local p = pool.new { workers = 2, name = "guards" }
		local m = pool.mutex()
		for _ = 1, scale(1000, 50) do
			cancelling.at_random(assert, p, load [[
				local up, m = ...
				up:set()
				while true do
					local g <close> = m:guard()
				end]], m)
			assert.is_true(m:lock(20))
			m:unlock()
		end
		assert.is_true(p:close(20))
	end)
end)

describe("a shield", function()
	it("is never torn, at whatever moment its task is cancelled", function()
		local p = pool.new { workers = 2, name = "shields", jit = jit and "checked" or nil }
		local began, ended = pool.counter(), pool.counter()
		for _ = 1, scale(1000, 50) do
			cancelling.at_random(assert, p, function(up, a, b)
				local lib = require "lua-pool"
				up:set()
				while true do
					lib.shield(function()
						a:add(1)
						for _ = 1, 100 do end
						lib.sleep(0)
						b:add(1)
					end)
				end
			end, began, ended)
			assert.equal(began:get(), ended:get())
		end
		assert.is_true(p:close(20))
	end)
end)
