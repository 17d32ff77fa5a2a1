-- Cancelling tasks that run inside async, in a pool without threads: by another thread, with their ancestor, by Ctrl-C.
local describe, it, assert, before_each, after_each = describe, it, assert, before_each, after_each
local pool = require "lua-pool"
local sys = require "sys"
local child = require "spec.support.child"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local nobody_writes = sys.pipe() -- its other end stays open

-- What a task waits for: fn(up, what). Each ends by itself after a while, so that a failure does not hang.
local waits = {
	["an event"] = { function(up, e) up:set() e:wait(30) end, pool.event() },
	["sleep"] = { function(up) up:set() require "lua-pool".sleep(30) end },
	["a pipe, with pool.fs"] = { function(up, fd)
		local lib = require "lua-pool"
		local f = assert(lib.fs.open("/proc/self/fd/" .. fd))
		up:set()
		lib.deadline(30, function() return f:read(10) end)
	end, nobody_writes },
	["a task of another pool"] = { function(up, e)
		local lib = require "lua-pool"
		local q = lib.new { workers = 1 }
		local f = q:async(function(ev) ev:wait(30) end, e)
		up:set()
		f:await(30)
	end, pool.event() },
}

describe("a pool without threads", function()
	local p, q
	before_each(function()
		p = pool.new { workers = 0, name = "inline" }
		q = pool.new { workers = 1, name = "beside" }
	end)
	after_each(function()
		q:cancel_all()
		assert.is_true(q:close(20))
		assert.is_true(p:close(20))
	end)

	for name, wait in pairs(waits) do
		it("ends a task that waits for " .. name .. " when another thread says cancel_all", function()
			for _ = 1, 5 do
				local up = pool.event()
				local canceller = q:async(function(which, u)
					assert(u:wait(20))
					which:cancel_all()
				end, p, up)
				local f = p:async(wait[1], up, wait[2])
				assert.equal("cancelled", f:status())
				canceller:await(20)
				assert.equal(7, p:async(function() return 7 end):await())
			end
			local s = p:stats()
			assert.equal(5, s.cancelled)
			assert.equal(0, s.running)
		end)

		it("ends a task that waits for " .. name .. " with the task that called async", function()
			local up = pool.event()
			local f = q:async(function(which, fn, u, what) which:async(fn, u, what) end, p, wait[1], up, wait[2])
			assert.is_true(up:wait(20))
			assert.is_true(f:cancel(20))
			assert.equal(1, p:stats().cancelled)
			assert.equal(7, q:async(function() return 7 end):await(20))
		end)
	end

	it("leaves a detached task alone that its ancestor runs", function()
		local up, ch = pool.event(), pool.channel(1)
		local from, to = sys.pipe()
		local f = q:async(function(which, u, c, fd)
			which:go(function(u2, c2, fd2)
				u2:set()
				c2:send { require "sys".read(fd2) } -- any signal of ours would end it
			end, u, c, fd)
			require "lua-pool".event():wait(30)
		end, p, up, ch, from)
		assert.is_true(up:wait(20))
		f:cancel(0)
		sys.write_later(to, 20000) -- meanwhile its ancestor is poked, again and again
		assert.is_true(f:cancel(20))
		assert.same({ "x" }, ch:receive(20))
	end)

	it("counts a task that runs while it runs", function()
		local running = p:async(function(which) return which:stats().running end, p):await()
		assert.equal(1, running)
		assert.equal(0, p:stats().running)
	end)

	for name, code in pairs {
		sleep = "pool.sleep(30)",
		["an event"] = "pool.event():wait(30)",
		["a pipe"] = "local fs = pool.fs pool.deadline(30, function() fs.open('/proc/self/fd/' .. fd):read(1) end)",
	} do
		it('ends a task that waits for ' .. name .. ' by Ctrl-C: "interrupted!", and a second one ends the process', function()
			local r = child.run([[
				local sys = require "sys"
				local fd = sys.pipe()
				local p = pool.new { workers = 0, on_error = false }
				local function wait() ]] .. code .. [[ end
				assert(sys.later(sys.SIGINT, 100))
				local f
				local ok, err = pcall(function() f = p:async(wait) end)
				print(ok, (tostring(err):gsub("^.*interrupted!.*$", "interrupted!")), p:stats().cancelled)
				io.stdout:flush()
				assert(sys.later(sys.SIGINT, 100))
				p:async(wait)
				print "not here"
			]], { limit = 25 })
			assert.equal("false\tinterrupted!\t1\n", r.out, r.err)
			assert.equal(130, r.status)
		end)
	end
end)
