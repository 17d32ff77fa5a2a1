-- Every example of the README and of docs/ runs and prints what it says.
--
-- A block ```lua is a program of its own. What it prints must be, line by line, what its comments `--> text` say.
-- ```lua fragment is only compiled; ```lua 5.4 uses syntax that LuaJIT does not have.

local lua = os.getenv "LUA_POOL_LUA" or "lua5.4"
local is_jit = rawget(_G, "jit") ~= nil

local function read(path)
	local file = assert(io.open(path, "rb"))
	local text = file:read "*a"
	file:close()
	return text
end

local function write(path, text)
	local file = assert(io.open(path, "wb"))
	assert(file:write(text))
	assert(file:close())
end

local function blocks(path)
	local list, block, number = {}, nil, 0
	for line in (read(path) .. "\n"):gmatch "(.-)\r?\n" do
		number = number + 1
		local info = line:match "^```(.*)$"
		if block and info then
			block.code = table.concat(block.lines, "\n") .. "\n"
			if block.info:match "^lua%f[%W]" then list[#list + 1] = block end
			block = nil
		elseif info then
			block = {path = path, line = number, info = info, lines = {}}
		elseif block then
			block.lines[#block.lines + 1] = line
		end
	end
	assert(not block, path .. ": a code block has no end")
	return list
end

local function promised(code)
	local list = {}
	for line in code:gmatch "[^\n]+" do
		local text = line:match "%-%-> ?(.*)$"
		if text then list[#list + 1] = text end
	end
	return table.concat(list, "\n")
end

local function run(block)
	local path = os.tmpname()
	write(path, block.code)
	local command = ("cd /tmp && timeout 60 %s %s 2>%s.err </dev/null; echo \" $?\""):format(lua, path, path)
	local p = assert(io.popen(command, "r"))
	local all = p:read "*a"
	p:close()
	local errors = read(path .. ".err")
	os.remove(path)
	os.remove(path .. ".err")
	local text, status = all:match "^(.*) (%d+)\n$"
	return text:gsub("\n$", ""), tonumber(status), errors
end

local files = {}
for _, pattern in ipairs {"README.md", "docs/*.md"} do
	local p = assert(io.popen("ls " .. pattern .. " 2>/dev/null"))
	for path in p:lines() do files[#files + 1] = path end
	p:close()
end

for _, path in ipairs(files) do
	describe(path, function()
		for _, block in ipairs(blocks(path)) do
			local other_lua = is_jit and block.info:find("5.4", 1, true)
			local test = other_lua and pending or it
			if block.info:find("fragment", 1, true) then
				test(("compiles the fragment of line %d"):format(block.line), function()
					local load = loadstring or load
					assert(load(block.code, "=" .. path .. ":" .. block.line))
				end)
			else
				test(("prints what the example of line %d says"):format(block.line), function()
					local text, status, errors = run(block)
					assert.equal(promised(block.code), text .. (status ~= 0 and "\n" .. errors or ""))
					assert.equal(0, status, errors)
				end)
			end
		end
	end)
end
