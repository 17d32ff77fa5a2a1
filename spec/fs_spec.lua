-- Paths: what is answered when it works, and what exactly when it does not.
local describe, it, assert, setup, teardown = describe, it, assert, setup, teardown
local both = require "spec.support.both"
local child = require "spec.support.child"
local scratch = require "spec.support.scratch"
local pool = require "lua-pool"
local core = require "lua-pool.core"
local fs = pool.fs
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local pack = both.pack

describe("pool.fs", function()
	local dir
	setup(function() dir = scratch.folder() end)
	teardown(function() scratch.remove(dir) end)

	local function at(name) return dir .. "/" .. name end

	it("is the same in a task, by name as a function of its own, and in the main state", function()
		assert.is_true(pool.async(fs.write, at "a", "text"):await())
		assert.equal("text", fs.read(at "a"))
		assert.equal("text", pool.async(fs.read, at "a"):await())
		assert.equal("text", pool.async(function(path)
			local here = require "lua-pool"
			return here.fs.read(path)
		end, at "a"):await())
		assert.same({ "text", "text" }, pool.map(fs.read, { at "a", at "a" }))
		assert.same({ n = 4, true, nil, at "b" .. ": No such file or directory", 2 },
			pack(pool.async(fs.read, at "b"):pawait()))
	end)

	describe("refuses", function()
		local function paths()
			fs.write(at "file", "x")
			return {
				{ at "missing", ": No such file or directory", 2 },
				{ "", ": No such file or directory", 2 },
				{ at "file/below", ": Not a directory", 20 },
				{ "a\0b", ": a name cannot hold a zero byte", 22 },
				{ at(("x"):rep(5000)), ": File name too long", 36 },
				{ at(("x"):rep(256)), ": File name too long", 36 },
				{ at "new\nline\255\254", ": No such file or directory", 2 },
			}
		end
		local calls = {
			read = function(p) return fs.read(p) end,
			open = function(p) return fs.open(p) end,
			stat = function(p) return fs.stat(p) end,
			list = function(p) return fs.list(p) end,
			remove = function(p) return fs.remove(p) end,
			remove_recursive = function(p) return fs.remove(p, { recursive = true }) end,
			rename = function(p) return fs.rename(p, p .. "2") end,
			link = function(p) return fs.link(p, "x") end,
			readlink = function(p) return fs.readlink(p) end,
			chmod = function(p) return fs.chmod(p, "600") end,
			within = function(p) return fs.within(p) end,
		}
		for name, call in pairs(calls) do
			it("a bad path with nil, the path in the text, errno: " .. name, function()
				for _, case in ipairs(paths()) do
					local path, text, errno = case[1], case[2], case[3]
					for _, how in ipairs { call, function(p) return pool.async(call, p):await() end } do
						local r = pack(how(path))
						assert.same({ 3, nil, path .. text, errno }, { r.n, r[1], r[2], r[3] })
					end
				end
			end)
		end

		it("to create where it cannot be", function()
			for _, case in ipairs(paths()) do
				local path, text, errno = case[1], case[2], case[3]
				if errno ~= 2 or path == "" then
					for _, call in ipairs {
						function() return fs.write(path, "") end, function() return fs.append(path, "") end,
						function() return fs.create(path) end, function() return fs.mkdir(path) end,
						function() return fs.symlink("x", path) end,
					} do
						local r = pack(call())
						assert.same({ nil, path .. text, errno }, { r[1], r[2], r[3] })
					end
				end
			end
			assert.same({ nil, "a\0b: a name cannot hold a zero byte", 22 }, { fs.symlink("a\0b", at "y") })
		end)

		it("a folder as a file, and a file as a folder", function()
			for _, call in ipairs { fs.read, fs.open } do
				assert.same({ nil, dir .. ": Is a directory", 21 }, { call(dir) })
			end
			assert.same({ nil, dir .. ": Is a directory", 21, 0 }, { fs.write(dir, "x") })
			assert.same({ nil, dir .. ": Is a directory", 21 }, { fs.create(dir) })
			fs.write(at "file", "x")
			assert.same({ nil, at "file" .. ": Not a directory", 20 }, { fs.list(at "file") })
		end)

		it("what is not permitted", function()
			local script = [[
				local path = arg[1]
				for _, f in ipairs {pool.fs.read, pool.fs.list, pool.fs.open} do print(f(path .. "/secret/x")) end
			]]
			assert(fs.mkdir(at "secret"))
			assert(fs.write(at "secret/x", "x"))
			assert(fs.chmod(at "secret", "0"))
			local r = child.run(script:gsub("arg%[1%]", ("%q"):format(dir)), { wrap = child.bound_by_permissions })
			assert(fs.chmod(at "secret", "700"))
			local line = ("nil\t%s: Permission denied\t13\n"):format(at "secret/x")
			assert.equal(line:rep(3), r.out, r.err)
		end)

		it("wrong types, naming the argument", function()
			assert.error_matches(function() fs.read() end, "bad argument #1 to 'read' %(path %(a string%) expected, got nil%)")
			assert.error_matches(function() fs.read(12) end, "path %(a string%) expected, got number")
			assert.error_matches(function() fs.write("x", {}) end, "bad argument #2 to 'write' %(data %(a string%) expected, got table")
			assert.error_matches(function() fs.write("x") end, "got nil")
			assert.error_matches(function() fs.rename("a") end, "bad argument #2 to 'rename'")
			assert.error_matches(function() fs.chmod("a", "rwx") end, "bad argument #2 to 'chmod' %(permissions")
			assert.error_matches(function() fs.chmod("a", 5000) end, "permissions")
			assert.error_matches(function() fs.open("a", "rw") end, "mode \"r\"")
			assert.error_matches(function() fs.write("x", "y", { mod = 1 }) end, "unknown option \"mod\", did you mean 'mode'")
			assert.error_matches(function() fs.write("x", "y", { mode = "9" }) end, "option 'mode' must be permissions")
			assert.error_matches(function() fs.mkdir("x", true) end, "options must be a table")
			local _, err = pcall(fs.read)
			assert.matches("^bad argument", err)
			_, err = pcall(function() fs.read() end)
			assert.matches("fs_spec.lua:%d+: bad argument", err)
		end)
	end)

	it("writes, appends, makes new files with the permissions that are asked for", function()
		os.remove(at "w")
		assert.is_true(fs.write(at "w", "one", { mode = "600" }))
		assert.equal(384, fs.stat(at "w").mode)
		assert.is_true(fs.append(at "w", " two"))
		assert.equal("one two", fs.read(at "w"))
		assert.is_true(fs.write(at "w", "3", { sync = true }))
		assert.equal("3", fs.read(at "w"))
		assert.same({ nil, at "w" .. ": File exists", 17, 0 }, { fs.write(at "w", "4", { exclusive = true }) })
		assert.equal("3", fs.read(at "w"))
		assert.is_true(fs.write(at "w2", 12, { exclusive = true }))
		assert.equal("12", fs.read(at "w2"))
	end)

	it("reads any bytes of any size", function()
		for _, n in ipairs { 0, 1, 32767, 32768, 32769, 65536, 131072, 131073, 3000000 } do
			local text = ("\0\255\r\n\26" .. n):rep(math.floor(n / 5) + 1):sub(1, n)
			assert.is_true(fs.write(at "bytes", text))
			assert.is_true(fs.read(at "bytes") == text)
			assert.is_true(pool.async(fs.read, at "bytes"):await() == text)
		end
	end)

	it("reads files that say they have no size, or another one", function()
		assert.matches("^Name:", fs.read "/proc/self/status")
		assert.is_true(#assert(fs.read "/proc/kallsyms") > 100000)
		assert.equal("", fs.read "/dev/null")
		local page = fs.read "/sys/kernel/mm/transparent_hugepage/enabled"
		assert.is_true(page == nil or page:find "always" ~= nil)
	end)

	it("tells of a full disk", function()
		assert.same({ nil, "/dev/full: No space left on device", 28, 0 }, { fs.write("/dev/full", "x") })
		assert.same({ nil, "/dev/full: No space left on device", 28, 0 }, { fs.append("/dev/full", "x") })
	end)

	it("opens in the modes of io.open, and creates with flags", function()
		local p = at "modes"
		assert.equal(2, assert(fs.open(p, "w")):write "ab")
		assert.equal(1, assert(fs.open(p, "ab")):write "c")
		assert.equal("abc", assert(fs.open(p, "rb")):read())
		local f = assert(fs.open(p, "r+"))
		f:write "X"
		assert.equal("bc", f:read())
		f:close()
		f = assert(fs.open(p, "a+"))
		assert.equal("Xbc", f:read())
		f:close()
		assert.equal(0, assert(fs.open(p, "w+")):size())
		assert.same({ nil, p .. ": File exists", 17 }, { fs.create(p, { exclusive = true }) })
		fs.write(p, "abc")
		f = assert(fs.create(p))
		assert.equal("abc", f:read())
		f:close()
		f = assert(fs.create(p, { append = true }))
		f:write "d"
		f:close()
		assert.equal("abcd", fs.read(p))
		assert.equal(0, assert(fs.create(p, { truncate = true })):size())
		assert.equal(256, assert(fs.create(at "fresh", { mode = "400" })):stat().mode)
	end)

	it("stat says what it is, of a link what it leads to or the link itself", function()
		fs.write(at "s", "12345")
		assert.is_true(fs.symlink("s", at "to-s"))
		local s = assert(fs.stat(at "s"))
		assert.same({ "file", 5, 1 }, { s.type, s.size, s.nlink })
		assert.is_true(math.abs(s.mtime - pool.now "realtime") < 1000)
		assert.equal("file", fs.stat(at "to-s").type)
		assert.equal("link", fs.stat(at "to-s", { follow = false }).type)
		assert.equal("s", fs.readlink(at "to-s"))
		assert.equal("directory", fs.stat(dir).type)
		assert.equal("char", fs.stat "/dev/null".type)
		assert.is_true(fs.link(at "s", at "s2"))
		assert.equal(2, fs.stat(at "s").nlink)
		assert.equal(s.ino, fs.stat(at "s2").ino)
		assert.is_true(fs.exists(at "s"))
		assert.is_false(fs.exists(at "nowhere"))
		assert.is_false(fs.exists(at "s/below"))
		fs.symlink("nowhere", at "dangling")
		assert.is_false(fs.exists(at "dangling"))
		assert.is_nil(fs.exists(("x"):rep(5000)))
	end)

	it("makes folders, with those above if that is asked for, from many tasks at once", function()
		assert.is_true(fs.mkdir(at "m"))
		assert.same({ nil, at "m" .. ": File exists", 17 }, { fs.mkdir(at "m") })
		assert.is_true(fs.mkdir(at "m", { parents = true }))
		assert.same({ nil, at "n/o" .. ": No such file or directory", 2 }, { fs.mkdir(at "n/o") })
		local made = pool.map(function(i) return fs.mkdir(at "n/o/p//q/", { parents = true }) and i end, 20, { batch = 1 })
		assert.equal(20, #made)
		assert.equal("directory", fs.stat(at "n/o/p/q").type)
		fs.write(at "n/file", "")
		assert.same({ nil, at "n/file" .. ": File exists", 17 }, { fs.mkdir(at "n/file", { parents = true }) })
		assert.same({ nil, at "n/file/x" .. ": Not a directory", 20 }, { fs.mkdir(at "n/file/x/y", { parents = true }) and nil,
			select(2, fs.mkdir(at "n/file/x", { parents = true })) })
		assert.is_true(fs.mkdir(at "private", { mode = "700" }))
		assert.equal(448, fs.stat(at "private").mode)
	end)

	it("lists in order, any names", function()
		fs.mkdir(at "l")
		assert.same({}, fs.list(at "l"))
		local names = { "\255\254", "a", "b\nc", "ümlaut", ("y"):rep(255) }
		table.sort(names)
		for _, n in ipairs(names) do assert(fs.write(at("l/" .. n), "")) end
		assert.same(names, fs.list(at "l"))
	end)

	describe("remove", function()
		it("takes files, links, empty folders; a full one only if that is asked for", function()
			fs.mkdir(at "r/a/b", { parents = true })
			fs.write(at "r/a/f", "")
			fs.write(at "kept", "kept")
			fs.mkdir(at "keptdir")
			fs.write(at "keptdir/x", "kept")
			fs.symlink("../../kept", at "r/a/l")
			fs.symlink("../../keptdir", at "r/a/ld")
			fs.symlink("nowhere", at "r/a/dangling")
			assert.same({ nil, at "r" .. ": Directory not empty", 39 }, { fs.remove(at "r") })
			assert.is_true(fs.remove(at "r/a/b"))
			assert.is_true(fs.remove(at "r/a/f"))
			assert.is_true(fs.remove(at "r/a/dangling"))
			assert.is_true(fs.remove(at "r", { recursive = true }))
			assert.is_false(fs.exists(at "r"))
			assert.equal("kept", fs.read(at "kept"))
			assert.equal("kept", fs.read(at "keptdir/x"))
			fs.symlink("keptdir", at "link")
			assert.is_true(fs.remove(at "link", { recursive = true }))
			assert.equal("kept", fs.read(at "keptdir/x"))
			assert.is_true(fs.remove(at "kept", { recursive = true }))
		end)

		it("goes deep and wide, with others removing the same", function()
			local deep = at "deep" .. ("/d"):rep(150)
			assert(fs.mkdir(deep, { parents = true }))
			for i = 1, 500 do assert(fs.write(at("deep/f" .. i), "")) end
			local results = pool.map(function() return { fs.remove(at "deep", { recursive = true }) } end, 4, { batch = 1 })
			local removed = 0
			for _, r in ipairs(results) do
				if r[1] then removed = removed + 1 else assert.equal(2, r[3], r[2]) end
			end
			assert.is_true(removed >= 1)
			assert.is_false(fs.exists(at "deep"))
		end)
	end)

	it("renames over what is there; names the one that is missing", function()
		fs.write(at "from", "1")
		fs.write(at "to", "2")
		assert.is_true(fs.rename(at "from", at "to"))
		assert.equal("1", fs.read(at "to"))
		assert.is_false(fs.exists(at "from"))
		assert.same({ nil, at "from" .. ": No such file or directory", 2 }, { fs.rename(at "from", at "to") })
		assert.same({ nil, at "x/y" .. ": No such file or directory", 2 }, { fs.rename(at "to", at "x/y") })
	end)

	describe("within(dir)", function()
		local inside

		setup(function()
			assert(fs.mkdir(at "jail/sub", { parents = true }))
			fs.write(at "outside", "secret")
			fs.write(at "jail/in", "fine")
			fs.write(at "jail/sub/in2", "fine2")
			fs.symlink("../outside", at "jail/out-link")
			fs.symlink("/etc/passwd", at "jail/abs-link")
			fs.symlink("..", at "jail/up-link")
			fs.symlink("sub/in2", at "jail/good-link")
			fs.symlink("sub", at "jail/good-dir")
			fs.symlink("loop", at "jail/loop")
			fs.symlink("../in", at "jail/sub/back-link")
			inside = assert(fs.within(at "jail"))
		end)

		local escapes = { "../outside", "/etc/passwd", "sub/../../outside", "out-link", "abs-link", "up-link/outside", "..", "/",
			"good-dir/../../outside", "./../outside" }

		it("reads what is in it, through links and .. that stay inside", function()
			assert.equal("fine", inside.read "in")
			assert.equal("fine2", inside.read "sub/in2")
			assert.equal("fine2", inside.read "good-link")
			assert.equal("fine2", inside.read "good-dir/in2")
			assert.equal("fine", inside.read "sub/../in")
			assert.equal("fine", inside.read "sub/back-link")
			assert.equal("fine", inside.read "./in")
			assert.same({ "back-link", "in2" }, inside.list "sub")
			assert.equal("directory", inside.stat ".".type)
			assert.equal("link", inside.stat("out-link", { follow = false }).type)
			assert.equal("../outside", inside.readlink "out-link")
		end)

		it("nothing leads out of it", function()
			for _, path in ipairs(escapes) do
				for _, name in ipairs { "read", "open", "stat", "list" } do
					local ok, err, errno = inside[name](path)
					assert.same({ nil, path .. ": leads out of the folder", 18 }, { ok, err, errno }, name .. " " .. path)
				end
				for _, call in ipairs {
					function() return inside.write(path, "x") end, function() return inside.chmod(path, "777") end,
					function() return inside.within(path) end,
				} do
					local ok, _, errno = call()
					assert.same({ nil, 18 }, { ok, errno }, path)
				end
			end
			for _, path in ipairs { "../new", "/tmp/new-by-lua-pool", "up-link/new", "sub/../../new" } do
				for _, call in ipairs {
					function() return inside.write(path, "x") end, function() return inside.mkdir(path) end,
					function() return inside.symlink("x", path) end, function() return inside.rename("in", path) end,
					function() return inside.link("in", path) end, function() return inside.create(path) end,
				} do
					local ok, _, errno = call()
					assert.same({ nil, 18 }, { ok, errno }, path)
				end
			end
			for _, path in ipairs { "../outside", "up-link/outside" } do
				assert.equal(18, select(3, inside.remove(path)))
				assert.equal(18, select(3, inside.remove(path, { recursive = true })))
				assert.equal(18, select(3, inside.rename(path, "mine")))
			end
			assert.equal(40, select(3, inside.read "loop"))
			assert.equal("secret", fs.read(at "outside"))
			assert.equal("fine", fs.read(at "jail/in"))
		end)

		it("the same without the kernel's help", function()
			-- What lp_open_beneath falls back to, on the same cases.
			for path, text in pairs { ["in"] = "fine", ["sub/in2"] = "fine2", ["good-link"] = "fine2", ["good-dir/in2"] = "fine2",
				["sub/../in"] = "fine", ["sub/back-link"] = "fine", ["./in"] = "fine", ["sub//in2"] = "fine2" } do
				local f, err = core.fs_open_portable(at "jail", path, "r")
				assert.equal(text, f and f:read(), err or path)
			end
			for _, path in ipairs(escapes) do
				local ok, _, errno = core.fs_open_portable(at "jail", path, "r")
				assert.same({ nil, 18 }, { ok, errno }, path)
			end
			assert.equal(40, select(3, core.fs_open_portable(at "jail", "loop", "r")))
			assert.equal(2, select(3, core.fs_open_portable(at "jail", "none", "r")))
			assert.equal(2, select(3, core.fs_open_portable(at "jail", "", "r")))
			assert.equal(20, select(3, core.fs_open_portable(at "jail", "in/", "r")))
			assert.equal(20, select(3, core.fs_open_portable(at "jail", "in/x", "r")))
			assert.equal(36, select(3, core.fs_open_portable(at "jail", ("x"):rep(300), "r")))
			assert.equal(17, select(3, core.fs_open_portable(at "jail", "good-link", "rwcx")))
			assert(core.fs_open_portable(at "jail", "sub/made", "rwcx")):close()
			assert.is_true(fs.exists(at "jail/sub/made"))
		end)

		it("can be sent, and goes deeper", function()
			assert.equal("fine", pool.async(inside.read, "in"):await())
			assert.equal("fine2", pool.async(function() return inside.read "sub/in2" end):await())
			local deeper = assert(inside.within "sub")
			assert.equal("fine2", deeper.read "in2")
			assert.equal(18, select(3, deeper.read "../in"))
			assert.equal(18, select(3, deeper.read "back-link"))
			assert.is_true(deeper.write("new", "n"))
			assert.equal("n", fs.read(at "jail/sub/new"))
			assert.is_true(inside.mkdir("x/y/z", { parents = true }))
			assert.is_true(inside.remove("x", { recursive = true }))
			assert.is_true(inside.rename("sub/new", "newer"))
			assert.equal("n", inside.read "newer")
		end)
	end)

	it("keeps no descriptor, whatever failed", function()
		both.collect()
		pool.async(function() return fs.read(dir) end):await()
		local before = scratch.descriptors()
		for _ = 1, 50 do
			fs.read(dir)
			fs.open(dir)
			fs.list(at "none")
			fs.write("/dev/full", "x")
			fs.remove(dir)
			fs.rename(at "none", at "none2")
			fs.within(at "none")
		end
		both.collect()
		assert.equal(before, scratch.descriptors())
	end)

	it("read makes no needless system call", function()
		if not io.popen "command -v strace":read "*a":find "%S" then return require("spec.support.missing").here(pending, "no strace here") end
		fs.write(at "traced", "content")
		local r = child.run(([[pool.fs.read "/" print(#pool.fs.read(%q))]]):format(at "traced"),
			{ wrap = function(command) return "strace -f -qq -o " .. at "trace" .. " " .. command end })
		if r.status ~= 0 and r.err:find "ptrace" then return pending "strace may not trace here" end
		assert.equal("7\n", r.out, r.err)
		local names, on = {}, false
		for line in fs.read(at "trace"):gmatch "[^\n]+" do
			local name = line:match "^%d+%s+(%w+)%(" or line:match "^(%w+)%("
			if line:find(at "traced", 1, true) then on = true end
			if on and name then
				names[#names + 1] = name
				if name == "close" then break end
			end
		end
		local calls = table.concat(names, " ")
		assert.is_true(calls == "openat newfstatat read close" or calls == "openat fstat read close", calls)
	end)
end)
