-- watch: what happens to files, as messages of a channel.
local describe, it, assert, setup, teardown = describe, it, assert, setup, teardown
local both = require "spec.support.both"
local proc = require "spec.support.proc"
local scale = require "spec.support.scale"
local scratch = require "spec.support.scratch"
local pool = require "lua-pool"
local fs = pool.fs
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

describe("watch", function()
	local dir
	setup(function() dir = scratch.folder() end)
	teardown(function() scratch.remove(dir) end)
	local function at(name) return dir .. "/" .. name end

	-- Receives until this message comes.
	local function await(ch, what, path)
		while true do
			local w, p = ch:receive(10)
			assert.is_string(w, ("%s %s did not come: %s"):format(what, path, tostring(p)))
			if w == what and p == path then return end
		end
	end

	it("tells what is made, written, moved, removed in a folder", function()
		local ch = assert(fs.watch(dir))
		assert(fs.write(at "a", "x"))
		assert.same({ "create", at "a" }, { ch:receive(10) })
		assert.same({ "modify", at "a" }, { ch:receive(10) })
		assert.same({ "close", at "a" }, { ch:receive(10) })
		assert(fs.rename(at "a", at "b"))
		assert.same({ "moved_from", at "a" }, { ch:receive(10) })
		assert.same({ "moved_to", at "b" }, { ch:receive(10) })
		assert(fs.chmod(at "b", "600"))
		assert.same({ "attrib", at "b" }, { ch:receive(10) })
		assert(fs.remove(at "b"))
		assert.same({ "delete", at "b" }, { ch:receive(10) })
		assert(fs.mkdir(at "d"))
		assert.same({ "create", at "d" }, { ch:receive(10) })
		assert.same({ nil, "empty" }, { ch:try_receive() })
		ch:close()
	end)

	it("of a file, and is closed when that is gone", function()
		assert(fs.write(at "f", ""))
		local ch = assert(fs.watch(at "f"))
		assert(fs.append(at "f", "x"))
		await(ch, "modify", at "f")
		assert(fs.remove(at "f"))
		await(ch, "delete_self", at "f")
		assert.same({ nil, "closed" }, { ch:receive(10) })
	end)

	it("wakes a task that waits, and can be sent and selected", function()
		local ch = assert(fs.watch(dir))
		local up = pool.event()
		local f = pool.async(function(c, u)
			u:set()
			for what, path in c do
				if what == "close" then return path end
			end
		end, ch, up)
		up:wait()
		assert(fs.write(at "g", "x"))
		assert.equal(at "g", f:await(10))
		assert(fs.write(at "h", "x"))
		local i, what = pool.select({ ch }, 10)
		assert.equal(1, i)
		assert.is_string(what)
		ch:close()
	end)

	it("ends with its channel: closed or dropped, its descriptors and its thread go", function()
		pool.async(function() end):await()
		both.collect()
		local before = scratch.descriptors()
		for _ = 1, scale(50, 10) do
			local a, b = assert(fs.watch(dir)), assert(fs.watch(dir))
			assert(fs.write(at "i", "x"))
			a:close()
			assert.is_true(b:receive(10) ~= nil)
		end
		assert(fs.write(at "i", "y"))
		both.collect()
		assert.is_true(proc.eventually(function()
			both.collect()
			return scratch.descriptors() == before
		end))
		assert.is_true(proc.eventually(function()
			for _, task in ipairs(fs.list "/proc/self/task") do
				if (fs.read("/proc/self/task/" .. task .. "/comm") or ""):find "watch" then return false end
			end
			return true
		end))
	end)

	it("while others write, close and drop: nothing breaks", function()
		local stop = pool.event()
		local p = pool.new { workers = 1 }
		local writer = p:async(function(path, s)
			local here = require "lua-pool"
			repeat here.fs.write(path, "x") until s:is_set()
		end, at "busy", stop)
		for i = 1, scale(200, 20) do
			local ch = assert(fs.watch(dir, { capacity = 1 + i % 3 }))
			ch:receive(10)
			if i % 2 == 0 then ch:close() end
			if i % 20 == 0 then both.collect() end
		end
		stop:set()
		writer:await()
		p:close()
	end)

	it("tells that messages were lost when nobody received them", function()
		local ch = assert(fs.watch(dir, { capacity = 2 }))
		for _ = 1, 10 do assert(fs.write(at "many", "x")) end
		assert.is_true(proc.eventually(function() return #ch == 2 end))
		assert.is_string((ch:receive(10)))
		assert.is_string((ch:receive(10)))
		local seen
		assert.is_true(proc.eventually(function()
			fs.write(at "many", "y")
			local what, path = ch:receive(1)
			seen = what == "overflow" and path
			return seen
		end))
		assert.equal(dir, seen)
		ch:close()
	end)

	it("refuses as the rest does, and is bound to a folder", function()
		assert.same({ nil, at "none" .. ": No such file or directory", 2 }, { fs.watch(at "none") })
		assert.same({ nil, "a\0b: a name cannot hold a zero byte", 22 }, { fs.watch "a\0b" })
		assert.error_matches(function() fs.watch() end, "path %(a string%) expected")
		assert.error_matches(function() fs.watch(dir, { capacity = 0 }) end, "option 'capacity'")
		local inside = assert(fs.within(dir))
		assert.equal(18, select(3, inside.watch ".."))
		local ch = assert(inside.watch ".")
		assert(inside.write("w", "x"))
		assert.same({ "create", "./w" }, { ch:receive(10) })
		ch:close()
	end)
end)
