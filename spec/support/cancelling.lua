-- cancelling: cancels tasks at chosen and at random moments, and looks at what is left of them.
local pool = require "lua-pool"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local cancelling = {}

local sanitized = os.getenv "LUA_POOL_SANITIZER"

--- How often each kind of work is cancelled, at random moments.
cancelling.rounds = tonumber(os.getenv "LUA_POOL_ROUNDS") or (sanitized and 30 or 200)

function cancelling.spin(seconds)
	local till = pool.now() + seconds
	while pool.now() < till do end -- luacheck: ignore
end

--- What the next task on a worker can see of the one before: nothing. Called in a task.
function cancelling.traces()
	local lib, sys = require "lua-pool", require "sys"
	if debug.gethook() then return "a debug hook" end
	if lib.cancel_requested() then return "a request" end
	if sys.pending() then return "a signal" end
	return "nothing"
end

--- fn(up, ...) without end in pool p: cancelled before it starts, as it starts, as soon as it has called up:set(), a
--- random while later. Then the worker runs an ordinary task.
function cancelling.at_random(assert, p, fn, ...)
	local up = pool.event()
	local f = p:async(fn, up, ...)
	local moment = math.random(4)
	if moment == 2 then
		cancelling.spin(math.random() * 0.0001)
	elseif moment > 2 then
		up:wait()
		if moment == 4 then cancelling.spin(math.random() * 0.0002) end
	end
	local cancelled, status = f:cancel(20)
	assert.is_true(cancelled, tostring(status) .. ": " .. tostring(cancelled == false and f:traceback()))
	assert.equal("cancelled", f:status())
	local ok, err = f:pawait()
	assert.is_false(ok)
	assert.is_true(err == pool.CANCELLED)
	assert.equal("cancelled", tostring(err))
	assert.equal("nothing", p:async(cancelling.traces):await())
end

return cancelling
