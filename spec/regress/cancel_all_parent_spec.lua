-- cancel_all, also by a pool's `<close>` or the end of a program, ends a task that awaits a child cancelled, not failed with the child's
-- CANCELLED, whichever of the two is told first.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local both = require "spec.support.both"
local child = require "spec.support.child"
local scale = require "spec.support.scale"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local function leaf(up) up:set() require "lua-pool".event():wait() end
local function parent(up, fn)
	require "lua-pool".async(fn, up):await()
end

describe("cancel_all", function()
	it("ends who awaits a child cancelled", function()
		local p, n = pool.new { workers = 4, on_error = false }, scale(400, 20)
		for i = 1, n do
			local fs, ups = {}, {}
			for k = 1, 3 do
				ups[k] = pool.event()
				fs[k] = p:async(parent, ups[k], leaf)
			end
			for k = 1, 3 do assert.is_true(ups[k]:wait(20)) end
			p:cancel_all()
			for k = 1, 3 do
				assert.is_true(fs[k]:wait(20))
				assert.equal("cancelled", fs[k]:status(), "round " .. i)
			end
		end
		assert.is_true(p:close(20))
		local s = p:stats()
		assert.equal(0, s.failed)
		assert.equal(6 * n, s.cancelled)
	end)

	it("does not touch what a clean-up starts afterwards", function()
		local p = pool.new { workers = 1, max_threads = 1, cancel_grace = 20 }
		local up, said = pool.event(), pool.channel(1)
		local f = p:async(function(u, ch)
			local lib = require "lua-pool"
			lib.scope(function(scope)
				scope:defer(function() ch:send(lib.async(function() return "cleaned" end):await()) end)
				u:set()
				lib.event():wait()
			end)
		end, up, said)
		assert.is_true(up:wait(20))
		p:cancel_all()
		assert.equal("cleaned", said:receive(20))
		assert.is_true(f:wait(20))
		assert.equal("cancelled", f:status())
		p:close()
	end)
end)

describe("a program that ends", function()
	it("has no failed tasks to report because it cancels them", function()
		local closes = both.has_close and "os.exit(0, true)" or "os.exit(0)"
		for _ = 1, scale(15, 3) do
			local r = child.run([[
				local function leaf(up) up:set() require "lua-pool".event():wait() end
				local function parent(up, fn) require "lua-pool".async(fn, up):await() end
				pool.configure { workers = 4 }
				for i = 1, 8 do
					local up = pool.event()
					pool.async(parent, up, leaf)
					up:wait()
				end
			]] .. closes)
			assert.equal("0||", r.status .. "|" .. r.out .. "|" .. r.err)
		end
	end)
end)
