-- walk: trees of folders, read by many tasks at once. A task gets some folders, goes down from them until it has found
-- enough, and answers what it found and the folders that it did not get to.
local core = require "lua-pool.core"
local check = require "lua-pool.fs.check"
local sys = require "lua-pool.fs.sys"

local ENOUGH = 2000 -- entries of one answer
local SHARE = 64    -- folders at most that a task starts with

local ENOENT, ENOTDIR = 2, 20

local types = { f = "file", d = "directory", l = "link", p = "fifo", s = "socket", c = "char", b = "block", ["?"] = "other" }

local known = { walk = { filter = check.fn, follow = check.boolean, window = check.count } }

-- ---- in a task ----

-- Which folder this is, whatever it is called; nil: it is none.
local function identity(root, path, stat_of)
	local stat = stat_of(root, path)
	return stat and stat.type == "directory" and ("%d:%d"):format(stat.dev, stat.ino) or nil
end

-- Walks down from `folders`. found: {paths, letters, errors by index}; left: folders for others. With `follow`
-- it only lists, and answers for each folder and link who it is: loops are recognised where all come together.
local function explore(root, folders, filter, follow, enough)
	local paths, letters, errors, left, ids = {}, {}, {}, {}, {}
	local n, stack, top = 0, folders, #folders
	while top > 0 and n < enough do
		local folder = stack[top]
		stack[top] = nil
		top = top - 1
		local names, kinds, errno = core.fs_list(root, folder.path)
		if not folder.silent and (names or (errno ~= ENOENT and errno ~= ENOTDIR)) then
			n = n + 1
			paths[n], letters[n] = folder.path, folder.letter
			if not names then errors[n] = { kinds, errno } end
		end
		local prefix = folder.path:sub(-1) == "/" and folder.path or folder.path .. "/"
		for i = 1, names and #names or 0 do
			local path, letter = prefix .. names[i], kinds:sub(i, i)
			local keep = true
			if filter then keep = filter(path, types[letter]) end
			local silent = keep == "enter"
			if not keep then -- luacheck: ignore
				-- left out, with all that is below
			elseif letter == "d" and not follow then
				top = top + 1
				stack[top] = { path = path, letter = letter, silent = silent }
			else
				local id = follow and (letter == "d" or letter == "l") and identity(root, path, core.fs_stat)
				if id then
					left[#left + 1] = { path = path, letter = letter, silent = silent }
					ids[#left] = id
				elseif not silent then
					n = n + 1
					paths[n], letters[n] = path, letter
				end
			end
		end
	end
	for i = 1, top do left[#left + 1] = stack[i] end
	return paths, table.concat(letters), errors, left, ids
end

-- ---- where the walk is used ----

local Walk = {}
Walk.__index = Walk
Walk.__name = "lua-pool.walk"

local function submit(self)
	while #self.folders > 0 and #self.running < self.window do
		-- Few folders are shared out one by one, so that all workers have something to do.
		local count = math.max(1, math.min(SHARE, math.floor(#self.folders / self.window)))
		local folders = {}
		for i = 1, count do folders[i] = table.remove(self.folders) end
		table.insert(self.running, core.async(explore, self.root, folders, self.filter, self.follow, ENOUGH))
	end
end

local function close(self)
	if self.closed then return end
	self.closed = true
	for _, f in ipairs(self.running) do f:cancel(0) end
	for _, f in ipairs(self.running) do f:wait() end
	self.running, self.folders = {}, {}
end

local function take(self)
	local i = core.wait_any(self.running, #self.running)
	local ok, paths, letters, errors, left, ids = table.remove(self.running, i):pawait()
	if not ok then
		close(self)
		error(paths, 0)
	end
	self.paths, self.letters, self.errors, self.at = paths, letters, errors, 0
	for k, folder in ipairs(left) do
		local id = ids[k]
		if id and self.seen[id] then -- been there: told as what it is, not entered again
			if not folder.silent then
				paths[#paths + 1], self.letters = folder.path, self.letters .. folder.letter
			end
		else
			if id then self.seen[id] = true end
			table.insert(self.folders, folder)
		end
	end
	submit(self)
end

function Walk:__call()
	if self.closed then return nil end
	while not self.paths or self.at == #self.paths do
		if #self.running == 0 then return nil end
		take(self)
	end
	local i = self.at + 1
	self.at = i
	local err = self.errors[i]
	return self.paths[i], types[self.letters:sub(i, i)], err and err[1], err and err[2]
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
		local names, err, errno = sys.fs_list(root, dir)
		if not names then return nil, err, errno end
		local self = setmetatable({
			root = root, filter = o.filter, follow = o.follow or false, running = {}, seen = {}, closed = false,
			window = o.window or core.cpu_count() * 2, folders = { { path = dir, letter = "d", silent = true } },
		}, Walk)
		if o.follow then self.seen[identity(root, dir, sys.fs_stat) or ""] = true end
		submit(self)
		return self, nil, nil, self
	end
end
