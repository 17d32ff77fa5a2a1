-- walk: trees of folders, read by many tasks at once. A task gets a pack with some folders, goes down from them until it has
-- found enough, and answers in the same pack what it found and the folders that it did not get to (src/lib_walk.c).
local math, table = math, table -- a worker with few `libs` has them only while it opens
local core = require "lua-pool.core"
local check = require "lua-pool.fs.check"
local sys = require "lua-pool.fs.sys"

local SHARE = 64 -- folders at most that a task starts with

local known = { walk = { filter = check.fn, follow = check.boolean, window = check.count } }

local Walk = {}
Walk.__index = Walk
Walk.__name = "lua-pool.walk"

-- Few folders are shared out one by one, so that all workers have something to do.
local function submit(self)
	while self.waiting > 0 and #self.running < self.window do
		local pack = table.remove(self.spare) or core.pack_new()
		self.waiting = core.walk_share(self.todo, pack, math.max(1, math.min(SHARE, math.floor(self.waiting / self.window))))
		local future = core.async(core.walk_look, self.root, pack, self.filter, self.follow)
		table.insert(self.running, future)
		table.insert(self.packs, pack)
	end
end

local function close(self)
	if self.closed then return end
	self.closed = true
	for _, f in ipairs(self.running) do f:cancel(0) end
	for _, f in ipairs(self.running) do f:wait() end
	self.running, self.packs, self.spare, self.pack, self.todo = {}, {}, {}, nil, nil
end

-- Waits for an answer; false: all have been told.
local function take(self)
	if #self.running == 0 then
		close(self)
		return false
	end
	local i = core.wait_any(self.running, #self.running)
	local ok, err = table.remove(self.running, i):pawait()
	self.pack = table.remove(self.packs, i)
	if not ok then
		close(self)
		error(err, 0)
	end
	self.waiting = core.walk_gather(self.pack, self.todo, self.seen)
	submit(self)
	return true
end

function Walk:__call()
	if self.closed then return nil end
	repeat
		local pack = self.pack
		if pack then
			local path, kind, err, errno = core.walk_next(pack, self.root)
			if path then return path, kind, err, errno end
			core.pack_clear(pack)
			table.insert(self.spare, pack)
			self.pack = nil
		end
	until not take(self)
	return nil
end

--- Ends the walk: what has not been answered is cancelled. A loop that is left early does it by itself (5.4).
function Walk:close()
	close(self)
end

Walk.__close = close

return function(fs, root)
	--- walk(dir [, opts]) -> iterator of path, type, and for a folder that cannot be read err, errno / nil, err, errno if dir cannot.
	--- Everything below dir, in no particular order, but a folder before what is in it; read in parallel. What vanishes
	--- meanwhile is left out. opts: filter = function(path, type), run in the workers: true: as usual, false: left out with all that is
	--- below, "enter": left out, but not what is below; follow = true: through symbolic links to folders, each folder once;
	--- window: how many folders are open at once. Blocks.
	function fs.walk(dir, opts)
		check.path(dir, "walk")
		local o = check.options(opts, known.walk, "walk")
		local start = core.pack_new()
		local ok, err, errno = sys.fs_walk_begin(root, dir, start, o.follow)
		if not ok then return nil, err, errno end
		local self = setmetatable({
			root = root, filter = o.filter, follow = o.follow or false, seen = {}, closed = false, window = o.window or core.cpu_count() * 2,
			running = {}, packs = {}, -- the tasks under way, and what they fill, at the same places
			spare = {}, todo = core.pack_new(),
		}, Walk)
		self.waiting = core.walk_gather(start, self.todo, self.seen)
		submit(self)
		return self, nil, nil, self
	end
end
