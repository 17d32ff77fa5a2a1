-- What crosses between states, as the user of async sees it.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local both = require "spec.support.both"
local child = require "spec.support.child"
local scale = require "spec.support.scale"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local pack = both.pack
local here = debug.getinfo(1, "S").short_src

local function echo(...) return ... end

-- There and back.
local function trip(...)
	return pool.async(echo, ...):await()
end

local function refused(pattern, ...)
	local ok, err = pcall(pool.async, ...)
	assert.is_false(ok)
	assert.equal("string", type(err))
	assert.truthy(err:find(pattern, 1, true), err)
	return err
end

local function same_number(a, b)
	if a ~= a then return b ~= b end
	return a == b and 1 / a == 1 / b and (not math.type or math.type(a) == math.type(b))
end

-- Tables of names and scalars are read in one go, where the layout of tables is known.
describe("records", function()
	it("arrive, with any scalars under names, and when names were taken away", function()
		local list = {}
		for i = 1, 60 do
			local t = {}
			for k = 1, i % 23 do
				t["key " .. k] = k % 5 == 0 and i or k % 5 == 1 and i / 4 or k % 5 == 2 and "value " .. k % 3 or k % 5 == 3
			end
			for k = 1, i % 7 do t["key " .. k] = nil end
			list[i] = t
		end
		list[61], list[62], list[63] = {}, { [""] = "" }, { a = ("x"):rep(40), [("y"):rep(40)] = "b", c = -2 ^ 40 }
		assert.same(list, (trip(list)))
	end)

	it("with anything else in them arrive too", function()
		local list = {
			{ a = 1, b = { c = 2 } }, { a = ("long "):rep(20) }, { [("long "):rep(20)] = 1 }, { 1, a = 2 }, { a = 1, [2.5] = "x" },
			{ a = 1, [true] = false }, setmetatable({ a = 1 }, nil),
		}
		assert.same(list, (trip(list)))
		local back = trip { a = 1, f = print }
		assert.is_true(back.f == print and back.a == 1)
		local looped = { a = 1 }
		looped.self = looped
		back = trip(looped)
		assert.is_true(back.self == back and back.a == 1)
	end)

	it("arrive whichever of their strings were met before, among many others", function()
		local list = {}
		for i = 1, 2000 do
			list[i] = { ["key " .. i % 300] = "value " .. i % 500, id = i, ["key " .. i % 7] = "key " .. i % 300, kind = "kind" .. i % 3 }
		end
		assert.same(list, (trip(list)))
	end)

	it("that are met twice arrive as one, with their metatable", function()
		local r = setmetatable({ id = 1, name = "n" }, { __index = { more = 2 } })
		local a, b = trip(r, r)
		assert.is_true(rawequal(a, b))
		assert.same({ 1, "n", 2 }, { a.id, a.name, a.more })
	end)
end)

-- Numbers in a row are read and written as blocks, where the layout of tables is known: so the ways to have an array.
describe("lists of numbers", function()
	local function same(t, u)
		local n = 0
		for k, v in pairs(t) do
			assert.is_true(v == u[k] and type(v) == type(u[k]) and (not math.type or math.type(v) == math.type(u[k])), tostring(k))
			n = n + 1
		end
		for _ in pairs(u) do n = n - 1 end
		assert.equal(0, n)
	end

	it("arrive, of any kind and order, with and without gaps", function()
		local r = 7
		local function random(n)
			r = (r * 16807) % 2147483647
			return r % n
		end
		local others = { "s", true, { 1 }, false }
		for _ = 1, scale(300) do
			local t, n = {}, random(80)
			local holes, strangers, keys = random(3) == 0, random(3) == 0, random(3) == 0
			for i = 1, n do
				local x = random(100)
				t[i] = x < 40 and i or x < 80 and i + 0.5 or -i * 2 ^ 40
				if holes and x % 9 == 0 then t[i] = nil end
				if strangers and x % 7 == 0 then t[i] = others[x % 4 + 1] end
			end
			if keys then t.x, t[-1], t[0], t[n + 3], t[1.5], t[2 ^ 53] = 1, 2, 3, 4, 5, 6 end
			local u = trip(t)
			for k, v in pairs(t) do
				if type(v) == "table" then t[k], u[k] = v[1], u[k][1] end
			end
			same(t, u)
		end
	end)

	it("arrive when the list has grown, shrunk, or was made with a size", function()
		local grown, shrunk, made = {}, {}, { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }
		for i = 1, 1000 do grown[i], shrunk[i] = i * 0.25, i end
		for i = 1000, 101, -1 do shrunk[i] = nil end
		for i = 10, 6, -1 do made[i] = nil end
		assert.equal(1000, #trip(grown))
		same(grown, trip(grown))
		assert.equal(100, #trip(shrunk))
		same(shrunk, trip(shrunk))
		same(made, trip(made))
		for i = 1, 2000 do made[i] = -i end
		same(made, trip(made))
	end)

	it("can be changed where they arrive", function()
		local sum, last, n = pool.async(function(list)
			for i = 1, #list do list[i] = list[i] * 2 end
			list[#list + 1] = 0.5
			collectgarbage()
			table.sort(list, function(a, b) return a > b end)
			local s = 0
			for _, x in ipairs(list) do s = s + x end
			return s, list[#list], #list
		end, { 1, 2.5, 3, 4, 5, 6, 7, 8, 9, 10 }):await()
		assert.same({ 111.5, 0.5, 11 }, { sum, last, n })
	end)
end)

describe("numbers", function()
	it("arrive exactly", function()
		local list = { 0, -0.0, 1, -1, 3, 3.0, 0.1, 1 / 3, 1e308, -1e308, 5e-324, 2.2250738585072011e-308, 2 ^ 53, 2 ^ 53 - 1, 2 ^ 53 + 2,
			1 / 0, -1 / 0, 0 / 0, 2 ^ 31, 2 ^ 31 - 1, -2 ^ 31, 2 ^ 32, 2 ^ 63, -2 ^ 63, 2 ^ 64, 1e15, 123456789012, 255, 256, 65535, 65536 }
		if math.type then
			for _, i in ipairs { math.maxinteger, math.mininteger, math.maxinteger - 1, math.mininteger + 1, math.tointeger(2 ^ 53), math.tointeger(2 ^ 53) + 1, -1 } do -- luacheck: ignore
				list[#list + 1] = i
			end
		end
		for _, x in ipairs(list) do
			assert.is_true(same_number(x, (trip(x))), tostring(x))
			assert.is_true(same_number(x, (trip { x })[1]), tostring(x))
		end
	end)

	it("keep the difference of 3 and 3.0", function()
		if not math.type then return end
		assert.equal("integer", math.type(trip(3)))
		assert.equal("float", math.type(trip(3.0)))
		local t = trip { [1] = "i", [2 ^ 53] = "f" }
		assert.equal("f", t[2 ^ 53])
	end)
end)
-- 5.3's operators would not even compile on LuaJIT: those numbers are in the spec of the marshaller.

describe("strings", function()
	it("arrive with every byte, of every length", function()
		local every = {}
		for i = 0, 255 do every[#every + 1] = string.char(i) end
		every = table.concat(every)
		for _, s in ipairs { "", "a", "\0", every, every:rep(3), ("x"):rep(39), ("x"):rep(40), ("x"):rep(41), ("x\0"):rep(2 ^ 19) } do
			local got = trip(s)
			assert.equal(#s, #got)
			assert.is_true(s == got)
		end
	end)

	it("of 200 MiB arrive", function()
		if os.getenv "LUA_POOL_SANITIZER" then return end
		local s = ("0123456789abcdef"):rep(200 * 2 ^ 16)
		local n, first, last = pool.async(function(t) return #t, t:sub(1, 16), t:sub(-16) end, s):await()
		assert.equal(200 * 2 ^ 20, n)
		assert.equal("0123456789abcdef", first)
		assert.equal("0123456789abcdef", last)
	end)
end)

describe("tables", function()
	it("arrive with any key", function()
		local key = {}
		local t = trip { { [false] = "f", [true] = "t", [1.5] = "x", [-1] = "m", [2 ^ 60] = "b", ["a\0b"] = "z", [""] = "e", [0] = 0,
			[key] = "table", key = key } }[1]
		assert.equal("f", t[false])
		assert.equal("t", t[true])
		assert.equal("x", t[1.5])
		assert.equal("m", t[-1])
		assert.equal("b", t[2 ^ 60])
		assert.equal("z", t["a\0b"])
		assert.equal("e", t[""])
		assert.equal(0, t[0])
		assert.equal("table", t[t.key])
		assert.is_nil(t[key])
		assert.equal(9, pool.async(function(u)
			local n = 0
			for k, v in pairs(u) do if type(k) == "function" then n = k(v) end end
			return n
		end, { [function(v) return v * 3 end] = 3 }):await())
	end)

	it("arrive with holes, and with what lies behind the border", function()
		local t = trip { 1, nil, 3, nil, nil, 6 }
		assert.equal(1, t[1])
		assert.is_nil(t[2])
		assert.equal(3, t[3])
		assert.equal(6, t[6])
		t = trip { [1] = 1, [2] = 2, [4] = 4, [1000] = 1000 }
		assert.same({ [1] = 1, [2] = 2, [4] = 4, [1000] = 1000 }, t)
		local grown = {}
		for i = 100, 1, -1 do grown[i] = i end
		assert.same(grown, (trip(grown)))
	end)

	it("arrive with a million elements", function()
		local n = scale(1000000)
		local t = {}
		for i = 1, n do t[i] = i end
		local count, last = pool.async(function(u) return #u, u[#u] end, t):await()
		assert.equal(n, count)
		assert.equal(n, last)
	end)

	it("keep cycles and shared references", function()
		local t = { name = "t" }
		t.self, t.list = t, { t, t }
		local u = trip(t)
		assert.is_true(u.self == u and u.list[1] == u and u.list[2] == u)
		assert.is_false(rawequal(u, t))
		local shared = {}
		local a, b, c = trip(shared, { shared }, shared)
		assert.is_true(rawequal(a, b[1]) and rawequal(a, c))
	end)

	it("are the same there when they are the same here: argument, upvalue, key, metatable", function()
		local t = { 1 }
		assert.is_true(pool.async(function(u) return u == t and u[1] == 1 end, t):await())
		local mt = {}
		mt.__index = mt
		local o = setmetatable({}, mt)
		assert.is_true(pool.async(function(p, m) return getmetatable(p) == m and getmetatable(p) == mt and m.__index == m end, o, mt):await())
		mt.owner = o
		assert.is_true(pool.async(function(p) return getmetatable(p).owner == p end, o):await())
		local f
		f = setmetatable({}, { __call = function(self) return self == f end })
		assert.is_true(pool.async(f):await())
	end)

	it("with 10,000 references to 100 tables cost what 100 tables cost", function()
		local tables, t = {}, {}
		for i = 1, 100 do tables[i] = { i } end
		for i = 1, 10000 do t[i] = tables[i % 100 + 1] end
		local distinct = pool.async(function(u)
			local seen, n = {}, 0
			for _, v in ipairs(u) do
				if not seen[v] then seen[v], n = true, n + 1 end
			end
			return n
		end, t):await()
		assert.equal(100, distinct)
	end)

	it("nested 200,000 deep are refused with the limit, going there and coming back", function()
		local t = {}
		for _ = 1, 200000 do t = { t } end
		local err = refused("deep", echo, t)
		assert.truthy(err:find("%d%d%d"), err)
		t = nil -- luacheck: ignore
		local ok, back = pool.async(function()
			local u = {}
			for _ = 1, 200000 do u = { u } end
			return u
		end):pawait()
		assert.is_false(ok)
		assert.truthy(back:find("deep", 1, true) and back:find("result #1", 1, true), back)
		local function chain(g, n)
			for _ = 1, n do
				local inner = g
				g = function() return inner end
			end
			return g
		end
		refused("deep", chain(print, 200000))
	end)

	it("nested some hundred deep are fine", function()
		local t = {}
		local top = t
		for i = 1, 150 do
			t.i, t.next = i, {}
			t = t.next
		end
		assert.equal(150, pool.async(function(u)
			local n = 0
			while u.next do n, u = n + 1, u.next end
			return n
		end, top):await())
	end)

	it("never have their metamethods called while they are sent", function()
		local called = {}
		local mt = {}
		for _, name in ipairs { "__pairs", "__index", "__newindex", "__len", "__eq", "__tostring", "__call", "__name", "__metatable" } do
			if name ~= "__metatable" and name ~= "__name" then
				mt[name] = function() error(name .. " was called") end
			end
		end
		local t = setmetatable({ 1, 2, x = 3 }, mt)
		local a, b, c = pool.async(function(u) return rawget(u, 1), rawget(u, 2), rawget(u, "x") end, t):await()
		assert.same(pack(1, 2, 3), pack(a, b, c))
		assert.same({}, called)
	end)

	it("never share memory with the original", function()
		local t = { inner = { 1 } }
		local f = pool.async(function(u) u.inner[1] = "changed" u.new = true return u end, t)
		local got = f:await()
		assert.same({ inner = { 1 } }, t)
		assert.same({ inner = { "changed" }, new = true }, got)
		local gate = pool.event()
		f = pool.async(function(u) gate:wait() return u.inner[1] end, t)
		t.inner[1] = "after the call"
		gate:set()
		assert.equal(1, f:await())
	end)
end)

describe("functions", function()
	it("take their own upvalue with them, each one", function()
		local futures = {}
		for i = 1, 10 do futures[i] = pool.async(function() return i end) end
		for i = 1, 10 do assert.equal(i, futures[i]:await()) end
	end)

	it("share upvalues with each other there as here", function()
		local n = 0
		local function inc() n = n + 1 end
		local function get() return n end
		assert.equal(2, pool.async(function() inc() inc() return get() end):await())
		assert.equal(3, pool.async(function(i, g) i() i() i() return g() end, inc, get):await())
		assert.equal(0, n)
		local i2, g2 = trip(inc, get)
		i2()
		assert.equal(1, g2())
		assert.equal(0, n)
	end)

	it("may be recursive, and know each other", function()
		local function fact(n) return n == 0 and 1 or n * fact(n - 1) end
		assert.equal(120, pool.async(fact, 5):await())
		local even, odd
		function even(n) if n == 0 then return true end return odd(n - 1) end
		function odd(n) if n == 0 then return false end return even(n - 1) end
		assert.is_true(pool.async(even, 100):await())
	end)

	it("may be variadic, be made by load, be stripped", function()
		assert.same(pack(3, nil, 2), pack(pool.async(function(...) return select("#", ...), ... end, nil, 2, 3):await()) and pack(3, nil, 2))
		local loaded = (loadstring or load)("local a, b = ... return a * b")
		assert.equal(42, pool.async(loaded, 6, 7):await())
		if both.has_close then
			local stripped = load(string.dump(function(a) return a + 1 end, true))
			assert.equal(2, pool.async(stripped, 1):await())
		end
	end)

	it("with an environment that is a table take a copy of it", function()
		local env = { x = 5 }
		local f
		if setfenv then
			f = setfenv(loadstring "x = x + 1 return x, _G == nil", env)
		else
			f = load("x = x + 1 return x, _G == nil", "=env", "t", env)
		end
		for _ = 1, 2 do assert.same(pack(6, true), pack(pool.async(f):await())) end
		assert.equal(5, env.x)
	end)

	-- The code of a function that captures nothing is found without asking, from the second time on.
	it("are the same functions the second time, and whatever came between", function()
		local function is_itself(f) return f == debug.getinfo(1, "f").func, f end
		for _ = 1, 3 do
			local same, back = pool.async(is_itself, is_itself):await()
			assert.is_true(same)
			assert.is_true((back(back)))
		end
		do
			local list = {}
			for i = 1, 40 do list[i] = assert((loadstring or load)(("local x = ... return x == nil and %d or _G.tostring(x) .. %d"):format(i, i))) end
			for round = 1, 3 do
				local futures = {}
				for i = 1, 40 do futures[i] = pool.async(list[i], round == 2 and "x" or nil) end
				for i = 1, 40 do assert.equal(round == 2 and "x" .. i or i, futures[i]:await()) end
			end
		end
		-- Their functions may be collected, and others be where they were.
		for i = 1, 1500 do
			local f = assert((loadstring or load)(("return %d + 0 * #_G.tostring(1)"):format(i)))
			assert.equal(i, pool.async(f):await())
			if i % 500 == 0 then both.collect() end
		end
	end)

	it("take the environment that they have now", function()
		local f = assert((loadstring or load) "return x")
		local function env(t)
			if setfenv then setfenv(f, t) else debug.setupvalue(f, 1, t) end
		end
		for i = 1, 3 do
			env(_G)
			assert.is_nil((pool.async(f):await()))
			env { x = i }
			assert.equal(i, pool.async(f):await())
		end
	end)

	it("with _ENV as a local or an argument work", function()
		if not both.has_close then return end
		local f = both.chunk "return function(t) local _ENV = t return x + 1 end"
		assert.equal(4, pool.async(f, { x = 3 }):await())
		local g = both.chunk "return function(_ENV) return x + 2 end"
		assert.equal(5, pool.async(g, { x = 3 }):await())
	end)

	it("see the worker's globals, not a copy of the sender's", function()
		only_in_main = "main" -- luacheck: ignore
		assert.is_nil((pool.async(function() return only_in_main end):await())) -- luacheck: ignore
		assert.is_true(pool.async(function() return _G == package.loaded._G and _G.print == print end):await())
		assert.is_true(pool.async(function(g) return g == _G and g.string == string end, _G):await())
		only_in_main = nil -- luacheck: ignore
	end)

	it("come back as results, with what they hold", function()
		local counter = pool.async(function()
			local n = 10
			return function() n = n + 1 return n end
		end):await()
		assert.equal(11, counter())
		assert.equal(12, counter())
	end)

	it("of C and of libraries go by name", function()
		local list = { print, io.write, string.format, require, pool.async, math.floor, table.concat, os.time, io.stdout, io.stderr,
			string, table, math, package, pool, setmetatable, next, require "lua-pool.core" }
		for i, v in ipairs(list) do
			assert.is_true(rawequal(v, (trip(v))) or v == trip(v), "#" .. i)
		end
		assert.is_true(pool.async(function(t) return t[1] == print and t[2] == string.format and t[3] == require and t[4] == io.stdout end,
			{ print, string.format, require, io.stdout }):await())
		local lib = string
		assert.equal("X", pool.async(function() return lib.upper "x" end):await())
		local ok, lpeg = pcall(require, "lpeg")
		if ok then
			assert.is_true(pool.async(function() return lpeg == require "lpeg" and lpeg.match ~= nil end):await())
			assert.is_true(pool.async(rawequal, lpeg.match, lpeg.match):await())
		end
	end)

	it("are sent thousands of times with other upvalues each time", function()
		local n = scale(5000)
		local p = pool.new { workers = 1 }
		for i = 1, n do
			local t = { i }
			if p:async(function() return t[1] end):await() ~= i then assert.equal(i, "wrong upvalue") end
		end
		p:close()
	end)

	it("made anew thousands of times leave memory where it was", function()
		local n = scale(3000)
		local p = pool.new { workers = 1 }
		local function round(k)
			for i = 1, k do
				local f = (loadstring or load)("return " .. i .. " -- a chunk of its own")
				if p:async(f):await() ~= i then assert.equal(i, "wrong chunk") end
			end
			both.collect()
		end
		round(n)
		p:close()
	end)
end)

describe("objects", function()
	-- As a module of the user's would be: found by require in both states.
	local dir, saved = nil, package.path
	local function with_module(name, text, f)
		dir = child.tmpname()
		os.execute("mkdir " .. dir)
		local file = io.open(dir .. "/" .. name .. ".lua", "w")
		file:write(text)
		file:close()
		package.path = dir .. "/?.lua;" .. saved
		local p = pool.new { workers = 1 }
		local ok, err = pcall(f, p, require(name))
		p:close()
		package.path, package.loaded[name] = saved, nil
		os.execute("rm -r " .. dir)
		if not ok then error(err, 0) end
	end

	local point = [[
		local Point = {}
		Point.__index = Point
		Point.__tostring = function(p) return "(" .. p.x .. ", " .. p.y .. ")" end
		function Point.new(x, y) return setmetatable({ x = x, y = y }, Point) end
		function Point:sum() return self.x + self.y end
		Point.Inner = { __index = { kind = "inner" } }
		return Point
	]]

	it("of a class that is a module are objects of that class there", function()
		with_module("spec_point", point, function(p, Point)
			local o = Point.new(1, 2)
			local sum, is, text = p:async(function(q)
				return q:sum(), getmetatable(q) == require "spec_point", tostring(q)
			end, o):await()
			assert.same(pack(3, true, "(1, 2)"), pack(sum, is, text))
			local back = p:async(echo, o):await()
			assert.is_true(getmetatable(back) == Point)
			assert.equal("inner", p:async(function(q)
				return getmetatable(q) == require "spec_point".Inner and q.kind
			end, setmetatable({}, Point.Inner)):await())
			assert.is_true(p:async(function(m) return m == require "spec_point" end, Point):await())
		end)
	end)

	it("of a class of the main script take it with them", function()
		local Animal = {}
		Animal.__index = Animal
		function Animal:speak() return self.name .. " speaks" end
		local o = setmetatable({ name = "cat" }, Animal)
		assert.equal("cat speaks", pool.async(function(a) return a:speak() end, o):await())
		local back = trip { o, o }
		assert.equal("cat speaks", back[1]:speak())
		assert.is_true(back[1] == back[2])
	end)

	it("with __gc are refused, never half an object", function()
		local o = setmetatable({}, { __gc = function() end })
		refused("__gc", echo, o)
		refused("[2].deep", echo, { 1, { deep = o } })
	end)

	it("decide themselves with __pool_encode and __pool_decode", function()
		with_module("spec_handle", [[
			local Handle = {}
			Handle.__index = Handle
			function Handle.__pool_encode(h) return { id = h.id } end
			function Handle.__pool_decode(v) return setmetatable({ id = v.id, there = true }, Handle) end
			return Handle
		]], function(p, Handle)
			local h = setmetatable({ id = 7, socket = coroutine.create(print) }, Handle)
			local id, there, is, same = p:async(function(a, b)
				return a.id, a.there, getmetatable(a) == require "spec_handle", a == b
			end, h, h):await()
			assert.same(pack(7, true, true, true), pack(id, there, is, same))
		end)
	end)

	it("whose __pool_encode misbehaves are refused with the path, and nothing stays locked", function()
		local function with(encode)
			return { here = { setmetatable({ co = coroutine.create(print) }, { __pool_encode = encode,
				__pool_decode = function(v) return v end }) } }
		end
		local err = refused("here[1]", echo, with(function() error("encode failed") end))
		assert.truthy(err:find("encode failed", 1, true), err)
		refused("here[1]", echo, with(function(self) return self end))
		refused("here[1]", echo, with(function() return coroutine.create(print) end))
		local co = coroutine.wrap(function() return pcall(pool.async, echo, with(function() coroutine.yield() end)) end)
		local ok, said = co()
		assert.is_false(ok)
		assert.truthy(said:find("here[1]", 1, true), said)
		assert.equal(1, trip(1))
	end)

	it("changed by a __pool_encode while they are sent arrive whole or are refused", function()
		local t = {}
		for i = 1, 50 do t[i] = i end
		t.changer = setmetatable({}, { __pool_encode = function()
			for i = 51, 500 do t[i] = i end
			t.more = {}
			return 1
		end, __pool_decode = function(v) return v end })
		local ok, f = pcall(pool.async, function(u)
			for i = 1, 50 do if u[i] ~= i then return "torn at " .. i end end
			return "whole"
		end, t)
		if ok then
			assert.equal("whole", f:await())
		else
			assert.equal("string", type(f))
		end
	end)
end)

describe("what cannot be sent", function()
	it("is refused at the call, with the path and the user's line", function()
		local co = coroutine.create(print)
		local err = refused("argument #3", echo, 1, co)
		assert.truthy(err:find("coroutine", 1, true) or err:find("thread", 1, true), err)
		assert.truthy(refused("argument #2", echo, { a = { b = { co } } }):find("a.b[1]", 1, true))
		local ok
		ok, err = pcall(function() pool.async(function() return co end) end)
		assert.is_false(ok)
		assert.truthy(err:find("upvalue 'co'", 1, true) and err:find(here, 1, true), err)
		ok, err = pcall(function() pool.async(echo, co) end)
		assert.is_false(ok)
		assert.truthy(err:find(here, 1, true), err)
		local db = { conn = io.tmpfile() }
		assert.truthy(refused("upvalue 'db'", function() return db end):find("conn", 1, true))
		db.conn:close()
	end)

	it("is nested deep in a path that is still readable", function()
		local t = { coroutine.create(print) }
		for i = 1, 100 do t = { ["key" .. i] = t } end
		local err = refused("cannot send", echo, t)
		assert.is_true(#err < 4000)
	end)

	it("leaves nothing behind: the same call works once the culprit is gone", function()
		local t = { ok = 1, bad = coroutine.create(print) }
		for _ = 1, 100 do assert.is_false((pcall(pool.async, echo, t))) end
		t.bad = nil
		assert.same({ ok = 1 }, (trip(t)))
	end)
end)

describe("lua-pool's own objects", function()
	it("are shared, not copied: inside tables, closures, as keys", function()
		local e, n, ch = pool.event(), pool.counter(0), pool.channel(1)
		pool.async(function(t)
			t.list[1]:set()
			n:add(5)
			t[ch]:send("through")
		end, { list = { e }, [ch] = ch }):await()
		assert.is_true(e:is_set())
		assert.equal(5, n:get())
		assert.equal("through", ch:receive())
		assert.is_true(trip(e) == e and trip { n }[1] == n)
	end)

	it("include pools, futures, and the module itself", function()
		local p = pool.new { workers = 1 }
		local f = p:async(function() return 1 end)
		local a, b, c = pool.async(function(q, g) return q:async(function() return 2 end):await(), g:await(), q == p end, p, f):await()
		assert.same(pack(2, 1, true), pack(a, b, c))
		assert.is_true(pool.async(function() return require "lua-pool" == pool end):await())
		p:close()
	end)

	it("of which one is CANCELLED stay what they are", function()
		assert.is_true(trip(pool.CANCELLED) == pool.CANCELLED)
		assert.is_true(trip { pool.TIMEOUT }[1] == pool.TIMEOUT)
		assert.is_false(pool.CANCELLED == pool.TIMEOUT)
		assert.is_true(pool.async(function(c) return c == pool.CANCELLED end, pool.CANCELLED):await())
	end)
end)

if both.jit then
	describe("LuaJIT's own values", function()
		it("int64 arrive by value, other cdata are refused with the path", function()
			local ffi = require "ffi"
			local a, b = trip(ffi.new("int64_t", -5), ffi.new("uint64_t", 2 ^ 63))
			assert.is_true(a == ffi.new("int64_t", -5))
			assert.is_true(b == ffi.new("uint64_t", 2 ^ 63))
			assert.equal("-5LL", tostring(a))
			refused("point", echo, { point = ffi.new("struct { int x; }") })
		end)
	end)
end
