-- A task that had emptied debug.getregistry() or package.loaded left a worker that crashed at the next task.
local describe, it, assert = describe, it, assert
local child = require "spec.support.child"
local _ENV = _G -- luacheck: ignore

-- What is done; then tasks of all kinds on the same worker, many of them, and what they say is what they always say.
local function survives(what)
	local r = child.run(([[
		local what = %q
		local p = pool.new { workers = 1, on_error = false }
		local d, ch, m, e = pool.dict(), pool.channel(4), pool.mutex(), pool.event()
		local format, other = string.format, require "spec.support.both"
		local function all(n)
			local sum = 0
			for i = 1, n do
				assert(p:async(function(k) return k + 1 end, i):await() == i + 1)
				assert(p:async(function() return format("%%d", 7) end):await() == "7")
				p:async(function(t, o, u) t:update("x", function(v) return (v or 0) + 1 end) o:send { 1 } u:lock() u:unlock() return e end, d, ch, m):await()
				assert(ch:receive()[1] == 1)
				assert(p:async(function() return pool.async(function() return 3 end):await() end):await() == 3)
				assert(#p:map(function(k) return k end, 10) == 10)
				local ok, err = p:async(function() error { code = 5 } end):pawait()
				assert(not ok and err.code == 5)
				p:go(error, "nobody looks")
				local f = p:async(function(up) up:set() while true do pool.sleep(0.001) end end, e)
				e:wait()
				assert(f:cancel(20))
				e:reset()
				p:async(function() collectgarbage() return load and load "return 1" () end):await()
				sum = sum + 1
			end
			return sum
		end
		assert(all(1) == 1)
		for _ = 1, 3 do
			print(p:async((loadstring or load)(what)):pawait())
			all(2)
		end
		print "survived"
		p:close()
		]]):format(what), { limit = 60 })
	assert.equal("0 survived", r.status .. " " .. (r.out:match "survived" or r.out), r.err)
	return r.out
end

describe("a task that empties", function()
	it("the registry leaves its worker whole", function()
		survives "local r = debug.getregistry() for k in pairs(r) do r[k] = nil end for i = 1, 99 do r['x' .. i] = i r[i] = i end return true"
	end)
	it("the registry by next and rawset leaves its worker whole", function()
		survives "local r = debug.getregistry() while true do local k = next(r) if k == nil then break end rawset(r, k, nil) end return true"
	end)
	it("all tables of the registry leaves its worker whole", function()
		survives [[
			local _G, t = _G, {}
			for _, v in pairs(debug.getregistry()) do if type(v) == "table" and v ~= _G then t[#t + 1] = v end end
			for i = 1, #t do for k in pairs(t[i]) do t[i][k] = nil end end
			return true]]
	end)
	it("package.loaded leaves its worker whole", function()
		survives "for k in pairs(package.loaded) do package.loaded[k] = nil end return true"
	end)
	it("package.loaded and package.preload leaves its worker whole", function()
		survives [[
			local package = package
			for _, t in ipairs { package.loaded, package.preload } do for k in pairs(t) do t[k] = nil end end
			return true]]
	end)
	it("the metatables of our objects, as debug gives them, leaves its worker whole", function()
		survives [[
			local pool = require "lua-pool"
			for _, o in ipairs { pool.CANCELLED, pool.TIMEOUT, pool.event(), pool.channel(1) } do
				local mt = debug.getmetatable(o)
				if type(mt) == "table" then mt.__gc = nil mt.__eq = nil mt.__tostring = nil end
			end
			return true]]
	end)
	it("what our C functions carry leaves its worker whole", function()
		survives [[
			local pool = require "lua-pool"
			for _, f in pairs(require "lua-pool.core") do
				if type(f) == "function" then for i = 1, 3 do debug.setupvalue(f, i, nil) end end
			end
			return true]]
	end)
end)

describe("debug.getregistry in a task", function()
	it("shows what C modules have named, and takes new names", function()
		assert.equal("0|true\ttable\t5\ttrue\n|", child.told [[
			local p = pool.new { workers = 1, on_error = false }
			print(p:async(function()
				local r = debug.getregistry()
				r.mine = 5
				r._LOADED = {}
				r = debug.getregistry()
				return r._LOADED == package.loaded, type(r["FILE*"]), r.mine, package.loaded.string == string
			end):await())]])
	end)
end)
