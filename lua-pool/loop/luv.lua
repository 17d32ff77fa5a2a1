-- luv: an adapter (see lua-pool/loop.lua) for libuv's loop.
--
-- luv resumes no coroutines of its own: callbacks do, and so do we. So any coroutine counts as run by the loop while
-- uv.run runs; also a generator, which luv cannot tell from others: what it calls must not wait.
local uv = package.loaded.luv or require "luv"
local loop = require "lua-pool.loop"

local luv = {}
local resume, status, yield = coroutine.resume, coroutine.status, coroutine.yield
local mode = uv.loop_mode or function() return "default" end

--- While uv.run runs; a loop that was chosen is believed to be run later.
function luv.running(chosen)
	return (chosen or mode()) and loop.caller()
end

-- ---- the descriptor ----

local suspended, count = {}, 0 -- set of w, which anchors their coroutines
local poll, watched

-- A uv loop ends when no handle keeps it: ours does only while somebody waits.
local function watch()
	local fd = loop.fd()
	if watched ~= fd then
		if poll then poll:close() end
		poll, watched = assert(uv.new_poll(fd)), fd
		poll:start("r", function(err)
			assert(not err, err)
			loop.dispatch()
		end)
		if count == 0 then poll:unref() end
	end
end

local function add(w)
	watch()
	suspended[w] = true
	count = count + 1
	if count == 1 then poll:ref() end
end

local function remove(w)
	if not suspended[w] then return false end
	suspended[w] = nil
	count = count - 1
	if count == 0 then poll:unref() end
	if w.timer then
		w.timer:close()
		w.timer = nil
	end
	return true
end

-- ---- waiting ----

local function go_on(co)
	if status(co) ~= "suspended" then return end
	local ok, err = resume(co)
	if not ok then error(debug.traceback(co, tostring(err)), 0) end
end

local function wake(w)
	if remove(w) then go_on(w.thread) end
end

local function timer(seconds, callback)
	local t = assert(uv.new_timer())
	t:start(math.min(math.ceil(seconds * 1000), 2 ^ 52), 0, callback)
	return t
end

function luv.wait(w, seconds)
	w.thread, w.wake, w.drop = loop.caller(), wake, remove
	add(w)
	if seconds then
		w.timer = timer(seconds, function() wake(w) end)
	end
	yield()
	remove(w)
end

function luv.sleep(seconds)
	local co = loop.caller()
	local t
	t = timer(seconds, function()
		t:close()
		go_on(co)
	end)
	yield()
	if not t:is_closing() then t:close() end
end

return luv
