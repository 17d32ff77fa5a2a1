-- A thousand references to one string of 1 MiB went as a thousand copies, and what a task sent, returned or held in arrays was counted
-- nowhere: a task with a limit of 16 MiB took 2 GiB of its host.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local both = require "spec.support.both"
local child = require "spec.support.child"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local MIB = 2 ^ 20
local LIMIT = "memory_limit of 16777216 bytes"

local channel = pool.channel(math.huge)
local function trip(...)
	channel:send(...)
	return channel:receive()
end

-- The most memory that a process took, in MiB, which runs this script.
local function peak(script)
	local r = child.run("local channel = pool.channel(math.huge) local big = ('x'):rep(2 ^ 20) local unpack = table.unpack or unpack\n" ..
		script .. [[
		local f = io.open "/proc/self/status"
		print("most", f:read "*a":match "VmHWM:%s*(%d+)")
		f:close()
	]])
	assert.equal(0, r.status, r.err)
	return tonumber(r.out:match "most%s+(%d+)") / 1024
end

describe("a string in a message", function()
	it("goes once, however often it is referred to", function()
		for _, size in ipairs {41, 1023, 1024, 30000, MIB} do
			local s = ("x"):rep(size)
			local many = {}
			for i = 1, 1000 do many[i] = i % 2 == 0 and s or {s} end
			local got = trip(many)
			for i = 1, 1000 do
				local v = got[i]
				if type(v) == "table" then v = v[1] end
				if v ~= s then assert.equal(i, "another string") end
			end
		end
	end)

	it("takes memory once, in a table, in a result, as one of several values", function()
		local most = os.getenv "LUA_POOL_SANITIZER" and 400 or 100
		for what, script in pairs {
			["a table"] = "local t = {} for i = 1, 1000 do t[i] = {big} end channel:send(t) assert(channel:receive()[1000][1] == big)",
			["several values"] = "local t = {} for i = 1, 500 do t[i] = big end channel:send(unpack(t)) " ..
				"assert(select(500, channel:receive()) == big)",
			["arguments"] = "local t = {} for i = 1, 200 do t[i] = big end " ..
				"assert(pool.async(function(...) return select('#', ...) .. #select(200, ...) end, unpack(t)):await() == '2001048576')",
			["a result of a pool with a limit"] = "local p = pool.new {workers = 1, memory_limit = 16 * 2 ^ 20} " ..
				"local t = p:async(function(n) local s, t = ('x'):rep(n), {} for i = 1, 1000 do t[i] = s end return t end, 2 ^ 20):await() " ..
				"assert(t[1000] == big)",
			["results"] = "local f = pool.async(function(n) local s, t = ('x'):rep(n), {} for i = 1, 200 do t[i] = s end " ..
				"return (table.unpack or unpack)(t) end, 2 ^ 20) assert(select(200, f:await()) == big)",
		} do
			local took = peak(script)
			assert.is_true(took < most, what .. ": " .. took .. " MiB")
		end
	end)

	it("is the same in all kinds of tables, between others of every length", function()
		local t, long = {}, {}
		for i = 1, 300 do long[i] = ("l"):rep(i * 7) .. i end
		for round = 1, 3 do
			for i = 1, 300 do t[#t + 1] = long[i] t[long[i] .. "key"] = {long[i], round} end
		end
		local got = trip(t)
		for i = 1, 900 do assert.is_true(got[i] == t[i]) end
		for i = 1, 300 do
			local v = got[long[i] .. "key"]
			assert.is_true(v[1] == long[i] and v[2] == 3)
		end
	end)

	it("that __pool_encode made is not mistaken for another at the same address", function()
		local class = {}
		class.__pool_encode = function(o)
			local s = ("%d"):format(o.i):rep(600)
			collectgarbage()
			return s
		end
		class.__pool_decode = function(s) return s end
		local list = {}
		for i = 1, 60 do list[i] = setmetatable({i = i}, class) end
		local got = trip(list)
		for i = 1, 60 do assert.equal(("%d"):format(i):rep(600), got[i]) end
	end)
end)

describe("memory_limit counts", function()
	local function limited(f, ...)
		local p = pool.new {workers = 1, memory_limit = 16 * MIB, on_error = false}
		local future = p:async(f, ...)
		local results = both.pack(future:pawait())
		local status = future:status()
		assert.equal(5, p:async(function() return 5 end):await()) -- and the worker goes on
		p:close()
		return status, both.unpack(results, 1, results.n)
	end

	it("a result", function()
		local status, ok, err = limited(function()
			-- Strings that are short enough to go anew each time make more of a message than of the state.
			local strings, t = {}, {}
			for i = 1, 400 do strings[i] = ("s"):rep(900) .. i end
			for i = 1, 100000 do t[i] = strings[i % 400 + 1] end
			return t
		end)
		assert.equal("failed", status)
		assert.is_false(ok)
		assert.matches("not enough memory", tostring(err), 1, true)
		assert.matches(LIMIT, tostring(err), 1, true)
	end)

	it("messages that lie in a channel, and no longer when they were received", function()
		local ch = pool.channel(math.huge)
		local status, ok, n, err = limited(function(c, size)
			local s, n = ("m"):rep(size), 0
			while true do
				local sent, why = pcall(c.send, c, s)
				if not sent then return n, why end
				n = n + 1
				if n > 100 then return n, "no end" end
			end
		end, ch, MIB)
		assert.is_true(ok, tostring(n))
		assert.equal("done", status)
		assert.matches(LIMIT, err, 1, true)
		assert.is_true(n >= 3 and n <= 16, tostring(n))
		-- A receiver takes them off the account: without end.
		status, ok, n = limited(function(c, size)
			local s = ("m"):rep(size)
			for _ = 1, 100 do
				c:send(s)
				c:receive()
			end
			return 100
		end, pool.channel(math.huge), MIB)
		assert.equal("done", status)
		assert.is_true(ok, tostring(n))
		assert.equal(100, n)
		while ch:try_receive() do end -- luacheck: ignore
	end)

	it("small messages", function()
		local status, ok, n, err = limited(function(c)
			for n = 1, 10 ^ 6 do
				local sent, why = pcall(c.send, c, n)
				if not sent then return n, why end
			end
			return "no end"
		end, pool.channel(math.huge))
		assert.equal("done", status)
		assert.is_true(ok, tostring(n))
		assert.matches(LIMIT, tostring(err), 1, true)
	end)

	it("and the error of a task that is at its limit arrives whole", function()
		local status, ok, err = limited(function(c)
			while true do c:send(1) end
		end, pool.channel(math.huge))
		assert.equal("failed", status)
		assert.is_false(ok)
		assert.matches("message_memory_spec.lua:%d+: not enough memory", tostring(err))
		assert.matches(LIMIT, tostring(err), 1, true)
	end)

	it("buffers and arrays, but not those that nobody has any more", function()
		local status, ok, n, err = limited(function(size)
			local lib = require "lua-pool"
			local held = {}
			for n = 1, 100 do
				local made, b = pcall(lib.buffer, size)
				if not made then return n, b end
				held[n] = b
			end
			return "no end"
		end, MIB)
		assert.equal("done", status)
		assert.is_true(ok, tostring(n))
		assert.matches("not enough memory for 1048576 elements of u8: .*" .. LIMIT, tostring(err))
		assert.is_true(n > 8 and n <= 16, tostring(n))
		status, ok, n = limited(function(size)
			local lib = require "lua-pool"
			for _ = 1, 300 do lib.buffer(size) end
			return "all"
		end, MIB)
		assert.equal("done", status)
		assert.is_true(ok, tostring(n))
		assert.equal("all", n)
	end)

	it("arrays no longer when they were moved to somebody who has received them", function()
		local p = pool.new {workers = 1, memory_limit = 16 * MIB, on_error = false}
		local ch, kept = pool.channel(0), {}
		local f = p:async(function(c, size)
			local lib = require "lua-pool"
			for _ = 1, 40 do c:send(lib.transfer(lib.buffer(size))) end
			return "all"
		end, ch, MIB)
		for i = 1, 40 do kept[i] = ch:receive(20) end
		assert.equal("all", f:await())
		assert.equal(40, #kept)
		p:close()
	end)

	it("values in a dict", function()
		local status, ok, n, err = limited(function(d, size)
			for n = 1, 100 do
				local set, why = pcall(d.set, d, n, ("v"):rep(size))
				if not set then return n, why end
			end
			return "no end"
		end, pool.dict(), MIB)
		assert.equal("done", status)
		assert.is_true(ok, tostring(n))
		assert.matches(LIMIT, tostring(err), 1, true)
	end)

	it("what a task has, not what one before it has left", function()
		local p = pool.new {workers = 1, memory_limit = 16 * MIB, on_error = false}
		local ch = pool.channel(math.huge)
		for _ = 1, 5 do
			assert.is_true(p:async(function(c, size)
				for _ = 1, 8 do c:send(("m"):rep(size)) end
				return true
			end, ch, MIB):await())
		end
		assert.equal(40, #ch)
		p:close()
	end)

	it("the calls of its own tasks, until they run", function()
		local p = pool.new {workers = 1, max_threads = 1, memory_limit = 16 * MIB, on_error = false}
		local ok, n, err = p:async(function(size)
			local lib = require "lua-pool"
			local s, held = ("a"):rep(size), {}
			for n = 1, 100 do
				-- Not large enough to stay with the sender.
				local done, f = pcall(lib.async, function(t) return #t end, {s .. n})
				if not done then return n, f end
				held[n] = f
			end
			return "no end"
		end, 30000):pawait()
		assert.is_true(ok, tostring(n))
		assert.equal("no end", n, tostring(err))
		ok, n, err = p:async(function(size)
			local lib = require "lua-pool"
			local s, held = ("a"):rep(size), {}
			for k = 1, 1000 do
				local done, f = pcall(lib.async, function(t) return #t end, {s .. k})
				if not done then return k, f end
				held[k] = f
				if k % 20 == 0 then collectgarbage() end -- the strings are garbage of the state's
			end
			return "no end"
		end, 30000):pawait()
		assert.is_true(ok, tostring(n))
		assert.matches(LIMIT, tostring(err), 1, true)
		p:close()
	end)
end)
