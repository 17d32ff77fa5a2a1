-- What is told as tasks end is told in the order in which they ended: also of those that had ended before anybody asked.
local describe, it, assert, before_each, after_each = describe, it, assert, before_each, after_each
local pool = require "lua-pool"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local N = 5
local ORDER = { 4, 1, 5, 2, 3 }

describe("tasks that end one after the other", function()
	local p, gates, futures

	-- They all run; `let(k)` ends the k-th, and comes back when that can be seen.
	before_each(function()
		p = pool.new { workers = N, on_error = false }
		gates, futures = {}, {}
		local up = pool.semaphore(0)
		for i = 1, N do
			gates[i] = pool.channel(1)
			futures[i] = p:async(function(gate, u, k)
				u:release()
				if gate:receive() == "fail" then error("failed " .. k, 0) end
				return k
			end, gates[i], up, i)
		end
		for _ = 1, N do assert(up:acquire(30)) end
	end)
	after_each(function()
		p:cancel_all()
		assert.is_true(p:close(30))
	end)

	local function let(k, how)
		gates[k]:send(how or "go")
		assert(futures[k]:wait(30))
	end

	local function told(iterator)
		local order = {}
		for f, i in iterator do
			assert.equal(futures[i], f)
			order[#order + 1] = i
		end
		return order
	end

	it("come in this order out of as_completed, though they had ended before", function()
		for _, k in ipairs(ORDER) do let(k) end
		assert.same(ORDER, told(pool.as_completed(futures)))
	end)

	it("and when they end while it is there", function()
		local iterator = pool.as_completed(futures)
		for _, k in ipairs(ORDER) do let(k) end
		assert.same(ORDER, told(iterator))
	end)

	it("and when it begins between them", function()
		let(ORDER[1])
		let(ORDER[2])
		local iterator = pool.as_completed(futures)
		assert.equal(futures[ORDER[1]], (iterator()))
		for k = 3, N do let(ORDER[k]) end
		assert.same({ ORDER[2], ORDER[3], ORDER[4], ORDER[5] }, told(iterator))
	end)

	it("and when some failed or were cancelled", function()
		let(3, "fail")
		assert.is_true(futures[2]:cancel(30))
		let(1)
		assert.is_true(futures[5]:cancel(30))
		let(4, "fail")
		assert.same({ 3, 2, 1, 5, 4 }, told(pool.as_completed(futures)))
	end)

	it("a pending one that is cancelled has ended then", function()
		local one = pool.new { workers = 1, max_threads = 1, on_error = false }
		local go = pool.event()
		local busy = one:async(function(e) e:wait() end, go)
		local a, b = one:async(print), one:async(print)
		let(1)
		b:cancel()
		let(2)
		a:cancel()
		local order = {}
		for _, i in pool.as_completed { futures[2], a, futures[1], b } do
			order[#order + 1] = i
			if #order == 4 then break end
		end
		assert.same({ 3, 4, 1, 2 }, order)
		go:set()
		busy:await()
		one:close()
	end)

	it("one that is in the list twice comes twice", function()
		let(2)
		let(1)
		local order = {}
		for _, i in pool.as_completed { futures[1], futures[2], futures[1] } do order[#order + 1] = i end
		assert.same({ 2, 1, 3 }, order)
	end)

	it("any gives the success that came first", function()
		let(4, "fail")
		let(3)
		let(1)
		assert.same({ 3, 3 }, { pool.any(futures) })
	end)

	it("all raises the error that came first", function()
		let(4)
		let(3, "fail")
		let(1, "fail")
		local ok, err = pcall(pool.all, futures)
		assert.is_false(ok)
		assert.equal("failed 3", err)
	end)

	it("an unordered imap gives them so", function()
		for i = 1, 3 do let(i) end
		local q = pool.new { workers = 3 }
		local function ended(n) repeat pool.sleep(0.001) until q:stats().done >= n end
		local it3 = q:imap(function(i)
			gates[i]:receive()
			return i
		end, 3, { batch = 1, window = 3, ordered = false })
		gates[2]:send(1)
		assert.equal(2, it3())
		gates[3]:send(1)
		ended(2)
		gates[1]:send(1)
		ended(3)
		assert.equal(3, it3())
		assert.equal(1, it3())
		assert.is_nil(it3())
		q:close()
	end)
end)

describe("an iterator of as_completed", function()
	it("that several coroutines use gives each future once, and then nil to all", function()
		local done = pool.new { workers = 2 }
		local futures = {}
		for i = 1, 6 do futures[i] = done:async(function() return i end) end
		local iterator, seen, n = pool.as_completed(futures), {}, 0
		local function take()
			local f, i = iterator()
			if f then
				assert.is_nil(seen[i])
				seen[i], n = true, n + 1
			end
			return f ~= nil
		end
		local cos = {}
		for k = 1, 3 do
			cos[k] = coroutine.wrap(function()
				while take() do coroutine.yield(true) end
				return false
			end)
		end
		for _ = 1, 2 do for k = 1, 3 do assert.is_true(cos[k]()) end end
		for k = 1, 3 do assert.is_false(cos[k]()) end
		assert.equal(6, n)
		done:close()
	end)

	it("that is dropped keeps no future: a failure that nobody saw is reported", function()
		local heard = pool.channel(1)
		local q = pool.new { workers = 1, on_error = function(err) heard:send(tostring(err)) end }
		local go = pool.event()
		do
			local f = q:async(function(e)
				e:wait()
				error("nobody looks", 0)
			end, go)
			local iterator = pool.as_completed { f }
			assert.is_not_nil(iterator)
		end
		for _ = 1, 4 do collectgarbage() end
		go:set()
		assert.equal("nobody looks", heard:receive(30))
		q:close()
	end)
end)
