-- Five philosophers around a table, a fork between each two: everyone takes the left fork, then waits for the right one.
--
--   lua examples/philosophers.lua
--
-- Four of them wait in a row, and pool.report() shows who waits where for which fork and who has it. The fifth would
-- close the ring: the wait that does so is refused with an error that names the whole ring, so that philosopher puts
-- the left fork down, and everybody eats.
local pool = require "lua-pool"

local N = 5
local forks, took_left = {}, pool.barrier(N)
for i = 1, N do forks[i] = pool.mutex() end
local may_go_on = pool.event() -- the last one waits for it, so that the report can be seen before

local function philosopher(number, left, right, all_took_left, go_on)
	left:lock()
	all_took_left:wait()
	if go_on then go_on:wait() end
	local ok, err = pcall(right.lock, right)
	if not ok then
		print(("philosopher %d is refused the right fork: %s"):format(number, err))
		left:unlock() -- for the others, who wait for it in a row
		left:lock()
		right:lock()
	end
	right:unlock()
	left:unlock()
	return not ok
end

local futures = {}
for i = 1, N do
	futures[i] = pool.async(philosopher, i, forks[i], forks[i % N + 1], took_left, i == N and may_go_on or nil)
end

-- Until four of them really wait for a fork, and the fifth for us.
local waiting
repeat
	pool.sleep(0.001)
	waiting = 0
	for _, task in ipairs(pool.report "list") do
		local object = task.state == "waiting" and task.objects[1]
		if object == may_go_on then waiting = waiting + 1 end
		for i = 1, N do
			if object == forks[i] then waiting = waiting + 1 end
		end
	end
until waiting == N
print(pool.report())

print()
may_go_on:set()
local refused = 0
for i = 1, N do
	if futures[i]:await() then refused = refused + 1 end
end
print(("all %d have eaten; %d was refused a fork once"):format(N, refused))
