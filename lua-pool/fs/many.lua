-- many: the same for many files, in parallel, with a bounded number under way, answered in order. The paths of one task
-- and what it answers travel as one object, a pack (src/pack.h).
local table = table -- a worker with few `libs` has them only while it opens
local core = require "lua-pool.core"
local check = require "lua-pool.fs.check"

local BATCH = 64 -- files of one task

local known = { many = { window = check.count, batch = check.count } }

local Many = {}
Many.__index = Many
Many.__name = "lua-pool.many"

local function close(self)
	if self.closed then return end
	self.closed = true
	for _, b in ipairs(self.running) do b.future:cancel(0) end
	for _, b in ipairs(self.running) do b.future:wait() end
	self.running, self.spare, self.pack = {}, {}, nil
end

local function start(self, pack, first)
	table.insert(self.running, first and 1 or #self.running + 1, { pack = pack, future = core.async(self.work, self.root, pack) })
end

-- The paths of one more task; nil: there are none.
local function gather(self)
	local pack, pull = nil, self.pull
	for _ = 1, self.batch do
		local path = pull()
		if path == nil then
			self.ended = true
			break
		end
		if type(path) ~= "string" then
			close(self)
			core.raise(("%s: element %d is no path (a string) but a %s"):format(self.what, self.pulled + 1, type(path)))
		end
		self.pulled = self.pulled + 1
		pack = pack or table.remove(self.spare) or core.pack_new()
		core.pack_add(pack, path)
	end
	return pack
end

-- Keeps the window full.
local function fill(self)
	while not self.ended and #self.running < self.window do
		local pack = gather(self)
		if pack then start(self, pack) end
	end
end

-- The next pack that has something to tell; false: there is none.
local function advance(self)
	fill(self)
	local b = table.remove(self.running, 1)
	if not b then
		close(self)
		return false
	end
	local ok, err = b.future:pawait()
	if not ok then
		close(self)
		error(err, 0)
	end
	self.pack = b.pack
	fill(self)
	return true
end

function Many:__call()
	if self.closed then return nil end
	repeat
		local pack = self.pack
		if pack then
			local path, answer, err, errno = self.next(pack, self.root)
			if path then return path, answer, err, errno end
			self.pack = nil
			if path == false then -- it had enough bytes: the rest comes next
				start(self, pack, true)
			else
				core.pack_clear(pack)
				table.insert(self.spare, pack)
			end
		end
	until not advance(self)
	return nil
end

--- Ends the iteration: what has not been answered is cancelled. A loop that is left early does it by itself (5.4).
function Many:close()
	close(self)
end

Many.__close = close

local function each(root, what, work, next, paths, opts)
	local t = type(paths)
	if t ~= "table" and t ~= "function" then
		core.raise(("bad argument #1 to '%s' (list of paths, or an iterator, expected, got %s)"):format(what, t))
	end
	local o = check.options(opts, known.many, what)
	local pull = paths
	if t == "table" and not (getmetatable(paths) or {}).__call then
		local i = 0
		pull = function()
			i = i + 1
			return paths[i]
		end
	end
	local self = setmetatable({
		root = root, work = work, next = next, what = what, pull = pull, pulled = 0, running = {}, spare = {},
		batch = o.batch or BATCH, window = o.window or core.cpu_count() * 2 + 1,
	}, Many)
	fill(self)
	return self, nil, nil, self
end

return function(fs, root)
	--- read_many(paths [, opts]) -> iterator of path, content / path, nil, err, errno; in the order of paths, a list or an iterator. opts:
	--- batch (files of a task, 64), window (tasks under way). Blocks.
	function fs.read_many(paths, opts)
		return each(root, "read_many", core.many_read, core.many_next, paths, opts)
	end

	--- stat_many(paths [, opts]) -> iterator of path, stat / path, nil, err, errno; as read_many.
	function fs.stat_many(paths, opts)
		return each(root, "stat_many", core.many_stat, core.many_next_stat, paths, opts)
	end
end
