-- map: one function over many elements. Elements travel in batches, whose size follows from how long the
-- batches before took: a batch should take long enough that its trip costs little, and short enough that
-- all workers end at the same time.
local math, table = math, table -- a worker with few `libs` has them only while it opens
local core = require "lua-pool.core"
local batch = require "lua-pool.batch"
local options = require "lua-pool.options"
local progress = require "lua-pool.progress"
local scope = require "lua-pool.scope"

local map = {}
local wait_any, hint_place = core.wait_any, core.hint_place

local ENOUGH = 0.001 -- seconds that a batch should take
local GROWTH = 8     -- at most this much larger than the one before
local SHARE = 4      -- batches per worker that the remainder is split into at least

-- The size of the next batch.
local function sizer(fixed, workers, total)
	if fixed then return function() return fixed end, function() end end
	local size = 1
	return function(left)
		local share = total and math.ceil(left / (workers * SHARE)) or size
		return math.max(1, math.min(size, share))
	end, function(n, seconds) -- a batch of n took so long
		if n < size and seconds < ENOUGH then return end
		local wanted = seconds > 0 and n * ENOUGH / seconds or math.huge
		size = math.max(1, math.floor(math.min(wanted, n * GROWTH, 65536)))
	end
end

local function cancel_all(running)
	for _, b in ipairs(running) do b.future:cancel(0) end
	for _, b in ipairs(running) do b.future:wait() end
end

local function workers_of(pool)
	return math.max(1, pool:stats().workers)
end

-- What pool:async says of its arguments, in terms of map's: the function is the first, and of the batch each
-- element has its place in the list.
local function refusal(err, first)
	if type(err) ~= "string" then return err end
	err = err:gsub("^[^\n]-:%d+: argument #", "argument #"):gsub("^argument #2", "argument #1")
	return (err:gsub("^argument #3%[(%d+)%]", function(k) return ("element %d"):format(first + k - 1) end))
end

-- An error of fn, with its element in front, if it is a text with a place in it. Another is a value that somebody looks for.
local function of_element(index, err)
	if not index or type(err) ~= "string" or not (err:find "^[^\n]-:%d+: " or err:find "^result[^\n]-: cannot send ") then
		return err
	end
	return ("element %d: %s"):format(index, err)
end

local function as_it_is(_, err)
	return err
end

-- Runs batches of `total` elements until all are done. submit(first, n) -> future; done(batch, results…); say(index, err) -> the
-- error to raise.
local function run(pool, total, opts, submit, done, say)
	local workers = workers_of(pool)
	local next_size, measured = sizer(opts.batch, workers, total)
	local window = opts.window or workers * 2 + 1
	local running, futures = {}, {} -- the batches in flight, and their futures at the same places
	local given, finished = 0, 0
	local report, finish = progress.start(opts.progress, total)

	local refused
	local function step()
		while given < total and #running < window do
			local n = math.min(next_size(total - given), total - given)
			local ok, future = pcall(submit, given + 1, n)
			if not ok then
				refused = refusal(future, given + 1)
				error(refused, 0)
			end
			local b = { first = given + 1, n = n, future = future }
			running[#running + 1], futures[#futures + 1] = b, b.future
			given = given + n
		end
		local i = wait_any(futures, #futures)
		local b = table.remove(running, i)
		table.remove(futures, i)
		local ok, seconds, results, at, err = b.future:pawait()
		if not ok then error(seconds, 0) end
		if at ~= nil then error(say(at and b.first + at - 1, err), 0) end
		measured(b.n, seconds)
		done(b, results)
		finished = finished + b.n
		report(finished, total)
	end

	local ok, err = true, nil
	while ok and finished < total do ok, err = pcall(step) end
	finish()
	if not ok then
		cancel_all(running)
		if refused ~= nil and rawequal(err, refused) and type(err) == "string" then core.raise(err) end
		error(err, 0)
	end
end

local function check_fn(fn, what)
	if not core.callable(fn) then
		error(("bad argument #1 to '%s' (function expected, got %s)"):format(what, type(fn)), 3)
	end
end

-- The number of elements, and what submits elements first … first + n - 1.
local function source(pool, fn, list, what, on_range, on_items)
	local place = core.caller_place() -- each batch is said to be started there
	if type(list) == "number" then
		if list < 0 or list ~= math.floor(list) or list == math.huge then
			error(("bad argument #2 to '%s' (a number of elements must be whole and at least 0, got %s)"):format(what, list), 3)
		end
		list = math.tointeger and math.tointeger(list) or list -- luacheck: ignore (5.4)
		return list, function(first, n)
			hint_place(place)
			return pool:async(on_range, fn, first, first + n - 1)
		end
	elseif type(list) ~= "table" then
		error(("bad argument #2 to '%s' (list or number of elements expected, got %s)"):format(what, type(list)), 3)
	end
	return list.n or #list, function(first, n)
		local elements = core.slice(list, first, n)
		hint_place(place)
		return pool:async(on_items, fn, elements, n)
	end
end

--- map(fn, list | n [, opts]) -> list of fn's first results, in order. Blocks; the first error cancels the rest and
--- is raised. opts: progress, batch (elements per task), window (tasks in flight).
function map.map(pool, fn, list, opts)
	check_fn(fn, "map")
	opts = options.check(opts, options.map, "map")
	local total, submit = source(pool, fn, list, "map", batch.range, batch.items)
	local out = {}
	run(pool, total, opts, submit, function(b, results)
		core.move(results, b.n, b.first, out)
	end, of_element)
	return out
end

--- each(fn, list | n [, opts]): map without results.
function map.each(pool, fn, list, opts, plain) -- plain: the elements are nothing that the user knows of
	check_fn(fn, "each")
	opts = options.check(opts, options.map, "each")
	local total, submit = source(pool, fn, list, "each", batch.each_range, batch.each_items)
	run(pool, total, opts, submit, function() end, plain and as_it_is or of_element)
end

-- ---- imap ----

local unpack = table.unpack or unpack -- luacheck: ignore (5.1)

local function pack(...)
	return { n = select("#", ...), ... }
end

-- Calls of an iterator, a list or a number of elements, one packed list of arguments at a time; nil at the end.
local function feed(from)
	if type(from) == "number" then
		local i = 0
		return function()
			i = i + 1
			return i <= from and { n = 1, i } or nil
		end
	elseif type(from) == "table" and not core.callable(from) then
		local i, n = 0, from.n or #from
		return function()
			i = i + 1
			return i <= n and { n = 1, from[i] } or nil
		end
	end
	return function()
		local args = pack(from())
		return args[1] ~= nil and args or nil
	end
end

local watch
local Imap = {}
Imap.__index = Imap
Imap.__name = "lua-pool.imap"

local function send(self, calls, n)
	hint_place(self.place)
	local ok, future = pcall(self.pool.async, self.pool, batch.calls, self.fn, calls, n)
	if ok then
		self.running[#self.running + 1] = { n = n, future = future }
		self.given = self.given + n
	end
	return ok, future
end

-- Submits them. If one cannot be sent, those before it are: false and why.
local function submit(self, calls, n)
	local ok, err = send(self, calls, n)
	local k = 0
	while not ok and n > 1 and k < n do
		k = k + 1
		local sent, why = send(self, { calls[k] }, 1)
		if not sent then return false, why end
		ok = k == n
	end
	return ok, err
end

-- Keeps the window full. An error of the iterator, or of an element that cannot be sent, is kept until the elements before it
-- were answered.
local function fill(self)
	local more = false
	while not self.ended and #self.running < self.window do
		local calls, n = {}, 0
		local size = self.next_size(0)
		while n < size do
			local ok, args = pcall(self.pull)
			if not ok then self.failed, self.error = true, args end
			if not ok or not args then
				self.ended = true
				break
			end
			n = n + 1
			calls[n] = args
		end
		if n > 0 then
			local ok, err = submit(self, calls, n)
			if not ok then
				self.failed, self.error, self.ended = true, refusal(err, self.given + 1), true
				self.refused = type(self.error) == "string"
			end
			more = true
		end
	end
	if more then watch(self) end
end

local function close(self)
	if self.closed then return end
	self.closed = true
	cancel_all(self.running)
	self.finish()
	self.running, self.ready = {}, nil
	if self.box then self.box.running = nil end
end

local function advance(self)
	fill(self)
	local running = self.running
	if #running == 0 then
		local failed, err = self.failed, self.error
		close(self)
		if self.refused then core.raise(err) end
		if failed then error(err, 0) end
		return false
	end
	local i = 1
	if not self.ordered then
		local futures = {}
		for k, b in ipairs(running) do futures[k] = b.future end
		i = wait_any(futures, #futures)
	end
	local b = table.remove(running, i)
	local ok, seconds, results, at, err = b.future:pawait()
	if not ok then
		close(self)
		error(seconds, 0)
	end
	self.ready, self.at, self.count = results, 0, b.n
	if at ~= nil then -- nobody will ask for the others
		self.count = #results
		self.cut, self.error = true, err
		for _, other in ipairs(running) do other.future:cancel(0) end
	else
		self.measured(b.n, seconds)
		fill(self)
	end
	return true
end

function Imap:__call()
	if self.closed then return nil end
	while not self.ready or self.at == self.count do
		if self.cut then
			local err = self.error
			close(self)
			error(err, 0)
		end
		if not advance(self) then return nil end
	end
	self.at = self.at + 1
	self.done = self.done + 1
	self.report(self.done)
	local r = self.ready[self.at]
	if r[1] == nil then
		close(self)
		core.raise "imap: fn returned nil for an element, which would end the loop: return false, or a second value"
	end
	return unpack(r, 1, r.n)
end

--- Ends the iteration: what has not been answered is cancelled and waited for. On Lua 5.4 a loop that is left early does it by
--- itself; elsewhere it:with(function() for … in it do … end end) does, or the collector, which only cancels.
function Imap:close()
	close(self)
end

Imap.with = scope.with
Imap.__close = close

-- An iterator that is dropped is noticed by the collector. Finalisers run in the reverse order of creation, and those of the futures
-- would let the tasks go on: so what watches them is made anew whenever there are new ones. Lua 5.1 finalises no tables: there
-- it is a userdata. Nothing is raised: LuaJIT lets an error in a finaliser strike wherever it is (and may crash).
local protected = core.rawpcall or pcall
local newproxy = rawget(_G, "newproxy")

local function dropped(box)
	for _, b in ipairs(box.running or {}) do protected(b.future.cancel, b.future, 0) end
end
local Box = { __gc = dropped }

function watch(self)
	if self.box then self.box.running = nil end
	self.box = setmetatable({ running = self.running }, Box)
	if newproxy then
		local box = self.box
		self.proxy = newproxy(true)
		getmetatable(self.proxy).__gc = function() dropped(box) end
	end
end

--- imap(fn, iterator [, opts]) -> iterator of fn's results, with a bounded number of elements under way. The iterator
--- is a function (all that it returns is passed to fn; nil ends it), a list or a number. opts: batch, window (tasks
--- in flight), ordered = false (in the order in which they end), progress. Leaving the loop cancels the rest.
function map.imap(pool, fn, iterator, opts)
	check_fn(fn, "imap")
	opts = options.check(opts, options.imap, "imap")
	local t = type(iterator)
	if t ~= "table" and t ~= "number" and not core.callable(iterator) then
		error(("bad argument #2 to 'imap' (iterator expected, got %s)"):format(t), 2)
	end
	local workers = workers_of(pool)
	local self = setmetatable({
		pool = pool, fn = fn, pull = feed(iterator), running = {}, ordered = opts.ordered ~= false,
		window = opts.window or workers * 2 + 1, done = 0, given = 0, place = core.caller_place(),
	}, Imap)
	self.next_size, self.measured = sizer(opts.batch, workers, nil)
	self.report, self.finish = progress.start(opts.progress, nil)
	return self, nil, nil, self
end

return map
