-- In pools with few libraries nothing of lua-pool that is written in Lua worked; and on LuaJIT `module "ffi"` brought back what
-- was not listed.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local both = require "spec.support.both"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local lists = { {}, { "base" }, { "package" }, { "base", "string" }, { "base", "coroutine", "table" }, { "debug" } }

describe("pools with few libraries", function()
	for _, libs in ipairs(lists) do
		it("have all of lua-pool: " .. (#libs > 0 and table.concat(libs, ", ") or "none"), function()
			local p = pool.new { workers = 1, libs = libs, on_error = false }
			local function one(i) return i end
			assert.equal(10, #p:map(one, 10))
			local sum = 0
			for x in p:imap(one, 10) do sum = sum + x end
			assert.equal(55, sum)
			p:each(one, 3)
			local function inside(f, ...) return p:async(f, ...):await() end
			assert.equal(5, inside(function() return pool.async(function() return 5 end):await() end))
			assert.equal(1, inside(function(d) return d:update("x", function(v) return (v or 0) + 1 end) end, pool.dict()))
			assert.equal(10, inside(function() return #pool.map(function(i) return i end, 10) end))
			assert.equal(1, inside(function()
				local g = pool.group()
				g:async(function() return 1 end)
				g:await()
				return 1
			end))
			assert.equal(2, inside(function() return pool.any { pool.async(function() return 2 end) } end) + 1)
			assert.is_true(inside(function() return #pool.fs.read "/proc/self/maps" > 0 end))
			assert.is_true(inside(function() return #pool.fs.list "/" > 0 end))
			assert.equal(0, inside(function() return pool.run { "true" }.code end))
			assert.equal(7, inside(function() return pool.scope(function(s) s:defer(function() end) return 7 end) end))
			assert.equal(10, inside(function() return #pool.array("f64", 10):map(function(x) return x + 1 end) end))
			assert.equal(3, inside(function()
				return pool.shield(function() return pool.deadline(9, function() return 3 end) end)
			end))
			local ok, err = p:async(function() return pool.map(nil, 10) end):pawait() -- an error that has to be put together
			assert.is_false(ok)
			assert.truthy(err:find "function expected", err)
			assert.is_true(p:close())
		end)
	end

	it("have nothing that is not listed", function()
		for _, libs in ipairs { {}, { "base" }, { "package" }, { "base", "package", "string" }, { "base", "package", "string", "table" } } do
			local listed = {}
			for _, name in ipairs(libs) do listed[name] = true end
			local p = pool.new { workers = 1, libs = libs, on_error = false }
			local found = p:async(function(names)
				local found, n = {}, 0
				local function note(name, how) n = n + 1 found[n] = name .. " by " .. how end
				local require, module, package, type = require, rawget(_G, "module"), package, type
				for _, name in ipairs(names) do
					local first = name:match "^%a+"
					if _G[first] ~= nil then note(name, "name") end
					if require and pcall(require, name) then note(name, "require") end
					if package and package.loaded[name] ~= nil then note(name, "loaded") end
					if package and package.preload[name] ~= nil then note(name, "preload") end
					if module then
						local f = function() module(name) return _M end -- luacheck: ignore
						local ok, m = pcall(f)
						-- A new table has nothing in it but its names.
						if ok then for k, v in pairs(m) do if k:sub(1, 1) ~= "_" and type(v) ~= "table" then note(name, "module") break end end end
						_G[first], package.loaded[name] = nil, nil
					end
				end
				return found
			end, (function()
				local names = {}
				for _, name in ipairs { "io", "os", "debug", "jit", "jit.util", "jit.opt", "jit.profile", "ffi", "bit", "table", "table.new",
					"table.clear", "string.buffer", "math", "utf8", "coroutine" } do
					if not listed[name] and not listed[name:match "^%a+"] then names[#names + 1] = name end
				end
				if not listed.package then names[#names + 1] = "package" end
				return names
			end)()):await()
			assert.same({}, found)
			assert.is_true(p:close())
		end
	end)

	it("say what is missing when a module cannot come by its name", function()
		local p = pool.new { workers = 1, libs = { "base" }, on_error = false }
		local u = both.jit and require "bit" or require "utf8"
		local ok, err = p:async(function() return u end):pawait()
		assert.is_false(ok)
		assert.truthy(err:find("there is no 'require' here", 1, true), err)
		assert.is_true(p:close())
	end)
end)
