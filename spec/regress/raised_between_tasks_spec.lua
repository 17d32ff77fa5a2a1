-- LuaJIT: an error of a finaliser, or memory that ran out, between two tasks ended the process with status 1 and no word: pushing
-- a function is an allocation there, and a step of the collector, and it was done outside of all protected calls.
local describe, it, assert = describe, it, assert
local child = require "spec.support.child"
local both = require "spec.support.both"
local scale = require "spec.support.scale"
local _ENV = _G -- luacheck: ignore

describe("between tasks", function()
	it("an error in a finaliser ends nothing but what it strikes", function()
		assert.equal("0|300\n|", child.told([[
			local p = pool.new { workers = 1, on_error = false, name = "gc" }
			local newproxy = rawget(_G, "newproxy")
			local function litter()
				collectgarbage("setpause", 100) collectgarbage("setstepmul", 1000)
				for i = 1, 20 do
					if newproxy then getmetatable(newproxy(true)).__gc = function() error "in a finaliser" end
					else setmetatable({}, { __gc = function() error "in a finaliser" end }) end
				end
			end
			-- Tasks that make little: what is left to the collector are the steps between them.
			local ended = 0
			for i = 1, 300 do
				p:async(litter):wait()
				for _ = 1, 20 do p:async(function() return 1 end):wait() end
				ended = ended + 1
			end
			print(ended)
			p:close()
			]], { limit = 60 }))
	end)

	it("memory that has run out ends nothing but tasks", function()
		for seed = 1, scale(4, 1) do
			local r = child.run(([[
				math.randomseed(%d)
				local p = pool.new { workers = 1, memory_limit = math.random(6, 40) * 1e5, on_error = function(err) error(err) end }
				for i = 1, 40 do
					-- What is kept leaves little for what comes between the tasks, and less each time.
					p:async(function(n, s)
						collectgarbage "stop"
						kept = kept or {} -- luacheck: ignore
						local function fill() for j = 1, 1e6 do kept[#kept + 1] = { j } end end
						pcall(fill)
						for j = 1, s do kept[#kept] = nil end
						for _ = 1, n do pcall(fill) end
					end, i %% 3, math.random(0, 40)):pawait()
					p:async(function() return 1 end):pawait()
					p:go(error, "nobody looks")
					p:async(function() local f = pool.async(tostring, 1) return f:await() end):pawait()
				end
				p:close()
				print "survived"
				]]):format(seed), { limit = 100 })
			assert.equal("0|survived\n", ("%d|%s"):format(r.status, r.out), r.err)
		end
	end)

	if not both.jit then return end

	it("a state that there is no memory for is said to be so", function()
		-- Each allocation of the opening fails in turn; only builds with FAULTS=1 can, others just run it.
		for n = 1, 60 do
			local r = child.run([[
				local ok, err = pcall(function()
					local p = pool.new { workers = 1, on_error = false }
					return p:async(function() return 1 end):await()
				end)
				print(ok or tostring(err):match "not enough memory" or err)
				]], { env = "LUA_POOL_FAULT=" .. n })
			assert.is_true(r.status == 0 or r.status == 1 and r.err:find "^luajit: " ~= nil, r.status .. r.err)
		end
	end)
end)
