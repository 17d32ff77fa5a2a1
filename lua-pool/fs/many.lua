-- many: the same for many files, in parallel, with a bounded number under way, answered in order.
local core = require "lua-pool.core"
local check = require "lua-pool.fs.check"

local BATCH = 32            -- files of one task
local ENOUGH = 4 * 1048576  -- bytes after which a task answers what it has

local known = { many = { window = check.count, batch = check.count } }

-- In a task: the content of files[from...], or false and why not; as many as are enough.
local function read_some(root, files)
	local data, errs, bytes = {}, {}, 0
	for i, path in ipairs(files) do
		local text, err, errno = core.fs_read(root, path)
		data[i] = text or false
		if not text then errs[i] = { err, errno } end
		bytes = bytes + (text and #text or 0)
		if bytes >= ENOUGH then break end
	end
	return data, errs
end

local function stat_some(root, files)
	local data, errs = {}, {}
	for i, path in ipairs(files) do
		local stat, err, errno = core.fs_stat(root, path)
		data[i] = stat or false
		if not stat then errs[i] = { err, errno } end
	end
	return data, errs
end

local Many = {}
Many.__index = Many
Many.__name = "lua-pool.many"

local function close(self)
	if self.closed then return end
	self.closed = true
	for _, b in ipairs(self.running) do b.future:cancel(0) end
	for _, b in ipairs(self.running) do b.future:wait() end
	self.running, self.ready = {}, nil
end

local function start(self, files, first)
	table.insert(self.running, first and 1 or #self.running + 1,
		{ files = files, future = core.async(self.work, self.root, files) })
end

-- Keeps the window full.
local function fill(self)
	while not self.ended and #self.running < self.window do
		local files = {}
		while #files < self.batch do
			local path = self.pull()
			if path == nil then
				self.ended = true
				break
			end
			if type(path) ~= "string" then
				close(self)
				error(("%s: element %d is no path (a string) but a %s"):format(self.what, self.pulled + 1, type(path)), 0)
			end
			self.pulled = self.pulled + 1
			files[#files + 1] = path
		end
		if #files > 0 then start(self, files) end
	end
end

function Many:__call()
	if self.closed then return nil end
	while not self.ready or self.at == #self.ready do
		fill(self)
		local b = table.remove(self.running, 1)
		if not b then
			close(self)
			return nil
		end
		local ok, data, errs = b.future:pawait()
		if not ok then
			close(self)
			error(data, 0)
		end
		if #data < #b.files then -- enough bytes: the rest comes next
			local rest = {}
			for i = #data + 1, #b.files do rest[#rest + 1] = b.files[i] end
			start(self, rest, true)
		end
		self.ready, self.errs, self.files, self.at = data, errs, b.files, 0
		fill(self)
	end
	local i = self.at + 1
	self.at = i
	local err = self.errs[i]
	if err then return self.files[i], nil, err[1], err[2] end
	local data = self.ready[i]
	self.ready[i] = true -- the content is the caller's alone now
	return self.files[i], data
end

--- Ends the iteration: what has not been answered is cancelled. A loop that is left early does it by itself (5.4).
function Many:close()
	close(self)
end

Many.__close = close

local function each(root, what, work, paths, opts)
	local t = type(paths)
	if t ~= "table" and t ~= "function" then
		error(("bad argument #1 to '%s' (list of paths, or an iterator, expected, got %s)"):format(what, t), 3)
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
		root = root, work = work, what = what, pull = pull, pulled = 0, running = {}, batch = o.batch or BATCH,
		window = o.window or core.cpu_count() * 2 + 1,
	}, Many)
	fill(self)
	return self, nil, nil, self
end

return function(fs, root)
	--- read_many(paths [, opts]) -> iterator of path, content / path, nil, err, errno; in the order of paths, a list or an iterator. opts:
	--- batch (files of a task, 32), window (tasks under way). Blocks.
	function fs.read_many(paths, opts)
		return each(root, "read_many", read_some, paths, opts)
	end

	--- stat_many(paths [, opts]) -> iterator of path, stat / path, nil, err, errno; as read_many.
	function fs.stat_many(paths, opts)
		return each(root, "stat_many", stat_some, paths, opts)
	end
end
