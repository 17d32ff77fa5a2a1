local pool = require "lua-pool"
local both = require "spec.support.both"
local proc = require "spec.support.proc"
local socket = require "socket"

describe("future:pollfd", function()
	local function wait_for(go) go:wait() end

	local function readable(fd, seconds)
		local object = { getfd = function() return fd end, dirty = function() return false end }
		return socket.select({ object }, nil, seconds)[1] == object
	end

	it("is a descriptor that becomes readable when the task ends, and stays so for every poller", function()
		local go = pool.event()
		local f = pool.async(wait_for, go)
		local fd = f:pollfd()
		assert.equal(fd, f:pollfd())
		assert.equal("r", f:events())
		assert.is_nil(f:timeout())
		assert.is_false(readable(fd, 0))
		go:set()
		assert.is_true(readable(fd, 60))
		assert.is_true(readable(fd, 0))
		assert.equal(0, f:timeout())
		f:await()
		assert.is_true(readable(f:pollfd(), 0))
	end)

	it("of a task that has ended is readable at once, also of one that failed or was cancelled", function()
		local done, failed, go = pool.async(function() end), pool.async(error, "x"), pool.event()
		local cancelled = pool.async(wait_for, go)
		done:wait()
		failed:wait()
		cancelled:cancel()
		for _, f in ipairs { done, failed, cancelled } do assert.is_true(readable(f:pollfd(), 60)) end
		failed:pawait()
	end)

	it("is closed with the future's handle, whether the task has ended or not", function()
		local go, up = pool.event(), pool.semaphore(0)
		local futures = {}
		for i = 1, 20 do futures[i] = pool.async(function(s, g) s:release() g:wait() end, up, go) end
		for _ = 1, 20 do up:acquire() end -- a worker that opens its state reads files meanwhile
		both.collect()
		local before = proc.descriptors()
		for i = 1, 20 do futures[i]:pollfd() end
		assert.equal(before + 20, proc.descriptors())
		futures = nil -- luacheck: ignore
		both.collect()
		assert.equal(before, proc.descriptors())
		go:set()
	end)
end)
