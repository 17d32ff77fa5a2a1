-- What somebody locked who is nobody's task, or who was told to end, keeps nobody else waiting.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local child = require "spec.support.child"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

describe("a mutex", function()
	it("that the opening of a worker's state left locked is abandoned when it has opened", function()
		local m = pool.mutex()
		local p = pool.new { workers = 1, init = function() m:lock() end }
		assert.equal(1, p:async(function() return 1 end):await())
		assert.same({ true, "abandoned" }, { m:lock(20) })
		m:unlock()
		assert.is_true(p:close(20))
	end)

	it("that finish left locked is abandoned when the worker has gone", function()
		local m = pool.mutex()
		local p = pool.new { workers = 1, finish = function() m:lock() end }
		p:async(function() end):await()
		assert.is_true(p:close(20))
		assert.same({ true, "abandoned" }, { m:lock(20) })
		m:unlock()
	end)

	it("that on_error left locked is abandoned when it has returned", function()
		local m = pool.mutex()
		local p = pool.new { workers = 1, on_error = function() m:lock() end }
		p:go(error, "x")
		assert.is_true(p:close(20))
		assert.same({ true, "abandoned" }, { m:lock(20) })
		m:unlock()
	end)

	it("that a closing Lua state holds is released to its last tasks", function()
		local r = child.run [[
			local m, up = pool.mutex(), pool.event()
			m:lock()
			pool.go(function(mu, u)
				u:set()
				print("got", mu:lock())
				io.stdout:flush()
			end, m, up)
			up:wait()
		]]
		assert.equal("got\ttrue\tabandoned\n", r.out)
		assert.equal("", r.err)
		assert.equal(0, r.status)
	end)
end)

describe("a wait that was cancelled", function()
	it("is no link of a ring: cancelling a task that waits for us is no dead-lock", function()
		for _ = 1, 50 do
			local up, ch = pool.event(), pool.channel(1)
			local a = pool.async(function(u, c)
				local b = c:receive()
				u:wait()
				return b:cancel()
			end, up, ch)
			local b = pool.async(function(u, f) u:set() f:await() end, up, a)
			ch:send(b)
			assert.is_true(a:await(20))
			assert.equal("cancelled", b:status())
		end
	end)

	it("nor is one of its clean-up, which ends with the grace", function()
		if _VERSION ~= "Lua 5.4" then return end
		local p = pool.new { workers = 2, cancel_grace = 0.02 }
		local up, ch = pool.event(), pool.channel(1)
		local a = p:async(function(u, c)
			local b = c:receive()
			u:wait()
			return b:cancel()
		end, up, ch)
		local b = p:async(load [[
			local u, f = ...
			local _ <close> = setmetatable({}, {__close = function() f:await() end})
			u:set()
			require "lua-pool".event():wait()]], up, a)
		ch:send(b)
		assert.is_true(a:await(20))
		assert.equal("cancelled", b:status())
		p:close()
	end)
end)
