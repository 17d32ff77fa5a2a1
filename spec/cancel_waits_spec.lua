-- Cancellation of what waits in the system: pipes, FIFOs, terminals, locks of files, processes; of groups and timers.
local describe, it, assert, setup, teardown = describe, it, assert, setup, teardown
local pool = require "lua-pool"
local sys = require "sys"
local cancelling = require "spec.support.cancelling"
local child = require "spec.support.child"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

math.randomseed(os.time())

-- name -> { fn(up, what), what }
local waits = {}

local nobody_writes = sys.pipe() -- its other end stays open
waits["a pipe, with io.read"] = { function(up, fd)
	local f = assert(io.open("/proc/self/fd/" .. fd))
	up:set()
	return f:read "*a"
end, nobody_writes }
waits["a pipe, line by line"] = { function(up, fd)
	local f = assert(io.open("/proc/self/fd/" .. fd))
	up:set()
	for _ in f:lines() do end
end, nobody_writes }
waits["a pipe, with read(2) again and again"] = { function(up, fd)
	local s = require "sys"
	up:set()
	while not s.read(fd) do end
end, nobody_writes }

local fifo = child.tmpname()
assert(sys.mkfifo(fifo))
waits["a FIFO that nobody opens"] = { function(up, path)
	up:set()
	return io.open(path)
end, fifo }

local master, terminal = sys.terminal()
assert(master, terminal)
waits["a terminal"] = { function(up, name)
	local f = assert(io.open(name))
	up:set()
	return f:read "*l"
end, terminal }

local file = child.tmpname()
assert(sys.flock(file))
waits["a lock of a file"] = { function(up, path)
	up:set()
	return require "sys".flock(path)
end, file }

waits["a process, with io.popen"] = { function(up)
	up:set()
	while true do io.popen("sleep 0.01"):read "*a" end
end }

waits["a read-write lock"] = { function(up, rw)
	up:set()
	rw:write_lock()
end, pool.rwlock() }
waits["a read-write lock"][2]:read_lock()
waits["a select over several"] = { function(up, list)
	up:set()
	require "lua-pool".select(list)
end, { pool.event(), pool.channel(), pool.event() } }
waits["a select with a timeout"] = { function(up, list)
	up:set()
	require "lua-pool".select(list, 1000)
end, { pool.event(), pool.channel() } }
waits["a barrier"] = { function(up, b) up:set() b:wait() end, pool.barrier(1000) }
if pool.group then
	waits["a group of its own"] = { function(up, e)
		local lib = require "lua-pool"
		local g = lib.group()
		g:async(function(ev) ev:wait() end, e)
		g:async(function(ev) ev:wait() end, e)
		up:set()
		g:await()
	end, pool.event() }
end
if pool.fs then
	waits["a FIFO, with pool.fs"] = { function(up, path)
		up:set()
		return require "lua-pool".fs.read(path)
	end, fifo }
	waits["a pipe, with pool.fs"] = { function(up, fd)
		local f = assert(require "lua-pool".fs.open("/proc/self/fd/" .. fd))
		up:set()
		return f:read(10)
	end, nobody_writes }
end

describe("cancel ends", function()
	local p
	setup(function() p = pool.new { workers = 2, name = "waits" } end)
	teardown(function()
		p:cancel_all()
		assert.is_true(p:close(20))
		os.remove(fifo)
		os.remove(file)
	end)

	for name, wait in pairs(waits) do
		it("a wait for " .. name .. ", at any moment", function()
			for _ = 1, cancelling.rounds do cancelling.at_random(assert, p, wait[1], wait[2]) end
		end)
	end
end)
