-- "Cancelling is downward" misses nobody: not what a task in the middle has started that hears of its end from a child first, not
-- what is queued three levels down, not what is between a queue and a worker. And it does not reach what a clean-up starts.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local scale = require "spec.support.scale"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

-- depth levels of tasks, each of which starts two more and waits for ever or for the first of them. `alive` counts those at the
-- bottom that run.
local function tree(depth, alive, never)
	local lib = require "lua-pool"
	if depth == 0 then
		alive:add(1)
		return never:wait()
	end
	local first
	for _ = 1, 2 do
		local f = lib.async(tree, depth - 1, alive, never)
		first = first or f
	end
	if depth % 2 == 0 then first:await() end
	never:wait()
end

-- Nothing of it is left: what was missed would wait for ever.
local function empty(p)
	local till = pool.now() + 20
	repeat
		local s = p:stats()
		if s.running + s.queued == 0 then return true end
		pool.sleep(0)
	until pool.now() > till
	return false
end

local function rounds(n, start, cancel)
	local p, never = pool.new { workers = 4, on_error = false }, pool.event()
	for i = 1, n do
		local alive = pool.counter(0)
		local f = start(p, alive, never)
		while alive:get() < i % 4 do pool.sleep(0) end
		cancel(f)
		assert.is_true(empty(p), "round " .. i .. ": something was missed")
	end
	assert.equal(0, p:stats().failed)
	assert.is_true(p:close(20))
end

describe("cancelling a tree", function()
	it("reaches all of it, at whatever moment", function()
		rounds(scale(300, 20), function(p, ...)
			return p:async(tree, 3, ...)
		end, function(f)
			assert.is_true(f:cancel(20))
		end)
	end)

	it("that a group holds reaches all of it", function()
		rounds(scale(100, 20), function(p, ...)
			local g = p:group()
			g:async(tree, 2, ...)
			g:async(tree, 2, ...)
			return g
		end, function(g)
			assert.is_true(g:cancel(20))
		end)
	end)

	it("reaches what waits in the queue of another pool, three levels down", function()
		local p, q = pool.new { workers = 4, on_error = false }, pool.new { workers = 1, max_threads = 1, on_error = false }
		local never, up = pool.event(), pool.event()
		local holder = q:async(function(e, u) u:set() e:wait() end, never, up)
		assert.is_true(up:wait(20))
		local ready, queued = pool.event(), pool.channel(1)
		local root = p:async(function(...)
			local lib = require "lua-pool"
			lib.async(function(other, r, ch, e)
				require "lua-pool".async(function(other1, r1, ch1, e1)
					ch1:send(other1:async(function() end))
					r1:set()
					e1:wait()
				end, other, r, ch, e)
				e:wait()
			end, ...)
			select(4, ...):wait()
		end, q, ready, queued, never)
		assert.is_true(ready:wait(20))
		local leaf = queued:receive()
		assert.is_true(root:cancel(20))
		assert.is_true(leaf:wait(20))
		assert.equal("cancelled", leaf:status())
		assert.is_true(holder:cancel(20))
		assert.is_true(p:close(20))
		assert.is_true(q:close(20))
	end)

	it("reaches the children of one that only heard of it from a child", function()
		-- The middle task ends with its first child's CANCELLED. It has another child, in another pool.
		local p, q = pool.new { workers = 2, on_error = false }, pool.new { workers = 1, on_error = false }
		local never, n = pool.event(), scale(300, 20)
		for _ = 1, n do
			local up = pool.event()
			local root = p:async(function(...)
				require "lua-pool".async(function(other, e, u)
					local lib = require "lua-pool"
					local first = lib.async(function(e1) e1:wait() end, e)
					other:async(function(e1, u1) u1:set() e1:wait() end, e, u)
					first:await()
				end, ...):await()
			end, q, never, up)
			assert.is_true(up:wait(20))
			assert.is_true(root:cancel(20))
			assert.is_true(empty(q), "it runs on")
		end
		assert.is_true(p:close(20))
		assert.is_true(q:close(20))
		assert.equal(n, q:stats().cancelled)
		assert.equal(0, p:stats().failed)
	end)
end)

describe("what a clean-up starts", function()
	-- A task with a clean-up that awaits a child, which waits for `go`, and says what it gave.
	local function cleaning(up, told, go, said)
		local lib = require "lua-pool"
		lib.scope(function(scope)
			scope:defer(function()
				said:send(lib.async(function(t, g)
					t:set()
					g:wait()
					return "cleaned"
				end, told, go):await())
			end)
			up:set()
			lib.event():wait()
		end)
	end

	it("goes on when the task is cancelled once more", function()
		local p = pool.new { workers = 1, max_threads = 1, cancel_grace = 20 }
		local up, told, go, said = pool.event(), pool.event(), pool.event(), pool.channel(1)
		local f = p:async(cleaning, up, told, go, said)
		assert.is_true(up:wait(20))
		f:cancel(0)
		assert.is_true(told:wait(20))
		f:cancel(0)
		go:set()
		assert.equal("cleaned", said:receive(20))
		assert.is_true(f:cancel(20))
		p:close()
	end)

	it("goes on when an ancestor is cancelled", function()
		local p = pool.new { workers = 2, cancel_grace = 20 }
		local up, told, go, said, ch = pool.event(), pool.event(), pool.event(), pool.channel(1), pool.channel(1)
		local root = p:async(function(fn, c, ...)
			local lib = require "lua-pool"
			c:send((lib.async(fn, ...)))
			lib.event():wait()
		end, cleaning, ch, up, told, go, said)
		local f = ch:receive(20)
		assert.is_true(up:wait(20))
		f:cancel(0)
		assert.is_true(told:wait(20))
		root:cancel(0)
		go:set()
		assert.equal("cleaned", said:receive(20))
		assert.is_true(f:cancel(20))
		assert.is_true(root:cancel(20))
		p:close()
	end)
end)
