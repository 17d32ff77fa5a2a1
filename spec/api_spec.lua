-- The reference and the library say the same: what there is, is in docs/api.md; what is there, there is.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local core = require "lua-pool.core"
local options = require "lua-pool.options"
local is_jit = rawget(_G, "jit") ~= nil
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local function read(path)
	local file = assert(io.open(path, "rb"))
	local text = file:read "*a"
	file:close()
	return text
end

local api = read "docs/api.md"
assert(pool.fs and pool.run) -- they are loaded when they are asked for

-- The sections of the reference: heading -> text with the heading. One of two # has those of three in it.
local sections = {}
do
	local chapter, section
	for line in api:gmatch "[^\n]*\n" do
		local mark = line:match "^(#+) "
		if mark then
			if #mark < 3 then
				chapter, section = { heading = line, text = "" }, nil
				sections[#sections + 1] = chapter
			else
				section = { heading = line, text = "" }
				sections[#sections + 1] = section
			end
		end
		chapter.text = chapter.text .. line
		if section then section.text = section.text .. line end
	end
end

-- The text of all sections whose heading begins so.
local function about(...)
	local text = ""
	for _, beginning in ipairs {...} do
		local found = false
		for _, s in ipairs(sections) do
			if s.heading:gsub("^#+ ", ""):sub(1, #beginning) == beginning then
				text, found = text .. s.text, true
			end
		end
		assert.is_true(found, "no section begins with " .. beginning)
	end
	return text
end

-- What is written as code in it.
local function code(text)
	local list = {}
	for span in text:gmatch "`([^`]+)`" do list[#list + 1] = " " .. span .. " " end
	return table.concat(list, "\n")
end

local function has(text, name)
	return text:find("[^%w_]" .. name:gsub("%p", "%%%0") .. "[^%w_]") ~= nil
end

local function missing(names, text, what)
	local list = {}
	for _, name in ipairs(names) do
		if not has(text, name) then list[#list + 1] = what .. name end
	end
	table.sort(list)
	return table.concat(list, ", ")
end

local function keys(t)
	local list = {}
	for name in pairs(t) do
		if type(name) == "string" and not name:find "^__" and not name:find "^%(" then list[#list + 1] = name end
	end
	return list
end

-- Where the methods of each class stand. What users never hold has none.
local classes = {
	["lua-pool.event"] = {"`pool.event"}, ["lua-pool.channel"] = {"`pool.channel"}, ["lua-pool.counter"] = {"`pool.counter"},
	["lua-pool.mutex"] = {"`pool.mutex"}, ["lua-pool.condition"] = {"`pool.condition"}, ["lua-pool.semaphore"] = {"`pool.semaphore"},
	["lua-pool.barrier"] = {"`pool.barrier"}, ["lua-pool.rwlock"] = {"`pool.rwlock"}, ["lua-pool.once"] = {"`pool.once"},
	["lua-pool.dict"] = {"`pool.dict"}, ["lua-pool.timer"] = {"`pool.timer"}, ["lua-pool.group"] = {"`pool.group"},
	["lua-pool.array"] = {"Arrays"}, ["lua-pool.buffer"] = {"Arrays"}, ["lua-pool.future"] = {"Tasks"},
	["lua-pool.pool"] = {"Tasks", "Many at once", "Pools"}, ["lua-pool.file"] = {"Files\n"}, ["lua-pool.tempdir"] = {"`fs.tempfile"},
}
local inner = {}
for _, name in ipairs {"TIMEOUT", "CANCELLED", "pack", "name", "process", "transfer", "code", "folder", "value", "futures", "store", "string"} do
	inner["lua-pool." .. name] = true
end

describe("the reference", function()
	it("has each function of the module and of fs", function()
		local text = code(api)
		local prefixed = {}
		for _, name in ipairs(keys(pool)) do
			local method = core.classes["lua-pool.pool"][name] and has(text, "p:" .. name)
			if not method then prefixed[#prefixed + 1] = "pool." .. name end
		end
		for _, name in ipairs(keys(pool.fs)) do prefixed[#prefixed + 1] = "fs." .. name end
		assert.equal("", missing(prefixed, text, ""))
	end)

	it("has each method of each class", function()
		local with = about "`object:with"
		local lacking = {}
		for class, methods in pairs(core.classes) do
			if not inner[class] then
				assert.is_table(classes[class], "where does the reference speak of " .. class .. "?")
				local text = code(about((table.unpack or unpack)(classes[class])) .. with) -- luacheck: ignore
				local m = missing(keys(methods), text, class .. ":")
				if m ~= "" then lacking[#lacking + 1] = m end
			end
		end
		table.sort(lacking)
		assert.equal("", table.concat(lacking, ", "))
	end)

	it("has each option, and those of pool.new that it has are there", function()
		assert.equal("", missing(keys(options.pool), code(about "`pool.new"), ""))
		assert.equal("", missing(keys(options.group), code(about "`pool.group"), ""))
		assert.equal("", missing(keys(options.dict), code(about "`pool.dict"), ""))
		assert.equal("", missing(keys(options.map), code(about "`pool.map"), ""))
		assert.equal("", missing(keys(options.imap), code(about "Many at once"), ""))
		for row in about "`pool.new":gmatch "\n| (`[^|]*) |" do
			for name in row:gmatch "`([%w_]+)`" do
				assert.is_not_nil(options.pool[name], name)
			end
		end
	end)

	it("has no function, method or class that is not there", function()
		local text = code(api)
		for name in text:gmatch "[^%w_]pool%.([%w_]+)" do assert.is_not_nil(pool[name], "pool." .. name) end
		for name in text:gmatch "[^%w_:]fs%.([%w_]+)" do assert.is_not_nil(pool.fs[name], "fs." .. name) end
		for class, where in pairs(classes) do
			local methods = core.classes[class]
			assert.is_table(methods, class)
			-- In a section about one class alone what is called is a method of it.
			if #where == 1 and where[1]:find "^`pool%." and class ~= "lua-pool.dict" then
				for span in about(where[1]):gmatch "`([%w_]+)%([^`]*%)`" do
					assert.is_true(methods[span] ~= nil or span == "fn", class .. ":" .. span)
				end
			end
		end
		local letters = {future = "lua-pool.future", g = "lua-pool.group", p = "lua-pool.pool", d = "lua-pool.dict", a = "lua-pool.array",
			b = "lua-pool.buffer", file = "lua-pool.file", folder = "lua-pool.tempdir", m = "lua-pool.mutex", rw = "lua-pool.rwlock"}
		for letter, class in pairs(letters) do
			for name in text:gmatch("[^%w_]" .. letter .. ":([%w_]+)") do
				assert.is_not_nil(core.classes[class][name], class .. ":" .. name)
			end
		end
	end)

	it("tells the least stack_size that is accepted", function()
		local plain, jit = about "`pool.new":match "at least (%d+) MiB, on LuaJIT (%d+) MiB"
		local least = tonumber(is_jit and jit or plain) * 2 ^ 20
		pool.new({workers = 1, stack_size = least}):close()
		local ok, err = pcall(pool.new, {workers = 1, stack_size = least - 1})
		assert.is_false(ok)
		assert.matches("option 'stack_size' must be", err, 1, true)
	end)
end)
