-- A pool without threads runs a task inside async: what the submitter holds cannot be given back meanwhile.
local pool = require "lua-pool"

describe("a task that runs inside async", function()
	it("is told that it waits for its own submitter, instead of hanging", function()
		local p = pool.new { workers = 0 }
		local m = pool.mutex()
		m:lock()
		local f = p:async(function(mutex) return mutex:lock() end, m)
		local ok, err = f:pawait()
		assert.is_false(ok)
		assert.match("dead%-lock", err)
		assert.match("mutex", err)
		-- With a timeout it is an answer, and afterwards the mutex is as it was.
		local g = p:async(function(mutex) return mutex:lock(0.001) end, m)
		assert.same({ nil, "timeout" }, { g:await() })
		m:unlock()
		assert.is_true(p:async(function(mutex) return mutex:with(function() return true end) end, m):await())
		p:close()
	end)

	it("is told so too when others stand between", function()
		local p, q = pool.new { workers = 0 }, pool.new { workers = 1 }
		local mine, theirs, has = pool.mutex(), pool.mutex(), pool.event()
		mine:lock()
		-- Holds `theirs` and wants `mine`, which we hold while we wait for `theirs` on top of ourselves.
		local other = q:async(function(a, b, e)
			b:lock()
			e:set()
			return pcall(a.lock, a)
		end, mine, theirs, has)
		has:wait()
		local f = p:async(function(b) return pcall(b.lock, b) end, theirs)
		mine:unlock()
		local ok, err = f:await()
		local other_ok, other_err = other:await()
		-- Whoever closed the ring was told, and the other one got what it waited for.
		assert.is_true(ok ~= other_ok)
		assert.match("dead%-lock", tostring(not ok and err or other_err))
		p:close()
		q:close()
	end)

	it("sees no dead-lock in a lock that a thread holds which goes on", function()
		local p, q = pool.new { workers = 0 }, pool.new { workers = 1 }
		local m, has = pool.mutex(), pool.event()
		local other = q:async(function(mutex, e)
			local here = require "lua-pool"
			mutex:lock()
			e:set()
			here.sleep(0.01)
			mutex:unlock()
		end, m, has)
		has:wait()
		assert.is_true(p:async(function(mutex) return mutex:with(function() return true end) end, m):await())
		other:await()
		p:close()
		q:close()
	end)
end)
