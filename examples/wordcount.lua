-- Counts the identifiers in every regular file of a folder, on all cores:
--
--   lua examples/wordcount.lua [DIR]        (DIR: /usr/include, the C headers)
--
-- Prints the ten most frequent, what one core and what all cores took, and whether both found the same.
-- A file that cannot be read or that is binary is counted and named; it does not stop the rest.
local pool = require "lua-pool"

local dir = arg[1] or "/usr/include"
local TASKS = 48
local SHOWN = 10

-- ---- what runs in the workers: an ordinary function, with its upvalues ----

-- nil and the reason if the file cannot be read.
local function read(path)
	local file, err = io.open(path, "rb")
	if not file then return nil, err end
	local text
	text, err = file:read("*a")
	file:close()
	return text, err
end

-- One answer for many files, so that a word travels once and not once per file.
local function count_files(paths)
	local found = {words = {}, bytes = 0, unreadable = {}, binary = {}}
	local words = found.words
	for _, path in ipairs(paths) do
		local text, err = read(path)
		if not text then
			table.insert(found.unreadable, err or path)
		elseif text:find("\0", 1, true) then
			table.insert(found.binary, path)
		else
			found.bytes = found.bytes + #text
			for word in text:gmatch("[%a_][%w_]*") do
				words[word] = (words[word] or 0) + 1
			end
		end
	end
	return found
end

-- ---- what runs here ----

local function list_files(where)
	local quoted = "'" .. where:gsub("^%-", "./-"):gsub("'", "'\\''") .. "'"
	local find = assert(io.popen("find " .. quoted .. " -type f -print0", "r"))
	local paths = {}
	for path in find:read("*a"):gmatch("%Z+") do
		table.insert(paths, path)
	end
	find:close()
	table.sort(paths)
	return paths
end

-- Neighbours stay together, since they share words; each task gets about as many bytes.
local function split(list, sizes, total)
	local groups, group, bytes = {}, nil, 0
	for i, path in ipairs(list) do
		if not group then
			group, bytes = {}, 0
			table.insert(groups, group)
		end
		table.insert(group, path)
		bytes = bytes + sizes[i]
		if bytes * TASKS >= total then group = nil end
	end
	return groups
end

local function merge(results)
	local sum = {words = {}, bytes = 0, unreadable = {}, binary = {}}
	for _, found in ipairs(results) do
		for word, n in pairs(found.words) do
			sum.words[word] = (sum.words[word] or 0) + n
		end
		sum.bytes = sum.bytes + found.bytes
		for _, kind in ipairs {"unreadable", "binary"} do
			for _, path in ipairs(found[kind]) do
				table.insert(sum[kind], path)
			end
		end
	end
	return sum
end

local function on_all_cores(groups)
	return merge(pool.map(count_files, groups, {progress = true}))
end

local function on_one_core(groups)
	local results = {}
	for i, paths in ipairs(groups) do
		results[i] = count_files(paths)
	end
	return merge(results)
end

local function timed(f, ...)
	collectgarbage()
	local start = pool.now()
	local result = f(...)
	return result, pool.now() - start
end

local function same(a, b)
	for word, n in pairs(a.words) do
		if b.words[word] ~= n then return false end
	end
	for word in pairs(b.words) do
		if not a.words[word] then return false end
	end
	return a.bytes == b.bytes and #a.unreadable == #b.unreadable and #a.binary == #b.binary
end

local function most_frequent(words)
	local names = {}
	for word in pairs(words) do table.insert(names, word) end
	table.sort(names, function(a, b)
		if words[a] ~= words[b] then return words[a] > words[b] end
		return a < b
	end)
	return names
end

local function name_some(title, paths)
	if #paths == 0 then return end
	print(("%d %s:"):format(#paths, title))
	for i = 1, math.min(#paths, 3) do print("  " .. paths[i]) end
	if #paths > 3 then print("  ...") end
end

local paths = list_files(dir)
if #paths == 0 then
	io.stderr:write("no regular file under " .. dir .. "\n")
	os.exit(1)
end

-- Every file is read once here, so that both runs find them in memory.
local sizes, total = {}, 0
for i, path in ipairs(paths) do
	sizes[i] = #(read(path) or "")
	total = total + sizes[i]
end

local groups = split(paths, sizes, total)
local found, all = timed(on_all_cores, groups)
local check, one = timed(on_one_core, groups)
local agree = same(found, check)

local names = most_frequent(found.words)
print(("%d files under %s, %.1f MB, %d different identifiers"):format(#paths, dir, found.bytes / 1e6, #names))
for i = 1, math.min(SHOWN, #names) do
	print(("%10d  %s"):format(found.words[names[i]], names[i]))
end
name_some("unreadable", found.unreadable)
name_some("binary, not counted", found.binary)
print(("one core  %8.2f s"):format(one))
print(("all cores %8.2f s  (%d workers)"):format(all, pool.stats().workers))
print(("speed-up  %8.2f"):format(one / all))
print(agree and "both results agree" or "THE RESULTS DIFFER")
os.exit(agree and 0 or 1, true)
