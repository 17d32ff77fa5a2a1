-- Many names and many lines: walk, glob, lines, temporary files and folders.
local describe, it, assert, setup, teardown = describe, it, assert, setup, teardown
local both = require "spec.support.both"
local child = require "spec.support.child"
local scale = require "spec.support.scale"
local scratch = require "spec.support.scratch"
local pool = require "lua-pool"
local fs = pool.fs
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local dir
local function at(name) return dir .. "/" .. name end

local function sorted(iterator, state, first)
	local list = {}
	for path, kind, err in iterator, state, first do
		list[#list + 1] = path:sub(#dir + 2) .. " " .. kind .. (err and " !" or "")
	end
	table.sort(list)
	return list
end

describe("walk", function()
	local big
	setup(function()
		dir, big = scratch.folder(), scratch.folder(true)
		assert(fs.mkdir(at "t/a/b/c", { parents = true }))
		assert(fs.mkdir(at "t/.hidden"))
		for _, name in ipairs { "t/1", "t/a/2", "t/a/b/3", "t/a/b/c/4", "t/.hidden/5" } do assert(fs.write(at(name), name)) end
		assert(fs.symlink("../a", at "t/a/loop"))
		assert(fs.symlink("1", at "t/link"))
		assert(fs.symlink("nowhere", at "t/dangling"))
		os.execute("mkfifo " .. at "t/pipe")
	end)
	teardown(function()
		scratch.remove(dir)
		fs.remove(big, { recursive = true }) -- usually gone by now
	end)

	it("tells everything below, each once, with its type; links are not followed", function()
		assert.same({ "t/.hidden directory", "t/.hidden/5 file", "t/1 file", "t/a directory", "t/a/2 file", "t/a/b directory",
			"t/a/b/3 file", "t/a/b/c directory", "t/a/b/c/4 file", "t/a/loop link", "t/dangling link", "t/link link",
			"t/pipe fifo" }, sorted(fs.walk(at "t")))
		assert.equal(13, pool.async(function(path)
			local n = 0
			for _ in require "lua-pool".fs.walk(path) do n = n + 1 end
			return n
		end, at "t"):await())
	end)

	it("a folder comes before what is in it", function()
		local seen = { [at "t"] = true }
		for path, kind in fs.walk(at "t") do
			assert.is_true(seen[path:match "^(.*)/"] == true)
			if kind == "directory" then seen[path] = true end
		end
	end)

	it("leaves out what the filter says, which runs in the workers", function()
		assert.same({ "t/1 file", "t/a directory", "t/a/2 file", "t/a/loop link", "t/dangling link", "t/link link", "t/pipe fifo" },
			sorted(fs.walk(at "t", { filter = function(path)
				local name = path:match "[^/]*$"
				return name ~= "b" and name:sub(1, 1) ~= "."
			end })))
		assert.same({ "t/.hidden/5 file", "t/1 file", "t/a/2 file", "t/a/b/3 file", "t/a/b/c/4 file" },
			sorted(fs.walk(at "t", { filter = function(_, kind) return kind == "file" or kind == "directory" and "enter" end })))
		assert.error_matches(function()
			for _ in fs.walk(at "t", { filter = function() error "in the filter" end }) do end -- luacheck: ignore
		end, "in the filter")
	end)

	it("follows links if it shall, and each folder once: loops end", function()
		local list = sorted(fs.walk(at "t", { follow = true }))
		assert.same({ "t/.hidden directory", "t/.hidden/5 file", "t/1 file", "t/a directory", "t/a/2 file", "t/a/b directory",
			"t/a/b/3 file", "t/a/b/c directory", "t/a/b/c/4 file", "t/a/loop link", "t/dangling link", "t/link link",
			"t/pipe fifo" }, list)
		assert(fs.mkdir(at "other"))
		assert(fs.symlink("../t/a/b", at "other/to-b"))
		assert.same({ "other/to-b link", "other/to-b/3 file", "other/to-b/c directory", "other/to-b/c/4 file" },
			sorted(fs.walk(at "other", { follow = true })))
	end)

	it("says which folder it cannot read, and goes on", function()
		assert(fs.mkdir(at "s/locked", { parents = true }))
		assert(fs.write(at "s/x", ""))
		assert(fs.chmod(at "s/locked", "0"))
		local script = ([[
			local list = {}
			for path, kind, err, errno in pool.fs.walk(%q) do
				list[#list + 1] = path:match "[^/]*$" .. " " .. kind .. " " .. tostring(err and err:match ": (.*)") .. " " .. tostring(errno)
			end
			table.sort(list)
			print(table.concat(list, ", "))
		]]):format(at "s")
		local r = child.run(script, { wrap = child.bound_by_permissions })
		assert(fs.chmod(at "s/locked", "700"))
		assert.equal("locked directory Permission denied 13, x file nil nil\n", r.out, r.err)
		assert.same({ nil, at "none" .. ": No such file or directory", 2 }, { fs.walk(at "none") })
		assert.same({ nil, at "t/1" .. ": Not a directory", 20 }, { fs.walk(at "t/1") })
		assert.error_matches(function() fs.walk() end, "path %(a string%) expected")
		assert.error_matches(function() fs.walk("x", { filter = 1 }) end, "option 'filter' must be a function")
	end)

	it("100,000 entries, also while they vanish", function()
		local n = scale(100000, 3000)
		local per = 500
		local made = pool.map(function(i)
			local here = require "lua-pool"
			local folder = ("%s/%d/%d"):format(big, i % 7, i)
			assert(here.fs.mkdir(folder, { parents = true }))
			for k = 1, per do here.fs.write(folder .. "/" .. k, "") end
			return per
		end, n / per)
		local files = 0
		for _, kind in fs.walk(big) do files = files + (kind == "file" and 1 or 0) end
		assert.equal(#made * per, files)
		local remover = pool.async(function(path) return require "lua-pool".fs.remove(path, { recursive = true }) end, big)
		local again, err = fs.walk(big)
		assert.is_true(again ~= nil or err:find "No such file" ~= nil)
		for _, _, why in again or function() end do assert.is_nil(why) end
		assert.is_true(remover:await())
	end)

	it("left early it leaves nothing behind", function()
		both.collect()
		local before = scratch.descriptors()
		local walk = fs.walk(at "t", { window = 1 })
		assert.is_string((walk()))
		walk:close()
		assert.is_nil(walk())
		if both.has_close then
			both.chunk([[local fs, path = ... for _ in fs.walk(path) do break end]], fs, dir)
		end
		assert.equal(before, scratch.descriptors())
	end)

	it("is bound to a folder like the rest", function()
		local inside = assert(fs.within(at "t"))
		local list = {}
		for path in inside.walk "." do list[#list + 1] = path end
		assert.equal(13, #list)
		assert.equal(18, select(3, inside.walk ".."))
	end)
end)

describe("glob", function()
	setup(function()
		dir = scratch.folder()
		assert(fs.mkdir(at "src/deep/er", { parents = true }))
		for _, name in ipairs { "a.c", "b.c", "b.h", "src/x.c", "src/deep/y.c", "src/deep/er/z.c", ".dot.c", "a[1].c", "100%.c", "^x", "-d" } do
			assert(fs.write(at(name), ""))
		end
	end)
	teardown(function() scratch.remove(dir) end)

	it("finds names by * ? [] {} and **", function()
		local inside = assert(fs.within(dir))
		local function found(pattern) return table.concat(inside.glob(pattern), " ") end
		assert.equal("100%.c a.c a[1].c b.c", found "*.c")
		assert.equal("a.c b.c", found "?.c")
		assert.equal("b.c b.h", found "b.[ch]")
		assert.equal("b.c", found "[!a].c")
		assert.equal("a.c b.c", found "[a-b].c")
		assert.equal(".dot.c", found ".*.c")
		assert.equal("a.c b.h", found "{a.c,b.h}")
		assert.equal("a.c b.c b.h", found "{a,b}.{c,h}")
		assert.equal("src/deep/y.c src/x.c", found "src/{,deep/}*.c")
		assert.equal("src/x.c", found "*/*.c")
		assert.equal("100%.c a.c a[1].c b.c src/deep/er/z.c src/deep/y.c src/x.c", found "**/*.c")
		assert.equal("src/deep/er/z.c", found "src/**/z.c")
		assert.equal("src/deep src/deep/er", found "src/**/{deep,er}")
		assert.equal("a[1].c", found "a[[]1].c")
		assert.equal("-d", found "[-^]d")
		assert.equal("^x", found "[\\^]x")
		assert.equal("100%.c", found "1*%.c")
		assert.equal("b.h", found "b.h")
		assert.equal("", found "none*")
		assert.equal("", found "none")
		assert.equal("", found "none/*/x")
		assert.equal("", found "")
		assert.same({ at "b.h" }, fs.glob(at "*.h"))
		assert.error_matches(function() fs.glob(1) end, "path %(a string%) expected")
	end)
end)

describe("lines", function()
	setup(function() dir = scratch.folder(true) end)
	teardown(function() scratch.remove(dir) end)

	local function all(text, opts)
		assert(fs.write(at "lines", text))
		local list = {}
		for line in fs.lines(at "lines", opts) do list[#list + 1] = line end
		return list
	end

	it("are what lies between the ends of lines, whatever the bytes", function()
		assert.same({}, all "")
		assert.same({ "" }, all "\n")
		assert.same({ "", "" }, all "\n\n")
		assert.same({ "a", "b" }, all "a\nb\n")
		assert.same({ "a", "b" }, all "a\nb")
		assert.same({ "a\r", "", "\0\255" }, all "a\r\n\n\0\255")
		assert.same({ "a", "b", "", "c\rd" }, all("a\r\nb\n\r\nc\rd", { crlf = true }))
		assert.same({ "a\n", "b" }, all("a\nb", { keep = true }))
		assert.same({ "a\n", "b\n" }, all("a\r\nb\r\n", { keep = true, crlf = true }))
	end)

	it("in files of many pieces are the same as io.lines gives", function()
		math.randomseed(7)
		local parts = {}
		for i = 1, scale(20000, 3000) do parts[i] = ("x"):rep(math.random(0, 120)) .. i end
		local text = table.concat(parts, "\n")
		assert.same(parts, all(text))
		-- An end of a line right at the end of a piece, and of the file.
		for _, size in ipairs { 262143, 262144, 262145, 524288 } do
			assert.same({ ("y"):rep(size - 1), "z" }, all(("y"):rep(size - 1) .. "\nz"))
			assert.same({ ("y"):rep(size - 1) }, all(("y"):rep(size - 1) .. "\n"))
			assert.same({ ("y"):rep(size) }, all(("y"):rep(size)))
		end
	end)

	it("may be 100 MiB long", function()
		local size = scale(100, 4) * 1048576
		local f = assert(fs.create(at "long", { truncate = true }))
		assert(f:truncate(size))
		assert(f:pwrite("\nend", size))
		f:close()
		local lengths = {}
		for line in fs.lines(at "long") do lengths[#lengths + 1] = #line end
		assert.same({ size, 3 }, lengths)
		assert(fs.remove(at "long"))
	end)

	it("that are left early close the file; what cannot be opened is told", function()
		assert(fs.write(at "lines", ("line\n"):rep(200000)))
		both.collect()
		local before = scratch.descriptors()
		local lines = fs.lines(at "lines")
		assert.equal("line", lines())
		lines:close()
		assert.is_nil(lines())
		if both.has_close then both.chunk([[local fs, path = ... for _ in fs.lines(path) do break end]], fs, at "lines") end
		for _ in fs.lines(at "lines") do end -- luacheck: ignore
		assert.equal(before, scratch.descriptors())
		assert.same({ nil, at "none" .. ": No such file or directory", 2 }, { fs.lines(at "none") })
		assert.same({ nil, dir .. ": Is a directory", 21 }, { fs.lines(dir) })
		assert.equal(200000, pool.async(function(path)
			local n = 0
			for line in require "lua-pool".fs.lines(path) do n = n + (line == "line" and 1 or 0) end
			return n
		end, at "lines"):await())
	end)
end)

describe("temporary", function()
	setup(function() dir = scratch.folder() end)
	teardown(function() scratch.remove(dir) end)

	it("files are ours alone and go when they are closed", function()
		local f, path = assert(fs.tempfile { dir = dir, prefix = "p-", suffix = ".s" })
		assert.matches("/p%-%w+%.s$", path)
		assert.equal(384, f:stat().mode)
		assert.equal(4, f:write "data")
		assert.equal("data", pool.async(fs.read, path):await())
		f:close()
		assert.is_false(fs.exists(path))
		f, path = fs.tempfile { dir = dir, keep = true }
		f:close()
		assert.is_true(fs.exists(path))
		assert(fs.remove(path))
		path = select(2, fs.tempfile { dir = dir }) -- nobody keeps the file
		both.collect()
		assert.is_false(fs.exists(path))
		assert.matches(": No such file or directory$", (select(2, fs.tempfile { dir = at "none" })))
		assert.error_matches(function() fs.tempfile { prefix = "a/b" } end, "option 'prefix' must be part of a file's name")
		f, path = assert(fs.tempfile())
		assert.equal(1, (path:find(os.getenv "TMPDIR" or "/tmp", 1, true)))
		f:close()
	end)

	it("folders go with all that is in them: removed, collected, at the end of a scope, when a task is cancelled", function()
		local d = assert(fs.tempdir { dir = dir })
		local path = d:path()
		assert.equal(448, fs.stat(path).mode)
		assert.equal(path .. "/x", d:path "x")
		assert(fs.mkdir(d:path "a/b", { parents = true }))
		assert(fs.write(d:path "a/b/c", "x"))
		assert.is_true(d:remove())
		assert.is_true(d:remove())
		assert.is_false(fs.exists(path))
		d = assert(fs.tempdir { dir = dir })
		path = d:path()
		d:with(function() assert(fs.write(path .. "/x", "x")) end)
		assert.is_false(fs.exists(path))
		d = assert(fs.tempdir { dir = dir })
		path = d:path()
		assert.equal(path, pool.async(function(t) return t:path() end, d):await())
		pool.async(function() for _ = 1, 4 do collectgarbage() end end):await()
		d = nil -- luacheck: ignore
		both.collect()
		assert.is_true(require "spec.support.proc".eventually(function()
			pool.async(function() collectgarbage() end):await()
			return not fs.exists(path)
		end))
		if both.has_close then
			local ch = pool.channel(1)
			local f = pool.async(both.chunk, [[
				local pool, where, ch = require "lua-pool", ...
				local d <close> = pool.fs.tempdir { dir = where }
				pool.fs.write(d:path "x", "x")
				ch:send(d:path())
				pool.sleep(100)
			]], dir, ch)
			path = ch:receive()
			assert.is_true(f:cancel(10))
			assert.is_false(fs.exists(path))
		end
		assert.same({}, fs.list(dir))
	end)

	it("folders of a program that ends are gone", function()
		local r = child.run(([[
			kept = pool.fs.tempdir {dir = %q}
			pool.fs.write(kept:path "x", "x")
			print(kept:path())
		]]):format(dir))
		assert.equal(0, r.status, r.err)
		assert.is_false(fs.exists((r.out:gsub("\n", ""))))
	end)
end)
