-- A bit of everything at once, on few objects that all share: files that are closed while others use and print them, folders
-- that are watched, subprocesses; pools that are resized, asked and reported while their tasks run children, fail and are
-- cancelled. Nothing is looked at but that it ends and adds up: it is here for ThreadSanitizer, which sees what is read
-- while another thread writes it.
local describe, it, assert, setup, teardown = describe, it, assert, setup, teardown
local both = require "spec.support.both"
local scale = require "spec.support.scale"
local scratch = require "spec.support.scratch"
local pool = require "lua-pool"
local fs = pool.fs
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local sanitized = os.getenv "LUA_POOL_SANITIZER" ~= nil

describe("a mixed load", function()
	local dir
	setup(function() dir = scratch.folder(true) end)
	teardown(function() scratch.remove(dir) end)

	-- What the tasks do, each by its name and with the shared things; every one answers true.
	local kinds = {}

	function kinds.file_uses(shared)
		for _ = 1, 10 do
			local f = shared.files[math.random(#shared.files)]
			pcall(function()
				tostring(f)
				if not f:is_closed() then
					f:pwrite(("x"):rep(100), math.random(1000))
					f:pread(50, 0)
					f:read(1)
					f:size()
					if f:try_lock() then f:unlock() end
				end
			end)
		end
		return true
	end

	function kinds.file_ends(shared)
		local lib = require "lua-pool"
		local path = shared.dir .. "/short" .. math.random(8)
		local f = assert(lib.fs.create(path))
		local others = {}
		for i = 1, 3 do
			others[i] = lib.async(function(g)
				pcall(g.write, g, "text")
				return tostring(g) ~= "" and (g:is_closed() or g:close())
			end, f)
		end
		f:close()
		for _, o in ipairs(others) do assert(o:await()) end
		return tostring(f):find "closed" ~= nil
	end

	function kinds.names(shared)
		local lib = require "lua-pool"
		local path = shared.dir .. "/whole" .. math.random(4)
		assert(lib.fs.write(path, ("y"):rep(3000), { atomic = true, sync = false }))
		assert(#lib.fs.read(path) == 3000)
		lib.fs.stat(path)
		lib.fs.list(shared.dir)
		local file, name = assert(lib.fs.tempfile { dir = shared.dir })
		file:write(name)
		local folder = assert(lib.fs.tempdir { dir = shared.dir })
		lib.fs.write(folder:path "a", "b")
		lib.async(function(d) return tostring(d), d:remove() end, folder):await()
		return file:close()
	end

	function kinds.watches(shared)
		local lib = require "lua-pool"
		local folder = ("%s/watched%d"):format(shared.dir, math.random(1e9))
		assert(lib.fs.mkdir(folder))
		local channel = assert(lib.fs.watch(folder))
		lib.fs.write(folder .. "/a", "b")
		local what = channel:receive(20)
		assert(lib.fs.remove(folder, { recursive = true })) -- the watch ends by itself, while
		tostring(channel)
		channel:close()
		return what ~= nil
	end

	function kinds.commands()
		local lib = require "lua-pool"
		local r = assert(lib.run { "cat", stdin = "in" })
		return r.stdout == "in" and r.code == 0
	end

	function kinds.families()
		local lib = require "lua-pool"
		local children = {}
		for i = 1, 4 do children[i] = lib.async(function(n) return n end, i) end
		local sum = 0
		for i = 1, 4 do sum = sum + children[i]:await() end
		return sum == 10
	end

	function kinds.waits(shared)
		shared.mutex:with(function() shared.counter:add(1) end)
		shared.dict:set(math.random(10), { 1 })
		shared.dict:incr "n"
		if shared.channel:try_send(1) then shared.channel:try_receive() end
		return shared.event:wait(0.001) ~= false
	end

	function kinds.ask(shared)
		local lib = require "lua-pool"
		local s = shared.pool:stats()
		tostring(shared.pool)
		return s.threads >= 0 and #lib.report() >= 0
	end

	it("ends, and adds up", function()
		local p = pool.new { workers = 3, max_threads = 4, on_error = false, name = "mixed" }
		local shared = { files = {}, dir = dir, pool = p, mutex = pool.mutex(), counter = pool.counter(), dict = pool.dict(),
			channel = pool.channel(2), event = pool.event() }
		for i = 1, 3 do shared.files[i] = assert(fs.create(dir .. "/shared" .. i)) end
		local names = {}
		for name in pairs(kinds) do names[#names + 1] = name end
		table.sort(names)
		local rounds = sanitized and 12 or scale(30, 10)
		local stop = pool.event()
		-- Threads of another pool look and resize all the time.
		local side = pool.new { workers = 2 }
		local meddler = side:async(function(q, s)
			local lib, n = require "lua-pool", 0
			repeat
				n = n + 1
				q:resize(1 + n % 5)
				q:stats()
				lib.report()
			until s:wait(0.0005)
			return n
		end, p, stop)
		local told = 0
		for round = 1, rounds do
			local futures = {}
			for i = 1, 2 do
				for _, name in ipairs(names) do
					futures[#futures + 1] = p:async(kinds[name], shared)
					if i == 2 and round % 3 == 0 and name ~= "names" then futures[#futures]:cancel(0) end
				end
			end
			p:go(kinds.waits, shared)
			p:resize(4 + round) -- max_threads grows with it
			p:resize(1 + round % 4)
			pool.report()
			for _, f in ipairs(shared.files) do
				told = told + (tostring(f):find "closed" and 1 or 0)
			end
			if round % 4 == 0 then
				local k = 1 + round / 4 % 3
				shared.files[k]:close()
				shared.files[k] = assert(fs.create(dir .. "/shared" .. k))
			end
			for i, f in ipairs(futures) do
				local ok, answer = f:pawait(60)
				local cancelled = not ok and answer == pool.CANCELLED
				assert.is_true(cancelled or ok and answer, i .. ": " .. tostring(answer))
			end
		end
		stop:set()
		assert.is_true(meddler:await(60) > 0)
		assert.is_true(side:close(60))
		assert.is_true(p:close(60))
		assert.equal(0, told)
		assert.equal(0, p:stats().failed)
		for _, f in ipairs(shared.files) do assert.is_true(f:close()) end
		both.collect()
	end)
end)
