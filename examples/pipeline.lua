-- Which headers do C files include most? A pipeline of tasks over all files of a folder:
--
--   lua examples/pipeline.lua [DIR]        (DIR: /usr/include)
--
--   read  --texts-->  parse (one per core)  --counts-->  aggregate
--
-- The stages run at the same time and are joined by channels with a bound: a stage that is faster than the next one waits
-- for it, so however large the folder is, only a few texts are in memory. When a stage has nothing more to send it closes
-- its channel, and the next one's loop ends. All are one group: an error in any of them ends the others and is raised here.
-- Prints the ten most frequent, and whether one core alone finds the same.
local pool = require "lua-pool"

local dir = arg[1] or "/usr/include"
local SHOWN = 10

-- ---- the stages: ordinary functions ----

local function read_all(paths, texts)
	for _, path in ipairs(paths) do
		local file = io.open(path, "rb") -- one that cannot be read is left out
		local text = file and file:read "*a"
		if file then file:close() end
		if text then texts:send(path, text) end
	end
	texts:close()
end

local function parse(text)
	local found = {}
	for name in ("\n" .. text):gmatch "\n[ \t]*#[ \t]*include[ \t]*[<\"]([^>\"\n]+)" do
		found[#found + 1] = name
	end
	return found
end

local function parse_all(texts, counts, parsers)
	for _, text in texts do
		local found = parse(text)
		if #found > 0 then counts:send(found) end
	end
	if parsers:add(-1) == 0 then counts:close() end -- the last one of this stage
end

local function add(total, found)
	for _, name in ipairs(found) do total[name] = (total[name] or 0) + 1 end
end

local function aggregate(counts)
	local total = {}
	for found in counts do add(total, found) end
	return total
end

-- ---- the pipeline ----

local function list_files(where)
	local quoted = "'" .. where:gsub("^%-", "./-"):gsub("'", "'\\''") .. "'"
	local find = assert(io.popen("find " .. quoted .. " -type f -name '*.[ch]' -print0", "r"))
	local paths = {}
	for path in find:read("*a"):gmatch "%Z+" do paths[#paths + 1] = path end
	find:close()
	table.sort(paths)
	return paths
end

local function run_pipeline(paths)
	local texts, counts = pool.channel(32), pool.channel(32)
	local cores = pool.cpu_count()
	local parsers = pool.counter(cores)
	return pool.group():with(function(group)
		local total = group:async(aggregate, counts)
		for _ = 1, cores do group:go(parse_all, texts, counts, parsers) end
		group:go(read_all, paths, texts)
		group:await()
		return total:await()
	end)
end

local function run_alone(paths)
	local total = {}
	for _, path in ipairs(paths) do
		local file = io.open(path, "rb")
		local text = file and file:read "*a"
		if file then file:close() end
		if text then add(total, parse(text)) end
	end
	return total
end

local paths = list_files(dir)
if #paths == 0 then
	io.stderr:write("there are no C files in " .. dir .. "\n")
	os.exit(1)
end
run_alone(paths) -- once for nothing: then the files are in the system's cache for both
local start = pool.now()
local alone = run_alone(paths)
local between = pool.now()
local total = run_pipeline(paths)
local finish = pool.now()

local names, sum = {}, 0
for name, n in pairs(total) do
	names[#names + 1] = name
	sum = sum + n
end
table.sort(names, function(a, b)
	if total[a] ~= total[b] then return total[a] > total[b] end
	return a < b
end)
for i = 1, math.min(SHOWN, #names) do print(("%6d  %s"):format(total[names[i]], names[i])) end

local same = true
for name in pairs(alone) do same = same and alone[name] == total[name] end
for name in pairs(total) do same = same and alone[name] == total[name] end
print(("%d files include %d headers %d times: %.3f s alone, %.3f s in the pipeline; they %s"):format(#paths, #names, sum,
	between - start, finish - between, same and "agree" or "DIFFER"))
os.exit(same, true)
