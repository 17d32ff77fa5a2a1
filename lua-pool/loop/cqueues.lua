-- cqueues: an adapter (see lua-pool/loop.lua) for William Ahern's cqueues.
--
-- A process may have several controllers. Each in which somebody waits has one reader, a coroutine of its own that polls
-- the descriptor; it ends when nobody waits any more, and so the controller's loop may end. Each wait has a condition.
local cqueues = require "cqueues"
local condition = require "cqueues.condition"
local loop = require "lua-pool.loop"

local adapter = {}

local WHY = "cannot wait here: this coroutine is not the one that cqueues has resumed but another inside it (a generator, " ..
	"say), which must not be suspended by the loop: wait outside of it, and give it the results"

function adapter.running()
	local controller, direct = cqueues.running()
	if not controller then return nil end
	return loop.caller(), not direct and WHY or nil
end

-- ---- one reader for each controller ----

local readers = setmetatable({}, { __mode = "k" }) -- controller -> {waits, changed, alive}

local function read(reader)
	while reader.waits > 0 do
		cqueues.poll({ pollfd = loop.fd(), events = "r" }, reader.changed)
		loop.dispatch()
	end
	reader.alive = false
end

local function begin(w)
	local controller = cqueues.running()
	local reader = readers[controller]
	if not reader then
		reader = { waits = 0, changed = condition.new() }
		readers[controller] = reader
	end
	w.reader = reader
	reader.waits = reader.waits + 1
	if not reader.alive then
		reader.alive = true
		controller:wrap(read, reader)
	end
end

local function finish(w)
	local reader = w.reader
	if not reader then return end
	w.reader = nil
	reader.waits = reader.waits - 1
	if reader.waits == 0 then reader.changed:signal() end
end

-- ---- waiting ----

local function wake(w)
	finish(w)
	w.over:signal()
end

function adapter.wait(w, seconds)
	w.over, w.wake, w.drop = condition.new(), wake, finish
	begin(w)
	cqueues.poll(w.over, seconds)
	finish(w)
end

function adapter.sleep(seconds)
	cqueues.poll(seconds)
end

return adapter
