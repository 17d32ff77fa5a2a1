-- Arrays, buffers, groups and timers, for tools/faults.sh: see basic.lua.
local pool = require "lua-pool"

local function check(ok, what)
	if not ok then
		io.stderr:write("WRONG ANSWER: ", what, "\n")
		os.exit(3)
	end
end

local p = pool.new {workers = 2, on_error = function() end}

local a = pool.array("f64", 1000)
a:fill(2)
check(a:sum() == 2000, "sum")
check(p:async(function(part) return part:sum() end, a:slice(1, 10)):await() == 20, "an array in a task")
a[7] = 1
a:sort()
check(a[1] == 1, "sort")

local b = pool.buffer("bytes")
local sent = p:async(function(x) return #x end, pool.transfer(b))
check(sent:await() == 5, "transfer")

local g = p:group {limit = 1}
for i = 1, 4 do g:async(function(n) return n end, i) end
g:go(function() end)
check(g:await(), "group")
check(not pcall(p.group, p, {limt = 1}), "options are checked")

local failing = p:group()
failing:async(error, "no")
check(not pcall(failing.await, failing), "a group's error")

local t = pool.timer(0.001)
local i = pool.select {pool.event(), t}
check(i == 2, "timer")
p:close()
