-- What a __pool_encode and a __pool_decode gave at the edges ended as "damaged message", or raised without a place: a way back to the object itself,
-- more than 100,000 values, nil and NaN as the key of a table, nil for what is referred to twice, no table for a metatable.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local both = require "spec.support.both"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local channel = pool.channel(math.huge)
local function trip(...)
	channel:send(...)
	return channel:receive()
end

local function object(fields, encode, decode)
	return setmetatable(fields, {__pool_encode = encode, __pool_decode = decode})
end

local function refused(text, ...)
	local ok, err = pcall(trip, ...)
	assert.is_false(ok)
	assert.matches(text, err, 1, true)
	assert.is_nil(err:match "damaged")
	while channel:try_receive() do end -- luacheck: ignore
	assert.equal(7, trip(7))
end

describe("__pool_encode", function()
	it("that leads back to its own object is refused, with the path", function()
		local function encode(o) return {inner = o.inner} end
		local a = object({}, encode, function(t) return t end)
		a.inner = {a}
		refused("argument #1.x.<__pool_encode>.inner[1]: __pool_encode leads back to its own object", {x = a})
		local b, c = object({}, encode, function(t) return t end), object({}, encode, function(t) return t end)
		b.inner, c.inner = c, b
		refused("argument #1.<__pool_encode>.inner.<__pool_encode>.inner: __pool_encode leads back", b)
		local d = object({}, function() return 1 end, nil)
		getmetatable(d).__pool_decode = function() return d end
		refused("argument #1.<__pool_decode>: upvalue 'd': __pool_encode leads back", d)
		-- A table around the object is there before it; the same object twice is no way back.
		local around = {}
		around.o = object({}, function() return around end, function(t) return {made_in = t} end)
		local got = trip(around)
		assert.is_true(rawequal(got, got.o.made_in))
		local twice = object({}, function() return 1 end, function() return {} end)
		got = trip(object({}, function() return twice, {twice} end, function(x, y) return {x, y[1]} end))
		assert.is_true(rawequal(got[1], got[2]))
		-- Refused in a task's call, nothing is left over.
		assert.is_false((pcall(pool.async, function() end, a)))
		assert.equal(1, pool.async(function() return 1 end):await())
	end)

	it("of many values works, or says how many", function()
		local function of(n)
			return object({}, function()
				local t = {}
				for i = 1, n do t[i] = i end
				return both.unpack(t)
			end, function(...) return {n = select("#", ...), last = (select(-1, ...))} end)
		end
		local n = both.jit and 7000 or 200000
		local got = trip(of(n))
		assert.equal(n, got.n)
		assert.equal(n, got.last)
		got = pool.async(function(o) return o end, of(n)):await()
		assert.equal(n, got.n)
		if both.jit then refused("__pool_encode gave 7990 values: too many for the stack", of(7990)) end
	end)
end)

describe("__pool_decode", function()
	it("that gives nil or NaN for the key of a table raises, and says where it is", function()
		local line = debug.getinfo(1, "l").currentline + 1
		local none = object({}, function() return 1 end, function() return nil end)
		local place = "pool_encode_edges_spec.lua:" .. line .. " gave nil where the key of a table is needed"
		refused(place, {[none] = 1})
		refused(place, {none, x = {[none] = 1}})
		refused(place, {{none}, [none] = 1})
		local nan = object({}, function() return 1 end, function() return 0 / 0 end)
		refused(":" .. line + 5 .. " gave NaN where the key of a table is needed", {[nan] = 1})
		local ok, err = pool.async(function(t) return t end, {[none] = 1}):pawait()
		assert.is_false(ok)
		assert.matches(place, err, 1, true)
	end)

	it("that gives nil does so wherever the object is referred to", function()
		local none = object({}, function() return 1 end, function() return nil end)
		local got = trip({1, none, none, x = none, y = {none, 2}})
		assert.equal(1, got[1])
		assert.is_nil(got[2])
		assert.is_nil(got[3])
		assert.is_nil(got.x)
		assert.equal(2, got.y[2])
		local a, b, c = trip(none, none, 3)
		assert.is_nil(a)
		assert.is_nil(b)
		assert.equal(3, c)
	end)

	it("that gives no table for a metatable raises, and says where it is", function()
		local line = debug.getinfo(1, "l").currentline + 1
		local meta = object({}, function() return 1 end, function() return "text" end)
		refused(":" .. line .. " gave string where a metatable is needed", setmetatable({}, meta))
		refused("gave string where a metatable is needed", {meta, setmetatable({}, meta)})
		if setfenv then
			local env = object({}, function() return 1 end, function() return "text" end)
			refused("gave string where the environment of a function is needed", setfenv(function() return x end, env)) -- luacheck: ignore
		end
	end)
end)
