-- nginx: the adapter (see lua-pool/loop.lua) for the Lua module of nginx and OpenResty.
--
-- nginx cannot watch a descriptor for us; what a light thread can wait for is a cosocket. So there is one connection
-- per worker process: the C core listens for a moment on a unix socket in a private folder, a light thread in a timer
-- (the reader) connects to it, and each announcement is one byte on that connection. The reader then posts the
-- semaphores of all whose wait is over. It lives while somebody waits, and LINGER seconds longer.
--
-- What ends it is a byte too: a cosocket's timeout would write a line into error.log. The byte comes from a timer, the
-- keeper, which nginx runs at once when the worker process begins to leave; the leaving process cannot have such
-- timers any more, so from then on the reader looks every few milliseconds instead of waiting. A light thread that is
-- killed while it waits (the client has gone) tells nobody: the keeper and the looking reader see it by its semaphore,
-- for which nobody waits any more.
--
-- No socket to be had (chroot, a full disk, no permission): the reader looks all the time. No reader to be had
-- (all timers in use): each waiter does it for itself.
local core = require "lua-pool.core"
local loop = require "lua-pool.loop"
local semaphore = require "ngx.semaphore"

local nginx = {}
local ngx, max, min = ngx, math.max, math.min -- luacheck: ignore 113
local get_phase, exiting = ngx.get_phase, ngx.worker.exiting

local LINGER = 0.2          -- seconds without anybody who waits, after which the reader leaves
local LONGEST = 2000000     -- seconds: nginx keeps milliseconds in 31 bits
local SHORT_LOOK, LONG_LOOK = 0.001, 0.016
local START_TIMEOUT = 0.05  -- the reader should run by then

core.children_ours() -- nginx's handler of SIGCHLD takes the status of every child

-- ---- who can wait ----

-- By the name that ngx.get_phase has for it: how users call it; false: it may be suspended.
local phases = {
	server_rewrite = false, rewrite = false, access = false, content = false, timer = false,
	ssl_cert = false, ssl_session_fetch = false, ssl_client_hello = false, preread = false,
	ssl_session_store = "ssl_session_store_by_lua",
}
local instead = {
	init = "threads and waiting begin in the worker processes: use ngx.timer.at(0, ...) in init_worker_by_lua",
	init_worker = "wait in ngx.timer.at(0, ...) instead, which this phase may start",
}

local refusals = setmetatable({}, { __index = function(t, phase)
	local name = phases[phase]
	if name == nil then name = phase .. "_by_lua" end
	t[phase] = name and ("cannot wait in %s: nginx does not let this phase be suspended; %s"):format(name, instead[phase]
		or "start the task with pool.go, or wait in an earlier phase (access_by_lua, content_by_lua) or in ngx.timer.at(0, ...)")
	return t[phase]
end })

--- Light threads, and the coroutines inside them, which nginx suspends as well; and the phases in which it suspends
--- nobody: there a wait is refused.
function nginx.running()
	local refusal = refusals[get_phase()]
	if refusal then return true, refusal end
	return loop.caller() or true
end

--- A request: nginx uses coroutines again.
function nginx.life()
	return ngx.ctx
end

-- ---- who waits ----

local suspended, count, waits = {}, 0, 0 -- set of w; its size; how many there ever were
local spare, spares = {}, 0              -- semaphores to be used again

local function remove(w)
	if not suspended[w] then return end
	suspended[w] = nil
	count = count - 1
end

local function wake(w)
	if not suspended[w] then return end
	remove(w)
	w.semaphore:post(1)
end

--- Gives up the waits of those who were killed: nobody waits for their semaphores.
function nginx.sweep()
	for w in pairs(suspended) do
		if w.semaphore:count() >= 0 then loop.give_up(w) end
	end
end

local function dispatch()
	local ok, err = pcall(loop.dispatch)
	if not ok then ngx.log(ngx.ERR, "lua-pool: ", err) end
end

-- ---- the reader ----

local reader                 -- nil; "starting": a timer was made for it; "reading", "looking"
local kept = false           -- the keeper's timer is there
local leave = false          -- nobody has waited for a while
local said = false           -- that there is no socket

local function say_once(why)
	if said then return end
	said = true
	ngx.log(ngx.WARN, "lua-pool: no socket between the pool's threads and this worker process (", why,
		"): it looks every few milliseconds instead, which costs time and latency")
end

local function folders()
	local list = { "/tmp", "/dev/shm", "/var/tmp" }
	local own = os.getenv "TMPDIR"
	if own and own ~= "" then table.insert(list, 1, own) end
	return list
end

-- A cosocket on which the announcements come; nil and why.
local function connect()
	local meeting, why
	for _, folder in ipairs(folders()) do
		local err
		meeting, err = core.meet(folder)
		if meeting then break end
		why = why or err
	end
	if not meeting then return nil, why end
	local socket = ngx.socket.tcp()
	socket:settimeouts(1000, 1000, 2 ^ 31 - 1)
	local ok, err = socket:connect("unix:" .. meeting:path())
	if ok and not meeting:accept() then ok, err = nil, "the connection did not arrive" end
	if not ok then
		meeting:close()
		return nil, err
	end
	core.inbox_use(meeting:take())
	return socket
end

local keeper

local function keep()
	if kept or exiting() then return end
	local seen = waits
	kept = ngx.timer.at(LINGER, keeper, seen) and true or false
end

-- Has the reader look up when nobody has waited since the last time, or when the process begins to leave.
function keeper(_, seen)
	kept = false
	if reader ~= "reading" then return end
	nginx.sweep()
	leave = count == 0 and seen == waits
	if not leave then keep() end
	if leave or not kept then loop.nudge() end
end

local function read(without_socket)
	local socket, why
	if not without_socket and not exiting() then
		socket, why = connect()
		if not socket then say_once(why) end
	end
	local pause = SHORT_LOOK
	repeat
		local before = waits
		dispatch()
		if socket and kept and not exiting() then
			reader = "reading"
			local bytes, err = socket:receiveany(4096)
			if not bytes then
				say_once(err)
				socket = nil
			end
		else
			reader = "looking"
			nginx.sweep()
			pause = waits ~= before and SHORT_LOOK or min(pause * 1.5, LONG_LOOK)
			if count > 0 then ngx.sleep(pause) end
			leave = count == 0
			if socket then keep() end
		end
	until leave and count == 0
	core.inbox_use(nil)
	if socket then socket:close() end
end

local function start_reader(without_socket)
	reader = "starting"
	keep()
	local ok = ngx.timer.at(0, function()
		if reader ~= "starting" then return end -- it came too late: a waiter has given it up
		local done, err = pcall(read, without_socket)
		reader = nil
		if not done then
			ngx.log(ngx.ERR, "lua-pool: ", err)
			start_reader(true) -- for those who rely on it
		end
	end)
	if not ok then reader = nil end
end

-- ---- waiting ----

function nginx.wait(w, seconds)
	local s = spare[spares]
	if s then
		spare[spares] = nil
		spares = spares - 1
	else
		local err
		s, err = semaphore.new(0)
		if not s then error("lua-pool: " .. err, 0) end
	end
	w.semaphore, w.wake, w.drop = s, wake, remove
	suspended[w] = true
	count, waits = count + 1, waits + 1
	seconds = seconds and min(max(seconds, 0.001), LONGEST) or LONGEST
	leave = false
	if not reader then start_reader() end
	local posted
	if reader == "reading" or reader == "looking" then
		posted = s:wait(seconds)
	else
		posted = s:wait(min(seconds, reader and START_TIMEOUT or LONG_LOOK))
		if not posted and reader ~= "reading" and reader ~= "looking" then
			reader = nil
			dispatch()
		end
	end
	remove(w)
	if posted and spares < 1024 then -- else it may have been posted since: not to be used again
		spares = spares + 1
		spare[spares] = s
	end
end

function nginx.sleep(seconds)
	ngx.sleep(min(max(seconds, 0.001), LONGEST)) -- less would be a busy loop
end

return nginx
