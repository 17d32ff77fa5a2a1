-- A task that waits for the first of several runs none of them in its own place: it would have to wait for that one, and
-- the others could not be the first. All the waits here end only if a child that is not needed stands in nobody's way.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local scale = require "spec.support.scale"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local LIMIT = 20

local function waits(go)
	go:wait()
	return "slow"
end
local function quick() return "quick" end
local function fails() error("at once", 0) end

-- What a task does: fn(go) -> what it was told. The child that waits for `go` is always the oldest one.
local collectors = {}

function collectors.any(go)
	local slow = pool.async(waits, go)
	local i, value = pool.any { slow, pool.async(quick) }
	go:set()
	return i, value, slow:await()
end

collectors["any with a timeout"] = function(go)
	local slow = pool.async(waits, go)
	local i, value = pool.any({ slow, pool.async(quick) }, LIMIT)
	go:set()
	return i, value, slow:await()
end

function collectors.as_completed(go)
	local slow = pool.async(waits, go)
	local told = {}
	for f, i in pool.as_completed { slow, pool.async(quick) } do
		told[#told + 1] = i
		told[#told + 1] = f:await()
		go:set()
	end
	if told[3] ~= 1 then error("not the other one") end
	return told[1], told[2], told[4]
end

function collectors.all(go)
	local slow = pool.async(waits, go)
	local ok, err = pcall(pool.all, { slow, pool.async(fails) })
	go:set()
	return not ok and err == "at once" and 2, "quick", slow:await()
end

function collectors.map(go)
	local ok, err = pcall(pool.map, function(i)
		if i == 1 then go:wait() else error("at once", 0) end
	end, 2, { batch = 1 })
	return not ok and tostring(err):find("at once", 1, true) and 2, "quick", "slow"
end

function collectors.each(go)
	local ok, err = pcall(pool.each, function(i)
		if i == 1 then go:wait() else error("at once", 0) end
	end, 2, { batch = 1 })
	return not ok and tostring(err):find("at once", 1, true) and 2, "quick", "slow"
end

collectors["unordered imap"] = function(go)
	local told = {}
	for i in pool.imap(function(i)
		if i == 1 then go:wait() end
		return i
	end, 2, { batch = 1, ordered = false }) do
		told[#told + 1] = i
		go:set()
	end
	return told[1], "quick", told[2] == 1 and "slow"
end

function collectors.select(go)
	local slow = pool.async(waits, go)
	local i, value = pool.select { slow, pool.async(quick) }
	go:set()
	return i, value, slow:await()
end

function collectors.group(go)
	local g = pool.group()
	local slow = g:async(waits, go)
	g:go(fails)
	local ok, err = pcall(g.await, g)
	local told = not ok and err == "at once" and 2
	return told, "quick", slow:wait(LIMIT) and "slow"
end

-- One that waits for what its sister does: the group needs both.
collectors["a group of two that meet"] = function(go)
	local g = pool.group()
	local slow = g:async(waits, go)
	g:go(function() go:set() end)
	return g:await() and 2, "quick", slow:await()
end

describe("a task that waits for the first of its children", function()
	for _, threads in ipairs { { 1 }, { 2 }, { 4 }, { 1, 2 }, { 2, 2 }, { 3, 3 } } do
		for name, collect in pairs(collectors) do
			it(("by %s goes on when that has ended, on %d workers%s"):format(name, threads[1],
				threads[2] and (", at most %d threads"):format(threads[2]) or ""), function()
				local p = pool.new { workers = threads[1], max_threads = threads[2], on_error = false }
				for _ = 1, scale(20, 5) do
					local f = p:async(collect, pool.event())
					if not f:wait(LIMIT) then
						p:cancel_all()
						p:close(LIMIT)
						error "stuck"
					end
					assert.same({ 2, "quick", "slow" }, { f:await() })
				end
				assert.is_true(p:close(LIMIT))
			end)
		end
	end
end)

describe("a thread that is about to leave", function()
	it("is not counted on, and not counted: another one comes", function()
		local hold, leaves, go = pool.event(), pool.event(), pool.event()
		local p = pool.new { workers = 2, max_threads = 2, idle_timeout = 0.01, on_error = false, finish = function()
			leaves:set()
			hold:wait()
		end }
		local meet = pool.barrier(2)
		local f = p:async(function()
			meet:wait()
			go:wait()
			return collectors.any(pool.event())
		end)
		p:async(function() meet:wait() end):await() -- its thread has nothing to do then
		assert.is_true(leaves:wait(LIMIT))
		go:set()
		local ended = f:wait(LIMIT)
		hold:set()
		if not ended then p:cancel_all() end
		assert.is_true(p:close(LIMIT))
		assert.is_true(ended)
		assert.same({ 2, "quick", "slow" }, { f:await() })
	end)
end)
