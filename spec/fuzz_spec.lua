-- Damaged messages: the decoder trusts nothing that the bytes say. In the sanitizer builds each step out of a message
-- is an error.
local describe, it, assert = describe, it, assert
local fuzz = require "fuzz"
local scale = require "spec.support.scale"
local both = require "spec.support.both"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end

local function deep(n)
	local t = {}
	for _ = 1, n do t = { t, x = t } end
	return t
end

local function rows(n)
	local list = {}
	for i = 1, n do list[i] = { id = i, name = "name " .. i % 7, [i] = i / 3 } end
	return list
end

local function numbers(n)
	local list = { x = 1 }
	for i = 1, n do list[i] = i % 50 < 25 and i or i + 0.5 end
	return list
end

local function shared()
	local a, b = 1, { 2 }
	local function get() return a, b end
	local function set(x) a, b[1] = x, get end
	return { get, set, get, list = { set } }
end

local cycle = { name = "a string that is met again" }
cycle.self, cycle[1], cycle[cycle] = cycle, { cycle, cycle.name }, cycle.name

local class = { __pool_encode = function(t) return t.a, t.b end, __pool_decode = function(a, b) return { a = a, b = b } end }
local object = setmetatable({ a = { 1, 2 }, b = "b" }, class)

local seeds = {
	scalars = { nil, true, false, 0, -128, 127, 2 ^ 40, 0.1, "", "short", ("long "):rep(20), n = 11 },
	tables = { deep(12), rows(8), { {}, {}, { {} } }, n = 3 },
	numbers = { numbers(200), { 1, 2, 3 }, { 0.5 }, n = 3 },
	references = { cycle, cycle, { cycle, cycle.self }, n = 3 },
	functions = { shared(), function() return cycle end, both.pack, n = 3 },
	names = { math.floor, string, setmetatable({}, { __index = math.abs }), n = 3 },
	objects = { object, { object, object }, n = 2 },
}

describe("a message that is whole", function()
	for name, list in pairs(seeds) do
		it("is decoded: " .. name, function()
			assert.equal(list.n, (fuzz.decode(fuzz.message(both.unpack(list, 1, list.n)), 0)))
		end)
	end
end)

-- All of this is one thread's work, and ThreadSanitizer keeps a shadow of each of the large blocks: gigabytes.
if os.getenv "LUA_POOL_SANITIZER" == "thread" then return end

describe("a damaged message", function()
	for name, list in pairs(seeds) do
		it("is refused, or gives other values: " .. name, function()
			local message = fuzz.message(both.unpack(list, 1, list.n))
			local refused, reasons = 0, {}
			for seed = 1, scale(20000, 500) do
				local n, err = fuzz.decode(message, seed)
				if not n then
					refused = refused + 1
					reasons[tostring(err):gsub("%d+", "N"):sub(1, 60)] = true
				end
			end
			assert.is_true(refused > 0)
			assert.is_true(reasons["damaged message"])
		end)
	end

	it("takes no more memory than its size allows", function()
		-- Each of a thousand tables, one in the other, says that it has as many elements as there are bytes left.
		for _, list in ipairs { deep(500), rows(500), numbers(4000) } do
			local message = fuzz.message(list)
			both.collect()
			local before, most = collectgarbage "count", 0
			for seed = 1, scale(2000, 100) do
				fuzz.decode(message, seed)
				most = math.max(most, collectgarbage "count" - before)
				if seed % 50 == 0 then both.collect() end
			end
			assert.is_true(most < 64 * 1024 + fuzz.size(message), most)
		end
	end)
end)
