-- copas: an adapter (see lua-pool/loop.lua) for copas 2 and later; version 1 can neither put a coroutine to sleep nor wake it.
--
-- Copas waits for sockets only, by luasocket's select, which takes whatever has a method getfd. So one thread of ours,
-- which lives while somebody waits, "receives" from an object that is no socket.
--
-- Copas does not tell which coroutine it has resumed: any that calls while it runs counts. A generator must not wait.
local copas = require "copas"
local loop = require "lua-pool.loop"

local adapter = {}

function adapter.running(chosen)
	if chosen and not copas.sleep then
		error("lua-pool: this copas has no 'copas.sleep': waiting in its coroutines needs copas 2 or later", 0)
	end
	if copas.sleep and copas.running then return loop.caller() end
end

-- ---- the reader ----

local waits, alive = 0, false

local descriptor = {}
function descriptor.getfd() return loop.fd() end
function descriptor.dirty() return false end
-- The first call says that there is nothing, so that copas waits for the descriptor; then it asks again.
function descriptor:receive()
	self.asked = not self.asked
	if self.asked then return nil, "timeout", "" end
	return "", nil, ""
end
function descriptor.settimeout() return true end
descriptor.close = descriptor.settimeout

local function read()
	while waits > 0 do
		descriptor.asked = false
		copas.receive(descriptor, 1)
		loop.dispatch()
		copas.sleep(0) -- those that were woken may wait again
	end
	alive = false
end

local function begin(w)
	w.waits = true
	waits = waits + 1
	if not alive then
		alive = true
		copas.addthread(read)
	end
end

local function finish(w)
	if not w.waits then return false end
	w.waits = nil
	waits = waits - 1
	return true
end

-- Not by the reader, which therefore has to be told.
local function leave(w)
	if finish(w) and waits == 0 then loop.nudge() end
end

-- ---- waiting ----

local FOREVER = 2 ^ 40 -- a thread that sleeps without end is not work to copas, and may be collected

local function wake(w)
	if finish(w) then copas.wakeup(w.thread) end
end

function adapter.wait(w, seconds)
	w.thread, w.wake, w.drop = loop.caller(), wake, leave
	begin(w)
	copas.sleep(seconds or FOREVER)
	leave(w)
end

function adapter.sleep(seconds)
	copas.sleep(seconds)
end

return adapter
