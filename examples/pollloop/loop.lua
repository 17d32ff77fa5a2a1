-- A small event loop in plain Lua: coroutines, timers, and descriptors that poll(2) watches (lua-posix). It knows nothing of
-- lua-pool: examples/pollloop/adapter.lua makes the two work together.
local poll = require "posix.poll".poll
local time = require "posix.time"

local loop = {}

local ready, timers, watched = {}, {}, {} -- coroutines to resume; {at, callback}, any order; descriptor -> callback
local current                             -- the coroutine that the loop has resumed

local function now()
	local t = time.clock_gettime(time.CLOCK_MONOTONIC)
	return t.tv_sec + t.tv_nsec / 1e9
end

--- The coroutine that the loop has resumed; nil in callbacks and outside run().
function loop.current() return current end

--- Has a suspended coroutine of the loop go on soon.
function loop.resume(co) ready[#ready + 1] = co end

--- Runs fn() as a coroutine of the loop.
function loop.spawn(fn) loop.resume(coroutine.create(fn)) end

--- callback() in so many seconds -> a timer, for loop.cancel.
function loop.after(seconds, callback)
	local timer = {at = now() + seconds, callback = callback}
	timers[timer] = true
	return timer
end

function loop.cancel(timer) timers[timer] = nil end

--- callback() whenever the descriptor can be read; nil: no longer. run() goes on as long as one is watched.
function loop.watch(fd, callback) watched[fd] = callback end

function loop.sleep(seconds)
	local co = current
	loop.after(seconds, function() loop.resume(co) end)
	coroutine.yield()
end

local function go_on(co)
	current = co
	local ok, err = coroutine.resume(co)
	current = nil
	if not ok then error(debug.traceback(co, tostring(err)), 0) end
end

-- Milliseconds until the first timer, -1: for ever.
local function patience()
	local first = math.huge
	for timer in pairs(timers) do first = math.min(first, timer.at) end
	if first == math.huge then return -1 end
	return math.max(0, math.min(math.ceil((first - now()) * 1000), 2 ^ 31 - 1))
end

local function expire()
	local due, t = {}, now()
	for timer in pairs(timers) do
		if timer.at <= t then due[#due + 1] = timer end
	end
	table.sort(due, function(a, b) return a.at < b.at end)
	for _, timer in ipairs(due) do
		if timers[timer] then -- an earlier one may have cancelled it
			timers[timer] = nil
			timer.callback()
		end
	end
end

local function look(milliseconds)
	local fds = {}
	for fd in pairs(watched) do fds[fd] = {events = {IN = true}} end
	if not poll(fds, milliseconds) then return end -- interrupted by a signal
	for fd, it in pairs(fds) do
		local callback = next(it.revents or {}) and (it.revents.IN or it.revents.HUP or it.revents.ERR) and watched[fd]
		if callback then callback() end
	end
end

--- Returns when there is nothing left to run, to wait for or to watch.
function loop.run()
	while ready[1] or next(timers) or next(watched) do
		local batch = ready
		ready = {}
		for i, co in ipairs(batch) do
			if coroutine.status(co) == "suspended" then
				local ok, err = pcall(go_on, co)
				if not ok then
					for k = i + 1, #batch do loop.resume(batch[k]) end
					error(err, 0)
				end
			end
		end
		if next(timers) or next(watched) then look(ready[1] and 0 or patience()) end
		expire()
	end
end

return loop
