-- A file of the parent process goes on in a forked child, whoever touches it there first: a task that it is sent to, several
-- at once, a subprocess that gets it, or who merely prints it.
local describe, it, assert, setup, teardown = describe, it, assert, setup, teardown
local child = require "spec.support.child"
local scratch = require "spec.support.scratch"
local pool = require "lua-pool"

describe("a file of the parent process", function()
	local dir
	setup(function() dir = scratch.folder() end)
	teardown(function() scratch.remove(dir) end)

	for name, first in pairs {
		["is sent to tasks before it is used"] = [[
			local futures = {}
			for i = 1, 8 do futures[i] = pool.async(function(g) return g:pread(10, 0) end, f) end
			for i = 1, 8 do assert(futures[i]:await() == "0123456789") end]],
		["is given to a command"] = [[assert(f:seek("set", 0) == 0 and pool.run { "cat", stdin = f }.stdout == "0123456789")]],
		["is printed"] = [[assert(tostring(f):find "forked%)$", tostring(f))]],
	} do
		it(name, function()
			if not child.may_fork_busy then return end -- (sanitizers)
			local path = dir .. "/forked"
			assert(pool.fs.write(path, "0123456789"))
			local r = child.run(([[
				local sys = require "sys"
				local f = assert(pool.fs.open(%q))
				-- Somebody is inside it, and his lock, at many of the forks.
				local stop = pool.event()
				local busy = pool.async(function(g, s) repeat g:pread(1, 0) tostring(g) until s:is_set() end, f, stop)
				for _ = 1, 20 do
					local pid = sys.fork()
					if pid == 0 then
						%s
						assert(f:pread(10, 0) == "0123456789")
						assert(f:close() and tostring(f):find "closed")
						sys._exit(0)
					end
					assert(sys.wait(pid) == 0)
				end
				stop:set()
				busy:await()
				assert(f:pread(10, 0) == "0123456789")
			]]):format(path, first))
			assert.equal("", r.err)
			assert.equal(0, r.status)
		end)
	end
end)
