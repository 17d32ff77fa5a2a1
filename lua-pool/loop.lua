-- loop: event loops. Under one, a call of lua-pool that waits suspends the coroutine that called it, and the loop goes on.
--
-- Which loop is in charge is found out by itself: of the modules below those are asked that the program has loaded.
-- pool.loop(name) sets it instead.
--
-- THE CONTRACT OF AN ADAPTER, for a loop of your own: a table with three functions, given to pool.loop(adapter).
--
--   running(chosen) -> thread [, why]
--       Does the loop run the caller? nil: no (the call will block its thread as it does without a loop). Else the
--       coroutine that the loop itself has resumed: the light thread, which owns mutexes and deadlines; usually that is
--       the caller, loop.caller(). If the caller is another coroutine inside it (a generator), or the loop cannot be
--       yielded to at this moment for another reason, `why` is a string that says so and what to do instead:
--       it is raised. `chosen` is true when the adapter was chosen by pool.loop and not found by itself.
--       Called very often: must not wait, yield or be slow.
--
--   wait(w, seconds)
--       Suspends the caller until w is woken, or until the seconds have passed (nil: there is no limit). `w` is a table,
--       a new one for each wait. wait sets w.wake, a function that gets w as its argument, never yields, and makes the
--       loop resume the caller; it may keep whatever it needs in further fields of w. May return early: then it is
--       called again. Must tolerate that wake comes when the caller is not suspended any more (it returned because of
--       the time, or was killed), and that its coroutine is never resumed. w.drop, if it is set, is called with w
--       when the wait was given up (its coroutine was closed, or is garbage): it forgets w, and resumes nobody.
--       Who calls wake? While at least one caller is suspended in `wait`, the adapter has loop.fd() watched for reading,
--       and calls loop.dispatch() when it is readable: that reads it and calls the `wake` of all whose wait is over.
--       A loop that ends when nothing is left to do must be able to end when nobody is suspended here. Ask
--       loop.fd() each time: after a fork it is another one.
--
--   sleep(seconds)
--       Suspends the caller for so long. May return early.
--
--   life() -> object            (may be left out)
--       For a loop that uses a coroutine again for another job: an object of the job that the caller does, which is garbage
--       when the job is over. What the job before has left locked is given back, and its scopes are over.
--
--   sweep()                         (may be left out)
--       For a loop that kills coroutines without closing them: calls loop.give_up(w) for each w whose coroutine was killed
--       in `wait`, so that it is not reported as waiting until the collector finds it. Called before a report; the adapter may do
--       the same whenever it likes.
--
--   loop.give_up(w): the coroutine that waits with w will never be resumed. What the wait was given, and what the coroutine
--   has locked, goes to others at once, and w.drop is called.
--   loop.nudge() makes the descriptor readable, should the one who reads it have to be told something else.
--
-- lua-pool/loop/luv.lua is the shortest of ours; examples/ has one for a loop written in plain Lua.
local require = require -- a worker with few `libs` has them only while it opens
local core = require "lua-pool.core"

local loop = {}
local loaded, running = package.loaded, coroutine.running

--- caller() -> the coroutine that runs; nil outside all coroutines.
function loop.caller()
	local co, main = running()
	return not main and co or nil
end

--- fd() -> the descriptor to watch for reading.
function loop.fd()
	local fd, err = core.inbox_fd()
	if not fd then error("no descriptor for the event loop: " .. err, 0) end
	return fd
end

--- nudge(): makes the descriptor readable, for an adapter whose reader has to look around.
function loop.nudge()
	core.inbox_announce()
end

-- ---- which adapter ----

-- By the module that shows that the loop is there. The one that runs the caller counts; of several it is the first.
local known = { { "ngx", "nginx" }, { "cqueues", "cqueues" }, { "copas", "copas" }, { "luv", "luv" }, { "uv", "luv" } }
local names = '"nginx", "cqueues", "copas", "luv", "auto", "none"'
local chosen -- an adapter; false: none; nil: whichever runs the caller
local chosen_name

local adapters = {}
local function adapter(name)
	local a = adapters[name]
	if not a then
		a = require("lua-pool.loop." .. name)
		adapters[name] = a
	end
	return a
end

-- For C: adapter, the light thread, why it cannot be suspended. Without adapter: there are no loops. Without thread: the
-- loop does not run the caller.
local function ask()
	if chosen then return chosen, chosen.running(true) end
	if chosen == false then return nil end
	local there
	for i = 1, #known do
		if loaded[known[i][1]] then
			local a = adapter(known[i][2])
			local thread, why = a.running(false)
			if thread then return a, thread, why end
			there = there or a
		end
	end
	return there
end

--- pool.loop(name | adapter | false): sets which event loop is in charge in this Lua state: "nginx", "cqueues", "copas",
--- "luv", a table with the functions of an adapter (lua-pool/loop.lua), "none" or false: no loop, all calls block;
--- "auto": the one that runs the caller, which is how it begins. Without argument: nothing is set. Returns the name of
--- the one in charge of the caller ("custom" for a table), or nil if the call would block.
function loop.loop(...)
	if select("#", ...) > 0 then
		local what = ...
		if what == "none" or what == false then
			chosen, chosen_name = false, nil
		elseif what == "auto" then
			chosen, chosen_name = nil, nil
		elseif type(what) == "table" then
			for _, name in ipairs { "running", "wait", "sleep" } do
				if type(what[name]) ~= "function" then
					error(("bad argument #1 to 'loop' (an adapter needs the functions running, wait and sleep: '%s' is a %s)")
						:format(name, type(what[name])), 2)
				end
			end
			chosen, chosen_name = what, "custom"
		else
			local found
			for _, k in ipairs(known) do found = found or k[2] == what end
			if not found then
				error(("bad argument #1 to 'loop' (%s or an adapter expected, got %s)"):format(names,
					type(what) == "string" and ("%q"):format(what) or type(what)), 2)
			end
			chosen, chosen_name = adapter(what), what
		end
	end
	if not loop.caller() then return nil end
	local a, thread, why = ask()
	if not thread or why then return nil end
	if chosen_name then return chosen_name end
	for _, k in ipairs(known) do
		if loaded["lua-pool.loop." .. k[2]] == a then return k[2] end
	end
end

-- ---- waiting ----

local waiting = setmetatable({}, { __mode = "v" }) -- id of the wait -> w, which lives as long as the wait

-- For C: lets the loop go on. Returns when the wait may be over; C looks, and calls again if it is not.
local function suspend(a, id, seconds, w)
	if not id then return a.sleep(seconds) end
	w.id = id
	waiting[id] = w
	a.wait(w, seconds)
	waiting[id] = nil
end

--- give_up(w): its coroutine was killed.
function loop.give_up(w)
	local id = w.id
	if id and waiting[id] == w then -- else it is over, or the collector was first
		waiting[id] = nil
		core.give_up(id)
	end
	if w.drop then w.drop(w) end
end

-- For C: the wait was given up from outside.
local function dropped(id, w)
	waiting[id] = nil
	if w.drop then pcall(w.drop, w) end -- an error has nobody to go to: this may be a finaliser
end

--- dispatch(): wakes all whose wait is over. The first error of a wake is raised when all were woken.
function loop.dispatch()
	local failed, reason = false, nil
	core.inbox_collect()
	for id in core.inbox_next do
		local w = waiting[id]
		if w and w.wake then
			waiting[id] = nil
			local ok, err = pcall(w.wake, w)
			if not ok and not failed then failed, reason = true, err end
		end
	end
	if failed then error(reason, 0) end
end

-- For C: what lives as long as this use of the caller's coroutine; nil: as long as the coroutine.
local function life()
	local a, thread, why = ask()
	return a and a.life and thread and not why and a.life() or nil
end

-- For C: before a report.
local function sweep()
	for _, a in pairs(adapters) do
		if a.sweep then pcall(a.sweep) end
	end
	if chosen_name == "custom" and chosen.sweep then pcall(chosen.sweep) end
end

core.set_loop(ask, suspend, dropped, life, sweep, loaded.ngx ~= nil)

return loop
