-- A time limit does not forbid that a task runs the child that it waits for in its own place: else a chain of tasks, each
-- awaiting the next, needs a thread per task, and stops for good where no further thread can be had.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local both = require "spec.support.both"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local DEPTH, LIMIT = 40, 60

local waits = {}
function waits.await(f) return f:await() end
waits["await(t)"] = function(f) return f:await(LIMIT) end
waits["pawait(t)"] = function(f) return select(2, f:pawait(LIMIT)) end
waits["wait(t)"] = function(f) return f:wait(LIMIT) and f:await() end
waits["a deadline around await"] = function(f) return pool.deadline(LIMIT, f.await, f) end
waits["all with a timeout"] = function(f) return pool.all({ f }, LIMIT)[1] end
waits["any with a timeout"] = function(f) return select(2, pool.any({ f }, LIMIT)) end
waits["select with a timeout"] = function(f) return select(2, pool.select({ f }, LIMIT)) end
waits["a shield around await(t)"] = function(f) return pool.shield(f.await, f, LIMIT) end

local function deeper(n, wait)
	if n == 0 then return 0 end
	return 1 + wait(pool.async(deeper, n - 1, wait))
end

local function in_groups(n)
	if n == 0 then return end
	local g = pool.group()
	g:async(in_groups, n - 1)
	if not g:await(LIMIT) then error "not in time" end
end

local function ends(p, f)
	local ended = f:wait(LIMIT)
	if not ended then p:cancel_all() end
	assert.is_true(p:close(LIMIT))
	assert.is_true(ended)
end

describe("a chain of tasks, each awaiting the next, in a pool of few threads", function()
	for _, timeout in ipairs { false, LIMIT } do
		for name, wait in pairs(waits) do
			it(("ends: %s%s"):format(name, timeout and ", with task_timeout" or ""), function()
				local p = pool.new { workers = 1, max_threads = 4, task_timeout = timeout or nil }
				local f = p:async(deeper, DEPTH, wait)
				ends(p, f)
				assert.equal(DEPTH, f:await())
			end)
		end

		it(("ends: groups with a timeout%s"):format(timeout and ", with task_timeout" or ""), function()
			local p = pool.new { workers = 2, max_threads = 4, task_timeout = timeout or nil }
			ends(p, p:async(in_groups, DEPTH))
		end)
	end

	it("needs no second thread because of task_timeout", function()
		-- LuaJIT's compiled loops cannot be stopped: there they are run in place only when nobody else can.
		local p = pool.new { workers = 1, task_timeout = LIMIT, jit = both.jit and "checked" or nil }
		local f = p:async(deeper, DEPTH, waits.await)
		assert.equal(DEPTH, f:await(LIMIT))
		assert.equal(1, p:stats().threads)
		assert.equal(DEPTH, p:stats().inlined)
		p:close()
	end)
end)

local function never(up)
	up:set()
	pool.event():wait()
end

describe("a child that runs in the place of one whose time is up", function()
	it("is stopped with it: task_timeout", function()
		local p = pool.new { workers = 1, max_threads = 1, task_timeout = 0.2, on_error = false }
		local f = p:async(function(wait) pool.async(wait, pool.event()):await() end, never)
		local ok, err = f:pawait(LIMIT)
		assert.is_false(ok)
		assert.is_true(err == pool.TIMEOUT)
		assert.equal(7, p:async(function() return 7 end):await(LIMIT))
		assert.is_true(p:close(LIMIT))
	end)

	for name, wait in pairs {
		["await(t)"] = function(f) return f:await(0.2) end,
		["pawait(t)"] = function(f) return f:pawait(0.2) end,
		["wait(t)"] = function(f) return f:wait(0.2) end,
		["any with a timeout"] = function(f) return pool.any({ f }, 0.2) end,
		["select with a timeout"] = function(f) return pool.select({ f }, 0.2) end,
	} do
		it("lets it go on, which is told of the timeout: " .. name, function()
			local p = pool.new { workers = 1, max_threads = 1, on_error = false }
			local f = p:async(function(w, forever)
				local up = pool.event()
				local child = pool.async(forever, up)
				local a, b = w(child)
				local ok, err = child:pawait()
				return a, b, up:is_set(), ok, err == pool.TIMEOUT
			end, wait, never)
			if not f:wait(LIMIT) then p:cancel_all() end
			assert.same({ nil, "timeout", true, false, true }, both.pack(f:pawait()).n == 6 and { select(2, f:pawait()) })
			assert.is_true(p:close(LIMIT))
		end)
	end

	it("and ends with a scope whose time is up", function()
		local p = pool.new { workers = 1, max_threads = 1, on_error = false }
		local f = p:async(function(forever)
			local child = pool.async(forever, pool.event())
			local ok, err = pcall(pool.deadline, 0.2, child.await, child)
			return ok, err == pool.TIMEOUT, child:status()
		end, never)
		if not f:wait(LIMIT) then p:cancel_all() end
		assert.same({ false, true, "failed" }, { f:await() })
		assert.is_true(p:close(LIMIT))
	end)
end)

describe("a wait with a timeout", function()
	it("does not stop a child that another thread can run", function()
		local p = pool.new { workers = 1 }
		local f = p:async(function()
			local go = pool.event()
			local child = pool.async(function(e)
				e:wait()
				return "in the end"
			end, go)
			local a, b = child:await(0.2)
			go:set()
			return a, b, child:await()
		end)
		assert.same({ nil, "timeout", "in the end" }, { f:await(LIMIT) })
		assert.is_true(p:close(LIMIT))
	end)

	it("that is short lets nothing begin that it would have to stop", function()
		local p = pool.new { workers = 1, max_threads = 1 }
		local f = p:async(function()
			local child = pool.async(function() return "later" end)
			for _ = 1, 3 do
				if child:wait(0.005) then return "it has begun" end
			end
			return child:status(), child:await()
		end)
		assert.same({ "pending", "later" }, { f:await(LIMIT) })
		assert.is_true(p:close(LIMIT))
	end)

	it("does not run what is not its own child", function()
		local p = pool.new { workers = 1, max_threads = 1 }
		local ch, up = pool.channel(1), pool.event()
		local f = p:async(function()
			up:set()
			local other = ch:receive()
			local a, b = other:await(0.2)
			return a, b, other:status(), other:await()
		end)
		assert(up:wait(LIMIT))
		local g = p:async(function() return "other" end)
		ch:send(g)
		assert.same({ nil, "timeout", "pending", "other" }, { f:await(LIMIT) })
		assert.is_true(p:close(LIMIT))
	end)
end)
