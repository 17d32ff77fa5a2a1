-- Who is cancelled while he waits for several ends cancelled, even when he hears first that they were: not as one that failed
-- because "all 1 futures failed: cancelled".
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local scale = require "spec.support.scale"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local function forever(up)
	up:release()
	pool.event():wait()
end

local function some(n, up)
	local futures = {}
	for i = 1, n do futures[i] = pool.async(forever, up) end
	return futures
end

-- How a task waits for n others.
local waits = {
	any = function(n, up) pool.any(some(n, up)) end,
	["any with a timeout"] = function(n, up) pool.any(some(n, up), 60) end,
	all = function(n, up) pool.all(some(n, up)) end,
	["as_completed, and says what it heard"] = function(n, up)
		local said = {}
		for f in pool.as_completed(some(n, up)) do said[#said + 1] = tostring(select(2, f:pawait())) end
		error("failed: " .. table.concat(said, ", "))
	end,
	["pawait, and says what it heard"] = function(n, up)
		local futures = some(n, up)
		for i = 1, n do
			local ok, err = futures[i]:pawait()
			if not ok then error("a part has failed: " .. tostring(err)) end
		end
	end,
	map = function(n, up) pool.map(function() forever(up) end, n, { batch = 1, window = n }) end,
	["map, and says what it heard"] = function(n, up)
		local ok, err = pcall(pool.map, function() forever(up) end, n, { batch = 1, window = n })
		if not ok then error("map has failed: " .. tostring(err)) end
	end,
	["unordered imap"] = function(n, up)
		for _ in pool.imap(function() forever(up) end, n, { batch = 1, window = n, ordered = false }) do end -- luacheck: ignore
	end,
	["a group, and says what it heard"] = function(n, up)
		local g = pool.group()
		for _ = 1, n do g:go(forever, up) end
		local ok, err = pcall(g.await, g)
		if not ok then error("the group has failed: " .. tostring(err)) end
	end,
}

local function outer(wait, n, up)
	pool.async(wait, n, up):await()
end

describe("a task that is cancelled while it waits for", function()
	for name, wait in pairs(waits) do
		for n = 1, 3, 2 do
			it(("%d others by %s, ends cancelled"):format(n, name), function()
				local p = pool.new { workers = 2, on_error = false }
				local rounds = scale(30, 5)
				for i = 1, rounds do
					local up = pool.semaphore(0)
					local f = i % 2 == 0 and p:async(wait, n, up) or p:async(outer, wait, n, up)
					for _ = 1, n do assert(up:acquire(30)) end
					assert.is_true(f:cancel(30))
					assert.equal("cancelled", f:status())
				end
				assert.is_true(p:close(30))
				assert.equal(0, p:stats().failed)
			end)
		end
	end

	it("a cancelled task of others, goes on: that is an ordinary error", function()
		local p = pool.new { workers = 2, on_error = false }
		local up = pool.semaphore(0)
		local other = p:async(forever, up)
		assert(up:acquire(30))
		local f = p:async(function(o) return pcall(pool.any, { o }) end, other)
		assert.is_true(other:cancel(30))
		local ok, err = f:await(30)
		assert.is_false(ok)
		assert.match("all 1 futures failed:\n  #1: cancelled", err, 1, true)
		assert.is_true(p:close(30))
	end)
end)
