-- Open files: one descriptor for all states, positions that are shared, nothing hidden, closed exactly once.
local describe, it, assert, pending, setup, teardown = describe, it, assert, pending, setup, teardown
local both = require "spec.support.both"
local child = require "spec.support.child"
local scale = require "spec.support.scale"
local proc = require "spec.support.proc"
local scratch = require "spec.support.scratch"
local sys = require "sys"
local pool = require "lua-pool"
local fs = pool.fs
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local pack = both.pack

describe("a file of pool.fs", function()
	local dir
	setup(function() dir = scratch.folder() end)
	teardown(function() scratch.remove(dir) end)

	local function file_with(text, name)
		local path = dir .. "/" .. (name or "f")
		assert(fs.write(path, text))
		return assert(fs.open(path, "r+")), path
	end

	describe("reads", function()
		it("from the position, exactly n bytes until the file ends, then nil", function()
			local f = file_with "hello world"
			assert.equal("hel", f:read(3))
			assert.equal("", f:read(0))
			assert.equal("lo world", f:read(100))
			assert.is_nil(f:read(1))
			assert.is_nil(f:read())
			assert.equal("", f:read(0))
			f:close()
		end)

		it("all that is left without a number, any bytes, also much", function()
			local text = {}
			for i = 1, 40000 do text[i] = string.char(i % 256, math.floor(i / 256) % 256) end
			text = table.concat(text)
			local f = file_with(text)
			assert.equal(text:sub(1, 5), f:read(5))
			assert.is_true(f:read() == text:sub(6))
			assert.is_true(f:pread(#text + 10, 0) == text)
			assert.is_true(f:pread(30000, 20001) == text:sub(20002, 50001))
			f:close()
		end)

		it("at an offset without moving the position", function()
			local f = file_with "0123456789"
			assert.equal("345", f:pread(3, 3))
			assert.equal("01", f:pread(2))
			assert.equal("9", f:pread(5, 9))
			assert.equal("23", f:read(2))
			f:close()
		end)

		it("past the end nil, of 0 bytes the empty string, far away nil; a negative offset is misuse", function()
			local f = file_with "0123456789"
			assert.is_nil(f:pread(1, 10))
			assert.is_nil(f:pread(1, 1000000))
			assert.is_nil(f:pread(1, 2 ^ 62))
			assert.equal("", f:pread(0, 0))
			assert.equal("", f:pread(0, 100))
			assert.equal("0123456789", f:pread(2 ^ 40, 0))
			assert.error_matches(function() f:pread(1, -1) end, "offset must be a whole number from 0 to 2%^63 %- 1, not %-1")
			assert.error_matches(function() f:pread(-1, 0) end, "number of bytes must be")
			assert.error_matches(function() f:pread(1, 0.5) end, "offset must be a whole number")
			assert.error_matches(function() f:pread(1, 0 / 0) end, "offset must be a whole number")
			assert.error_matches(function() f:pread(1, 2 ^ 63) end, "offset must be a whole number")
			assert.error_matches(function() f:pread "1" end, "number of bytes expected, got string")
			assert.error_matches(function() f:pread(1, "0") end, "offset expected, got string")
			f:close()
		end)

		it("files of /proc, whose size is said to be 0", function()
			local f = assert(fs.open "/proc/self/status")
			assert.equal(0, f:size())
			assert.matches("^Name:", f:read())
			assert.matches("^Name:", f:pread(100, 0))
			f:close()
		end)

		it("what there is when the file grew or shrank since it was opened", function()
			local f, path = file_with "0123456789"
			assert(fs.append(path, "abc"))
			assert.equal("0123456789abc", f:pread(100, 0))
			assert(fs.write(path, "xy"))
			assert.equal("xy", f:pread(100, 0))
			assert.equal("x", f:read(1))
			assert(f:truncate(0))
			assert.is_nil(f:read(1))
			f:close()
		end)
	end)

	describe("writes", function()
		it("at the position and at offsets, and says how much", function()
			local f, path = file_with ""
			assert.equal(3, f:write "abc")
			assert.equal(5, f:write("de", 1, "fg"))
			assert.equal(2, f:pwrite("XY", 1))
			assert.equal(1, f:pwrite "h")
			assert.equal("aXYde1fgh", fs.read(path))
			assert.equal(0, f:write "")
			f:close()
		end)

		it("a hole reads as zeros", function()
			local f, path = file_with "ab"
			assert.equal(2, f:pwrite("yz", 100000))
			assert.equal(100002, f:size())
			assert.equal(("\0"):rep(10), f:pread(10, 50000))
			assert.equal("ab" .. ("\0"):rep(99998) .. "yz", fs.read(path))
			f:close()
		end)

		it("tells that the disk is full, and how much was written", function()
			local f = assert(fs.open("/dev/full", "w"))
			local r = pack(f:write "data")
			assert.same({ n = 4, nil, "/dev/full: No space left on device", 28, 0 }, r)
			assert.same(r, pack(f:pwrite("data", 5)))
			f:close()
		end)

		it("tells that it was opened for reading only, and of a size beyond what the system has", function()
			local path = dir .. "/ro"
			assert(fs.write(path, "x"))
			local f = assert(fs.open(path))
			local ok, err, errno = f:write "y"
			assert.same({ nil, path .. ": Bad file descriptor", 9 }, { ok, err, errno })
			ok, err, errno = f:pread(10, 2 ^ 63 - 1024)
			assert.is_true(ok == nil and (err == nil or errno == 22))
			f:close()
			f = assert(fs.open(path, "r+"))
			ok, err = f:truncate(2 ^ 62)
			assert.is_nil(ok)
			assert.matches("^" .. path:gsub("%p", "%%%0") .. ": ", err)
			assert.error_matches(function() f:truncate(-1) end, "size must be a whole number from 0")
			assert.error_matches(function() f:write {} end, "data %(a string, buffer or array%) expected, got table")
			assert.error_matches(function() f:write(nil) end, "data %(a string, buffer or array%) expected, got nil")
			f:close()
		end)

		it("all at the end in append mode, from many tasks at once, without mixing", function()
			local path = dir .. "/log"
			local f = assert(fs.create(path, { append = true }))
			local n = scale(40, 8)
			pool.each(function(i)
				local line = ("%d "):format(i):rep(3000) .. "\n"
				for _ = 1, 5 do assert(f:write(line) == #line) end
			end, n)
			f:close()
			local count = 0
			for line in assert(fs.read(path)):gmatch "([^\n]*)\n" do
				local first = line:match "^(%d+) "
				assert.equal((first .. " "):rep(3000), line)
				count = count + 1
			end
			assert.equal(5 * n, count)
		end)
	end)

	describe("and memory of ours:", function()
		it("readinto fills a buffer, or a part of one, without a string in between", function()
			local f = file_with "0123456789"
			local b = pool.buffer(4)
			assert.equal(4, f:readinto(b))
			assert.equal("0123", b:string())
			assert.equal(4, f:readinto(b, 5))
			assert.equal("5678", b:string())
			assert.equal(4, f:readinto(b))
			assert.equal("4567", b:string())
			assert.equal(2, f:readinto(b))
			assert.equal("8967", b:string())
			assert.is_nil(f:readinto(b))
			assert.is_nil(f:readinto(b, 1000))
			assert.equal(4, pool.async(function(file, buffer) return file:readinto(buffer, 0) end, f, b):await())
			assert.equal("0123", b:string())
			assert.error_matches(function() f:readinto "x" end, "buffer or array expected, got string")
			assert.error_matches(function() f:readinto(b, -1) end, "offset must be a whole number")
			pool.async(function() end, pool.transfer(b)):await()
			assert.error_matches(function() f:readinto(b, 0) end, "transferred")
			assert.error_matches(function() f:write(b) end, "transferred")
			assert.equal(10, f:size()) -- and it still works
			f:close()
		end)

		it("write takes buffers and arrays as they are", function()
			local f, path = file_with ""
			local a = pool.array("i32", 3)
			for i = 1, 3 do a[i] = i end
			assert.equal(16, f:write("ab", a, "cd"))
			assert.equal(12, f:pwrite(a, 4))
			local b = pool.array("i32", 3)
			assert.equal(12, f:readinto(b, 4))
			assert.same({ 1, 2, 3 }, { b[1], b[2], b[3] })
			assert.equal("ab", fs.read(path):sub(1, 2))
			assert.error_matches(function() f:write(f) end, "data %(a string, buffer or array%) expected, got userdata")
			f:close()
		end)
	end)

	describe("has one position for all, and", function()
		it("sequential reads of many tasks give each byte once, in whole records", function()
			local n, size = scale(2000, 200), 1009
			local parts = {}
			for i = 1, n do parts[i] = ("%06d"):format(i) .. ("x"):rep(size - 6) end
			local f = file_with(table.concat(parts))
			local seen = pool.map(function()
				local mine = {}
				while true do
					local record = f:read(size)
					if not record then return mine end
					mine[#mine + 1] = record:sub(1, 6) .. #record
				end
			end, 8)
			local all = {}
			for _, list in ipairs(seen) do
				for _, r in ipairs(list) do all[#all + 1] = r end
			end
			table.sort(all)
			assert.equal(n, #all)
			for i = 1, n do assert.equal(("%06d%d"):format(i, size), all[i]) end
			f:close()
		end)

		it("seek moves it", function()
			local f = file_with "0123456789"
			assert.equal(0, f:seek())
			assert.equal(4, f:seek("set", 4))
			assert.equal("45", f:read(2))
			assert.equal(8, f:seek("cur", 2))
			assert.equal(9, f:seek("end", -1))
			assert.equal("9", f:read())
			local ok, err, errno = f:seek("set", -1)
			assert.same({ nil, 22 }, { ok, errno })
			assert.matches("Invalid argument", err)
			assert.error_matches(function() f:seek "begin" end, "invalid option 'begin'")
			f:close()
		end)
	end)

	it("100 tasks read it by ranges: together they give the file, and descriptors are where they were", function()
		local block = 5000
		local text = {}
		for i = 1, 100 * block / 10 do text[i] = ("%09d\n"):format(i) end
		text = table.concat(text)
		local _, path = file_with(text, "ranges")
		pool.async(function() end):await()
		both.collect()
		local before = scratch.descriptors()
		local f = assert(fs.open(path))
		local futures = {}
		for i = 1, 100 do
			futures[i] = pool.async(function(file) return file:pread(block, (i - 1) * block) end, f)
		end
		assert.is_true(table.concat(pool.all(futures)) == text)
		assert.equal(before + 1, scratch.descriptors())
		f:close()
		assert.equal(before, scratch.descriptors())
		-- The same with a file for each.
		local parts = pool.map(function(i)
			local own = assert(fs.open(path))
			local part = own:pread(block, (i - 1) * block)
			own:close()
			return part
		end, 100)
		assert.is_true(table.concat(parts) == text)
		assert.equal(before, scratch.descriptors())
	end)

	describe("ends", function()
		it("with close; twice is fine, and everything else says that it is closed", function()
			local f, path = file_with "x"
			assert.is_false(f:is_closed())
			assert.is_true(f:close())
			assert.is_true(f:close())
			assert.is_true(f:is_closed())
			for _, call in ipairs { "read", "size", "stat", "sync", "datasync", "truncate", "lock", "try_lock", "unlock", "seek",
				"read_some" } do
				assert.error_matches(function() f[call](f) end, "the file is closed (" .. path .. ")", 1, true)
			end
			assert.error_matches(function() f:pread(1) end, "the file is closed")
			assert.error_matches(function() f:write "x" end, "the file is closed")
			assert.matches("closed%)$", tostring(f))
		end)

		it("when its last handle is collected, wherever that is", function()
			both.collect()
			local before = scratch.descriptors()
			do
				local f = file_with "x"
				pool.async(function(file) return file:size() end, f):await()
			end
			both.collect()
			pool.async(function() for _ = 1, 4 do collectgarbage() end end):await()
			both.collect()
			assert.is_true(proc.eventually(function()
				pool.async(function() for _ = 1, 4 do collectgarbage() end end):await()
				return scratch.descriptors() == before
			end))
		end)

		it("once: a closed number is never used again, while others open and close", function()
			local path = dir .. "/many"
			assert(fs.write(path, "mine"))
			pool.each(function(i)
				for _ = 1, 50 do
					local f = assert(fs.open(path))
					local here = require "lua-pool"
					local other = here.async(function(g) g:close() end, f)
					local ok, text = pcall(f.pread, f, 4, 0)
					assert(ok and text == "mine" or not ok and tostring(text):find "the file is closed", text)
					other:await()
				end
				return i
			end, scale(20, 4))
		end)

		it("close waits for the operation that runs", function()
			os.execute("mkfifo " .. dir .. "/slow")
			local f, other = assert(fs.open(dir .. "/slow", "r+")), assert(fs.open(dir .. "/slow", "r+"))
			local up = pool.event()
			local reader = pool.async(function(file, u) u:set() return file:read(5) end, f, up)
			up:wait()
			local closer = pool.async(function(file) return file:close() end, f)
			assert.is_true(proc.eventually(function() return f:is_closed() end))
			other:write "12345" -- nobody may begin any more, but the one that runs can end
			local ok, text = reader:pawait()
			assert.is_true(closer:await())
			assert.is_true(ok and text == "12345" or not ok and tostring(text):find "closed" ~= nil)
			other:close()
		end)

		it("in a scope", function()
			local f = file_with "x"
			assert.equal("x", f:with(function(file, n) return file:read(n) end, 1))
			assert.is_true(f:is_closed())
			f = file_with "x"
			assert.error_matches(function() f:with(function() error "inside" end) end, "inside")
			assert.is_true(f:is_closed())
			if both.has_close then
				f = file_with "y"
				both.chunk([[local f = ... do local g <close> = f end]], f)
				assert.is_true(f:is_closed())
			end
		end)
	end)

	describe("locks:", function()
		it("shared ones go together, an exclusive one goes alone; closing releases", function()
			local a, path = file_with("x", "locked")
			local b, c = assert(fs.open(path, "r+")), assert(fs.open(path, "r+"))
			assert.is_true(a:lock "shared")
			assert.is_true(b:try_lock "shared")
			assert.same({ nil, "locked" }, { c:try_lock() })
			assert.same({ nil, "timeout" }, { c:lock("exclusive", 0.01) })
			assert.same({ nil, "timeout" }, { c:lock("exclusive", 0) })
			assert.is_true(a:unlock())
			assert.same({ nil, "locked" }, { c:try_lock "exclusive" })
			b:close()
			assert.is_true(c:try_lock "exclusive")
			assert.same({ nil, "locked" }, { a:try_lock "shared" })
			c:close()
			assert.is_true(a:lock("exclusive", 5))
			a:close()
			assert.error_matches(function() assert(fs.open(path)):lock "write" end, "invalid option 'write'")
			local ro = assert(fs.open(path))
			local ok, err, errno = ro:lock "exclusive"
			assert.same({ nil, 9 }, { ok, errno })
			assert.matches("Bad file descriptor", err)
			ro:close()
		end)

		it("hold against other processes, and a waiting task gets it when it is free", function()
			local f, path = file_with("x", "between")
			assert(f:lock())
			local r = child.run(([[
				local f = assert(pool.fs.open(%q, "r+"))
				print(f:try_lock())
			]]):format(path))
			assert.equal("nil\tlocked\n", r.out, r.err)
			local up = pool.event()
			local other = pool.async(function(p, u)
				local g = assert(require "lua-pool".fs.open(p, "r+"))
				u:set()
				return g:lock()
			end, path, up)
			up:wait()
			assert(f:unlock())
			assert.is_true(other:await())
			f:close()
		end)

		it("count, with 8 tasks that add to a number in the file", function()
			local _, path = file_with("0", "number")
			local n = scale(50, 10)
			pool.each(function()
				local f = assert(fs.open(path, "r+"))
				for _ = 1, n do
					f:lock()
					local value = tonumber(f:pread(20, 0))
					f:truncate()
					f:pwrite(("%d"):format(value + 1), 0)
					f:unlock()
				end
				f:close()
			end, 8, { batch = 1 })
			assert.equal(("%d"):format(8 * n), fs.read(path))
		end)
	end)

	describe("of a pipe", function()
		local function fifo(name)
			local path = dir .. "/" .. name
			os.execute("mkfifo " .. path)
			return path
		end

		it("read takes exactly n bytes however they come; read_some what there is; the end is nil", function()
			local path = fifo "p"
			local reader = pool.async(function(p)
				local here = require "lua-pool"
				local f = assert(here.fs.open(p))
				local first, some, rest = f:read(6), f:read_some(), f:read()
				local last = f:read()
				f:close()
				return first, some, rest, last
			end, path)
			local w = assert(fs.open(path, "w"))
			assert.equal(3, w:write "abc")
			assert.equal(5, w:write "defgh")
			w:close()
			local first, some, rest, last = reader:await()
			assert.equal("abcdef", first)
			assert.equal("gh", some .. (rest or ""))
			assert.is_nil(last)
		end)

		it("cannot be read at an offset", function()
			local f = assert(fs.open(fifo "q", "r+"))
			local ok, err, errno = f:pread(1, 0)
			assert.same({ nil, 29 }, { ok, errno })
			assert.matches("Illegal seek", err)
			f:close()
		end)

		it("writing when nobody reads any more is an error and no death", function()
			local path = fifo "r"
			local r = child.run(([[
				local path = %q
				local reader = assert(pool.fs.open(path)) -- does not wait
				local w = assert(pool.fs.open(path, "w"))
				reader:close()
				print(w:write(("x"):rep(100)))
				print(pool.async(function(f) return f:write "y" end, w):await())
			]]):format(path))
			assert.equal(("nil\t%s: Broken pipe\t32\t0\n"):format(path):rep(2), r.out, r.err)
			assert.equal(0, r.status)
		end)

		it("what was read is not lost when the task is cancelled in the middle of more", function()
			local f = assert(fs.open(fifo "s", "r+"))
			local up, got = pool.event(), pool.channel(1)
			assert(f:write "12345")
			local task = pool.async(function(file, u, ch)
				u:set()
				local text = file:read(10)
				ch:send(text) -- told at this point, if its system call was cut short; else it may send what it has in hand
			end, f, up, got)
			up:wait()
			local stopped, how = task:cancel(20)
			if not stopped then
				assert.equal("done", how)
				assert.equal("12345", got:try_receive())
			end
			f:close()
		end)

		it("each wait can be cancelled at any moment: read, open for writing, write, lock, close", function()
			local path, full = fifo "t", fifo "u"
			local f = assert(fs.open(path, "r+"))
			local stuffed = assert(fs.open(full, "r+"))
			local locked = assert(fs.create(dir .. "/lock"))
			assert(locked:lock())
			local alone = fifo "v"
			for _ = 1, scale(40, 5) do
				assert.equal("cancelled", scratch.cancelled(function(up, g) up:set() g:read(1) end, f))
				assert.equal("cancelled", scratch.cancelled(function(up, g) up:set() g:read_some() end, f))
				assert.equal("cancelled", scratch.cancelled(function(up, p) up:set() fs.read(p) end, alone))
				assert.equal("cancelled", scratch.cancelled(function(up, p) up:set() fs.open(p, "w") end, alone))
				assert.equal("cancelled", scratch.cancelled(function(up, p)
					local g = fs.open(p, "r+")
					up:set()
					g:lock()
				end, dir .. "/lock"))
			end
			assert.equal("cancelled", scratch.cancelled(function(up, g)
				up:set()
				while true do g:write(("x"):rep(100000)) end
			end, stuffed))
			-- Still usable, by whoever comes next.
			assert(f:write "z")
			assert.equal("z", f:read(1))
			f:close()
			stuffed:close()
			locked:close()
		end)

		it("a close that waits for others can be cancelled as well: the last of them closes", function()
			local path = dir .. "/closing"
			local holder = assert(fs.create(path))
			assert(holder:lock())
			local here = (":%d "):format(fs.stat(path).ino)
			local function waited_for()
				for line in fs.read "/proc/locks":gmatch "[^\n]+" do
					if line:find("->", 1, true) and line:find(here, 1, true) then return true end
				end
				return false
			end
			local function descriptors() -- that lead to it
				local n = 0
				for _, fd in ipairs(fs.list "/proc/self/fd") do
					n = n + (fs.readlink("/proc/self/fd/" .. fd) == path and 1 or 0)
				end
				return n
			end
			for _ = 1, scale(20, 4) do
				local f = assert(fs.open(path, "r+"))
				local inside = pool.async(function(g) return g:lock() end, f)
				assert.is_true(proc.eventually(waited_for))
				local closing = pool.async(function(g) return g:close() end, f)
				assert.is_true(proc.eventually(function() return f:is_closed() end)) -- it has begun to close
				assert.is_true(closing:cancel(20))
				assert.error_matches(function() f:size() end, "the file is closed")
				assert.equal(2, descriptors())
				assert(holder:unlock())
				assert.is_true(inside:await(20))
				assert.is_true(f:close())
				assert.equal(1, descriptors())
				assert.is_true(holder:lock("exclusive", 20)) -- the other's went with its descriptor
			end
			holder:close()
		end)

		it("reading a terminal can be cancelled at any moment, and goes on", function()
			local master, name = sys.terminal()
			assert(master, name)
			local f = assert(fs.open(name, "r+"))
			for _ = 1, scale(40, 5) do
				assert.equal("cancelled", scratch.cancelled(function(up, g) up:set() g:read(1) end, f))
				assert.equal("cancelled", scratch.cancelled(function(up, g) up:set() g:read_some() end, f))
			end
			assert(sys.write(master, "a line\n"))
			assert.equal("a line\n", pool.async(function(g) return g:read_some() end, f):await(20))
			assert.equal(3, f:write "out")
			f:close()
			sys.close(master)
		end)

		it("a deadline ends the wait, in a task and in the main state", function()
			local f = assert(fs.open(fifo "w", "r+"))
			local function try(file)
				local here = require "lua-pool"
				return pcall(here.deadline, 0.02, function() return file:read(1) end)
			end
			local ok, err = try(f)
			assert.is_true(not ok and err == pool.TIMEOUT)
			ok, err = pool.async(try, f):await()
			assert.is_true(not ok and err == pool.TIMEOUT)
			f:close()
		end)

		it("waiting for it gives the worker to others: a pool of one pipes through itself", function()
			local p = pool.new { workers = 1 }
			local path = fifo "x"
			local reader = p:async(function(name) return require "lua-pool".fs.read(name) end, path)
			local writer = p:async(function(name) return require "lua-pool".fs.write(name, ("data"):rep(50000)) end, path)
			assert.is_true(writer:await(20))
			assert.equal(200000, #reader:await(20))
			p:close()
		end)
	end)

	it("can be told apart and compared", function()
		local f, path = file_with "x"
		assert.matches("^lua%-pool%.file: .*%(" .. path:gsub("%p", "%%%0") .. "%)$", tostring(f))
		assert.equal(path, f:path())
		assert.is_true(pool.async(function(g) return g end, f):await() == f)
		assert.error_matches(function() f.read(1) end, "file expected, got number")
		assert.error_matches(function() f.read(pool.event()) end, "file expected, got event")
		f:close()
	end)

	it("goes on in a child process as a copy of its own", function()
		if not child.may_fork then return pending "no fork under this sanitizer" end
		local path = dir .. "/forked"
		assert(fs.write(path, "0123456789"))
		local script = ([[
			local sys = require "sys"
			local f = assert(pool.fs.open(%q))
			pool.async(function(g) return g:size() end, f):await()
			local pid = sys.fork()
			if pid == 0 then
				io.write(f:pread(10, 0), " ", tostring(f:close()))
				io.stdout:flush()
				sys._exit(0)
			end
			assert(sys.wait(pid) == 0)
			assert(f:pread(10, 0) == "0123456789")
		]]):format(path)
		local r = child.run(script)
		assert.matches("^0123456789 true$", r.out, nil, nil, r.err)
		assert.equal(0, r.status, r.err)
	end)
end)
