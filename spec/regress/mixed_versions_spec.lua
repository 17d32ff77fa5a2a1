-- Lua files and a core.so of different versions loaded silently, and failed later, somewhere else.
local describe, it, assert = describe, it, assert
local child = require "spec.support.child"
local scratch = require "spec.support.scratch"
local version = require "lua-pool.version"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local function read(path)
	local f = assert(io.open(path, "rb"))
	local text = f:read "*a"
	f:close()
	return text
end

-- A copy of the Lua files whose version.lua is changed by edit(text) -> text, or nil: it is not there; runs f(folder).
local function with_files(edit, f)
	local dir = scratch.folder()
	local from = package.searchpath("lua-pool.version", package.path):gsub("/version%.lua$", "")
	os.execute(("cp -r %s %s/lua-pool"):format(child.quote(from), child.quote(dir)))
	local path = dir .. "/lua-pool/version.lua"
	local text = edit(read(path))
	os.remove(path)
	if text then
		local file = assert(io.open(path, "wb"))
		file:write(text)
		file:close()
	end
	local ok, err = pcall(f, dir)
	scratch.remove(dir)
	if not ok then error(err, 0) end
end

local function other(text)
	local changed, n = text:gsub('VERSION = "[^"]*"', 'VERSION = "0.0.other"', 1)
	assert.equal(1, n)
	return changed
end

local core = package.searchpath("lua-pool.core", package.cpath)

local function refused(script)
	local r = child.run(script, {bare = true})
	assert.not_equal(0, r.status)
	return r.err
end

describe("parts of different versions", function()
	it("are refused at require, with both versions and paths", function()
		with_files(other, function(dir)
			for _, module in ipairs {"lua-pool", "lua-pool.core"} do
				local err = refused(("package.path = %q .. package.path require %q"):format(dir .. "/?.lua;" .. dir .. "/?/init.lua;", module))
				assert.matches("the Lua files are of version 0.0.other (" .. dir .. "/lua-pool/version.lua)", err, 1, true)
				assert.matches("lua-pool.core is of version " .. version.VERSION .. " (", err, 1, true)
				assert.matches("core.so)", err, 1, true)
			end
		end)
	end)

	it("are refused by the core, where the Lua files are older than the question", function()
		with_files(function() return nil end, function(dir)
			local file = io.open(dir .. "/lua-pool/init.lua", "wb")
			file:write 'return {core = require "lua-pool.core"}'
			file:close()
			local err = refused(("package.path = %q require 'lua-pool'"):format(dir .. "/?.lua;" .. dir .. "/?/init.lua"))
			assert.matches("lua-pool.core is of version " .. version.VERSION .. " (", err, 1, true)
			assert.matches("its Lua files are older, or not there", err, 1, true)
			assert.matches(dir .. "/lua-pool/version.lua", err, 1, true)
		end)
	end)

	it("are refused by the Lua files, where the core is older than the question", function()
		local err = refused "package.preload['lua-pool.core'] = function() return {} end require 'lua-pool'"
		assert.matches("the Lua files are of version " .. version.VERSION .. " (", err, 1, true)
		assert.matches("lua-pool/version.lua)", err, 1, true)
		assert.matches("lua-pool.core is of version unknown, an older one (" .. core .. ")", err, 1, true)
	end)

	it("are refused in a task, where the files were replaced while the program runs", function()
		with_files(other, function(dir)
			local r = child.run(([[
				package.path = %q .. package.path
				print(pool.async(function() return require "lua-pool" end):pawait())
			]]):format(dir .. "/?.lua;" .. dir .. "/?/init.lua;"))
			assert.equal(0, r.status, r.err)
			assert.matches("^false\t", r.out)
			assert.matches("the Lua files are of version 0.0.other (" .. dir .. "/lua-pool/version.lua)", r.out, 1, true)
			assert.matches("lua-pool.core is of version " .. version.VERSION .. " (", r.out, 1, true)
		end)
	end)

	it("are none here: the module, the core and the rockspec say the same", function()
		local pool = require "lua-pool"
		assert.equal("lua-pool " .. version.VERSION, pool._VERSION)
		assert.equal(version.VERSION, require "lua-pool.core".VERSION)
		local list = io.popen "ls rockspec/*.rockspec"
		local n = 0
		for path in list:lines() do
			n = n + 1
			local told = read(path):match '\nversion = "(.-)"'
			assert.equal(version.VERSION, told:match "^(.*)%-%d+$")
			assert.equal("rockspec/lua-pool-" .. told .. ".rockspec", path)
		end
		list:close()
		assert.is_true(n > 0)
	end)
end)
