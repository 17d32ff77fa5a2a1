-- LuaJIT with a memory_limit: compiled loops whose allocations failed again and again ended the process with SIGSEGV.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local child = require "spec.support.child"
local both = require "spec.support.both"
local scale = require "spec.support.scale"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

-- Each of six seeds ended with SIGSEGV before.
local script = [[
local seed = %d
math.randomseed(seed)
local p = pool.new { workers = 1, memory_limit = math.random(10, 80) * 1e5, on_error = false }
for i = 1, %d do
	p:async(function(k, s)
		collectgarbage "stop"
		math.randomseed(s * 100 + k)
		local function list(make) return function() local t = {} for j = 1, 1e6 do t[#t + 1] = make(j) end end end
		local ops = {
			list(function(j) return { j } end), list(function(j) return { x = j, y = { j } } end), list(function(j) return "k" .. j end),
			list(function(j) return function() return j end end),
			function() local t = {} for j = 1, 1e6 do t["k" .. j] = j end end,
			function() local s1 = "" for j = 1, 1e5 do s1 = s1 .. j end end,
			function() local t = {} for j = 1, 1e6 do local u = {} for l = 1, 10 do u[l] = l end t[j] = u end end,
		}
		local caught = 0
		for _ = 1, 60 do
			if not pcall(ops[math.random(#ops)]) then caught = caught + 1 end
			if math.random(6) == 1 then collectgarbage() collectgarbage "stop" end
		end
		return caught
	end, i, seed):pawait()
end
print(p:async(function() return 1 end):await())
]]

if not both.jit then return end

describe("memory_limit", function()
	it("does not end the process, however often memory runs out", function()
		for seed = 1, scale(3, 1) do
			assert.equal("0|1\n|", child.told(script:format(seed, 10), { limit = 100 }))
		end
	end)

	it("means that workers only interpret, from the first line on", function()
		local seen = pool.dict()
		local p = pool.new { workers = 1, memory_limit = 8e6, init = function()
			seen:set("init", (jit.status()))
		end }
		assert.is_false(p:async(function() return (jit.status()) end):await())
		assert.is_false(seen:get "init")
		assert.is_false(p:async(function()
			jit.on()
			jit.on(function() end)
			return (jit.status())
		end):await())
		assert.is_true(p:close())
		local q = pool.new { workers = 1 }
		assert.is_true(q:async(function() return (jit.status()) end):await())
		assert.is_true(q:close())
	end)

	it("does not go together with jit = true", function()
		local ok, err = pcall(pool.new, { memory_limit = 8e6, jit = true })
		assert.is_false(ok)
		assert.truthy(err:find("memory_limit", 1, true), err)
	end)
end)
