-- glob: names by patterns, as a shell's: * ? [abc] [!a-z] {one,two} and ** for any folders in between. A name that begins
-- with a dot is only found by a pattern that says so.
local table = table -- a worker with few `libs` has them only while it opens
local check = require "lua-pool.fs.check"
local sys = require "lua-pool.fs.sys"

-- {a,b{c,d}} -> the patterns without braces.
local function expand(pattern, out)
	local open, depth, parts = pattern:find "{", 0, {}
	if not open then
		out[#out + 1] = pattern
		return out
	end
	local start = open + 1
	for i = open, #pattern do
		local c = pattern:sub(i, i)
		if c == "{" then
			depth = depth + 1
		elseif c == "}" then
			depth = depth - 1
		end
		if (c == "," and depth == 1) or depth == 0 then
			parts[#parts + 1] = pattern:sub(start, i - 1)
			start = i + 1
		end
		if depth == 0 then
			for _, part in ipairs(parts) do expand(pattern:sub(1, open - 1) .. part .. pattern:sub(i + 1), out) end
			return out
		end
	end
	out[#out + 1] = pattern -- never closed: an ordinary character
	return out
end

-- One component as a pattern of Lua's; nil: it has nothing special.
local function translate(component)
	if not component:find "[%*%?%[]" then return nil end
	local out, i = { "^" }, 1
	while i <= #component do
		local c = component:sub(i, i)
		local set = c == "[" and component:match("^%[[!^]?%]?[^%]]*%]", i)
		if set then
			local body = set:sub(2, -2)
			local negated = body:find "^[!^]" and "^" or ""
			body = body:sub(#negated + 1):gsub("[%^%]%%]", "%%%0")
			out[#out + 1] = "[" .. negated .. body .. "]"
			i = i + #set
		else
			out[#out + 1] = c == "*" and ".*" or c == "?" and "." or c:gsub("%p", "%%%0")
			i = i + 1
		end
	end
	out[#out + 1] = "$"
	return table.concat(out)
end

local function join(dir, name)
	return dir == "" and name or dir:sub(-1) == "/" and dir .. name or dir .. "/" .. name
end

local function list(root, dir)
	return sys.fs_list(root, dir == "" and "." or dir)
end

-- All that match parts[k...] below dir.
local function match(root, dir, parts, k, found)
	local part = parts[k]
	if not part then
		found[dir] = true
		return
	end
	if part == "**" then
		match(root, dir, parts, k + 1, found)
		local names, kinds = list(root, dir)
		for i, name in ipairs(names or {}) do
			if kinds:sub(i, i) == "d" and name:sub(1, 1) ~= "." then match(root, join(dir, name), parts, k, found) end
		end
		return
	end
	local pattern = translate(part)
	if not pattern then
		local path = join(dir, part)
		if parts[k + 1] or sys.fs_stat(root, path, true) then match(root, path, parts, k + 1, found) end
		return
	end
	for _, name in ipairs(list(root, dir) or {}) do
		if (name:sub(1, 1) ~= "." or part:sub(1, 1) == ".") and name:find(pattern) then
			match(root, join(dir, name), parts, k + 1, found)
		end
	end
end

return function(fs, root)
	--- glob(pattern) -> sorted list of the paths that match; empty if there is none. Folders that cannot be read have none. Blocks.
	function fs.glob(pattern)
		check.path(pattern, "glob")
		local found, paths = {}, {}
		for _, one in ipairs(expand(pattern, {})) do
			local parts = {}
			for part in one:gmatch "[^/]+" do parts[#parts + 1] = part end
			match(root, one:match "^/" or "", parts, 1, found)
		end
		for path in pairs(found) do
			if path ~= "" then paths[#paths + 1] = path end
		end
		table.sort(paths)
		return paths
	end
end
