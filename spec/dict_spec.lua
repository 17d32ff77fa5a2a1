-- Dicts: keys and values that tasks share.
local describe, it, assert, pending = describe, it, assert, pending
local pool = require "lua-pool"
local both = require "spec.support.both"
local child = require "spec.support.child"
local linear = require "spec.support.linear"
local proc = require "spec.support.proc"
local scale = require "spec.support.scale"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local function sorted_keys(d)
	local list = {}
	for _, k in ipairs(d:keys()) do list[#list + 1] = tostring(k) end
	table.sort(list)
	return list
end

describe("pool.dict", function()
	it("gets what was set, a copy at each call; nil for what is not there", function()
		local d = pool.dict()
		assert.is_nil(d:get "a")
		assert.is_true(d:set("a", 1))
		assert.equal(1, d:get "a")
		assert.is_true(d:set("a", "two"))
		assert.equal("two", d:get "a")
		local t = {1, {2}, name = ("long "):rep(100)}
		t.self = t
		d:set("t", t)
		t[1] = "changed"
		local copy, again = d:get "t", d:get "t"
		assert.equal(1, copy[1])
		assert.is_true(copy.self == copy and copy ~= again)
		assert.equal(t.name, copy.name)
		assert.is_true(d:has "t")
		assert.is_false(d:has "u")
	end)

	it("holds every kind of value that can be sent", function()
		local d = pool.dict()
		local x = 10
		local e = pool.event()
		for i, v in ipairs {true, false, 0, -1, 127, 128, -129, 2 ^ 40, 0.5, 1 / 0, "", ("s"):rep(40), ("s"):rep(41), ("s"):rep(1e5), e} do
			assert.is_true(d:set(i, v))
			assert.equal(v, d:get(i))
		end
		d:set("f", function(y) return x + y end)
		assert.equal(15, d:get "f"(5))
		if math.type then
			d:set("i", 3)
			assert.equal("integer", math.type(d:get "i"))
			d:set("i", 3.0)
			assert.equal("float", math.type(d:get "i"))
		end
		assert.error_matches(function() d:set("c", coroutine.create(print)) end, "argument #2: cannot send a coroutine")
		assert.is_nil(d:get "c")
		d:set("c", 1)
		assert.error_matches(function() d:set("c", {{coroutine.create(print)}}) end, "argument #2%[1%]%[1%]: cannot send a coroutine")
		assert.equal(1, d:get "c")
	end)

	it("has keys of every scalar type; 1 and 1.0 are the same key, 1 and \"1\" are not", function()
		local d = pool.dict()
		local keys = {true, false, 0, 1, -1, 2 ^ 53, 0.5, -1 / 0, 2 ^ 70, "", "1", "a\0b", ("k"):rep(1000), "k"}
		for i, k in ipairs(keys) do d:set(k, i) end
		for i, k in ipairs(keys) do assert.equal(i, d:get(k)) end
		assert.equal(#keys, #d)
		d:set(1.0, "same")
		assert.equal("same", d:get(1))
		assert.equal(3, d:get(-0.0))
		assert.equal(#keys, d:len())
		local seen = {}
		for _, k in ipairs(d:keys()) do seen[k] = true end
		for _, k in ipairs(keys) do assert.is_true(seen[k]) end
		if math.type then
			d:set(math.maxinteger, "max")
			d:set(2.0 ^ 63, "float")
			assert.equal("max", d:get(math.maxinteger))
			assert.equal("float", d:get(2.0 ^ 63))
		else
			both.chunk([[
				local d, assert = ...
				d:set(1LL, "cdata")
				assert.equal("cdata", d:get(1LL))
				assert.equal("same", d:get(1))
				d:set(1ULL, "unsigned")
				assert.equal("cdata", d:get(1LL))
			]], d, assert)
		end
	end)

	it("refuses what is no key, and says so", function()
		local d = pool.dict()
		for _, method in ipairs {"get", "set", "add", "delete", "pop", "incr", "expire", "ttl", "has", "wait"} do
			assert.error_matches(function() d[method](d, nil, 1) end, "key expected %(a string, number, boolean or light userdata%), got nil")
			assert.error_matches(function() d[method](d, 0 / 0, 1) end, "a key cannot be NaN")
			assert.error_matches(function() d[method](d, {}, 1) end, "key expected .* got table")
			assert.error_matches(function() d[method](d) end, "key expected .* got no value")
			assert.error_matches(function() d[method]({}, 1, 1) end, "dict expected, got table")
		end
		assert.error_matches(function() d:update(nil, print) end, "key expected")
		assert.error_matches(function() d:update("k") end, "function expected, got nil")
		assert.error_matches(function() d:set "k" end, "value expected")
		assert.error_matches(function() d:add("k", nil) end, "a value expected, got nil")
	end)

	it("add puts in only what is absent; set of nil, delete and pop take away", function()
		local d = pool.dict()
		assert.is_true(d:add("k", 1))
		assert.same({nil, "exists"}, {d:add("k", 2)})
		assert.equal(1, d:get "k")
		assert.equal(1, d:pop "k")
		assert.is_nil(d:pop "k")
		d:set("k", {7})
		assert.same({7}, d:pop "k")
		d:set("k", false)
		assert.is_true(d:delete "k")
		assert.is_false(d:delete "k")
		d:set("k", 1)
		assert.is_true(d:set("k", nil))
		assert.equal(0, #d)
		for i = 1, 1000 do d:set(i, i) end
		d:clear()
		assert.equal(0, #d)
		assert.is_nil(d:get(500))
	end)

	it("incr counts, from init or 0, in whole numbers or floats", function()
		local d = pool.dict()
		assert.equal(1, d:incr "n")
		assert.equal(11, d:incr("n", 10))
		assert.equal(110, d:incr("m", 10, 100))
		assert.equal(0.5, d:incr("f", 0.5))
		assert.equal(-2, d:incr("f", -2.5))
		if math.type then
			assert.equal("integer", math.type(d:get "n"))
			assert.equal("float", math.type(d:get "f"))
			d:set("max", math.maxinteger)
			assert.equal(math.mininteger, d:incr "max")
		end
		for _, v in ipairs {"1", true, {1}, ("x"):rep(100)} do
			d:set("s", v)
			assert.error_matches(function() d:incr "s" end, "the value of this key is no number")
			assert.same(v, d:get "s")
		end
		assert.error_matches(function() d:incr("n", "1") end, "number expected, got string")
	end)

	it("says in tostring what is in it", function()
		local d = pool.dict {max_items = 5}
		d:set(1, 1)
		assert.matches("^lua%-pool%.dict: .*%(1 items, at most 5%)$", tostring(d))
		assert.matches("%(0 items%)$", tostring(pool.dict()))
	end)

	it("refuses options that are none", function()
		assert.error_matches(function() pool.dict {max_item = 5} end, "pool.dict: unknown option \"max_item\", did you mean 'max_items'%?")
		assert.error_matches(function() pool.dict {max_items = 0} end, "option 'max_items' must be a whole number")
		assert.error_matches(function() pool.dict(5) end, "options must be a table, got number")
		assert.error_matches(function() pool.dict {evict = 1} end, "option 'evict' must be a boolean")
		local d = pool.dict()
		assert.error_matches(function() d:set(1, 1, {tll = 1}) end, "unknown option: there is 'ttl'")
		assert.error_matches(function() d:set(1, 1, {ttl = 0}) end, "'ttl' must be seconds %(a number greater than 0%), got 0")
		assert.error_matches(function() d:set(1, 1, {ttl = "1"}) end, "'ttl' must be seconds .* got string")
		assert.error_matches(function() d:set(1, 1, 5) end, "table expected, got number")
		assert.error_matches(function() d:expire(1, -1) end, "must be seconds .* got %-1")
		assert.is_nil(d:get(1))
	end)
end)

describe("a dict and tasks", function()
	it("is one object in every state", function()
		local d = pool.dict()
		assert.is_true(pool.async(function(x) x:set("from", "task") return x end, d):await() == d)
		assert.equal("task", d:get "from")
	end)

	it("loses no change of four tasks: incr and update are atomic", function()
		local d = pool.dict()
		local n, m = scale(100000), scale(10000)
		local fs = {}
		for i = 1, 4 do
			fs[i] = pool.async(function(x, k, l)
				for _ = 1, k do x:incr "n" end
				for _ = 1, l do x:update("u", function(v) return (v or 0) + 1 end) end
				for _ = 1, l do
					x:update("t", function(t)
						t = t or {count = 0, text = ("x"):rep(100)}
						t.count = t.count + 1
						return t
					end)
				end
			end, d, n, m)
		end
		for i = 1, 4 do fs[i]:await() end
		assert.equal(4 * n, d:get "n")
		assert.equal(4 * m, d:get "u")
		assert.equal(4 * m, d:get "t".count)
	end)

	it("add and pop give each key to one of those who try", function()
		local d, got = pool.dict(), pool.counter()
		local fs = {}
		for i = 1, 4 do
			fs[i] = pool.async(function(x, c, n)
				for k = 1, n do
					if x:add(k, k) then c:add() end
				end
				for k = 1, n do
					if x:pop(k) then c:add() end
				end
			end, d, got, 2000)
		end
		for i = 1, 4 do fs[i]:await() end
		assert.equal(0, #d)
		-- What one task takes out another may put in again: as many came out as went in.
		assert.equal(0, got:get() % 2)
		assert.is_true(got:get() >= 4000)
	end)

	it("can be iterated while others write: what stays is met once, with one of its values", function()
		local d, stop = pool.dict(), pool.event()
		for i = 1, 1000 do d:set(i, -i) end
		local writer = pool.async(function(x, s)
			local n = 0
			repeat
				for i = 1, 1000 do
					x:set(i, i % 2 == 0 and i or -i)
					x:set("other " .. i, {i})
					x:delete("other " .. i)
				end
				n = n + 1
			until s:is_set()
			return n
		end, d, stop)
		for _ = 1, 20 do
			local seen, count = {}, 0
			for k, v in d:pairs() do
				if type(k) == "number" then
					assert.is_nil(seen[k])
					assert.is_true(v == k or v == -k)
					seen[k] = true
					count = count + 1
				else
					assert.same({tonumber(k:match "%d+")}, v)
				end
			end
			assert.equal(1000, count)
		end
		stop:set()
		assert.is_true(writer:await() > 0)
		if both.has_close then
			local n = 0
			for _ in pairs(d) do n = n + 1 end
			assert.equal(1000, n)
		end
		assert.equal(1000, #d:keys())
	end)

	it("a value lives as long as somebody has it: objects in it too", function()
		local d = pool.dict()
		local ch = pool.channel(1)
		d:set("ch", {ch = ch})
		ch = nil -- luacheck: ignore
		both.collect()
		d:get "ch".ch:send("through the dict")
		local got = d:pop "ch".ch
		d = nil -- luacheck: ignore
		both.collect()
		assert.equal("through the dict", (got:receive()))
	end)

	it("moves a buffer in", function()
		local d, b = pool.dict(), pool.buffer "text"
		d:set("b", pool.transfer(b))
		assert.equal("text", d:get "b":string())
		assert.error_matches(function() return #b end, "moved away")
	end)

	it("goes on in a forked child, as a copy of its own, though another thread was writing", function()
		if not child.may_fork then return pending "no fork under this sanitizer" end
		assert.equal("0|child 7 8 1\nparent 7\n|", child.told [[
			local sys = require "sys"
			local d, stop = pool.dict(), pool.event()
			d:set("k", 7)
			local up = pool.event()
			local f = pool.async(function(x, s, u)
				local i = 0
				repeat
					i = i + 1
					x:set(i % 100, ("x"):rep(100))
					if i == 1000 then u:set() end
				until s:is_set()
			end, d, stop, up)
			up:wait()
			local pid = sys.fork()
			if pid == 0 then
				local before = d:get "k"
				d:set("k", 8)
				for i = 0, 99 do d:set(i, 1) end
				print("child " .. before .. " " .. pool.async(function(x) return x:get "k" end, d):await() .. " " .. d:get(99))
				os.exit(0, true)
			end
			sys.wait(pid)
			stop:set()
			f:await()
			print("parent " .. d:get "k")
		]])
	end)
end)

describe("dict:update", function()
	it("gives the function what is there and puts in what it returns, all of which it returns", function()
		local d = pool.dict()
		assert.same({"first", 2}, {d:update("k", function(v)
			assert.is_nil(v)
			return "first", 2
		end)})
		assert.equal("first+", d:update("k", function(v) return v .. "+" end))
		assert.equal("first+", d:get "k")
		assert.is_nil(d:update("k", function() end))
		assert.is_false(d:has "k")
	end)

	it("leaves everything as it was if the function fails or its task is cancelled", function()
		local d, up = pool.dict(), pool.event()
		d:set("k", 1)
		assert.error_matches(function() d:update("k", function() error("no", 0) end) end, "^no$")
		assert.error_matches(function() d:update("k", function() return coroutine.create(print) end) end, "cannot send a coroutine")
		local f = pool.async(function(x, u)
			x:update("k", function()
				u:set()
				require "lua-pool".sleep(1000)
				return 2
			end)
		end, d, up)
		up:wait()
		assert.equal(1, d:update("k", function(v) return v end)) -- nobody is locked out meanwhile
		assert.is_true(f:cancel())
		assert.equal(1, d:get "k")
		assert.equal(5, d:update("k", function() return 5 end))
	end)

	it("calls the function again if somebody else was quicker", function()
		local d = pool.dict()
		d:set("k", 1)
		local calls = 0
		local r = d:update("k", function(v)
			calls = calls + 1
			if calls == 1 then pool.async(function(x) x:set("k", 10) end, d):await() end
			return v + 1
		end)
		assert.equal(11, r)
		assert.equal(2, calls)
		calls = 0
		d:update("k", function(v)
			calls = calls + 1
			if calls == 1 then d:delete "k" end
			return (v or 100) + 1
		end)
		assert.same({2, 101}, {calls, d:get "k"})
	end)

	it("inside itself: another key is fine, the same one is an error and no dead-lock", function()
		local d = pool.dict()
		d:update("a", function()
			d:update("b", function() return 2 end)
			return 1
		end)
		assert.same({1, 2}, {d:get "a", d:get "b"})
		assert.error_matches(function()
			d:update("a", function(v) return d:update("a", function(w) return w + 1 end) and v end)
		end, "the function changes the entry of this key itself")
		assert.equal(7, d:update("a", function() return 7 end))
	end)
end)

describe("time", function()
	it("takes entries away: set's ttl, expire, the dict's own", function()
		local d = pool.dict()
		d:set("short", 1, {ttl = 0.01})
		d:set("long", 1, {ttl = 1000})
		d:set("ever", 1)
		assert.is_true(d:ttl "long" > 900)
		assert.equal(math.huge, d:ttl "ever")
		assert.is_nil(d:ttl "none")
		assert.is_true(proc.eventually(function() return d:get "short" == nil end))
		assert.equal(2, #d)
		assert.is_true(d:expire("ever", 0.001))
		assert.is_true(d:expire("long"))
		assert.is_false(d:expire("none", 1))
		assert.equal(math.huge, d:ttl "long")
		assert.is_true(proc.eventually(function() return not d:has "ever" end))
		assert.same({"long"}, d:keys())
		assert.is_true(d:stats().expired >= 2)
		local e = pool.dict {ttl = 0.001}
		e:set("k", 1)
		e:incr "n"
		e:set("kept", 1, {ttl = 1000})
		assert.is_true(proc.eventually(function() return #e == 1 end))
		assert.is_true(e:has "kept")
	end)

	it("is over for add, incr, update and wait as well: they find nothing", function()
		local d = pool.dict()
		for _, k in ipairs {"add", "incr", "update"} do d:set(k, 50, {ttl = 0.001}) end
		assert.is_true(proc.eventually(function() return d:ttl "add" == nil and d:ttl "update" == nil and d:ttl "incr" == nil end))
		assert.is_true(d:add("add", 1))
		assert.equal(1, d:incr "incr")
		assert.equal("nil", d:update("update", function(v) return tostring(v) end))
	end)

	it("set begins it anew; update and incr keep it", function()
		local d = pool.dict()
		d:set("a", 1, {ttl = 1000})
		d:update("a", function(v) return v + 1 end)
		d:incr "a"
		assert.is_true(d:ttl "a" < 1001)
		d:set("a", 1)
		assert.equal(math.huge, d:ttl "a")
	end)

	it("frees the memory of entries that nobody asks for again", function()
		local d = pool.dict()
		for i = 1, 2000 do d:set("old " .. i, ("x"):rep(100), {ttl = 0.000001}) end
		for i = 1, 5000 do d:set(i % 50, i) end
		assert.is_true(d:stats().items < 1000)
	end)
end)

describe("limits", function()
	it("max_items: the longest unused goes", function()
		local d = pool.dict {max_items = 3}
		d:set("a", 1)
		d:set("b", 2)
		d:set("c", 3)
		d:get "a"
		d:set("d", 4)
		assert.same({"a", "c", "d"}, sorted_keys(d))
		d:incr "c"
		d:incr "e"
		assert.same({"c", "d", "e"}, sorted_keys(d))
		assert.equal(2, d:stats().evicted)
	end)

	it("max_items holds at every size, with tasks that fill it at once", function()
		for _, most in ipairs {1, 100, 1000, 20000} do
			local d = pool.dict {max_items = most}
			pool.each(function(t)
				for i = 1, 3000 do d:set(t * 10000 + i, i) end
			end, 8, {batch = 1})
			assert.is_true(#d <= most)
			assert.is_true(#d >= math.min(most, 24000))
		end
	end)

	it("max_bytes bounds what a task that fills it can take", function()
		local most = 2 ^ 20
		local d = pool.dict {max_bytes = most}
		pool.async(function(x)
			for i = 1, 2000 do assert(x:set(i, ("x"):rep(5000) .. i)) end
		end, d):await()
		assert.is_true(d:stats().bytes <= most)
		assert.is_true(#d > 50)
		assert.same({nil, "full"}, {d:set("huge", ("x"):rep(most))})
		assert.is_nil(d:get "huge")
		assert.is_true(#d > 50)
	end)

	it("evict = false refuses instead", function()
		local d = pool.dict {max_items = 2, evict = false}
		assert.is_true(d:set("a", 1))
		assert.is_true(d:set("b", 1))
		assert.same({nil, "full"}, {d:set("c", 1)})
		assert.same({nil, "full"}, {d:add("c", 1)})
		assert.same({nil, "full"}, {d:incr "c"})
		assert.same({nil, "full"}, {d:update("c", function() return 1 end)})
		assert.is_true(d:set("a", 2))
		assert.is_true(d:delete "a")
		assert.is_true(d:set("c", 1, {ttl = 0.000001}))
		assert.is_true(proc.eventually(function() return d:add("e", 1) end))
	end)

	it("stats counts hits and misses, and gives back the bytes of what is gone", function()
		local d = pool.dict()
		d:set("a", ("x"):rep(1000))
		d:get "a"
		d:get "b"
		local s = d:stats()
		assert.same({1, 1, 1}, {s.items, s.hits, s.misses})
		assert.is_true(s.bytes > 1000)
		d:set("a", 1)
		assert.is_true(d:stats().bytes < 1000)
		d:set("b", {1})
		d:pop "b"
		d:pop "a"
		assert.equal(0, d:stats().bytes)
	end)
end)

describe("dict:wait", function()
	it("answers at once what is there, and waits for what is not", function()
		local d, up = pool.dict(), pool.event()
		d:set("here", {1})
		assert.same({1}, d:wait "here")
		local fs = {}
		for i = 1, 3 do
			fs[i] = pool.new({workers = 1}):async(function(x, u)
				u:set()
				return x:wait "late"
			end, d, up)
		end
		up:wait()
		d:set("other", 1)
		d:set("late", {text = ("x"):rep(100)})
		for i = 1, 3 do assert.equal(100, #fs[i]:await().text) end
		assert.equal(3, d:incr("n", 3))
		assert.equal(3, d:wait("n", 0))
	end)

	it("times out, and can be cancelled; nothing is left behind", function()
		local d, up = pool.dict(), pool.event()
		assert.same({nil, "timeout"}, {d:wait("k", 0)})
		assert.same({nil, "timeout"}, {d:wait("k", 0.005)})
		local f = pool.async(function(x, u)
			u:set()
			x:wait "k"
		end, d, up)
		up:wait()
		assert.is_true(f:cancel())
		d:set("k", 1)
		assert.equal(1, d:wait "k")
		assert.error_matches(function() d:wait("k", "1") end, "timeout in seconds expected")
	end)

	it("is woken by incr, add and update", function()
		local d = pool.dict()
		for _, how in ipairs {"incr", "add", "update"} do
			local up = pool.event()
			local f = pool.async(function(x, u, k)
				u:set()
				return x:wait(k)
			end, d, up, how)
			up:wait()
			if how == "incr" then d:incr "incr" elseif how == "add" then d:add("add", 1) else d:update(how, function() return 1 end) end
			assert.equal(1, f:await())
		end
	end)
end)

-- The model of one key: its number, or false.
local model = {}
function model.init() return {v = false} end
function model.key(state) return tostring(state.v) end
function model.step(state, e)
	local v, r = state.v, e.results and e.results[1]
	local function may(result, next_v)
		if e.ret and r ~= result then return nil end
		return {v = next_v}
	end
	if e.op == "get" then return may(v or nil, v) end
	if e.op == "set" then return may(true, e.arg) end
	if e.op == "add" then
		if v then return may(nil, v) end
		return may(true, e.arg)
	end
	if e.op == "incr" then return may((v or 0) + e.arg, (v or 0) + e.arg) end
	if e.op == "update" then return may((v or 0) * 2 + 1, (v or 0) * 2 + 1) end
	if e.op == "pop" then return may(v or nil, false) end
	return may(v ~= false, false) -- delete
end

describe("linearisable:", function()
	it("a key of a dict", function()
		local overlaps = 0
		for round = 1, scale(300, 10) do
			local history = linear.run(pool, 4, function(record, thread, d, number, together)
				local seed = thread * 7919 + number * 104729
				local function twice(v) return (v or 0) * 2 + 1 end
				local met = false
				record("update", nil, d.update, d, "k", function(v) -- all four have read before one of them writes
					if not met then together:wait() end
					met = true
					return twice(v)
				end)
				for _ = 1, 9 do
					seed = (seed * 16807) % 2147483647
					local what, arg = seed % 8, seed % 5 + 1
					if what < 2 then
						record("get", nil, d.get, d, "k")
					elseif what == 2 then
						record("set", arg, d.set, d, "k", arg)
					elseif what == 3 then
						record("add", arg, d.add, d, "k", arg)
					elseif what == 4 then
						record("incr", arg, d.incr, d, "k", arg)
					elseif what == 5 then
						record("update", nil, d.update, d, "k", twice)
					elseif what == 6 then
						record("pop", nil, d.pop, d, "k")
					else
						record("delete", nil, d.delete, d, "k")
					end
				end
			end, pool.dict(), round, pool.barrier(4))
			overlaps = overlaps + linear.overlaps(history)
			local ok, why = linear.check(history, model)
			assert.is_true(ok, why)
		end
		assert.is_true(overlaps > 0, "the threads never met: this test showed nothing")
	end)
end)
