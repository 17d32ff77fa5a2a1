-- Locks and their kin, select, scopes and cancelling, for tools/faults.sh: see basic.lua.
local pool = require "lua-pool"

local function check(ok, what)
	if not ok then
		io.stderr:write("WRONG ANSWER: ", what, "\n")
		os.exit(3)
	end
end

local p = pool.new {workers = 2, on_error = function() end}

local m, c, n = pool.mutex(), pool.condition(), pool.counter(0)
m:lock()
local f = p:async(function(mutex, cond, count)
	mutex:with(function()
		count:add(1)
		cond:signal()
	end)
end, m, c, n)
if f:status() ~= "failed" then -- where no thread starts, it ran inside async and could not have the mutex
	local ok, why = c:wait(m, 0.1)
	check(ok or why == "timeout", "condition")
end
m:unlock()
f:pawait()
check(m:try_lock(), "the mutex is free after its owner has ended, well or not")
m:unlock()

local rw, sem, bar, once = pool.rwlock(), pool.semaphore(1), pool.barrier(1), pool.once(function() return 7 end)
check(sem:acquire() and not sem:try_acquire(), "semaphore")
sem:release()
check(bar:wait(0) == 1, "barrier")
check(once() == 7 and once() == 7, "once")
check(rw:with_read(function() return 5 end) == 5, "rwlock")

local ch, ev = pool.channel(2), pool.event()
local i, sent = pool.select {ev, {ch, "send", {1, 2, 3}}}
check(i == 2 and sent, "select sends")
local k, list = pool.select {ev, ch}
check(k == 2 and list[3] == 3, "select receives")

check(pool.deadline(60, function(a) return a end, 3) == 3, "deadline")
check(pool.shield(function(a) return a end, 4) == 4, "shield")

if p:stats().threads > 0 then -- else we would sleep ourselves
	local sleeper = p:async(function(e)
		local here = require "lua-pool"
		local child = here.async(here.sleep, 60)
		e:set()
		return child:await()
	end, ev)
	check(sleeper:cancel(10) ~= nil, "cancel ends")
end
check(p:stats().queued == 0, "nothing is left")
p:close()
