-- write{atomic = true}: the old content or the new, never a mix, whoever dies; and copy.
local describe, it, assert, setup, teardown = describe, it, assert, setup, teardown
local both = require "spec.support.both"
local child = require "spec.support.child"
local scale = require "spec.support.scale"
local scratch = require "spec.support.scratch"
local pool = require "lua-pool"
local fs = pool.fs
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local ATOMIC = { atomic = true }

describe("write{atomic = true}", function()
	local dir
	setup(function() dir = scratch.folder() end)
	teardown(function() scratch.remove(dir) end)
	local function at(name) return dir .. "/" .. name end

	it("makes a file, and gives one that is there new content", function()
		assert.is_true(fs.write(at "new", "1", ATOMIC))
		assert.equal("1", fs.read(at "new"))
		local before = fs.stat(at "new").ino
		assert.is_true(fs.write(at "new", "22", { atomic = true, sync = true }))
		assert.is_true(before ~= fs.stat(at "new").ino) -- a third file may get the number of the first
		assert.is_true(fs.write(at "new", "333", { atomic = true, sync = false }))
		assert.equal("333", fs.read(at "new"))
		assert.is_true(pool.async(fs.write, at "new", "4444", ATOMIC):await())
		assert.equal("4444", fs.read(at "new"))
		local name = ("n"):rep(255)
		assert.is_true(fs.write(at(name), "long", ATOMIC))
		assert.equal("long", fs.read(at(name)))
		assert.same({ "new", name }, { fs.list(dir)[1] == "new" and "new" or fs.list(dir)[2], name })
		assert.equal(2, #fs.list(dir)) -- and nothing beside them
		assert(fs.remove(at(name)))
	end)

	it("keeps permissions and owner; follows symbolic links; other hard links keep the old content", function()
		assert(fs.write(at "kept", "old", { mode = "640" }))
		assert(fs.chmod(at "kept", "4750"))
		if io.popen("id -u"):read "*a":match "%d+" == "0" then os.execute("chown 1234:2345 " .. at "kept" .. "; chmod 4750 " .. at "kept") end
		local before = fs.stat(at "kept")
		assert(fs.link(at "kept", at "hard"))
		assert(fs.mkdir(at "sub"))
		assert(fs.symlink("../link2", at "sub/link"))
		assert(fs.symlink(at "kept", at "link2"))
		assert.is_true(fs.write(at "sub/link", "new", { atomic = true, mode = "600" }))
		local after = fs.stat(at "kept")
		assert.same({ before.mode, before.uid, before.gid, "new" }, { after.mode, after.uid, after.gid, fs.read(at "kept") })
		assert.equal("link", fs.stat(at "sub/link", { follow = false }).type)
		assert.equal("link", fs.stat(at "link2", { follow = false }).type)
		assert.equal("old", fs.read(at "hard"))
		assert(fs.symlink("nowhere", at "dangling"))
		assert.is_true(fs.write(at "dangling", "made", ATOMIC))
		assert.equal("made", fs.read(at "nowhere"))
		assert.is_true(fs.write(at "fresh", "x", { atomic = true, mode = "600" }))
		assert.equal(384, fs.stat(at "fresh").mode)
	end)

	it("refuses as any write does, and leaves nothing", function()
		local count = #fs.list(dir)
		assert.same({ nil, at "none/x" .. ": No such file or directory", 2 }, { fs.write(at "none/x", "1", ATOMIC) })
		assert.same({ nil, dir .. ": Is a directory", 21 }, { fs.write(dir, "1", ATOMIC) })
		assert(fs.symlink("loop", at "loop"))
		assert.equal(40, select(3, fs.write(at "loop", "1", ATOMIC)))
		assert(fs.remove(at "loop"))
		assert.equal(22, select(3, fs.write("a\0b", "1", ATOMIC)))
		assert.equal(36, select(3, fs.write(at(("x"):rep(300)), "1", ATOMIC)))
		assert.same({ nil, "/dev/full: No space left on device", 28, 0 }, { fs.write("/dev/full", "1", ATOMIC) })
		assert.is_true(fs.write("/dev/null", "1", ATOMIC))
		assert.equal("char", fs.stat "/dev/null".type)
		assert.error_matches(function() fs.write("x", "y", { atomic = true, exclusive = true }) end, "exclude each other")
		assert.equal(count, #fs.list(dir))
		local inside = assert(fs.within(at "sub"))
		assert.equal(18, select(3, inside.write("../fresh", "1", ATOMIC)))
		assert.equal(18, select(3, inside.write("link", "1", ATOMIC)))
		assert.is_true(inside.write("in", "1", ATOMIC))
		assert.equal("1", inside.read "in")
	end)

	it("many writers and readers at once: every reader sees what one writer wrote, nothing is left beside", function()
		local path = at "busy"
		assert(fs.write(path, ("a"):rep(50000)))
		local stop = pool.event()
		local readers, p = {}, pool.new { workers = 4 }
		for i = 1, 4 do
			readers[i] = p:async(function(name, s)
				local here, seen = require "lua-pool", 0
				repeat
					local text = here.fs.read(name)
					assert(#text == 50000 and text == text:sub(1, 1):rep(50000), "a mix")
					seen = seen + 1
				until s:is_set() and seen > 5
				return seen
			end, path, stop)
		end
		pool.each(function(i)
			local here = require "lua-pool"
			for _ = 1, 10 do
				assert(here.fs.write(path, string.char(97 + i % 26):rep(50000), { atomic = true, sync = false }))
			end
		end, scale(40, 8), { batch = 1 })
		stop:set()
		for _, r in ipairs(readers) do assert.is_true(r:await() > 0) end
		p:close()
		for _, name in ipairs(fs.list(dir)) do assert.is_nil(name:find("lua-pool-", 1, true)) end
	end)

	it("kill -9 in the middle: old or new content for 50 readers, and no litter after the next write", function()
		local path = at "killed"
		local function content(i) return ("%08d"):format(i):rep(4000) end
		assert(fs.write(path, content(0)))
		local stop = pool.event()
		local readers, p = {}, pool.new { workers = 50 }
		for i = 1, 50 do
			readers[i] = p:async(function(name, s)
				local here = require "lua-pool"
				repeat
					local text = here.fs.read(name)
					assert(#text == 32000 and text == text:sub(1, 8):rep(4000), "a mix")
					here.sleep(0.02)
				until s:is_set()
				return true
			end, path, stop)
		end
		-- Copies of a process without threads write again and again, and are killed at random moments.
		local r = child.run(([[
			local path, dir, rounds, fs, sys = %q, %q, %d, pool.fs, require "sys"
			local function content(i) return ("%%08d"):format(i):rep(4000) end
			local first = 1
			local function write_on()
				for i = first, math.huge do assert(fs.write(path, content(i), { atomic = true, sync = false })) end
			end
			local changed, littered, i = 0, 0, 0
			-- At least so many rounds, and until some died after the new name and some in the middle. A slow machine needs
			-- longer to come so far: the moments move away.
			while i < rounds or changed == 0 or littered == 0 do
				i = i + 1
				first = i * 10000
				assert(sys.killed(write_on, math.random() * (4 + i / 50)) == 9)
				local text = assert(fs.read(path))
				assert(#text == 32000 and text == text:sub(1, 8):rep(4000), "a mix")
				changed = changed + (text == content(0) and 0 or 1)
				littered = littered + (table.concat(assert(fs.list(dir)), "/"):find("lua-pool-", 1, true) and 1 or 0)
				assert(fs.write(path, content(0), { atomic = true, sync = i %% 20 == 0 }))
				for _, name in ipairs(assert(fs.list(dir))) do assert(not name:find("lua-pool-", 1, true), name) end
			end
		]]):format(path, dir, scale(200, 10)), { limit = 100 })
		assert.equal(0, r.status, r.err)
		stop:set()
		for _, reader in ipairs(readers) do assert.is_true(reader:await()) end
		p:close()
	end)

	it("removes what a dead writer left, and nothing that a living one still needs", function()
		local path = at "slots"
		assert(fs.write(at ".slots.lua-pool-0", "of a dead one"))
		assert(fs.write(at ".slots.lua-pool-7", "of a dead one"))
		local living = assert(fs.create(at ".slots.lua-pool-1"))
		assert.equal(0, pool.run { "sh", "-c", "command -v flock >/dev/null" }.code)
		local holding, ready = pool.channel(1), pool.channel(1)
		local holder = pool.async(pool.run, { "flock", at ".slots.lua-pool-1", "sh", "-c", "echo; cat", stdin = holding, stdout = ready })
		ready:receive()
		assert.is_true(fs.write(path, "fine", ATOMIC))
		assert.equal("fine", fs.read(path))
		local left = {}
		for _, name in ipairs(fs.list(dir)) do
			if name:find("lua-pool-", 1, true) then left[#left + 1] = name end
		end
		assert.same({ ".slots.lua-pool-1" }, left)
		holding:close()
		for _ in ready do end -- luacheck: ignore
		holder:await()
		living:close()
		assert.is_true(fs.write(path, "again", ATOMIC))
		assert.is_false(fs.exists(at ".slots.lua-pool-1"))
	end)
end)

describe("copy", function()
	local dir
	setup(function() dir = scratch.folder() end)
	teardown(function() scratch.remove(dir) end)
	local function at(name) return dir .. "/" .. name end

	it("copies content and permissions, into a new file or over one that is there", function()
		local text = ("0123456789\0"):rep(30000)
		assert(fs.write(at "a", text))
		assert(fs.chmod(at "a", "640"))
		for _, opts in ipairs { {}, { atomic = true }, { sync = true } } do
			assert.is_true(fs.copy(at "a", at "b", opts))
			assert.is_true(fs.read(at "b") == text)
			assert.equal(416, fs.stat(at "b").mode)
			assert(fs.write(at "b", ("longer"):rep(100000)))
			assert.is_true(fs.copy(at "a", at "b", opts))
			assert.is_true(fs.read(at "b") == text)
			assert(fs.remove(at "b"))
		end
		assert.is_true(fs.copy(at "a", at "c", { mode = "600" }))
		assert.equal(384, fs.stat(at "c").mode)
		assert.same({ nil, at "c" .. ": File exists", 17 }, { fs.copy(at "a", at "c", { exclusive = true }) })
		assert.is_true(pool.async(fs.copy, at "a", at "d"):await())
		assert.equal(4, #fs.list(dir) + 1)
	end)

	it("copies what has no size, and to other file systems", function()
		assert.is_true(fs.copy("/proc/self/status", at "status"))
		assert.matches("^Name:", fs.read(at "status"))
		assert.is_true(fs.copy(at "status", "/dev/null"))
		if fs.exists "/dev/shm" then
			local shm = "/dev/shm/lua-pool-spec-" .. pool.now()
			assert.is_true(fs.copy(at "status", shm))
			assert.equal(fs.read(at "status"), fs.read(shm))
			assert(fs.remove(shm))
		end
	end)

	it("says which of the two it could not, and leaves no half of a file", function()
		assert(fs.write(at "src", "x"))
		assert.same({ nil, at "none" .. ": No such file or directory", 2 }, { fs.copy(at "none", at "y") })
		assert.same({ nil, at "no/y" .. ": No such file or directory", 2 }, { fs.copy(at "src", at "no/y") })
		assert.same({ nil, dir .. ": Is a directory", 21 }, { fs.copy(dir, at "y") })
		assert.same({ nil, dir .. ": Is a directory", 21 }, { fs.copy(at "src", dir) })
		assert.same({ nil, at "src" .. ": Invalid argument", 22 }, { fs.copy(at "src", at "src") })
		assert(fs.symlink("src", at "same"))
		assert.equal(22, select(3, fs.copy(at "src", at "same")))
		assert.equal("x", fs.read(at "src"))
		assert.same({ nil, "/dev/full: No space left on device", 28 }, { fs.copy(at "src", "/dev/full") })
		assert.is_false(fs.exists(at "y"))
		assert.error_matches(function() fs.copy(at "src") end, "bad argument #2 to 'copy'")
		both.collect()
		local before = scratch.descriptors()
		for _ = 1, 20 do
			fs.copy(at "src", dir)
			fs.copy(at "src", at "src")
			fs.copy(at "src", at "y2", { atomic = true })
		end
		assert.equal(before, scratch.descriptors())
	end)
end)
