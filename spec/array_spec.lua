-- Arrays: numbers of one type in memory that states share.
local describe, it, assert, pending = describe, it, assert, pending
local pool = require "lua-pool"
local both = require "spec.support.both"
local proc = require "spec.support.proc"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local WHOLE = {"i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64"}
local TYPES = {"i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64", "f32", "f64"}
local SIZES = {0, 1, 2, 15, 16, 17, 47, 48, 49, 100, 1023, 1024, 1025, 5000}
local NAN = 0 / 0

-- Numbers that every type holds and whose sums f64 holds exactly; the same at every run.
local function numbers(n, seed)
	local list, x = {}, seed or 1
	for i = 1, n do
		x = (x * 16807) % 2147483647
		list[i] = x % 100
	end
	return list
end

local function each_type_and_size(check)
	for _, t in ipairs(TYPES) do
		for _, n in ipairs(SIZES) do
			local list = numbers(n, n + 7)
			check(pool.array(t, list), list, n, t)
		end
	end
end

describe("pool.array", function()
	it("is n zeros, or the numbers of a table, of a string's bytes, of another array", function()
		for _, t in ipairs(TYPES) do
			local a = pool.array(t, 3)
			assert.same({0, 0, 0}, a:table())
			assert.equal(t, a:type())
			assert.equal(3, #a)
			local b = pool.array(t, {1, 2, 3})
			assert.same({1, 2, 3}, b:table())
			assert.same({1, 2, 3}, pool.array(t, b:string()):table())
			assert.same({1, 2, 3}, pool.array("f64", b):table())
			assert.same({1, 2, 3}, pool.array(t, pool.array("f64", {1, 2, 3})):table())
		end
		assert.same({}, pool.array("f64", {}):table())
		assert.matches("^lua%-pool%.array: .*%(i16, 3 elements%)$", tostring(pool.array("i16", 3)))
	end)

	it("is read and written by index, a float that is whole included", function()
		local a = pool.array("f64", 10)
		a[1], a[10.0] = 0.5, -1e300
		assert.equal(0.5, a[1])
		assert.equal(-1e300, a[10])
		a[2] = 1 / 0
		assert.equal(1 / 0, a[2])
		a[3] = NAN
		assert.is_true(a[3] ~= a[3])
		local f = pool.array("f32", {0.1})
		assert.is_true(f[1] ~= 0.1 and math.abs(f[1] - 0.1) < 1e-8)
	end)

	it("refuses every index that is none, with what it should be", function()
		local a = pool.array("i32", 10)
		for k, why in pairs {
			[0] = "index 0 is outside of 1 %.%.%. 10", [11] = "index 11 is outside of 1 %.%.%. 10",
			[-1] = "index %-1 is outside of 1 %.%.%. 10", [1.5] = "index 1.5 is no whole number",
			["1"] = "no method '1'", sort_by = "no method 'sort_by'", [2 ^ 53] = "outside of 1 %.%.%. 10",
			[1 / 0] = "no whole number", [true] = "index boolean is no whole number",
		} do
			assert.error_matches(function() return a[k] end, why)
			assert.error_matches(function() a[k] = 1 end, type(k) == "string" and 'index "' .. k .. '" is no whole number' or why)
		end
		assert.error_matches(function() return a[NAN] end, "no whole number")
		assert.error_matches(function() return pool.array("i8", 0)[1] end, "index 1 is outside of an empty range")
		assert.same(pool.array("i32", 10):table(), a:table())
	end)

	it("refuses a number that does not fit, with the range", function()
		for t, bad in pairs {i8 = {128, -129}, u8 = {256, -1}, i16 = {32768, -32769}, u16 = {65536, -1},
			i32 = {2 ^ 31, -2 ^ 31 - 1}, u32 = {2 ^ 32, -1}, i64 = {2 ^ 63, -2 ^ 63 * 1.5}, u64 = {2 ^ 64, -1.0 - 2 ^ 40}} do
			local a = pool.array(t, 1)
			for _, v in ipairs {bad[1], bad[2], 1.5, NAN, 1 / 0, -1 / 0} do
				assert.error_matches(function() a[1] = v end, "a whole number from .* to .* expected %(" .. t .. "%), got ")
				assert.error_matches(function() a:fill(v) end, "a whole number from .* expected")
				assert.error_matches(function() pool.array(t, {1, v}) end, "element #2: a whole number from")
				assert.error_matches(function() pool.array(t, pool.array("f64", {1, v})) end, "element #2 %(.*%) does not fit " .. t)
			end
			assert.equal(0, a[1])
		end
		local a = pool.array("i8", 1)
		assert.error_matches(function() a[1] = 300 end, "a whole number from %-128 to 127 expected %(i8%), got 300")
		assert.error_matches(function() a[1] = "1" end, "expected %(i8%), got string")
		assert.error_matches(function() a[1] = nil end, "expected %(i8%), got nil")
		assert.error_matches(function() pool.array("f64", 1)[1] = {} end, "a number expected %(f64%), got table")
		assert.error_matches(function() pool.array("u8", pool.array("i8", {-1})) end, "element #1 %(%-1%) does not fit u8")
		assert.error_matches(function() pool.array("i64", pool.array("u64", {2 ^ 63})) end, "does not fit i64")
	end)

	it("holds the ends of every type", function()
		for t, ends in pairs {i8 = {-128, 127}, u8 = {0, 255}, i16 = {-32768, 32767}, u16 = {0, 65535},
			i32 = {-2 ^ 31, 2 ^ 31 - 1}, u32 = {0, 2 ^ 32 - 1}, i64 = {-2 ^ 53, 2 ^ 53}, u64 = {0, 2 ^ 53}} do
			local a = pool.array(t, ends)
			assert.is_true(a[1] == ends[1] and a[2] == ends[2], t)
			assert.is_true(a:min() == ends[1] and a:max() == ends[2], t)
		end
	end)

	it("holds all 64 bits", function()
		if both.jit then
			both.chunk([[
				local pool, assert = ...
				local a = pool.array("i64", 2)
				a[1] = 9223372036854775807LL
				assert.equal("9223372036854775807LL", tostring(a[1]))
				assert.equal("-9223372036854775808LL", tostring(a:add(1)))
				a[2] = a[1]
				assert.is_true(a[2] == a[1])
				assert.is_true(a:cas(2, a[1], 5))
				assert.equal(5, a[2])
				local u = pool.array("u64", {18446744073709551615ULL})
				assert.equal("18446744073709551615ULL", tostring(u:sum()))
				assert.is_false(pcall(function() a[1] = u[1] end))
				assert.is_false(pcall(function() u[1] = -1LL end))
			]], pool, assert)
		else
			local a = pool.array("i64", {math.maxinteger, math.mininteger})
			assert.equal(math.maxinteger, a[1])
			assert.equal("integer", math.type(a[2]))
			assert.equal(math.mininteger, a:add(1))
			assert.equal("integer", math.type(a:sum()))
			local u = pool.array("u64", {-1, 2 ^ 63}) -- the bits, as in math.ult and string.pack
			assert.equal(-1, u[1])
			assert.equal(math.mininteger, u[2])
			assert.equal(-1, u:max())
			assert.equal(math.mininteger, u:min())
		end
	end)

	it("refuses sizes and types that are none", function()
		assert.error_matches(function() pool.array("f64", 2 ^ 50) end, "not enough memory for 1125899906842624 elements of f64")
		assert.error_matches(function() pool.array("u8", 2 ^ 53) end, "not enough memory for 9007199254740992 elements of u8")
		assert.error_matches(function() pool.array("f64", -1) end, "a number of elements .* expected, got %-1")
		assert.error_matches(function() pool.array("f64", 1.5) end, "a number of elements .* expected, got 1.5")
		assert.error_matches(function() pool.array("f64") end, "number of elements, table, string or array expected, got no value")
		assert.error_matches(function() pool.array("f64", pool.event()) end, "array or buffer expected, got userdata")
		assert.error_matches(function() pool.array("int", 1) end, "type expected %(i8, u8, .* or f64%), got int")
		assert.error_matches(function() pool.array(1, 1) end, "type expected .* got number")
		assert.error_matches(function() pool.array("i32", "12345") end, "5 bytes are no whole number of i32 %(4 bytes each%)")
		assert.error_matches(function() pool.array("i32", {1, "2"}) end, "element #2: .* got string")
	end)

	it("iterates", function()
		local keys, values = {}, {}
		for i, v in pool.array("i8", {5, 6, 7}):pairs() do
			keys[#keys + 1], values[#values + 1] = i, v
		end
		assert.same({1, 2, 3}, keys)
		assert.same({5, 6, 7}, values)
		if both.has_close then
			local sum = 0
			for _, v in pairs(pool.array("i8", {5, 6, 7})) do sum = sum + v end
			assert.equal(18, sum)
		end
	end)
end)

describe("slices", function()
	it("are views: what one writes the other reads; negative ends count from behind", function()
		local a = pool.array("i32", numbers(10))
		local s = a:slice(3, 5)
		assert.equal(3, #s)
		assert.same(a:table(3, 5), s:table())
		s[1] = -7
		assert.equal(-7, a[3])
		assert.same(a:table(8, 10), a:slice(-3):table())
		assert.same(a:table(2, 9), a:slice(2, -2):table())
		assert.same({}, a:slice(11):table())
		assert.same({}, a:slice(4, 3):table())
		assert.is_true(a:slice(2, 3) == a:slice(1, 5):slice(2, 3))
		assert.is_false(a:slice(1, 3) == a:slice(1, 4))
	end)

	it("must lie inside", function()
		local a = pool.array("i32", 10)
		assert.error_matches(function() a:slice(0) end, "bad argument .*0 is outside of 1 %.%.%. 10")
		assert.error_matches(function() a:slice(12) end, "12 is outside of 1 %.%.%. 10")
		assert.error_matches(function() a:slice(1, 11) end, "11 is outside of 1 %.%.%. 10")
		assert.error_matches(function() a:slice(5, 3) end, "3 is outside of 1 %.%.%. 10")
		assert.error_matches(function() a:slice(-11) end, "%-11 is outside")
		assert.error_matches(function() a:slice(1.5) end, "whole number expected, got 1.5")
		assert.error_matches(function() a:slice("2") end, 'whole number expected, got "2"')
	end)

	it("keep their memory when the array has gone, here and in a task", function()
		local a = pool.array("f64", 100000):fill(3)
		local s = a:slice(50000)
		local f = pool.async(function(x)
			collectgarbage()
			return x:sum()
		end, a:slice(2, 11))
		a = nil -- luacheck: ignore
		both.collect()
		assert.equal(30, f:await())
		assert.equal(3 * 50001, s:sum())
	end)
end)

describe("loops over arrays", function()
	it("sum, and dot, are exact for whole numbers of every type and length", function()
		each_type_and_size(function(a, list, n, t)
			local sum, dot = 0, 0
			for i = 1, n do
				sum = sum + list[i]
				dot = dot + list[i] * list[i]
			end
			assert.equal(sum, a:sum(), t)
			assert.equal(dot, a:dot(a), t)
		end)
		if math.type then assert.equal("integer", math.type(pool.array("i8", {1}):sum())) end
	end)

	it("sum a million tenths better than a loop does", function()
		local n = 1000000
		local a = pool.array("f64", n):fill(0.1)
		assert.is_true(math.abs(a:sum() - n * 0.1) < 1e-8)
		assert.is_true(math.abs(pool.array("f32", 100000):fill(0.1):sum() - 100000 * pool.array("f32", {0.1})[1]) < 1e-6)
	end)

	it("sum over the bounds of the type: 64 bits, not the element's", function()
		assert.equal(127 * 100000, pool.array("i8", 100000):fill(127):sum())
		assert.equal(-128 * 100000, pool.array("i8", 100000):fill(-128):sum())
		assert.equal(65535 * 100000, pool.array("u16", 100000):fill(65535):sum())
		assert.equal((2 ^ 32 - 1) * 5000, pool.array("u32", 5000):fill(2 ^ 32 - 1):sum())
		assert.equal(65535 * 65535 * 100, pool.array("u16", 100):fill(65535):dot(pool.array("u16", 100):fill(65535)))
	end)

	it("fill, scale and axpy change what they should and nothing beside it", function()
		each_type_and_size(function(a, list, n, t)
			if n < 3 then return end
			local whole = pool.array(t, numbers(n + 2, 3))
			local first, last = whole[1], whole[n + 2]
			local part = whole:slice(2, n + 1)
			assert.is_true(part:copy(a) == part)
			assert.same(list, part:table())
			part:scale(0):axpy(1, a)
			assert.same(list, part:table(), t)
			part:fill(9, 2, -2)
			assert.equal(list[1], part[1])
			assert.equal(9, part[2])
			assert.equal(9, part[n - 1])
			assert.equal(list[n], part[n])
			assert.same({first, last}, {whole[1], whole[n + 2]})
		end)
		assert.same({4, 8.5, -1}, pool.array("f64", {1, 2.5, 0}):scale(2):axpy(-1, pool.array("f64", {-2, -3.5, 1})):table())
		assert.same({-100, 44}, pool.array("i8", {100, 100}):axpy(1, pool.array("i8", {56, -56})):table())
		local a = pool.array("f64", {1, 2, 3})
		assert.same({3, 6, 9}, a:axpy(2, a):table())
		-- The first element first, so that each sees the sum before it.
		local f = pool.array("i32", 2000):fill(1)
		f:slice(2):axpy(1, f:slice(1, -2))
		assert.equal(2000, f[2000])
	end)

	it("copy between arrays, from strings, and within one array in either direction", function()
		local a = pool.array("i16", {1, 2, 3, 4, 5})
		assert.same({1, 1, 2, 3, 5}, a:copy(a:slice(1, 3), 2):table())
		assert.same({1, 2, 3, 3, 5}, a:copy(a, 1, 2, 4):table())
		assert.same({9, 0, 3, 3, 5}, a:copy("\9\0\0\0"):table())
		assert.same({9, 0, 3, 3, 9}, a:copy(a, 5, 1, 1):table())
		assert.same({9, 0, 3, 3, 9}, a:copy("", 6):table())
		assert.equal("say bye", pool.buffer("say hey"):copy("bye", 5):string())
		assert.error_matches(function() a:copy(a, 2) end, "5 elements from index 2 on do not fit into 5")
		assert.error_matches(function() a:copy(a, 0) end, "0 is outside of 1 %.%.%. 5")
		assert.error_matches(function() a:copy(a, 7, 1, 1) end, "7 is outside of 1 %.%.%. 5")
		assert.error_matches(function() a:copy "odd" end, "3 bytes are no whole number of i16")
		assert.error_matches(function() a:copy(pool.array("u16", 1)) end, 'array of i16 expected, got u16 %(pool.array%("i16", x%) converts%)')
	end)

	it("find the least and the greatest, and the first place of either", function()
		each_type_and_size(function(a, list, n, t)
			if n == 0 then
				assert.is_nil(a:min())
				assert.is_nil(a:argmax())
				return
			end
			local least, greatest = 1, 1
			for i = 2, n do
				if list[i] < list[least] then least = i end
				if list[i] > list[greatest] then greatest = i end
			end
			assert.same({list[least], list[greatest], least, greatest}, {a:min(), a:max(), a:argmin(), a:argmax()}, t .. n)
		end)
		assert.equal(-5, pool.array("i64", {3, -5, 2}):min())
	end)

	it("pass over NaN in min and max, unless there is nothing else", function()
		for _, t in ipairs {"f32", "f64"} do
			for _, n in ipairs {1, 3, 16, 17, 40} do
				local a = pool.array(t, n):fill(NAN)
				local m = a:max()
				assert.is_true(m ~= m)
				assert.is_nil(a:argmin())
				a[n] = 1 / 0
				assert.equal(1 / 0, a:min())
				assert.equal(n, a:argmin())
				a[1] = -2
				assert.same({-2, 1}, {a:min(), a:argmin()})
			end
		end
	end)

	it("equal compares numbers, not objects", function()
		local a = pool.array("f64", numbers(3000))
		local b = pool.array("f64", a)
		assert.is_true(a:equal(b))
		assert.is_false(a == b)
		b[2999] = -1
		assert.is_false(a:equal(b))
		assert.is_false(a:equal(a:slice(2)))
		assert.is_false(pool.array("f64", 1):equal(pool.array("i64", 1)))
		assert.is_false(pool.array("f64", {NAN}):equal(pool.array("f64", {NAN})))
		assert.is_true(pool.array("f64", {0}):equal(pool.array("f64", {-0.0})))
	end)

	it("refuse arrays of another type or length", function()
		local a = pool.array("f64", 3)
		assert.error_matches(function() a:dot(pool.array("f32", 3)) end, "array of f64 expected, got f32")
		assert.error_matches(function() a:dot(pool.array("f64", 2)) end, "array of 3 elements expected, got 2")
		assert.error_matches(function() a:axpy(1, {1, 2, 3}) end, "array or buffer expected, got table")
		assert.error_matches(function() a:axpy("x", a) end, "a number expected .* got string")
		assert.error_matches(function() pool.array("i8", 1):scale(1.5) end, "a whole number .* got 1.5")
	end)
end)

describe("sort", function()
	it("sorts every type at every length, as table.sort does", function()
		each_type_and_size(function(a, list, n, t)
			table.sort(list)
			assert.is_true(a:sort() == a)
			assert.same(list, a:table(), t .. " " .. n)
		end)
	end)

	it("knows negative numbers, all sizes of number, and infinity", function()
		local list = {}
		for e = -60, 60 do
			list[#list + 1] = 2 ^ e * 1.5
			list[#list + 1] = -2 ^ e
		end
		list[#list + 1] = 1 / 0
		list[#list + 1] = -1 / 0
		for _, t in ipairs {"f32", "f64"} do
			local a = pool.array(t, list)
			table.sort(list)
			assert.same(list, a:sort():table())
		end
		local ints = {}
		for e = 0, 52 do
			ints[#ints + 1] = 2 ^ e
			ints[#ints + 1] = -2 ^ e
		end
		local a = pool.array("i64", ints)
		table.sort(ints)
		assert.is_true(a:sort():equal(pool.array("i64", ints)))
	end)

	it("puts NaN at the end, whatever its sign, and -0 before 0", function()
		for _, n in ipairs {5, 100} do
			local a = pool.array("f64", n)
			a[1], a[2], a[3], a[4], a[5] = NAN, 3, -NAN, -1 / 0, 1 / 0
			a:sort()
			assert.is_true(a[n] ~= a[n] and a[n - 1] ~= a[n - 1])
			assert.equal(1 / 0, a[n - 2])
			assert.equal(3, a[n - 3])
			assert.equal(-1 / 0, a[1])
		end
		local z = pool.array("f64", {0, -0.0}):sort()
		assert.equal(-1 / 0, 1 / z[1])
	end)

	it("search finds the place in a sorted array", function()
		local a = pool.array("i32", {1, 3, 3, 5})
		assert.same({1, 2, 2, 4, 5}, {a:search(-7), a:search(2), a:search(3), a:search(4), a:search(6)})
		assert.equal(1, pool.array("f64", 0):search(1))
		assert.error_matches(function() a:search(1.5) end, "a whole number")
	end)

	it("merge makes one sorted array of two", function()
		for _, t in ipairs(TYPES) do
			for _, n in ipairs {0, 1, 7, 300} do
				local x, y = pool.array(t, numbers(n, 5)):sort(), pool.array(t, numbers(200, 9)):sort()
				local list = x:table()
				for _, v in ipairs(y:table()) do list[#list + 1] = v end
				table.sort(list)
				assert.same(list, pool.array(t, n + 200):merge(x, y):table(), t)
			end
		end
		local a = pool.array("i8", 4)
		assert.error_matches(function() a:merge(a:slice(1, 2), pool.array("i8", 2)) end, "cannot be merged into itself")
		assert.error_matches(function() a:merge(pool.array("i8", 2), pool.array("i8", 1)) end, "2 and 1 elements cannot be merged into 4")
	end)
end)

describe("arrays in tasks", function()
	it("are the same memory: 1 GiB costs eight tasks one reference each", function()
		if os.getenv "LUA_POOL_SANITIZER" then return pending "the sanitizers count address space" end
		local before = proc.rss()
		local a = pool.array("u8", 2 ^ 30)
		local fs = {}
		for i = 1, 8 do
			fs[i] = pool.async(function(x, k)
				x[k * 2 ^ 27] = k
				return #x
			end, a, i)
		end
		for i = 1, 8 do assert.equal(2 ^ 30, fs[i]:await()) end
		for i = 1, 8 do assert.equal(i, a[i * 2 ^ 27]) end
		assert.is_true(proc.rss() - before < 64 * 2 ^ 20)
	end)

	it("add and cas lose nothing, for every type of whole numbers", function()
		for _, t in ipairs(WHOLE) do
			local a = pool.array(t, 3)
			local fs = {}
			for i = 1, 4 do
				fs[i] = pool.async(function(x)
					for _ = 1, 30 do
						x:add(2)
						repeat local v = x[3] until x:cas(3, v, v + 1)
					end
				end, a)
			end
			for i = 1, 4 do fs[i]:await() end
			assert.same({0, 120, 120}, a:table(), t)
		end
	end)

	it("add and cas answer as counters do; they wrap around", function()
		local a = pool.array("i8", {127})
		assert.equal(-128, a:add(1))
		assert.equal(-28, a:add(1, 100))
		assert.same({false, -28}, {a:cas(1, 0, 1)})
		assert.is_true(a:cas(1, -28, 1))
		assert.equal(255, pool.array("u8", 1):add(1, -1))
		assert.error_matches(function() pool.array("f64", 1):add(1) end, "add is for whole numbers %(i8 %.%.%. u64%), not for f64")
		assert.error_matches(function() pool.array("f32", 1):cas(1, 0, 1) end, "cas is for whole numbers")
		assert.error_matches(function() a:add(2) end, "index 2 is outside of 1 %.%.%. 1")
		assert.error_matches(function() a:cas(1, 300, 1) end, "a whole number from %-128 to 127")
	end)

	it("chunks divides an array without gaps", function()
		local a = pool.array("i32", numbers(103))
		for _, n in ipairs {1, 2, 7, 103, 500} do
			local chunks, all = a:chunks(n), {}
			assert.equal(math.min(n, 103), #chunks)
			for _, c in ipairs(chunks) do
				assert.is_true(#c == math.floor(103 / #chunks) or #c == math.floor(103 / #chunks) + 1)
				for _, v in c:pairs() do all[#all + 1] = v end
			end
			assert.same(a:table(), all)
		end
		assert.same({}, pool.array("i8", 0):chunks(4))
		assert.error_matches(function() a:chunks(0) end, "number of chunks .* expected, got 0")
		local sums = pool.map(function(c) return c:sum() end, a:chunks(4))
		assert.equal(a:sum(), sums[1] + sums[2] + sums[3] + sums[4])
	end)

	it("map makes a new array with all workers; an error of fn is raised", function()
		for _, n in ipairs {0, 1, 999, 20000} do
			local a = pool.array("i32", numbers(n))
			local b = a:map(function(x) return x * 2 + 1 end)
			assert.is_true(b:equal(pool.array("i32", a):scale(2):axpy(1, pool.array("i32", n):fill(1))))
			assert.equal("f64", a:map(math.sqrt, "f64"):type())
		end
		local a = pool.array("i8", 5000):fill(100)
		assert.error_matches(function() a:map(function(x) return x * 2 end) end, "a whole number from %-128 to 127 expected %(i8%), got 200")
		assert.error_matches(function() a:map(function() error("no", 0) end) end, "^no$")
		assert.error_matches(function() a:map(1) end, "function expected, got 1")
	end)

	it("memory goes when the last handle has gone, and the collector hears of it", function()
		if os.getenv "LUA_POOL_SANITIZER" then return pending "the sanitizers keep freed memory" end
		both.collect()
		local before = proc.rss()
		for _ = 1, 200 do pool.array("u8", 8 * 2 ^ 20):fill(1) end -- 1.6 GB, if nothing were collected
		assert.is_true(proc.rss() - before < 400 * 2 ^ 20)
	end)
end)
