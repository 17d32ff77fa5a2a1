-- The end of a program takes one exit_timeout and one second, whatever its tasks are doing, in however many pools, and however it ends.
-- What would wait for longer is killed here: status 124.
local describe, it, assert = describe, it, assert
local both = require "spec.support.both"
local child = require "spec.support.child"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end

local patient = "exit_timeout = 1000"

local function run(script, limit)
	return child.run(script, { limit = limit or 15 })
end

local function told(script)
	local r = run(script)
	return r.status .. "|" .. r.out .. "|" .. r.err
end

-- A call of C that takes hours.
local stuck = [[
	local function stuck(up)
		up:set()
		return (("a"):rep(50000)):find((".-"):rep(40) .. "b")
	end
]]

local nobodys = {
	{ "on_error of a detached task", [[on_error = function() os.exit(3) end]], [[p:go(error, "x")]] },
	{ "on_error of a future that is dropped", [[on_error = function() os.exit(3) end]],
		[[do p:async(error, "x"):wait() end collectgarbage() collectgarbage()]] },
	{ "init", [[init = function() os.exit(3) end]], [[p:go(function() end)]] },
	{ "init, of several tasks", [[init = function() os.exit(3) end]], [[for _ = 1, 5 do p:go(function() end) end]] },
}

describe("os.exit(3) takes no longer than it must", function()
	for _, case in ipairs(nobodys) do
		it("in " .. case[1], function()
			assert.equal("3||", told(("local p = pool.new { workers = 1, %s, %s } %s pool.event():wait()"):format(
				patient, case[2], case[3])))
		end)
	end

	it("in a detached task of a pool without threads", function()
		assert.equal("3||", told(("local p = pool.new { workers = 0, %s } p:go(function() os.exit(3) end)"):format(patient)))
	end)

	it("in a task that such a task has started", function()
		assert.equal("3||", told(([[local p = pool.new { workers = 0, %s }
			p:go(function() p:go(function() os.exit(3) end) end)]]):format(patient)))
	end)

	it("in `finish` of a pool that is closed", function()
		assert.equal("3||", told(([[local p = pool.new { workers = 1, %s, finish = function() os.exit(3) end }
			p:async(function() end):await()
			p:close()]]):format(patient)))
	end)
end)

local ends = { { "falling off the end", "", 0 }, { "os.exit(4)", "os.exit(4)", 4 }, { "an error", "error 'x'", 1 } }
if both.has_close then
	ends[#ends + 1] = { "os.exit(5, true)", "os.exit(5, true)", 5 }
	ends[#ends + 1] = { "os.exit(6, true) with everything in <close>", "os.exit(6, true)", 6, true }
end

describe("a program that ends by", function()
	for _, ending in ipairs(ends) do
		local name, last, status, closes = ending[1], ending[2], ending[3], ending[4]

		it(name .. " with 20 pools whose threads are stuck takes a second for all of them", function()
			local r = run(stuck .. ([[
				local pools = {}
				for i = 1, 20 do
					local up = pool.event()
					pools[i] = pool.new { workers = 1, exit_timeout = 0.1, on_error = false }
					if i %% 2 == 0 then pools[i]:go(stuck, up) else pools["f" .. i] = pools[i]:async(stuck, up) end
					up:wait()
				end
				%s %s
			]]):format(closes and "local p1 <close> = pools[1] " ..
				"local p2 <close> = pools[2] local f <close> = pools.f3 local g <close> = pools[5]:group()" or "", last))
			assert.equal(status, r.status, r.err)
			assert.truthy(r.err:find("abandoned", 1, true), r.err)
		end)

		it(name .. " with a finish that never ends", function()
			local r = run(([[
				local p = pool.new { workers = 1, finish = function() while true do end end, jit = %s }
				p:async(function() end):await()
				%s
			]]):format(both.jit and '"checked"' or "nil", last))
			assert.equal(status, r.status, r.err)
		end)

		it(name .. " gives a shield what exit_timeout gives", function()
			local r = run(([[
				local p = pool.new { workers = 1, exit_timeout = 1000 }
				local up = pool.event()
				local f = p:async(function(u)
					local lib = require "lua-pool"
					lib.shield(function()
						u:set()
						lib.sleep(2.5)
						io.stdout:write "shielded to its end"
						io.stdout:flush()
					end)
				end, up)
				up:wait()
				%s
			]]):format(last))
			assert.equal(status, r.status, r.err)
			assert.equal("shielded to its end", r.out)
			assert.is_nil(r.err:find("abandoned", 1, true), r.err)
		end)
	end
end)

if not both.has_close then return end

describe("os.exit(3, true)", function()
	local close = {
		pool = [[local p <close> = pool.new { workers = 1 } local f = p:async(never, up)]],
		["pool, with an endless loop"] = [[local p <close> = pool.new { workers = 1 }
			local f = p:async(function(u) u:set() while true do end end, up)]],
		future = [[local p = pool.new { workers = 1 } local f <close> = p:async(stuck, up)]],
		group = [[local p = pool.new { workers = 1 } local g <close> = p:group() g:async(stuck, up)]],
		["pool in a function"] = [[local p <close> = pool.new { workers = 1 } local f = p:async(never, up)
			local function deep() local q <close> = pool.new { workers = 1 } up:wait() os.exit(3, true) end deep()]],
	}
	for what, script in pairs(close) do
		it("ends, though a <close> " .. what .. " has a task that does not", function()
			local r = run(stuck .. [[
				local function never(u) u:set() require "lua-pool".event():wait() end
				local up = pool.event()
			]] .. script .. [[
				up:wait()
				os.exit(3, true)
			]])
			assert.equal("3|", r.status .. "|" .. r.out, r.err)
		end)
	end

	it("lets the detached tasks of a <close> pool finish", function()
		assert.equal("3|finished|", told([[
			local p <close> = pool.new { workers = 1 }
			local up = pool.event()
			p:go(function(u) u:set() require "lua-pool".sleep(0.05) io.stdout:write "finished" io.stdout:flush() end, up)
			up:wait()
			os.exit(3, true)
		]]))
	end)
end)
