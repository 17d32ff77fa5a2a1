-- peers: the same work done by other libraries for threads in Lua, where they are installed: effil, Lanes. Debian has
-- neither, so these rows are measured only where someone put them on the paths.
local pool = require "lua-pool"
local harness = require "bench.harness"

local rows = {}
local function row(name, measure)
	table.insert(rows, {name = name, measure = measure})
end

local has_effil, effil = pcall(require, "effil")
local has_lanes, lanes = pcall(require, "lanes")
if has_lanes and lanes.configure then lanes = lanes.configure() end
if not has_effil and not has_lanes then return rows end

-- what, measured: {ours, effil's, Lanes'} with false for who is not here.
local function beside(report, what, measured, target)
	for i, name in ipairs {"effil", "Lanes"} do
		local theirs = measured[i + 1]
		if theirs then
			report {what = what, ours = measured[1], beside = {name, theirs}, target = target,
				hit = target and measured[1] <= theirs or nil}
		end
	end
end

row("peers: channels", function(_, report)
	local burst = {harness.compare {n = 3,
		{50, function(n)
			local ch = pool.channel(1000)
			for _ = 1, n do
				for i = 1, 1000 do ch:send(i) end
				for _ = 1, 1000 do ch:receive() end
			end
		end},
		has_effil and {50, function(n)
			local ch = effil.channel(1000)
			for _ = 1, n do
				for i = 1, 1000 do ch:push(i) end
				for _ = 1, 1000 do ch:pop() end
			end
		end},
		has_lanes and {50, function(n)
			local linda = lanes.linda()
			for _ = 1, n do
				for i = 1, 1000 do linda:send("k", i) end
				for _ = 1, 1000 do linda:receive("k") end
			end
		end},
	}}
	for i = 1, 3 do burst[i] = burst[i] and burst[i] / 1000 end
	beside(report, "channel: 1,000 sent, 1,000 received, each", burst, "<= theirs")

	local between = {harness.compare {n = 3,
		{100000, function(n)
			local ch = pool.channel(1000)
			local f = pool.async(function(c, count)
				for _ = 1, count do c:receive() end
			end, ch, n)
			for i = 1, n do ch:send(i) end
			f:await()
		end},
		has_effil and {100000, function(n)
			local ch, done = effil.channel(), effil.channel()
			effil.thread(function(c, d, count)
				for _ = 1, count do c:pop() end
				d:push(true)
			end)(ch, done, n)
			for i = 1, n do ch:push(i) end
			done:pop()
		end},
		-- On LuaJIT the two ends of a linda of Lanes 3.17 sometimes wait for each other for ever.
		has_lanes and not jit and {20000, function(n)
			local linda = lanes.linda()
			local lane = lanes.gen("*", function(l, count)
				for _ = 1, count do l:receive("k") end
				return true
			end)(linda, n)
			for i = 1, n do linda:send("k", i) end
			assert(lane[1])
		end},
	}}
	beside(report, "channel, one to one, per message", between, "<= theirs")
end)

row("peers: a call elsewhere", function(_, report)
	local trip = {harness.compare {n = 3,
		{3000, function(n)
			for _ = 1, n do pool.async(function(x) return x + 1 end, 1):await() end
		end},
		has_effil and {300, function(n)
			local start = effil.thread(function(x) return x + 1 end)
			for _ = 1, n do start(1):get() end
		end},
		has_lanes and {100, function(n)
			local start = lanes.gen("*", function(x) return x + 1 end)
			for _ = 1, n do assert(start(1)[1] == 2) end
		end},
	}}
	beside(report, "x + 1 in another thread", trip, "<= theirs")
end)

-- What each needs to be able to stop a loop, while nobody stops it: effil and Lanes call a hook every so many instructions.
-- On LuaJIT a compiled loop calls no hook and can be stopped by nobody, so the compiler is off.
row("peers: stop", function(_, report)
	local function loop(n)
		if jit then jit.off() end
		local x = 0
		for i = 1, n do x = (x * 31 + i) % 1000003 end
		return x
	end
	local p = pool.new {workers = 1, jit = jit and "checked" or nil}
	local cost = {harness.compare {n = 3,
		{3e6, function(n) p:async(loop, n):await() end},
		has_effil and {3e6, function(n) effil.thread(loop)(n):get() end},
		has_lanes and {3e6, function(n) assert(lanes.gen("*", loop)(n)[1]) end},
	}}
	beside(report, "a loop that could be stopped, per turn", cost)

	local function forever(ready)
		if jit then jit.off() end
		ready()
		while true do end
	end
	local stop = {harness.compare {n = 3,
		{50, function(n)
			for _ = 1, n do
				local up = pool.event()
				local f = p:async(function(go, e) go(function() e:set() end) end, forever, up)
				up:wait()
				assert(f:cancel(10))
			end
		end},
		has_effil and {50, function(n)
			for _ = 1, n do
				local up = effil.channel()
				local t = effil.thread(function(go, c) go(function() c:push(true) end) end)(forever, up)
				up:pop()
				t:cancel()
			end
		end},
		has_lanes and {50, function(n)
			for _ = 1, n do
				local linda = lanes.linda()
				local lane = lanes.gen("*", function(go, l) go(function() l:send("up", true) end) end)(forever, linda)
				linda:receive("up")
				lane:cancel("count", 100, 10)
			end
		end},
	}}
	beside(report, "start a loop, stop it", stop, "<= theirs")
	p:close(5)
end)

return rows
