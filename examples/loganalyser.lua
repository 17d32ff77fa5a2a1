-- Reads web server logs (common or combined format), also rotated and compressed ones, on all cores, and says what was
-- asked for most, how it was answered, and when:
--
--   lua examples/loganalyser.lua PATTERN...            e.g. "/var/log/nginx/access.log*"
--
-- Each file is a task. A compressed one (.gz, .bz2, .xz, .zst) is unpacked by a subprocess that feeds the task through a
-- channel, so it is never in memory as a whole. A file that cannot be read is named and does not stop the rest.
local pool = require "lua-pool"
local fs = pool.fs

local SHOWN = 10
local unpackers = {gz = "gzip", bz2 = "bzip2", xz = "xz", zst = "zstd"}

-- ---- what runs in the workers ----

local function new_counts()
	return {lines = 0, strange = 0, bytes = 0, status = {}, hour = {}, path = {}, client = {}}
end

local function add(list, key, n)
	list[key] = (list[key] or 0) + n
end

local function count(counts, line)
	local client, hour, path, status, bytes =
		line:match '^(%S+) %S+ %S+ %[[^:]*:(%d%d)[^%]]*%] "%S+ ([^ "?]*)[^"]*" (%d%d%d) (%S+)'
	counts.lines = counts.lines + 1
	if not client then
		counts.strange = counts.strange + 1
		return
	end
	add(counts.status, status, 1)
	add(counts.hour, hour, 1)
	add(counts.path, path, 1)
	add(counts.client, client, 1)
	counts.bytes = counts.bytes + (tonumber(bytes) or 0)
end

-- The lines of what an unpacker writes.
local function unpacked(command, path)
	local pieces = pool.channel(4)
	local process = pool.async(pool.run, {command, "-dc", path, stdout = pieces})
	local piece, at, begun = "", 1, ""
	return function()
		while piece do
			local stop = piece:find("\n", at, true)
			if stop then
				local line = begun .. piece:sub(at, stop - 1)
				begun, at = "", stop + 1
				return line
			end
			begun = begun .. piece:sub(at)
			piece, at = pieces:receive(), 1
		end
		local r, err = process:await()
		if not r then error(err, 0) end
		if r.code ~= 0 then error(path .. ": " .. r.stderr:gsub("\n.*", ""), 0) end
		return nil -- a line without an end is one that is still being written
	end
end

local function analyse(path)
	local counts = new_counts()
	local lines, err
	local command = unpackers[path:match "%.(%w+)$"]
	if command then lines = unpacked(command, path) else lines, err = fs.lines(path) end
	if not lines then return {failed = err} end
	local ok, why = pcall(function()
		for line in lines do count(counts, line) end
	end)
	if not ok then return {failed = tostring(why)} end
	return counts
end

-- ---- what runs here ----

local function merge(all)
	local sum = new_counts()
	for _, counts in ipairs(all) do
		if counts.failed then
			io.stderr:write("loganalyser: ", counts.failed, "\n")
		else
			for key, value in pairs(counts) do
				if type(value) == "number" then
					sum[key] = sum[key] + value
				else
					for name, n in pairs(value) do add(sum[key], name, n) end
				end
			end
		end
	end
	return sum
end

local function show(title, list, by_name)
	local names = {}
	for name in pairs(list) do names[#names + 1] = name end
	table.sort(names, function(a, b)
		if not by_name and list[a] ~= list[b] then return list[a] > list[b] end
		return a < b
	end)
	print(title)
	for i = 1, math.min(#names, by_name and 24 or SHOWN) do print(("%10d  %s"):format(list[names[i]], names[i])) end
end

local paths = {}
for _, pattern in ipairs(arg) do
	for _, path in ipairs(fs.glob(pattern)) do paths[#paths + 1] = path end
end
if #paths == 0 then
	io.stderr:write "usage: loganalyser.lua PATTERN...: no file matches\n"
	os.exit(2)
end

local start = pool.now()
local sum = merge(pool.map(analyse, paths, {progress = true, batch = 1}))
print(("%d files, %d lines (%d of another format), %.1f MB sent, %.2f s on %d cores"):format(#paths, sum.lines, sum.strange,
	sum.bytes / 1e6, pool.now() - start, pool.cpu_count()))
show("answers", sum.status)
show("hours", sum.hour, true)
show("paths", sum.path)
show("clients", sum.client)
