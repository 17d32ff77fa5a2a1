-- linear: is what several threads saw of an object what some order of their calls, one at a time, would have given?
--
-- Each thread records its calls with a stamp before and one after, taken from one shared counter, so the stamps are in the
-- order in which they were really taken. The history is linearisable if its calls can be put in an order that respects
-- the stamps (a call that ended before another began comes first) and in which each result is what the sequential model
-- answers. The search is that of Wing and Gong, with a memory of the dead ends (Lowe): a thread's calls are in order, so
-- how far each thread has come, together with the model's state, says all.
local linear = {}

local unpack = table.unpack or unpack -- luacheck: ignore

local function pack(...)
	return { n = select("#", ...), ... }
end

--- recorder(clock) -> record, list. record(op, arg, f, ...) calls f(...) and notes it; answers f's results. The list can be
--- sent; a call that has not returned has no `ret`. `clock` is a pool.counter that all threads share.
function linear.recorder(clock)
	local list = {}
	return function(op, arg, f, ...)
		local e = { op = op, arg = arg }
		list[#list + 1] = e
		e.call = clock:add()
		local results = pack(f(...))
		e.ret = clock:add()
		e.results = results
		return unpack(results, 1, results.n)
	end, list
end

--- run(pool, threads, body, ...) -> history: body(record, thread, ...) in as many tasks, which begin together. The tasks
--- must be able to run at once (max_threads).
function linear.run(pool, threads, body, ...)
	local clock, begin = pool.counter(), pool.barrier(threads)
	local futures = {}
	for i = 1, threads do
		futures[i] = pool.async(function(fn, i1, clock1, begin1, ...)
			local record, list = require "spec.support.linear".recorder(clock1)
			begin1:wait()
			fn(record, i1, ...)
			return list
		end, body, i, clock, begin, ...)
	end
	return pool.all(futures)
end

local function shown(e, thread)
	local results = {}
	for i = 1, e.results and e.results.n or 0 do results[i] = tostring(e.results[i]) end
	return ("  thread %d, %d-%s: %s(%s) -> %s"):format(thread, e.call, e.ret or "", e.op, tostring(e.arg),
		table.concat(results, ", "))
end

local function explain(history, furthest, model, state)
	local lines = { "no order of the calls explains this history; the best attempt comes to the state " .. model.key(state) ..
		" and cannot go on with any of" }
	for t = 1, #history do
		local e = history[t][furthest[t]]
		if e then lines[#lines + 1] = shown(e, t) end
	end
	lines[#lines + 1] = "the whole history:"
	for t = 1, #history do
		for _, e in ipairs(history[t]) do lines[#lines + 1] = shown(e, t) end
	end
	return table.concat(lines, "\n")
end

--- check(history, model) -> true / false, why not. history: one list of calls per thread. model: init() -> state,
--- step(state, call) -> the next state, or nil if the call cannot have this result here; key(state) -> string that is equal
--- for equal states. States are never changed. A call without `ret` may have happened or not.
function linear.check(history, model)
	local threads = #history
	local seen = {}
	local most, furthest, furthest_state = -1, nil, nil

	local function search(at, done, state)
		if done > most then
			most, furthest, furthest_state = done, { unpack(at) }, state
		end
		-- Whatever comes next began before any of those that are left has ended.
		local first_end, open = math.huge, false
		for t = 1, threads do
			local e = history[t][at[t]]
			if e and e.ret then
				open = true
				first_end = math.min(first_end, e.ret)
			end
		end
		if not open then return true end
		local key = table.concat(at, ",") .. "|" .. model.key(state)
		if seen[key] then return false end
		seen[key] = true
		for t = 1, threads do
			local e = history[t][at[t]]
			if e and e.call < first_end then
				local next_state = model.step(state, e)
				if next_state ~= nil then
					at[t] = at[t] + 1
					if search(at, done + 1, next_state) then return true end
					at[t] = at[t] - 1
				end
			end
		end
		return false
	end

	local at = {}
	for t = 1, threads do at[t] = 1 end
	if search(at, 0, model.init()) then return true end
	return false, explain(history, furthest, model, furthest_state)
end

--- How many pairs of calls of different threads overlap: 0 means that the history says nothing about order.
function linear.overlaps(history)
	local n = 0
	for t = 1, #history do
		for u = t + 1, #history do
			for _, a in ipairs(history[t]) do
				for _, b in ipairs(history[u]) do
					if a.call < (b.ret or math.huge) and b.call < (a.ret or math.huge) then n = n + 1 end
				end
			end
		end
	end
	return n
end

-- ---- models ----

--- A number: add (arg) -> the new value, get, set (arg) -> the old value, cas ({expected, new}) -> boolean [, value].
function linear.counter(start)
	local model = {}
	function model.init() return start or 0 end
	function model.key(v) return tostring(v) end
	function model.step(v, e)
		local r, second = e.results and e.results[1], e.results and e.results[2]
		if e.op == "add" then
			return (not e.ret or r == v + e.arg) and v + e.arg or nil
		elseif e.op == "get" then
			return (not e.ret or r == v) and v or nil
		elseif e.op == "set" then
			return (not e.ret or r == v) and e.arg or nil
		end
		if v == e.arg[1] then return (not e.ret or r == true) and e.arg[2] or nil end
		return (not e.ret or r == false and second == v) and v or nil
	end
	return model
end

--- A mutex that is not locked at first; abandoned ones are not modelled. lock, unlock, try_lock. A call that times out
--- says nothing, for the mutex may have been free a moment before or after.
function linear.mutex()
	local model = {}
	function model.init() return "free" end
	function model.key(s) return s end
	function model.step(s, e)
		local ok = not e.ret or e.results[1] == true
		if e.op == "unlock" then return s == "locked" and "free" or nil end
		if ok then return s == "free" and "locked" or nil end
		if e.op == "try_lock" then return s == "locked" and s or nil end -- "locked" is an answer
		return s
	end
	return model
end

--- A channel whose messages are single values: send, try_send, receive, try_receive, close, len. Of capacity 0 a message
--- goes from hand to hand: its receiver comes right after its sender, and the two calls overlap. Timeouts say nothing.
function linear.channel(capacity)
	local model = {}
	local function state(list, closed, hand)
		return { list = list, closed = closed, hand = hand }
	end
	function model.init() return state({}, false) end
	function model.key(s)
		return table.concat(s.list, " ") .. (s.closed and " closed" or "") .. (s.hand and " hand" .. s.hand.call or "")
	end
	local function with(list, v)
		local copy = { unpack(list) }
		copy[#copy + 1] = v
		return copy
	end
	function model.step(s, e)
		local r, why = e.results and e.results[1], e.results and e.results[2]
		if s.hand then -- a sender's message is between the hands
			local overlap = e.call < (s.hand.ret or math.huge) and s.hand.call < (e.ret or math.huge)
			if (e.op == "receive" or e.op == "try_receive") and overlap and (not e.ret or r == s.hand.arg) then
				return state(s.list, s.closed)
			end
			return nil
		end
		if e.op == "send" or e.op == "try_send" then
			if why == "closed" then return s.closed and s or nil end
			if why == "full" then return not s.closed and #s.list >= capacity and s or nil end
			if why == "timeout" then return s end
			if s.closed then return nil end
			if capacity == 0 then return state(s.list, false, e) end
			return #s.list < capacity and state(with(s.list, e.arg), false) or nil
		elseif e.op == "receive" or e.op == "try_receive" then
			if r == nil and e.ret then
				if why == "timeout" then return s end
				if #s.list > 0 then return nil end
				if why == "closed" then return s.closed and s or nil end
				return not s.closed and s or nil -- "empty"
			end
			if #s.list == 0 or (e.ret and s.list[1] ~= r) then return nil end
			return state({ unpack(s.list, 2) }, s.closed)
		elseif e.op == "close" then
			return state(s.list, true)
		end
		return (not e.ret or r == #s.list) and s or nil -- len
	end
	return model
end

return linear
