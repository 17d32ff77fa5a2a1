-- An error of one element: imap gives what came before it, however the elements were batched; map says which element it was.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local both = require "spec.support.both"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local BATCHES = { false, { batch = 1 }, { batch = 7 }, { batch = 1000 } }

local function options(batch, also)
	local opts = {}
	for k, v in pairs(batch or {}) do opts[k] = v end
	for k, v in pairs(also or {}) do opts[k] = v end
	return opts
end

local function words(batch)
	return batch and ("batches of %d"):format(batch.batch) or "automatic batches"
end

-- All that an iterator gives before it raises, and the error.
local function drain(iterator)
	local seen = {}
	while true do
		local ok, a = pcall(iterator)
		if not ok then return seen, a, iterator() end
		if a == nil then return seen, "no error" end
		seen[#seen + 1] = a
	end
end

local function up_to(n)
	local list = {}
	for i = 1, n do list[i] = i end
	return list
end

describe("imap", function()
	for _, batch in ipairs(BATCHES) do
		it("gives all results before the error of an element: " .. words(batch), function()
			for _, at in ipairs { 1, 2, 46, 100 } do
				local seen, err, after = drain(pool.imap(function(i)
					if i == at then error({ at = i }) end
					return i
				end, 100, options(batch)))
				assert.same({ at = at }, err)
				assert.same(up_to(at - 1), seen)
				assert.is_nil(after)
			end
		end)

		it("gives all results before an element that cannot be sent: " .. words(batch), function()
			local seen, err = drain(pool.imap(function(i) return i end, function(n)
				return n
			end, options(batch)))
			assert.same({}, seen)
			assert.equal("no error", err)
			local k = 0
			seen, err = drain(pool.imap(function(i) return i end, function()
				k = k + 1
				return k == 46 and coroutine.create(print) or k
			end, options(batch)))
			assert.same(up_to(45), seen)
			assert.match("^element 46.*cannot send a", err)
		end)

		it("gives all results before one that cannot be sent: " .. words(batch), function()
			local seen, err = drain(pool.imap(function(i)
				return i == 46 and { deep = { coroutine.create(print) } } or i
			end, 100, options(batch)))
			assert.same(up_to(45), seen)
			assert.match("cannot send a", err)
		end)

		it("gives all results before an error of the iterator: " .. words(batch), function()
			local k = 0
			local seen, err = drain(pool.imap(function(i) return i end, function()
				k = k + 1
				if k == 46 then error("no more", 0) end
				return k
			end, options(batch)))
			assert.same(up_to(45), seen)
			assert.equal("no more", err)
		end)

		it("gives them in any order, if that is asked for: " .. words(batch), function()
			local p = pool.new { workers = 1 }
			local seen, err = drain(p:imap(function(i)
				if i == 46 then error("at 46", 0) end
				return i
			end, 100, options(batch, { ordered = false })))
			table.sort(seen)
			assert.same(up_to(45), seen)
			assert.equal("at 46", err)
			p:close()
		end)
	end

	it("cancels the rest", function()
		local p = pool.new { workers = 2 }
		local go = pool.event()
		local seen, err = drain(p:imap(function(i)
			if i == 2 then error("at 2", 0) end
			if i > 2 then go:wait() end
			return i
		end, 100, { batch = 1, window = 5 }))
		assert.same({ 1 }, seen)
		assert.equal("at 2", err)
		local s = p:stats()
		assert.equal(0, s.running + s.queued)
		p:close()
	end)
end)

describe("map and each", function()
	for _, batch in ipairs(BATCHES) do
		for name, apply in pairs { map = pool.map, each = pool.each } do
			it(("say at which element an error was raised: %s, %s"):format(name, words(batch)), function()
				local list = {}
				for i = 1, 100 do list[i] = "item" end
				for _, at in ipairs { 1, 46, 100 } do
					local ok, err = pcall(apply, function(i)
						if i == at then error "boom" end
					end, 100, options(batch))
					assert.is_false(ok)
					assert.match(("^element %d: [^\n]*results_before_an_error_spec%%.lua:%%d+: boom$"):format(at), err)
					list[at] = nil
					list.n = 100
					ok, err = pcall(apply, function(item) return item .. "" end, list, options(batch))
					assert.is_false(ok)
					assert.match(("^element %d: .*attempt to concatenate .*a nil value"):format(at), err)
					list[at] = "item"
				end
			end)
		end
	end

	it("leave an error alone that is a value: a table, or a text without a place", function()
		for _, value in ipairs { "stop", 7, { 1 }, false } do
			local ok, err = pcall(pool.map, function(i) if i == 3 then error(value, 0) end end, 10)
			assert.is_false(ok)
			assert.same(value, err)
		end
	end)

	it("say which element's result cannot be sent", function()
		for _, batch in ipairs(BATCHES) do
			local ok, err = pcall(pool.map, function(i)
				return i == 46 and { deep = { coroutine.create(print) } } or i
			end, 100, options(batch))
			assert.is_false(ok)
			assert.match("^element 46: result%.deep%[1%]: cannot send a", err)
		end
	end)

	it("raise an error that cannot be sent as a text", function()
		local ok, err = pcall(pool.map, function(i) if i == 3 then error(coroutine.create(print)) end end, 10)
		assert.is_false(ok)
		assert.match("coroutine and cannot be sent", err)
	end)

	it("say what is missing in a task", function()
		local ok, err = pcall(pool.map, both.chunk "return function() return no_such_function() end", 10)
		assert.is_false(ok)
		assert.match("^element %d+: .*a task has globals of its own", err)
	end)

	it("say it of an error deep in the stack, and of a stack that overflows", function()
		local function deep(n)
			if n == 0 then error "deep" end
			return 1 + deep(n - 1)
		end
		local ok, err = pcall(pool.map, function(i) return i == 5 and deep(1000) end, 10)
		assert.is_false(ok)
		assert.match("^element 5: .*deep$", err)
		ok, err = pcall(pool.map, function(i) return i == 5 and deep(1e9) end, 10)
		assert.is_false(ok)
		assert.match("stack overflow", err)
	end)

	it("say it in a task that a task runs in its place", function()
		local p = pool.new { workers = 1 }
		local ok, err = p:async(function()
			return pool.async(function()
				return pcall(pool.map, function(i) if i == 4 then error "boom" end end, 9, { window = 1 })
			end):await()
		end):await()
		assert.is_false(ok)
		assert.match("^element 4: .*boom$", err)
		p:close()
	end)

	it("renew a worker whose memory has run out", function()
		local p = pool.new { workers = 1, memory_limit = 16 * 2 ^ 20 }
		local ok, err = pcall(p.map, p, function()
			local t = {}
			for k = 1, 1e9 do t[k] = ("x"):rep(1000) .. k end
		end, 3)
		assert.is_false(ok)
		assert.match("not enough memory", err)
		assert.equal(2 ^ 20, p:async(function() return #("x"):rep(2 ^ 20) end):await())
		p:close()
	end)
end)
