-- What lets lua-pool's calls suspend a coroutine of examples/pollloop/loop.lua instead of blocking its thread. The contract
-- of the three functions is in lua-pool/loop.lua. Use: pool.loop(require "examples.pollloop.adapter")
local ours = require "lua-pool.loop"
local loop = require "examples.pollloop.loop"

local adapter = {}

local WHY = "cannot wait here: this coroutine is not the one that the loop has resumed but another inside it (a generator, " ..
	"say), which must not be suspended by the loop: wait outside of it, and give it the results"

function adapter.running()
	local thread = loop.current()
	if not thread then return nil end -- a callback, or outside the loop: the call blocks
	return thread, ours.caller() ~= thread and WHY or nil
end

-- ---- the descriptor: watched while at least one coroutine waits ----

local waits, count, fd = {}, 0, nil -- set of w, which keeps their coroutines

local function add(w)
	waits[w] = true
	count = count + 1
	if fd ~= ours.fd() then -- the first, or the first after a fork
		if fd then loop.watch(fd, nil) end
		fd = ours.fd()
	end
	loop.watch(fd, ours.dispatch)
end

local function remove(w)
	if not waits[w] then return false end
	waits[w] = nil
	count = count - 1
	if count == 0 then loop.watch(fd, nil) end
	if w.timer then loop.cancel(w.timer) end
	return true
end

-- ---- waiting ----

local function wake(w)
	if remove(w) then loop.resume(w.thread) end
end

function adapter.wait(w, seconds)
	w.thread, w.wake, w.drop = loop.current(), wake, remove
	add(w)
	if seconds then
		w.timer = loop.after(seconds, function() wake(w) end)
	end
	coroutine.yield()
	remove(w)
end

adapter.sleep = loop.sleep

return adapter
