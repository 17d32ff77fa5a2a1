-- Whoever sent a closure with a table as an upvalue paid for each module that was loaded: package.loaded was walked for each message.
-- And what was put into a field of a module later had no name.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local core = require "lua-pool.core"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local portable = (os.getenv "LUA_POOL_PORTABLE" or "0") ~= "0"
local loaded = package.loaded

local channel = pool.channel(math.huge)
local function trip(...)
	channel:send(...)
	return channel:receive()
end

local function goes_by_name(v)
	return rawequal(v, (trip(v)))
end

local function with_modules(n, f)
	for i = 1, n do loaded["many.m" .. i] = {f = function() return i end, number = i} end
	local ok, err = pcall(f)
	for i = 1, n do loaded["many.m" .. i] = nil end
	if not ok then error(err, 0) end
end

-- How many modules and fields were looked at while f ran, once it has run a few times.
local function looked(rounds, f)
	for i = 1, 600 do f(i) end
	local before = core.names_looked()
	for i = 1, rounds do f(i) end
	return core.names_looked() - before
end

describe("a module goes by name", function()
	local function fresh() return {f = function() return 1 end} end

	it("as soon as it stands in package.loaded, whatever put it there", function()
		local ways = {
			assigned = function(name, m) loaded[name] = m end,
			["set raw"] = function(name, m) rawset(loaded, name, m) end,
			required = function(name, m)
				package.preload[name] = function() return m end
				assert(require(name) == m)
				package.preload[name] = nil
			end,
		}
		for what, way in pairs(ways) do
			for i = 1, 50 do
				local name, m = "late." .. i, fresh()
				assert.is_false(goes_by_name(m), what)
				way(name, m)
				assert.is_true(goes_by_name(m), what .. ", " .. i)
				assert.is_true(rawequal(m, trip({{m}})[1][1]), what .. ", deeper")
				loaded[name] = nil
				assert.is_false(goes_by_name(m), what .. " and taken out")
			end
		end
	end)

	it("when it was unloaded and loaded again", function()
		for i = 1, 50 do
			loaded["late.again"] = nil
			package.preload["late.again"] = fresh
			local m = require "late.again"
			assert.is_true(goes_by_name(m), tostring(i))
			if i % 3 == 0 then collectgarbage() end
		end
		loaded["late.again"], package.preload["late.again"] = nil, nil
	end)

	it("when it took the place of another", function()
		local old = fresh()
		loaded["late.place"] = old
		assert.is_true(goes_by_name(old))
		for i = 1, 30 do
			local new = fresh()
			loaded["late.place"] = new
			assert.is_true(goes_by_name(new), tostring(i))
			assert.is_false(goes_by_name(old))
			old = new
		end
		loaded["late.place"] = nil
	end)

	it("when two have changed places, by its own", function()
		local a, b = fresh(), fresh()
		loaded["late.a"], loaded["late.b"] = a, b
		assert.is_true(goes_by_name(a) and goes_by_name(b))
		loaded["late.a"], loaded["late.b"] = b, a
		assert.is_true(goes_by_name(a) and goes_by_name(b))
		loaded["late.a"], loaded["late.b"] = nil, nil
	end)

	it("whose key holds another value meanwhile, not", function()
		local m = fresh()
		loaded["late.b"] = m
		assert.is_true(goes_by_name(m))
		loaded["late.b"] = true
		assert.is_false(goes_by_name(m))
		loaded["late.b"] = nil
	end)

	it("that is a field of another and becomes one itself", function()
		local outer = {Inner = fresh()}
		loaded["late.outer"] = outer
		assert.is_true(goes_by_name(outer))
		assert.is_false(goes_by_name(outer.Inner)) -- a table is only named as a metatable
		loaded["late.inner"] = outer.Inner
		assert.is_true(goes_by_name(outer.Inner))
		loaded["late.outer"], loaded["late.inner"] = nil, nil
	end)
end)

describe("a field of a module", function()
	it("goes by the name that it has now", function()
		local library = {upper = string.upper}
		loaded["late.fields"] = library
		local sub = debug.sethook -- of C, and no global's
		assert.is_true(goes_by_name(sub))
		local saved, functions = sub, debug
		rawset(functions, "sethook", nil)
		local ok, err = pcall(trip, sub)
		assert.is_false(ok)
		assert.matches("cannot send a C function", err, 1, true)
		library.hook = sub
		assert.is_true(goes_by_name(sub))
		library.hook = nil
		assert.is_false((pcall(trip, sub)))
		rawset(functions, "sethook", saved)
		assert.is_true(goes_by_name(sub))
		loaded["late.fields"] = nil
	end)

	it("that is a class is named, also when another takes its place", function()
		local library = {}
		loaded["late.classes"] = library
		assert.is_true(goes_by_name(library))
		for i = 1, 20 do
			local class = {}
			class.__index = class
			library.Class = class
			local function named() return rawequal(class, getmetatable(trip(setmetatable({i}, class)))) end
			-- Where nothing is known of the interpreter a look costs more than a message may spend: then it is named soon.
			local is = named()
			for _ = 1, portable and 10000 or 0 do is = is or named() end
			assert.is_true(is, tostring(i))
		end
		loaded["late.classes"] = nil
	end)

	it("that is a class whose objects were sent before it was put there is named soon", function()
		local library, class = {}, {}
		loaded["late.classes"] = library
		assert.is_true(goes_by_name(library))
		local object = setmetatable({}, class)
		for _ = 1, 100 do assert.is_false(rawequal(class, getmetatable(trip(object)))) end
		library.Class = class
		local named = false
		for _ = 1, 10000 do named = named or rawequal(class, getmetatable(trip(object))) end
		assert.is_true(named)
		loaded["late.classes"] = nil
	end)
end)

-- The last, since package.loaded stays large.
describe("a message", function()
	local rounds = 2000
	local library = {f = function() return 1 end}
	local local_class = {}
	local_class.__index = local_class

	local sent = {
		["a closure whose upvalue is a module"] = function()
			local lib = pool
			channel:send(function() return lib end)
			channel:receive()
		end,
		["a closure whose upvalue is a table"] = function(i)
			local t = {i}
			channel:send(function() return t end)
			channel:receive()
		end,
		["a closure with a table of functions"] = function()
			local lib = library
			channel:send(function() return lib end)
			channel:receive()
		end,
		["rows"] = function(i) trip({{id = i, name = "x"}, {id = i + 1, name = "y"}}) end,
		["an object of a class that is no module's"] = function(i) trip(setmetatable({x = i}, local_class)) end,
		["C functions of modules"] = function() trip(print, string.format) end,
		["nothing but numbers"] = function(i) trip(i, i + 1) end,
	}

	for what, send in pairs(sent) do
		it("of " .. what .. " looks at as many modules however many there are", function()
			if portable then return end -- nothing is known of the interpreter then, and all is looked through
			local most = 1000 * rounds -- places; all of 5,000 each time would be 20 to 200 times that
			local few = looked(rounds, send)
			assert.is_true(few <= most, "with the usual modules: " .. few)
			with_modules(5000, function()
				local many = looked(rounds, send)
				assert.is_true(many <= most, "with 5,000: " .. many)
			end)
		end)
	end
end)
