-- Many at once: map, each, imap, all, any, as_completed, and the progress bar.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local both = require "spec.support.both"
local child = require "spec.support.child"
local scale = require "spec.support.scale"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local pack = both.pack

local function double(x) return 2 * x end

-- A task that ends when its event is set.
local function gated(p, ...)
	local gate = pool.event()
	return p:async(function(...) gate:wait() return ... end, ...), gate
end

local function raised(pattern, f, ...)
	local ok, err = pcall(f, ...)
	assert.is_false(ok)
	assert.truthy(tostring(err):find(pattern), tostring(err))
	return err
end

describe("map", function()
	it("gives fn's results in the order of the list, however it is batched", function()
		for _, n in ipairs { 0, 1, 2, 3, 10, 1000, scale(100000) } do
			local list = {}
			for i = 1, n do list[i] = i end
			for _, opts in ipairs { false, { batch = 1 }, { batch = 7 }, { batch = 1e9 }, { window = 1 } } do
				if n <= 1000 or not opts or opts.batch == 1e9 then
					local out = pool.map(double, list, opts or nil)
					assert.equal(n, #out)
					for i = 1, n do
						if out[i] ~= 2 * i then assert.equal(2 * i, out[i]) end
					end
				end
			end
		end
	end)

	it("takes a number n for 1 to n", function()
		assert.same({}, pool.map(double, 0))
		assert.same({ 2 }, pool.map(double, 1))
		local out = pool.map(double, scale(1000000))
		assert.equal(scale(1000000), #out)
		assert.equal(2 * #out, out[#out])
		if math.type then assert.equal("integer", math.type(pool.map(function(i) return i end, 3.0)[1])) end
	end)

	it("keeps nil results as holes, and takes only the first result", function()
		local out = pool.map(function(x) if x % 2 == 0 then return nil end return x, "second" end, 6)
		assert.equal(1, out[1])
		assert.is_nil(out[2])
		assert.equal(3, out[3])
		assert.equal(5, out[5])
		assert.is_nil(out[6])
		assert.same({}, pool.map(function() end, 100))
		assert.same({ false, false }, pool.map(function() return false end, 2))
	end)

	it("goes over holes where the list has n", function()
		local out = pool.map(function(x) return x == nil and "hole" or x end, { 1, nil, 3, nil, nil, n = 5 })
		assert.same({ 1, "hole", 3, "hole", "hole" }, out)
	end)

	it("takes any callable, tables of any kind as elements, and fn's upvalues", function()
		assert.same({ "A", "B" }, pool.map(string.upper, { "a", "b" }))
		local add = setmetatable({ n = 5 }, { __call = function(self, x) return self.n + x end })
		assert.same({ 6, 7 }, pool.map(add, 2))
		local factor = { 3 }
		assert.same({ { 3 }, { 6 } }, pool.map(function(t) return { t.x * factor[1] } end, { { x = 1 }, { x = 2 } }))
	end)

	it("raises the first error as it is, from the first, a middle and the last element", function()
		for _, n in ipairs { 1, 50, 1000 } do
			for _, at in ipairs { 1, math.ceil(n / 2), n } do
				local ok, err = pcall(pool.map, function(x) if x == at then error({ at = x }) end return x end, n)
				assert.is_false(ok)
				assert.same({ at = at }, err)
			end
		end
		raised("^x$", pool.map, function() error("x", 0) end, 5)
		local ok, err = pcall(pool.map, function() error(nil) end, 5)
		assert.is_false(ok)
		assert.is_nil(err)
	end)

	it("cancels the rest after an error, and waits for it", function()
		local p = pool.new { workers = 2 }
		local begun, ended, never = pool.counter(0), pool.counter(0), pool.event()
		local ok = pcall(p.map, p, function(x)
			begun:add(1)
			if x == 1 then error("first") end
			never:wait()
			ended:add(1)
		end, 100000, { batch = 1, window = 5 })
		assert.is_false(ok)
		assert.equal(0, ended:get())
		assert.is_true(begun:get() <= 5)
		assert.equal(0, p:stats().queued)
		assert.equal(0, p:stats().running)
		p:close()
	end)

	it("nests in a map, on one worker and on two", function()
		for workers = 1, 2 do
			local p = pool.new { workers = workers }
			local function inner(i)
				local sum = 0
				for _, v in ipairs(pool.map(function(k) return i * k end, 4, { batch = 1 })) do sum = sum + v end
				return sum
			end
			local out = p:map(inner, 6, { batch = 1 })
			for i = 1, 6 do assert.equal(10 * i, out[i]) end
			p:close()
		end
	end)

	it("is cancelled as a whole when its task is", function()
		local p, up, never = pool.new { workers = 2 }, pool.event(), pool.event()
		local f = p:async(function()
			return pool.map(function() up:set() never:wait() end, 10, { batch = 1 })
		end)
		up:wait()
		assert.is_true(f:cancel(30))
		assert.is_true(p:close(30))
	end)

	it("refuses what it cannot use, and says what", function()
		raised("bad argument #1 to 'map' %(function expected, got nil", pool.map, nil, {})
		raised("bad argument #1 to 'map' %(function expected, got table", pool.map, {}, {})
		raised("bad argument #2 to 'map' %(list or number of elements expected, got nil", pool.map, print)
		raised("bad argument #2 to 'map'", pool.map, print, "abc")
		for _, n in ipairs { -1, 1.5, math.huge, 0 / 0 } do raised("bad argument #2 to 'map'", pool.map, print, n) end
		raised("did you mean 'batch'", pool.map, print, 3, { bacth = 3 })
		for _, wrong in ipairs { 0, -1, 1.5, "3" } do
			raised("option 'batch' must be", pool.map, print, 3, { batch = wrong })
			raised("option 'window' must be", pool.map, print, 3, { window = wrong })
		end
		raised("option 'progress' must be", pool.map, print, 3, { progress = 1 })
		raised("cannot send a", pool.map, print, { 1, coroutine.create(print) })
		local co = coroutine.create(print)
		raised("co", pool.map, function() return co end, 3)
	end)

	it("fails with a result that cannot be sent, and goes on afterwards", function()
		raised("cannot send a", pool.map, function() return coroutine.create(print) end, 3)
		assert.same({ 2, 4 }, pool.map(double, 2))
	end)

	it("batches small items: far fewer tasks than elements", function()
		local p = pool.new { workers = 2 }
		p:map(double, 100000)
		local tasks = p:stats().done
		assert.is_true(tasks < 5000, tasks .. " tasks")
		p:close()
	end)
end)

describe("each", function()
	it("calls fn for each element and returns nothing", function()
		local sum = pool.counter(0)
		assert.equal(0, select("#", pool.each(function(x) sum:add(x) end, { 1, 2, 3 })))
		pool.each(function(x) sum:add(x) end, 100)
		assert.equal(6 + 5050, sum:get())
		assert.equal(0, select("#", pool.each(print, {})))
	end)

	it("needs no result that can be sent", function()
		pool.each(function() return coroutine.create(print) end, 3)
	end)

	it("raises the first error", function()
		raised("^at 3$", pool.each, function(x) if x == 3 then error("at 3", 0) end end, 10)
		raised("bad argument #1 to 'each'", pool.each, 1, 2)
	end)
end)

describe("imap", function()
	it("iterates over the results in order", function()
		for _, opts in ipairs { {}, { batch = 1 }, { batch = 3 }, { window = 1 } } do
			local seen = {}
			for r in pool.imap(double, { 1, 2, 3, 4, 5, 6, 7 }, opts) do seen[#seen + 1] = r end
			assert.same({ 2, 4, 6, 8, 10, 12, 14 }, seen)
			local n = 0
			for r in pool.imap(double, 500, opts) do
				n = n + 1
				assert.equal(2 * n, r)
			end
			assert.equal(500, n)
		end
	end)

	it("passes all that an iterator function returns, and gives all results", function()
		local i = 0
		local seen = {}
		for a, b, c in pool.imap(function(k, v, w) return k, v, w end, function()
			i = i + 1
			if i <= 3 then return i, "v" .. i, nil end
		end) do seen[#seen + 1] = pack(a, b, c) end
		assert.same({ pack(1, "v1", nil), pack(2, "v2", nil), pack(3, "v3", nil) }, seen)
	end)

	it("over nothing ends at once", function()
		for _, nothing in ipairs { 0, {}, function() end } do
			for _ in pool.imap(double, nothing) do error("a result of nothing") end
		end
	end)

	it("unordered gives each result once", function()
		local seen, n = {}, 0
		for r in pool.imap(double, 300, { ordered = false }) do
			assert.is_nil(seen[r])
			seen[r], n = true, n + 1
		end
		assert.equal(300, n)
	end)

	it("unordered gives what is ready first", function()
		local gate = pool.event()
		local p = pool.new { workers = 2 }
		local order = {}
		for r in p:imap(function(x)
			if x == 1 then gate:wait() end
			return x
		end, 2, { ordered = false, batch = 1 }) do
			order[#order + 1] = r
			gate:set()
		end
		assert.same({ 2, 1 }, order)
		p:close()
	end)

	it("pulls no more than its window from an endless iterator, and stops when told", function()
		local p = pool.new { workers = 2 }
		local pulled = 0
		local results = p:imap(double, function()
			pulled = pulled + 1
			return pulled
		end, { window = 4, batch = 2 })
		for i = 1, 10 do assert.equal(2 * i, (results())) end
		assert.is_true(pulled <= 10 + 4 * 2 + 2, tostring(pulled))
		results:close()
		assert.is_nil(results())
		p:close()
		assert.equal(0, p:stats().queued)
	end)

	it("raises the iterator's error after the results before it", function()
		local i, seen = 0, {}
		raised("iterator broke", function()
			for r in pool.imap(double, function()
				i = i + 1
				if i == 4 then error("iterator broke") end
				return i
			end) do seen[#seen + 1] = r end
		end)
		assert.same({ 2, 4, 6 }, seen)
	end)

	it("raises fn's error at its element and ends", function()
		local seen = {}
		local results = pool.imap(function(x)
			if x == 3 then error({ "third" }) end
			return x
		end, 10, { batch = 1 })
		local ok, err
		repeat
			ok, err = pcall(results)
			if ok then seen[#seen + 1] = err end
		until not ok
		assert.same({ "third" }, err)
		assert.same({ 1, 2 }, seen)
		assert.is_nil(results())
	end)

	it("says so when fn returns nil, which would end the loop silently", function()
		raised("returned nil", function()
			for _ in pool.imap(function() end, 3) do error("not reached") end
		end)
	end)

	it("works with an iterator that yields, in a coroutine", function()
		local i = 0
		local co = coroutine.wrap(function()
			local sum = 0
			for r in pool.imap(double, function()
				i = i + 1
				coroutine.yield("pulled")
				if i <= 3 then return i end
			end, { batch = 1 }) do sum = sum + r end
			return sum
		end)
		local last
		repeat last = co() until last ~= "pulled"
		assert.equal(12, last)
	end)

	it("refuses what is no iterator", function()
		raised("bad argument #2 to 'imap' %(iterator expected, got nil", pool.imap, print)
		raised("bad argument #2 to 'imap' %(iterator expected, got string", pool.imap, print, "x")
		raised("bad argument #2 to 'imap' %(iterator expected, got boolean", pool.imap, print, true)
		raised("bad argument #1 to 'imap'", pool.imap, nil, 3)
		raised("did you mean 'ordered'", pool.imap, print, 3, { orderd = false })
	end)

	it("that nobody finishes leaves nothing running", function()
		local p = pool.new { workers = 2 }
		for _ = 1, 20 do
			local results = p:imap(double, math.huge)
			results()
			results = nil -- luacheck: ignore
		end
		both.collect()
		assert.is_true(p:close(30))
	end)

	if both.has_close then
		it("left by break, by return or by an error cancels the rest", function()
			local p = pool.new { workers = 2 }
			local pulled = 0
			local function endless()
				pulled = pulled + 1
				return pulled
			end
			both.chunk([[
				local p, double, endless = ...
				for r in p:imap(double, endless) do if r > 20 then break end end
				pcall(function() for _ in p:imap(double, endless) do error("out") end end)
			]], p, double, endless)
			assert.equal(0, p:stats().queued)
			assert.equal(0, p:stats().running)
			p:close()
		end)
	end
end)

describe("all", function()
	it("gives the first result of each, in order, with n", function()
		local p = pool.new { workers = 2 }
		local a, open_a = gated(p, "a", "second")
		local b = p:async(function() return nil end)
		local c = p:async(function() open_a:set() return "c" end)
		local r = pool.all { a, b, c }
		assert.equal(3, r.n)
		assert.equal("a", r[1])
		assert.is_nil(r[2])
		assert.equal("c", r[3])
		p:close()
	end)

	it("of nothing is nothing", function()
		assert.same({ n = 0 }, pool.all {})
	end)

	it("of the same future twice gives its result twice", function()
		local f = pool.async(double, 4)
		assert.same({ 8, 8, n = 2 }, pool.all { f, f })
	end)

	it("raises the first error as soon as it happens, and cancels nothing", function()
		local p = pool.new { workers = 2 }
		local slow, open = gated(p, "slow")
		local bad = p:async(function() error({ "bad" }) end)
		local ok, err = pcall(pool.all, { slow, bad })
		assert.is_false(ok)
		assert.same({ "bad" }, err)
		assert.truthy(slow:status() == "running" or slow:status() == "pending")
		open:set()
		assert.equal("slow", slow:await())
		p:close()
	end)

	it("with a timeout answers nil, 'timeout'", function()
		local slow, open = gated(pool.new { workers = 1 }, 1)
		assert.same(pack(nil, "timeout"), pack(pool.all({ slow }, 0)))
		assert.same(pack(nil, "timeout"), pack(pool.all({ slow }, 0.001)))
		open:set()
		assert.same({ 1, n = 1 }, pool.all({ slow }, 30))
	end)

	it("refuses what is no future, and says which element", function()
		raised("element 2 is not a future but a number", pool.all, { pool.async(double, 1), 5 })
		raised("list of futures expected, got nil", pool.all)
		raised("element 1 is not a future but a table", pool.any, { {} })
		raised("list of futures expected", pool.as_completed, pool.async(double, 1))
	end)

	it("takes many thousands", function()
		local n = scale(20000)
		local futures = {}
		for i = 1, n do futures[i] = pool.async(double, i) end
		local r = pool.all(futures)
		assert.equal(n, r.n)
		for i = 1, n do
			if r[i] ~= 2 * i then assert.equal(2 * i, r[i]) end
		end
	end)

	it("works in a task, for its children and for others", function()
		local p = pool.new { workers = 1 }
		local other = pool.async(double, 50)
		assert.same({ 2, 4, 100, n = 3 }, p:async(function()
			return pool.all { pool.async(double, 1), pool.async(double, 2), other }
		end):await())
		p:close()
	end)
end)

describe("any", function()
	it("gives the index and the results of the first success", function()
		local p = pool.new { workers = 2 }
		local slow, open = gated(p, "slow")
		assert.same(pack(2, "x", nil, "y"), pack(pool.any { slow, p:async(function() return "x", nil, "y" end) }))
		open:set()
		assert.same(pack(1, "slow"), pack(pool.any { slow }))
		p:close()
	end)

	it("passes over failures", function()
		local p = pool.new { workers = 1, on_error = false }
		local bad, good = p:async(function() error("bad") end), p:async(double, 4)
		assert.same(pack(2, 8), pack(pool.any { bad, good }))
		p:close()
	end)

	it("raises every reason when all fail", function()
		local p = pool.new { workers = 2, on_error = false }
		local futures = {}
		for i = 1, 5 do futures[i] = p:async(function() error("reason " .. i, 0) end) end
		futures[6] = p:async(function() error({}) end)
		local err = raised("all 6 futures failed", pool.any, futures)
		for i = 1, 5 do assert.truthy(err:find("reason " .. i, 1, true), err) end
		assert.truthy(err:find("#6", 1, true), err)
		p:close()
	end)

	it("of nothing is an error", function()
		raised("empty", pool.any, {})
	end)

	it("with a timeout answers nil, 'timeout'", function()
		local slow, open = gated(pool.new { workers = 1 }, 1)
		assert.same(pack(nil, "timeout"), pack(pool.any({ slow }, 0)))
		open:set()
		assert.same(pack(1, 1), pack(pool.any({ slow }, 30)))
	end)

	it("finds the one that succeeds behind a hundred that wait for it", function()
		local p = pool.new { workers = 2 }
		local gate, futures = pool.event(), {}
		for i = 1, 100 do futures[i] = p:async(function() gate:wait() return "late" end) end
		futures[101] = p:async(function() return "early" end)
		assert.same(pack(101, "early"), pack(pool.any(futures)))
		assert.same(pack(101, "early"), pack(pool.any(futures, 30)))
		assert.same(pack(101, "early"), pack(pool.any(futures, 0)))
		gate:set()
		p:close()
	end)
end)

describe("as_completed", function()
	it("gives the futures in the order in which they end, with their indices", function()
		local p = pool.new { workers = 4 }
		local futures, gates = {}, {}
		for i = 1, 4 do futures[i], gates[i] = gated(p, i) end
		local order = {}
		gates[3]:set()
		local open_next = { [3] = 1, [1] = 4, [4] = 2 }
		for f, i in pool.as_completed(futures) do
			assert.is_true(f == futures[i])
			assert.equal(i, f:await())
			order[#order + 1] = i
			if open_next[i] then gates[open_next[i]]:set() end
		end
		assert.same({ 3, 1, 4, 2 }, order)
		p:close()
	end)

	it("gives failed ones too, and nothing for nothing", function()
		local f = pool.async(function() error("x", 0) end)
		for g in pool.as_completed { f } do assert.same(pack(false, "x"), pack(g:pawait())) end
		for _ in pool.as_completed {} do error("something") end
	end)

	it("does not wait for the first hundred when the next has ended", function()
		local p = pool.new { workers = 2 }
		local gate, futures = pool.event(), {}
		for i = 1, 100 do futures[i] = p:async(function() gate:wait() return i end) end
		futures[101] = p:async(function() return "next" end)
		local n = 0
		for _, i in pool.as_completed(futures) do
			if n == 0 then
				assert.equal(101, i)
				gate:set()
			end
			n = n + 1
		end
		assert.equal(101, n)
		p:close()
	end)
end)

describe("progress", function()
	it("as a function gets monotone counts up to the total", function()
		for _, name in ipairs { "map", "each" } do
			local last, calls = 0, 0
			pool[name](double, 1000, { progress = function(done, total)
				assert.equal(1000, total)
				assert.is_true(done > last and done <= total)
				last, calls = done, calls + 1
			end })
			assert.equal(1000, last)
			assert.is_true(calls > 0)
		end
		local counts = {}
		for _ in pool.imap(double, 5, { progress = function(done, total) counts[#counts + 1] = pack(done, total) end }) do end -- luacheck: ignore
		assert.equal(5, #counts)
		assert.equal(5, counts[5][1])
	end)

	it("as a function that raises ends the map with its error", function()
		raised("from progress", pool.map, double, 1000, { progress = function() error("from progress") end })
		assert.same({ 2 }, pool.map(double, 1))
	end)

	it("writes nothing when stderr is no terminal", function()
		assert.equal("0|100\n|", child.told [[
			print(#pool.map(function(x) return x end, 100, { progress = true }))
			for _ in pool.imap(function(x) return x end, 100, { progress = true }) do end
		]])
	end)

	it("draws one line on a terminal that ends at 100 %", function()
		local r = child.run([[
			pool.map(function(x) return x end, 1000, { progress = true, batch = 10 })
		]], { wrap = function(command) return ("script -qec %s /dev/null"):format(child.quote(command)) end })
		assert.equal(0, r.status)
		local text = r.out:gsub("\r\n", "\n")
		assert.truthy(text:find("100 %% 1000/1000"), text)
		assert.equal(1, select(2, text:gsub("\n", "")))
		assert.equal("\n", text:sub(-1))
		local last = 0
		for done in text:gmatch "(%d+)/1000" do
			assert.is_true(tonumber(done) >= last)
			last = tonumber(done)
		end
		assert.equal(1000, last)
	end)

	it("is drawn to its end for no elements, and when an error ends it", function()
		local function on_terminal(script)
			return child.run(script, { wrap = function(command) return ("script -qec %s /dev/null"):format(child.quote(command)) end })
		end
		local r = on_terminal [[ pool.map(print, 0, { progress = true }) io.write("after\n") ]]
		assert.equal(0, r.status)
		assert.truthy(r.out:find("after\r\n$"), r.out)
		r = on_terminal [[
			print(pcall(pool.map, function(x) if x == 100 then error("stop", 0) end end, 1000, { progress = true, batch = 10, window = 1 }))
		]]
		assert.equal(0, r.status)
		assert.truthy(r.out:find("\nfalse\tstop\r\n$"), r.out)
	end)
end)
