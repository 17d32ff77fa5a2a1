-- What a task opened and left is closed soon after it has ended, and not when its worker's collector happens to come round:
-- its worker collects before it sleeps. And a descriptor that is missing is looked for among what was left.
local describe, it, assert, setup, teardown = describe, it, assert, setup, teardown
local both = require "spec.support.both"
local child = require "spec.support.child"
local proc = require "spec.support.proc"
local scratch = require "spec.support.scratch"
local scale = require "spec.support.scale"
local sys = require "sys"
local pool = require "lua-pool"
local fs = pool.fs
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

describe("what a task opened and left", function()
	local dir, path
	setup(function()
		dir = scratch.folder()
		path = dir .. "/fifo"
		assert(sys.mkfifo(path))
		assert(fs.write(dir .. "/file", "text"))
		pool.async(fs.stat, dir):await()
	end)
	teardown(function() scratch.remove(dir) end)

	-- How many tasks leave it, and how it is counted. None of the workers runs anything meanwhile that would collect.
	local function leaves_none(n, body, count, ending)
		local p = pool.new { workers = 2, on_error = false, max_threads = 8 }
		p:async(function() require "lua-pool".fs.stat "/" end):await()
		both.collect()
		local before = count()
		for _ = 1, n do
			local up = pool.event()
			local f = p:async(body, up, dir)
			assert.is_true(up:wait(20))
			if ending == "cancelled" then assert.is_true(f:cancel(20)) else f:pawait(20) end
			assert.equal(ending, f:status())
		end
		collectgarbage "stop" -- only the workers' own collections count
		local none = proc.eventually(function() return count() == before end, 10)
		local left = count()
		collectgarbage "restart"
		assert.is_true(none, left .. " instead of " .. before)
		p:close()
	end

	it("a hundred cancelled reads of a FIFO", function()
		leaves_none(scale(100, 20), function(up, where)
			local f = assert(require "lua-pool".fs.open(where .. "/fifo"))
			up:set()
			f:read()
		end, scratch.descriptors, "cancelled")
	end)

	it("files of tasks that failed or ended well", function()
		leaves_none(scale(50, 10), function(up, where)
			local f = assert(require "lua-pool".fs.open(where .. "/file"))
			up:set()
			error(tostring(f))
		end, scratch.descriptors, "failed")
		leaves_none(scale(50, 10), function(up, where)
			up:set()
			return tostring(require "lua-pool".fs.open(where .. "/file"))
		end, scratch.descriptors, "done")
	end)

	it("files and pipes of Lua's own", function()
		leaves_none(scale(50, 10), function(up, where)
			local f = assert(io.open(where .. "/file")) -- luacheck: ignore
			up:set()
			require "lua-pool".event():wait()
		end, scratch.descriptors, "cancelled")
		leaves_none(10, function(up)
			local f = assert(io.popen "exec sleep 0") -- luacheck: ignore
			up:set()
			require "lua-pool".event():wait()
		end, scratch.descriptors, "cancelled")
		leaves_none(10, function(up, where)
			local line = io.lines(where .. "/file") -- luacheck: ignore
			up:set()
			require "lua-pool".event():wait()
		end, scratch.descriptors, "cancelled")
	end)

	it("watches, folders, temporary files, commands", function()
		leaves_none(scale(20, 5), function(up, where)
			local channel = assert(require "lua-pool".fs.watch(where))
			up:set()
			channel:receive()
		end, scratch.descriptors, "cancelled")
		local function in_dir() return #fs.list(dir) end
		leaves_none(scale(20, 5), function(up, where)
			local lib = require "lua-pool"
			local folder, file = assert(lib.fs.tempdir { dir = where }), assert(lib.fs.tempfile { dir = where }) -- luacheck: ignore
			up:set()
			lib.event():wait()
		end, in_dir, "cancelled")
		leaves_none(scale(20, 5), function(up, where)
			local inside = assert(require "lua-pool".fs.within(where)) -- luacheck: ignore
			up:set()
			require "lua-pool".event():wait()
		end, scratch.descriptors, "cancelled")
		leaves_none(scale(10, 3), function(up)
			local lib = require "lua-pool"
			local input = lib.channel()
			up:set()
			lib.run { "cat", stdin = input, grace = 0 }
		end, scratch.descriptors, "cancelled")
	end)

	it("also what it had given to others, and what children left", function()
		leaves_none(scale(20, 5), function(up, where)
			local lib = require "lua-pool"
			local f = assert(lib.fs.open(where .. "/fifo"))
			local c = lib.async(function(g, u)
				u:set()
				g:read()
			end, f, up)
			c:await()
		end, scratch.descriptors, "cancelled")
	end)

	it("while the queue is never empty", function()
		-- One worker, and always another task behind: it never sleeps.
		local one = pool.new { workers = 1, max_threads = 1, on_error = false }
		local before = scratch.descriptors()
		local most, futures = 0, {}
		for i = 1, scale(2000, 500) do
			futures[i] = one:async(function(where)
				local f = assert(require "lua-pool".fs.open(where .. "/file")) -- luacheck: ignore
				for name in io.lines "/proc/self/status" do if name == "" then error(f) end end
			end, dir)
			if i % 50 == 0 then most = math.max(most, scratch.descriptors()) end
		end
		for _, f in ipairs(futures) do f:await() end
		assert.is_true(most - before < 80, most - before)
		assert.is_true(proc.eventually(function() return scratch.descriptors() <= before end))
		one:close()
	end)

	it("a worker that keeps a file does not collect again and again because of it", function()
		local p = pool.new { workers = 1 }
		-- Collections are counted by what they finalise.
		local count = p:async(function(where)
			kept = assert(require "lua-pool".fs.open(where .. "/file")) -- luacheck: ignore
			rounds = 0 -- luacheck: ignore
			local function again()
				local object = newproxy and newproxy(true) or setmetatable({}, {})
				local mt = getmetatable(object)
				mt.__gc = function()
					rounds = rounds + 1 -- luacheck: ignore
					again()
				end
				if not newproxy then setmetatable(object, mt) end
			end
			again()
		end, dir)
		count:await()
		pool.sleep(0.05)
		local first = p:async(function() return rounds end):await() -- luacheck: ignore
		for _ = 1, 30 do
			p:async(function() end):await()
			pool.sleep(0.002)
		end
		local now = p:async(function() return rounds end):await() -- luacheck: ignore
		assert.is_true(now - first < 10, now - first)
		assert.equal("text", p:async(function() return kept:pread(10, 0) end):await()) -- luacheck: ignore
		p:close()
	end)

	it("passes with few descriptors: tasks that open and are cancelled, in any number", function()
		local r = child.run(([[
			local dir, n = %q, %d
			local sys = require "sys"
			local p = pool.new { workers = 2, max_threads = 4, on_error = false }
			p:async(function() require "lua-pool".fs.stat "/" end):await()
			assert(sys.limit(64))
			local open = function(up, where)
				local lib = require "lua-pool"
				local f = assert(lib.fs.open(where .. "/file"))
				local g = assert(io.open(where .. "/file"))
				up:release()
				lib.event():wait()
				return f, g
			end
			local ended = 0
			for _ = 1, n / 4 do
				local up, futures = pool.semaphore(0), {}
				for i = 1, 4 do futures[i] = p:async(open, up, dir) end
				for _ = 1, 2 do up:acquire() end
				for i = 1, 4 do
					local ok, status = futures[i]:cancel(20)
					if not ok then futures[i]:await() error(status) end
					ended = ended + 1
				end
			end
			assert(ended >= n - 4)
			p:close()
			print "through"
		]]):format(dir, scale(20000, 1000)), { limit = 100 })
		assert.equal("", r.err)
		assert.equal("through\n", r.out)
	end)

	it("is looked through when there is no descriptor, also by the main state; then the error says so", function()
		local r = child.run(([[
			local dir = %q
			local sys = require "sys"
			local fs = pool.fs
			pool.async(fs.stat, dir):await()
			fs.open(dir .. "/file"):close()
			pool.run { "true" }
			local kept = {}
			collectgarbage()
			collectgarbage("setpause", 1000) -- what is left is left
			sys.limit(40)
			for _ = 1, 100 do assert(fs.open(dir .. "/file")) end
			for _ = 1, 100 do assert(fs.within(dir)) end
			for _ = 1, 20 do assert(fs.watch(dir)) end
			local function fill()
				local f, err, errno
				repeat
					f, err, errno = fs.open(dir .. "/file")
					kept[#kept + 1] = f
				until not f
				assert(errno == 24, errno)
				return err
			end
			print((fill():gsub("^.*/", "")))
			local n = #kept
			assert(n > 20, n)
			local function list() return #fs.list(dir) end
			for _, call in ipairs {
				function() return fs.list(dir) end, function() return fs.read(dir .. "/file") end,
				function() return fs.write(dir .. "/new", "x", { atomic = true }) end,
				function() return fs.copy(dir .. "/file", dir .. "/new") end, function() return fs.watch(dir) end,
				function() return pool.run { "true" } end, function() return pool.async(fs.read, dir .. "/file"):await() end,
			} do
				for i = 0, 2 do
					if i > 0 then kept[#kept]:close() kept[#kept] = nil end
					local ok, err, errno = call()
					assert(ok or errno == 24 and err:find "Too many open files", err)
					assert(i > 0 or not ok)
				end
				fill()
				assert(#kept == n, "one was lost: " .. #kept .. " instead of " .. n)
			end
			local before = kept
			kept = {}
			before = nil
			assert(list() > 0)
		]]):format(dir))
		assert.equal("", r.err)
		assert.equal("file: Too many open files (also after a collection)\n", r.out)
		assert.equal(0, r.status)
	end)
end)
