-- A shield holds a request back from its task and from what that has started, and deadlines that are set inside it count.
local describe, it, assert, before_each, after_each = describe, it, assert, before_each, after_each
local pool = require "lua-pool"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

-- body(shared) runs in a shield of a task; the task is asked to end when `up` is set, and `asked` is set then.
local function cut(p, body, deep)
	local shared = { up = pool.event(), asked = pool.event(), ended = pool.channel(1) }
	local function parent(fn, s)
		local lib = require "lua-pool"
		local before = lib.async(function(go) go:wait() return "before" end, s.asked)
		lib.shield(function() s.ended:send(pcall(fn, s, before)) end)
	end
	local f
	if deep then
		f = p:async(function(fn, s, run) require "lua-pool".async(run, fn, s):await() end, body, shared, parent)
	else
		f = p:async(parent, body, shared)
	end
	shared.up:wait()
	f:cancel(0)
	shared.asked:set()
	local results = { shared.ended:receive(20) }
	assert.is_true(f:cancel(20))
	return results
end

for _, deep in ipairs { false, true } do
	describe("a shield of a task " .. (deep and "whose parent is cancelled" or "that is cancelled"), function()
		local p
		before_each(function() p = pool.new { workers = 3, name = "shields" } end)
		after_each(function() p:cancel_all() assert.is_true(p:close(20)) end)

		it("lets a child that it started and awaits go on to its end", function()
			assert.same({ true, "done" }, cut(p, function(s)
				return (require "lua-pool".async(function(t)
					t.up:set()
					t.asked:wait()
					return "done"
				end, s):await())
			end, deep))
		end)

		it("lets a child that was started before and is awaited in it go on to its end", function()
			assert.same({ true, "before" }, cut(p, function(s, before)
				s.up:set()
				return (before:await())
			end, deep))
		end)

		it("starts children after the request, and in them others", function()
			assert.same({ true, 6 }, cut(p, function(s)
				s.up:set()
				s.asked:wait()
				local lib = require "lua-pool"
				return (lib.async(function(n)
					local inner = require "lua-pool"
					return n * inner.async(function() return 2 end):await()
				end, 3):await())
			end, deep))
		end)

		it("does not tear a map", function()
			assert.same({ true, 30 }, cut(p, function(s)
				local sum = 0
				for _, x in ipairs(require "lua-pool".map(function(i)
					if i == 2 then s.up:set() end
					s.asked:wait()
					return i
				end, 4, { batch = 1 })) do sum = sum + x end
				return sum * 3
			end, deep))
		end)

		it("does not tear a group, with members that are held back by its limit", function()
			assert.same({ true, 10 }, cut(p, function(s)
				local lib = require "lua-pool"
				local g, n = lib.group { limit = 2 }, lib.counter()
				for i = 1, 10 do
					g:go(function()
						if i == 1 then s.up:set() end
						s.asked:wait()
						n:add(1)
					end)
				end
				g:await()
				return n:get()
			end, deep))
		end)

		it("meets a child of its own", function()
			assert.same({ true, "met" }, cut(p, function(s)
				local lib = require "lua-pool"
				local ch = lib.channel()
				lib.async(function(c, t)
					t.asked:wait()
					c:send "met"
				end, ch, s)
				s.up:set()
				return (ch:receive())
			end, deep))
		end)

		it("hands the request down when it ends: what it started and left behind is cancelled", function()
			local left = pool.channel(2)
			local results = cut(p, function(s)
				local lib = require "lua-pool"
				local up = lib.event()
				left:send(lib.async(function(u) u:set() require "lua-pool".event():wait(1000) end, up))
				local g = lib.group()
				left:send(g:async(function(u) require "lua-pool".event():wait(1000) end, up))
				up:wait()
				s.up:set()
				s.asked:wait()
				return true
			end, deep)
			assert.same({ true, true }, results)
			for _ = 1, 2 do
				local kid = left:receive()
				assert.is_true(kid:wait(20))
				assert.equal("cancelled", kid:status())
			end
		end)

		it("goes on shielding when one inside it ends", function()
			assert.same({ true, "done" }, cut(p, function(s)
				local lib = require "lua-pool"
				s.up:set()
				s.asked:wait()
				lib.shield(function() end)
				return (lib.async(function() return "done" end):await())
			end, deep))
		end)
	end)
end

describe("a child in a shield that cancels the shielded task", function()
	it("does not wait for it", function()
		local p = pool.new { workers = 2 }
		local mine = pool.channel(1)
		local f = p:async(function(ch)
			local lib = require "lua-pool"
			local me = ch:receive()
			return lib.shield(function()
				return lib.async(function(t) return select("#", t:cancel()) end, me):await()
			end)
		end, mine)
		mine:send(f)
		assert.is_true(f:wait(20))
		-- What it was given by the child, which began to be awaited before the request, it may still hand over.
		assert.is_true(f:status() == "cancelled" or f:status() == "done", f:status())
		p:close()
	end)
end)

describe("a deadline", function()
	local function both(fn, ...)
		local results = { fn(...) }
		assert.same(results, { pool.async(fn, ...):await() })
		return results
	end

	it("that is set in a shield ends its function", function()
		assert.same({ false, true, "went on" }, both(function()
			local lib = require "lua-pool"
			return lib.shield(function()
				local ok, err = pcall(lib.deadline, 0.005, function() lib.event():wait(1000) end)
				lib.sleep(0.001)
				return ok, err == lib.TIMEOUT, "went on"
			end)
		end))
	end)

	it("that was set outside a shield does not count in it, the earliest of those inside does", function()
		assert.same({ false, true, false, true, "inside" }, both(function()
			local lib = require "lua-pool"
			local inner, inner_err, where
			local ok, err = pcall(lib.deadline, 0.001, function()
				lib.shield(function()
					lib.sleep(0.01)
					inner, inner_err = pcall(lib.deadline, 1000, function()
						lib.deadline(0.005, function() lib.event():wait(1000) end)
					end)
					where = "inside"
				end)
				where = "outside"
			end)
			return ok, err == lib.TIMEOUT, inner, inner_err == lib.TIMEOUT, where
		end))
	end)

	it("in a shield in another deadline in a shield ends its own function only", function()
		assert.same({ true, false, true, 3 }, both(function()
			local lib = require "lua-pool"
			local steps, ok2, err2 = 0, nil, nil
			local ok = lib.shield(function()
				return (pcall(lib.deadline, 1000, function()
					lib.shield(function()
						steps = steps + 1
						ok2, err2 = pcall(lib.deadline, 0.005, function() while true do lib.sleep(0.001) end end)
						steps = steps + 1
					end)
					lib.sleep(0.001)
					steps = steps + 1
				end))
			end)
			return ok, ok2, err2 == lib.TIMEOUT, steps
		end))
	end)

	it("in a shield stops a loop of a task that was cancelled, whose request comes right after", function()
		local up, asked, log = pool.event(), pool.event(), pool.channel(3)
		local p = pool.new { workers = 1, jit = jit and "checked" or nil }
		local f = p:async(function(u, a, l)
			local lib = require "lua-pool"
			lib.shield(function()
				u:set()
				a:wait()
				local ok, err = pcall(lib.deadline, 0.01, function() while true do end end)
				l:send(ok, err == lib.TIMEOUT)
			end)
			l:send "went on"
		end, up, asked, log)
		up:wait()
		f:cancel(0)
		asked:set()
		assert.is_true(f:cancel(20))
		assert.same({ false, true }, { log:receive(0) })
		assert.same({ nil, "empty" }, { log:try_receive() })
		p:close()
	end)
end)
