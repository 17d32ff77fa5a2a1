-- A disk that is full in the middle of a write: a small tmpfs in a mount namespace of the script's own, so nothing of it is left,
-- whatever happens.
local describe, it, assert, setup, teardown, pending = describe, it, assert, setup, teardown, pending
local child = require "spec.support.child"
local scratch = require "spec.support.scratch"

local SIZE = 256 * 1024

describe("on a full disk", function()
	local dir
	setup(function() dir = scratch.folder() end)
	teardown(function() scratch.remove(dir) end)

	-- How to get there: as root, or as the root of a user namespace of our own; nil: why not.
	local function way_in()
		local why
		for _, unshare in ipairs { "unshare -m", "unshare -r -m" } do
			local mount = ("%s sh -c 'mount -t tmpfs -o size=%d,nr_inodes=24 none %s && exec \"$@\"' sh "):format(unshare, SIZE, dir)
			local r = child.run("", { lua = mount .. "true", bare = true })
			if r.status == 0 then return mount end
			why = r.err
		end
		return nil, why
	end

	-- Runs the script there. It finds the folder in `dir`, `full(n)` leaves n pages free, and `say` says what is compared.
	local function inside(script)
		local mount, why = way_in()
		if not mount then
			pending("no tmpfs can be mounted here: " .. why:gsub("\n", " "))
			return nil
		end
		local r = child.run(([[
			local fs, dir, SIZE = pool.fs, %q, %d
			local function at(name) return dir .. "/" .. name end
			local function say(...)
				local t, pattern = {}, at "":gsub("%%p", "%%%%%%0")
				for i = 1, select("#", ...) do t[i] = tostring((select(i, ...))):gsub(pattern, "") end
				print(table.concat(t, " | "))
			end
			local function full(left)
				assert(not fs.write(at "filler", ("f"):rep(2 * SIZE)))
				assert(fs.open(at "filler", "r+")):with(function(f) assert(f:truncate(SIZE - 4096 * left)) end)
			end
			local function descriptors() return #fs.list "/proc/self/fd" end
			local before = descriptors()
			%s
			collectgarbage()
			assert(descriptors() == before, "a descriptor was left open")
		]]):format(dir, SIZE, script), { wrap = function(command) return mount .. "sh -c " .. child.quote(command) end })
		assert.equal("", r.err)
		assert.equal(0, r.status)
		return r.out
	end

	it("write says how much of it is there, and that is the beginning of the data", function()
		local out = inside [[
			local data = ("0123456789abcdef"):rep(SIZE / 8)
			for _, call in ipairs {
				function(path) return fs.write(path, data) end,
				function(path) return fs.append(path, data, { sync = true }) end,
				function(path) return pool.async(fs.write, path, data):await() end,
				function(path)
					return assert(fs.create(path)):with(function(f) return f:write("", data:sub(1, SIZE / 2), data:sub(SIZE / 2 + 1)) end)
				end,
				function(path)
					return assert(fs.create(path)):with(function(f) return f:pwrite(data, 0) end)
				end,
			} do
				local ok, err, errno, n = call(at "new")
				local text = fs.read(at "new")
				say(ok, err, errno, n == #text and n > SIZE / 2 and n <= SIZE and text == data:sub(1, n))
				assert(fs.remove(at "new"))
			end
			assert(fs.write(at "new", data:sub(1, SIZE / 2))) -- there is room again
		]]
		if out then assert.equal(("nil | new: No space left on device | 28 | true\n"):rep(5), out) end
	end)

	it("write{atomic} and copy leave the old file as it was, and nothing beside it", function()
		local out = inside [[
			assert(fs.write(at "old", "old content"))
			local much = ("x"):rep(SIZE / 2)
			assert(fs.write(at "source", "small"))
			full(2)
			local function try(...) say(...) say(fs.read(at "old"), table.concat(fs.list(dir), " ")) end
			try(fs.write(at "old", much, { atomic = true }))
			try(fs.write(at "old", much, { atomic = true, sync = true }))
			try(fs.write(at "none", much, { atomic = true, sync = false }))
			try(fs.copy(at "filler", at "old", { atomic = true }))
			try(fs.copy(at "filler", at "none"))
			assert(fs.remove(at "filler"))
			say(fs.write(at "old", much, { atomic = true }))
		]]
		if not out then return end
		local function refused(name) return name .. ": No space left on device | 28\nold content | filler old source\n" end
		assert.equal("nil | " .. table.concat({ refused "old", refused "old", refused "none", refused "old", refused "none" }, "nil | ")
			.. "true\n", out)
	end)

	it("without room for a name nothing is made, and what is there stays", function()
		local out = inside [[
			assert(fs.write(at "old", "old content"))
			local n = 0
			repeat n = n + 1 until not fs.write(at("f" .. n), "")
			say(fs.write(at "new", "x"))
			say(fs.create(at "new"))
			say(fs.mkdir(at "new/x", { parents = true }))
			say(fs.symlink("old", at "new"))
			say(fs.write(at "old", "y", { atomic = true }))
			say((select(2, fs.tempdir { dir = dir }):gsub("/lua%-%w+", "")))
			say(fs.exists(at "new"), fs.read(at "old"))
		]]
		if not out then return end
		local full = " No space left on device | 28"
		assert.equal(table.concat({ "nil | new:" .. full .. " | 0", "nil | new:" .. full, "nil | new:" .. full, "nil | new:" .. full,
			"nil | old:" .. full, dir .. ": No space left on device", "false | old content", "" }, "\n"), out)
	end)
end)
