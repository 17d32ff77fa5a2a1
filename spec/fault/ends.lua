-- Waiting for several futures, in the host and in a task at max_threads, and errors in batches, for tools/faults.sh: see basic.lua.
local pool = require "lua-pool"

local function check(ok, what)
	if not ok then
		io.stderr:write("WRONG ANSWER: ", what, "\n")
		os.exit(3)
	end
end

local p = pool.new {workers = 2, max_threads = 2, on_error = function() end}

local function all_kinds()
	local fs = {}
	for i = 1, 4 do fs[i] = pool.async(function(x) return x end, i) end
	local sum = 0
	for f in pool.as_completed(fs) do sum = sum + f:await() end
	if sum ~= 10 then error("sum " .. sum) end
	fs[5] = pool.async(error, "no")
	local i = pool.any(fs)
	if not fs[i] or i == 5 then error("any " .. i) end
	if pcall(pool.all, fs) then error "all" end
	local g = pool.group()
	g:go(function() end)
	g:await(10)
	return true
end

check(all_kinds(), "in the host")
local f = p:async(all_kinds)
local ok, err = f:pawait(20)
check(ok ~= nil, "in a task")
if not ok then error(err, 0) end

local seen, n = pcall(function()
	local last = 0
	for r in p:imap(function(i)
		if i == 9 then error("nine", 0) end
		return i
	end, 20, {batch = 4}) do last = r end
	return last
end)
check(not seen, "imap raises")
if n ~= "nine" then error(n, 0) end
local mapped, why = pcall(p.map, p, function(i) if i == 9 then error "nine" end end, 20, {batch = 4})
check(not mapped, "map raises")
if not why:find "^element 9: .*nine$" then error(why, 0) end
p:close()
