-- lines: a file line by line, while a worker reads the next piece.
local table = table -- a worker with few `libs` has them only while it opens
local core = require "lua-pool.core"
local check = require "lua-pool.fs.check"
local sys = require "lua-pool.fs.sys"

local PIECE = 262144

local known = { lines = { keep = check.boolean, crlf = check.boolean } }

local function read_piece(file)
	return file:read(PIECE)
end

local Lines = {}
Lines.__index = Lines
Lines.__name = "lua-pool.lines"

local function close(self)
	if self.closed then return end
	self.closed = true
	if self.next then
		self.next:cancel(0)
		self.next:wait()
	end
	self.file:close()
	self.piece, self.parts = "", {}
end

-- The next piece, and the one after it on its way. False: the file has ended.
local function advance(self)
	if not self.next then return false end
	local ok, piece, err = self.next:pawait()
	self.next = nil
	if not ok or (piece == nil and err) then
		close(self)
		error(ok and err or piece, 0)
	end
	if piece and #piece == PIECE then self.next = core.async(read_piece, self.file) end
	self.piece, self.at = piece or "", 1
	return piece ~= nil
end

local function finish(self, line, ended)
	if self.crlf and line:sub(-1) == "\r" then line = line:sub(1, -2) end
	return self.keep and ended and line .. "\n" or line
end

function Lines:__call()
	if self.closed then return nil end
	local parts, n = nil, 0
	while true do
		local stop = self.piece:find("\n", self.at, true)
		if stop then
			local line = self.piece:sub(self.at, stop - 1)
			self.at = stop + 1
			if parts then
				parts[n + 1] = line
				line = table.concat(parts)
			end
			return finish(self, line, true)
		end
		-- The line goes on in the next piece, and perhaps in many.
		if self.at <= #self.piece then
			parts = parts or {}
			n = n + 1
			parts[n] = self.piece:sub(self.at)
		end
		self.piece, self.at = "", 1
		if not advance(self) then
			if parts then return finish(self, table.concat(parts), false) end
			close(self)
			return nil
		end
	end
end

--- Ends the iteration and closes the file. A loop that is left early does it by itself (5.4).
function Lines:close()
	close(self)
end

Lines.__close = close

return function(fs, root)
	--- lines(path [, opts]) -> iterator of the lines / nil, err, errno. A line ends at "\n", which is not part of it, or with the file.
	--- opts: keep = true (with the "\n", where there is one), crlf = true (without a "\r" before it). An error of
	--- reading is raised. Blocks.
	function fs.lines(path, opts)
		check.path(path, "lines")
		local o = check.options(opts, known.lines, "lines")
		local file, err, errno = sys.fs_open(root, path, "r")
		if not file then return nil, err, errno end
		local self = setmetatable({ file = file, keep = o.keep, crlf = o.crlf, piece = "", at = 1 }, Lines)
		-- The first piece is read here: most files have no second.
		local piece
		piece, err, errno = file:read(PIECE)
		if piece == nil and err then
			file:close()
			return nil, err, errno
		end
		self.piece = piece or ""
		if #self.piece == PIECE then self.next = core.async(read_piece, file) end
		return self, nil, nil, self
	end
end
