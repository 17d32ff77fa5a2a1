-- data: rows of arrays and dicts: beside plain Lua, beside loops in C, and beside LuaJIT where there is one.
local pool = require "lua-pool"
local harness = require "bench.harness"

local rows = {}
local function row(name, measure)
	table.insert(rows, {name = name, measure = measure})
end

-- ---- arrays ----

local SMALL, LARGE = 1000, 4000000

local function numbers(n)
	local list, x = {}, 42
	for i = 1, n do
		x = (x * 16807) % 2147483647
		list[i] = x + 0.5
	end
	return list
end

--- Seconds per element of `what` on a table of n numbers in LuaJIT, in a process of its own; false: there is none.
local function in_luajit(what, n)
	local script = ([[
		local n, t, x = %d, {}, 42
		for i = 1, n do x = (x * 16807) %% 2147483647 t[i] = x + 0.5 end
		local ffi = require "ffi"
		ffi.cdef "typedef struct { long s, ns; } lp_time; int clock_gettime(int, lp_time *);"
		local ts = ffi.new "lp_time"
		local function now() ffi.C.clock_gettime(1, ts) return tonumber(ts.s) + tonumber(ts.ns) * 1e-9 end
		local work = {
			sum = function() local s = 0 for i = 1, n do s = s + t[i] end return s end,
			sort = function() table.sort(t) end,
		}
		local best = math.huge
		for _ = 1, %d do
			local start = now()
			work.%s()
			best = math.min(best, now() - start)
		end
		print(best / n)
	]]):format(n, what == "sort" and 1 or 20, what)
	local path = os.tmpname()
	local f = assert(io.open(path, "w"))
	f:write(script)
	f:close()
	local p = io.popen("luajit " .. path .. " 2>/dev/null")
	local result = tonumber(p:read "*a")
	p:close()
	os.remove(path)
	return result or false
end

local function beside_luajit(report, what, ours, luajit)
	if luajit then report {what = what, ours = ours, beside = {"LuaJIT, a table", luajit}} end
end

row("array sum", function(_, report)
	local has_c, c = pcall(require, "bench_array")
	if not has_c then error("make bench builds the module bench_array", 0) end
	for _, n in ipairs {SMALL, LARGE} do
		local list = numbers(n)
		local a = pool.array("f64", list)
		local times = n == SMALL and 20000 or 5
		local ours, in_c, plain = harness.compare {
			{times, function(k) for _ = 1, k do a:sum() end end},
			{times, function(k)
				local p = a:pointer()
				for _ = 1, k do c.sum(p, n) end
			end},
			{math.max(1, times / 100), function(k)
				for _ = 1, k do
					local s = 0
					for i = 1, n do s = s + list[i] end
				end
			end},
		}
		local what = ("sum of %d f64, per 1,000"):format(n)
		report {what = what, ours = ours / n * 1000, beside = {"a loop in C", in_c / n * 1000}, target = ">= 80 % of C (<= 1.25x)",
			hit = ours <= 1.25 * in_c}
		report {what = what, ours = ours / n * 1000, beside = {"plain Lua, a table", plain / n * 1000}}
		local luajit = in_luajit("sum", n)
		beside_luajit(report, what, ours / n * 1000, luajit and luajit * 1000)
	end
end)

row("array axpy", function(_, report)
	local has_c, c = pcall(require, "bench_array")
	if not has_c then error("make bench builds the module bench_array", 0) end
	local n = SMALL
	local x, y = pool.array("f64", numbers(n)), pool.array("f64", n)
	local tx, ty = x:table(), y:table()
	local ours, in_c, plain = harness.compare {
		{20000, function(k) for _ = 1, k do y:axpy(0.5, x) end end},
		{20000, function(k) for _ = 1, k do c.axpy(y:pointer(), 0.5, x:pointer(), n) end end},
		{200, function(k)
			for _ = 1, k do
				for i = 1, n do ty[i] = ty[i] + 0.5 * tx[i] end
			end
		end},
	}
	report {what = "axpy of 1,000 f64", ours = ours, beside = {"a loop in C", in_c}}
	report {what = "axpy of 1,000 f64", ours = ours, beside = {"plain Lua, tables", plain}}
end)

row("array sort", function(_, report)
	local n = 200000
	local list = numbers(n)
	local source, a = pool.array("f64", list), pool.array("f64", n)
	local ours, plain = harness.compare {
		{5, function(k) for _ = 1, k do a:copy(source):sort() end end},
		{1, function(k)
			for _ = 1, k do
				local t = {}
				for i = 1, n do t[i] = list[i] end
				table.sort(t)
			end
		end},
	}
	report {what = "sort of 200,000 f64, per element", ours = ours / n, beside = {"table.sort", plain / n}}
	beside_luajit(report, "sort of 200,000 f64, per element", ours / n, in_luajit("sort", n))
end)

row("array to a task", function(_, report)
	local small, large = pool.array("f64", 1), pool.array("f64", 2 ^ 24)
	local function size(a) return #a end
	local ours, other = harness.compare {
		{5000, function(n) for _ = 1, n do pool.async(size, large):await() end end},
		{5000, function(n) for _ = 1, n do pool.async(size, small):await() end end},
	}
	report {what = "array of 128 MiB to a task and back", ours = ours, beside = {"of 8 bytes", other},
		target = "the same (<= 1.2x)", hit = ours <= 1.2 * other}
end)

row("array elements", function(_, report)
	local a, t = pool.array("f64", 1000), {}
	for i = 1, 1000 do t[i] = 0 end
	local get, set, plain = harness.compare {
		{200, function(n)
			local s = 0
			for _ = 1, n do for i = 1, 1000 do s = s + a[i] end end
			return s
		end},
		{200, function(n) for _ = 1, n do for i = 1, 1000 do a[i] = i end end end},
		{2000, function(n)
			local s = 0
			for _ = 1, n do for i = 1, 1000 do s = s + t[i] end end
			return s
		end},
	}
	report {what = "a[i]", ours = get / 1000, beside = {"a table", plain / 1000}}
	report {what = "a[i] = v", ours = set / 1000, beside = {"a table, read", plain / 1000}}
end)

-- ---- dicts ----

local KEYS = {}
for i = 1, 1000 do KEYS[i] = "key " .. i end

row("dict", function(_, report)
	local d, t, m = pool.dict(), {}, pool.mutex()
	for i = 1, 1000 do
		d:set(KEYS[i], i)
		t[KEYS[i]] = i
	end
	local get, set, incr, locked_get, locked_set = harness.compare {
		{100, function(n) for _ = 1, n do for i = 1, 1000 do d:get(KEYS[i]) end end end},
		{100, function(n) for _ = 1, n do for i = 1, 1000 do d:set(KEYS[i], i) end end end},
		{100, function(n) for _ = 1, n do for i = 1, 1000 do d:incr(KEYS[i]) end end end},
		{100, function(n)
			local v
			for _ = 1, n do
				for i = 1, 1000 do
					m:lock()
					v = t[KEYS[i]]
					m:unlock()
				end
			end
			return v
		end},
		{100, function(n)
			for _ = 1, n do
				for i = 1, 1000 do
					m:lock()
					t[KEYS[i]] = i
					m:unlock()
				end
			end
		end},
	}
	report {what = "dict:get of a number", ours = get / 1000, beside = {"table + mutex", locked_get / 1000}}
	report {what = "dict:set of a number", ours = set / 1000, beside = {"table + mutex", locked_set / 1000}}
	report {what = "dict:incr", ours = incr / 1000, beside = {"table + mutex", locked_set / 1000}}
end)

-- Both tasks at once, and each operation counted: half of what one thread needs would be perfect.
row("dict, two threads", function(_, report)
	local p = pool.new {workers = 2}
	local function two(body, ...)
		local go = pool.barrier(3)
		local a, b = p:async(body, go, "a", ...), p:async(body, go, "b", ...)
		go:wait()
		a:await()
		b:await()
	end
	local d, m = pool.dict(), pool.mutex()
	local function on_dict(go, name, dict, n)
		local keys = {}
		for i = 1, 1000 do keys[i] = name .. i end
		go:wait()
		for _ = 1, n do
			for i = 1, 1000 do
				dict:set(keys[i], i)
				dict:get(keys[i])
			end
		end
	end
	local function on_table(go, name, mutex, n)
		local keys, t = {}, {}
		for i = 1, 1000 do keys[i] = name .. i end
		go:wait()
		local v
		for _ = 1, n do
			for i = 1, 1000 do
				mutex:lock()
				t[keys[i]] = i
				mutex:unlock()
				mutex:lock()
				v = t[keys[i]]
				mutex:unlock()
			end
		end
		return v
	end
	local ours, one, locked = harness.compare {
		{50, function(n) two(on_dict, d, n) end},
		{50, function(n)
			local go = pool.barrier(1)
			p:async(on_dict, go, "c", d, n):await()
		end},
		{5, function(n) two(on_table, m, n) end},
	}
	p:close()
	report {what = "set and get by two tasks, per operation", ours = ours / 4000, beside = {"by one task", one / 2000}}
	report {what = "set and get by two tasks, per operation", ours = ours / 4000, beside = {"tables + one mutex", locked / 4000}}
end)

return rows
