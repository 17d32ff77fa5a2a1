-- An event loop of one's own with lua-pool: sums run on the workers and are awaited by coroutines of the loop, while another
-- coroutine of the same loop goes on ticking. The loop is poll(2) in plain Lua (loop.lua), the bridge is adapter.lua.
--
--   luajit examples/pollloop/main.lua [SUMS]      (needs lua-posix)
local pool = require "lua-pool"
local loop = require "examples.pollloop.loop"
pool.loop(require "examples.pollloop.adapter")

local sums, ended, ticks = tonumber(arg and arg[1]) or 4, 0, 0

local function sum(n)
	local s = 0
	for i = 1, n do s = s + i % 7 end
	return s
end

for i = 1, sums do
	loop.spawn(function()
		local s = pool.async(sum, i * 1e6):await() -- suspends this coroutine only
		ended = ended + 1
		print(("1 to %d million: %d"):format(i, s))
	end)
end

loop.spawn(function()
	repeat
		loop.sleep(0.001)
		ticks = ticks + 1
	until ended == sums
	print(ticks > 0 and "the loop ticked meanwhile" or "the loop stood still")
end)

loop.run()
