-- Checksums of every regular file below some folders or files, on all cores, with a progress bar:
--
--   lua examples/checksum.lua [-c LIST] [PATH...]      (PATH: .)
--
-- Prints "checksum  path" lines, sorted by path. With -c it checks the files named in a list that it has printed before.
-- What cannot be read is named on stderr and does not stop the rest; then the exit status is 1.
-- The checksum is Adler-32 (RFC 1950): computed in Lua, so that there is something to do for the cores.
local pool = require "lua-pool"
local fs = pool.fs

local PIECE = 1048576

-- ---- what runs in the workers ----

local function adler(a, b, text)
	local byte = string.byte
	-- 5552 bytes at most before the sums have to be reduced, if they are to stay below 2^32 (zlib's constant).
	for from = 1, #text, 5552 do
		local to = math.min(from + 5551, #text)
		for i = from, to, 8 do
			local c1, c2, c3, c4, c5, c6, c7, c8 = byte(text, i, math.min(i + 7, to))
			a = a + c1
			b = b + a
			if c2 then a = a + c2 b = b + a end
			if c3 then a = a + c3 b = b + a end
			if c4 then a = a + c4 b = b + a end
			if c5 then a = a + c5 b = b + a end
			if c6 then a = a + c6 b = b + a end
			if c7 then a = a + c7 b = b + a end
			if c8 then a = a + c8 b = b + a end
		end
		a, b = a % 65521, b % 65521
	end
	return a, b
end

-- {checksum, or false, why not}
local function checksum(path)
	local file, err = fs.open(path)
	if not file then return {false, err} end
	local a, b = 1, 0
	while true do
		local piece
		piece, err = file:read(PIECE)
		if not piece then break end
		a, b = adler(a, b, piece)
	end
	file:close()
	if err then return {false, err} end
	return {("%04x%04x"):format(b, a)}
end

-- ---- what runs here ----

local failed = false
local function complain(text)
	failed = true
	io.stderr:write("checksum: ", text, "\n")
end

local function collect(roots)
	local paths = {}
	for _, root in ipairs(roots) do
		local stat, err = fs.stat(root)
		if not stat then
			complain(err)
		elseif stat.type ~= "directory" then
			paths[#paths + 1] = root
		else
			for path, kind, why in fs.walk(root) do
				if why then complain(why) end
				if kind == "file" then paths[#paths + 1] = path end
			end
		end
	end
	table.sort(paths)
	return paths
end

local function compute(paths)
	return pool.map(checksum, paths, {progress = true})
end

local function list(roots)
	local paths = collect(roots)
	for i, r in ipairs(compute(paths)) do
		if r[1] then print(r[1] .. "  " .. paths[i]) else complain(r[2]) end
	end
end

local function verify(name)
	local wanted, paths = {}, {}
	local lines, err = fs.lines(name)
	if not lines then return complain(err) end
	for line in lines do
		local sum, path = line:match "^(%x+)  (.*)$"
		if not sum then
			complain(("%s: not a line of a list: %s"):format(name, line))
		else
			paths[#paths + 1], wanted[#wanted + 1] = path, sum
		end
	end
	for i, r in ipairs(compute(paths)) do
		if not r[1] then
			complain(r[2])
		elseif r[1] ~= wanted[i] then
			complain(paths[i] .. ": CHANGED")
		end
	end
	print(("%d files checked%s"):format(#paths, failed and "" or ", all as they were"))
end

if arg[1] == "-c" then
	if not arg[2] then
		io.stderr:write "usage: checksum.lua [-c LIST] [PATH...]\n"
		os.exit(2)
	end
	verify(arg[2])
else
	list(#arg > 0 and arg or {"."})
end
os.exit(failed and 1 or 0, true)
