-- Many files at once: read_many and stat_many.
local describe, it, assert, setup, teardown = describe, it, assert, setup, teardown
local both = require "spec.support.both"
local scratch = require "spec.support.scratch"
local pool = require "lua-pool"
local fs = pool.fs
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local dir
local function at(name) return dir .. "/" .. name end

describe("read_many", function()
	setup(function() dir = scratch.folder() end)
	teardown(function() scratch.remove(dir) end)

	it("answers all in order, with what cannot be read in its place", function()
		local paths = {}
		for i = 1, 300 do
			paths[i] = at(("%d"):format(i))
			if i % 50 ~= 0 then assert(fs.write(paths[i], ("<%d>"):format(i))) end
		end
		for _, list in ipairs { paths, (function()
			local i = 0
			return function()
				i = i + 1
				return paths[i]
			end
		end)() } do
			local n = 0
			for path, text, err, errno in fs.read_many(list, { batch = 7 }) do
				n = n + 1
				assert.equal(paths[n], path)
				if n % 50 == 0 then
					assert.same({ nil, path .. ": No such file or directory", 2 }, { text, err, errno })
				else
					assert.equal(("<%d>"):format(n), text)
				end
			end
			assert.equal(300, n)
		end
		local n = 0
		for _, stat in fs.stat_many(paths) do n = n + (stat and stat.size or 0) end
		assert.is_true(n > 1000)
		for _ in fs.read_many {} do error "none" end
	end)

	it("keeps large files few at a time, and ends early", function()
		local paths = {}
		for i = 1, 8 do
			paths[i] = at(("large%d"):format(i))
			assert(fs.write(paths[i], ("%d"):format(i):rep(3000000)))
		end
		local n = 0
		for path, text in fs.read_many(paths) do
			n = n + 1
			assert.equal(paths[n], path)
			assert.is_true(text == ("%d"):format(n):rep(3000000))
		end
		assert.equal(8, n)
		local it8 = fs.read_many(paths, { batch = 1, window = 2 })
		it8()
		it8:close()
		assert.is_nil(it8())
		assert.error_matches(function() fs.read_many(5) end, "list of paths, or an iterator, expected, got number")
		assert.error_matches(function() for _ in fs.read_many { 5 } do end end, "element 1 is no path") -- luacheck: ignore
	end)

	-- What an iterator answers, one element a line.
	local function told(iterator, show)
		local list = {}
		for path, answer, err, errno in iterator do
			list[#list + 1] = ("%s: %s"):format(path, answer and show(answer) or tostring(err) .. " " .. errno)
		end
		return list
	end

	local function text(s) return s end
	local function size(stat) return stat.type .. " " .. stat.size end

	it("answers for every name what fs.read and fs.stat answer", function()
		assert(fs.write(at "plain", "text"))
		local paths = { at "plain", "a\0b", "", at "none", dir, at "plain/x", "/proc/self/comm", "/dev/null" }
		local function one_by_one(f, show)
			local list = {}
			for i, path in ipairs(paths) do
				local answer, err, errno = f(path)
				list[i] = ("%s: %s"):format(path, answer and show(answer) or tostring(err) .. " " .. errno)
			end
			return list
		end
		for _, batch in ipairs { 1, 3, 100 } do
			assert.same(one_by_one(fs.read, text), told(fs.read_many(paths, { batch = batch }), text))
			assert.same(one_by_one(fs.stat, size), told(fs.stat_many(paths, { batch = batch }), size))
		end
	end)

	it("works in a task, and an iterator may be sent to one", function()
		assert(fs.write(at "one", "1"))
		assert(fs.write(at "two", "2"))
		assert.equal("12", pool.async(function(a, b)
			local all = ""
			for _, content in require "lua-pool".fs.read_many { a, b } do all = all .. content end
			return all
		end, at "one", at "two"):await())
		local iterator = fs.read_many({ at "one", at "two" }, { batch = 1 })
		assert.equal(at "one", (iterator()))
		assert.equal(at "two", (pool.async(function(i) return (i()) end, iterator):await()))
	end)

	it("waits for a pipe like any read, and is cancelled in it; nothing stays open", function()
		os.execute("mkfifo " .. at "pipe")
		assert(fs.write(at "one", "1"))
		both.collect()
		local before = scratch.descriptors()
		for _ = 1, 5 do
			assert.equal("cancelled", scratch.cancelled(function(up, a, b)
				up:set()
				for _ in require "lua-pool".fs.read_many { a, b } do end -- luacheck: ignore
			end, at "one", at "pipe"))
		end
		local iterator = fs.read_many({ at "one", at "pipe" }, { batch = 1 })
		assert.same({ at "one", "1" }, { iterator() })
		iterator:close()
		assert.equal(before, scratch.descriptors())
	end)

	it("raises what the list's own iterator raises", function()
		local calls = 0
		local ok, err = pcall(function()
			for _ in fs.read_many(function() -- luacheck: ignore
				calls = calls + 1
				if calls > 2 then error("mine", 0) end
				return at "one"
			end, { batch = 1, window = 1 }) do end -- luacheck: ignore
		end)
		assert.is_false(ok)
		assert.equal("mine", err)
	end)

	-- The last one: the workers hold a descriptor of the folder until they collect.
	it("is bound to a folder like the rest", function()
		local inside = assert(fs.within(dir))
		assert.same({ "plain: text", "../x: ../x: leads out of the folder 18" }, told(inside.read_many { "plain", "../x" }, text))
		assert.same({ "plain: file 4", "../x: ../x: leads out of the folder 18" }, told(inside.stat_many { "plain", "../x" }, size))
	end)
end)
