-- Checks that the folders of src are layers: lua tools/layers.lua [ROOT]
--
-- src/LAYERS names the folders, lowest first, and the includes that still point up, with a reason each. What is said:
-- an include that points up and is not listed; a listed one that is gone; a folder that is not listed; a header that is named
-- without its folder; a .c file that does not include its own header first.
local root = arg[1] or "."

local rank, listed, n = {}, {}, 0
for line in io.lines(root .. "/src/LAYERS") do
	local from, to = line:match "^up%s+(%S+)%s+(%S+)%s+%S"
	local folder = line:match "^(%l+)%s"
	if from then
		listed[from .. " " .. to] = false
	elseif folder then
		n = n + 1
		rank[folder] = n
	end
end

local bad = 0
local function say(...)
	bad = bad + 1
	print((...):format(select(2, ...)))
end

local files, have = {}, {}
local list = io.popen(("cd '%s/src' && find . -name '*.[ch]' | LC_ALL=C sort"):format(root))
for path in list:lines() do
	path = path:sub(3)
	files[#files + 1], have[path] = path, true
end
list:close()

for _, path in ipairs(files) do
	local folder, name = path:match "^(.-)/(.+)%.[ch]$"
	if not folder or not rank[folder] then
		say("src/%s: its folder is not in src/LAYERS", path)
	else
		local own, first = path:sub(-2) == ".c" and folder .. "/" .. name .. ".h", true
		for line in io.lines(root .. "/src/" .. path) do
			local header = line:match '^%s*#%s*include%s+"([^"]+)"'
			if header then
				local of = header:match "^(.-)/"
				if not have[header] then
					say("src/%s: '%s' is no header of src, named with its folder", path, header)
				elseif rank[of] > rank[folder] then
					local arrow = path .. " " .. header
					if listed[arrow] == nil then say("src/%s includes %s: %s lies above %s", path, header, of, folder) end
					listed[arrow] = true
				end
				if first and own and have[own] and header ~= own then
					say("src/%s: its first include of ours is %s, not its own header", path, header)
				end
				first = false
			end
		end
	end
end
for arrow, seen in pairs(listed) do
	if not seen then say("src/LAYERS: %s is not there any more: take the line out", (arrow:gsub(" ", " includes "))) end
end

if #files == 0 then say "there are no files" end
os.exit(bad == 0 and 0 or 1)
