-- os.exit in a task ends the process with its status, also where the task is the child of one that runs: whoever cancels at the
-- end passes by the task that leaves.
local describe, it, assert = describe, it, assert
local child = require "spec.support.child"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end

-- Longer than anything here may take; what waits for it needlessly is killed before: status 124.
local patient = "exit_timeout = 1000"

local function told(script)
	local r = child.run(script, { limit = 10 })
	return r.status .. "|" .. r.out .. "|" .. r.err
end

describe("os.exit(3)", function()
	it("in a child that its parent awaits ends the process with 3", function()
		for _, workers in ipairs { 1, 2, 4 } do
			assert.equal("3||", told(([[
				pool.configure { workers = %d, %s }
				pool.async(function() require "lua-pool".async(function() os.exit(3) end):await() end):await()
			]]):format(workers, patient)))
		end
	end)

	it("in a child of a parent that runs on ends the process with 3", function()
		assert.equal("3||", told(([[
			pool.configure { workers = 2, %s }
			pool.async(function()
				local lib = require "lua-pool"
				lib.async(function() os.exit(3) end)
				lib.event():wait()
			end):await()
		]]):format(patient)))
	end)

	it("in a grandchild, beside members of a group and children of its own, ends the process with 3", function()
		assert.equal("3||", told(([[
			pool.configure { workers = 4, %s }
			pool.async(function()
				local lib = require "lua-pool"
				local g = lib.group()
				g:async(function() lib.event():wait() end)
				g:async(function()
					local up = lib.event()
					lib.async(function(u) u:set() lib.event():wait() end, up)
					up:wait()
					lib.async(function() os.exit(3) end):await()
				end)
				g:await()
			end):await()
		]]):format(patient)))
	end)

	it("while another task cancels the one that leaves, or all, ends the process with 3", function()
		for _, how in ipairs { "f:cancel()", "f:cancel(0)", "p:cancel_all()" } do
			assert.equal("3||", told(([[
				local p = pool.new { workers = 2, %s }
				local q = pool.new { workers = 1 }
				local ch, gone = pool.channel(1), pool.event()
				local keep = q:async(function(c, g, p1)
					local f = c:receive()
					g:wait()
					-- The exit may have begun, or begins now.
					local _ = p1
					%s
					while true do pool.sleep(0.001) %s end
				end, ch, gone, p)
				local f = p:async(function(g) g:set() os.exit(3) end, gone)
				ch:send(f)
				pool.event():wait()
			]]):format(patient, how:gsub("^p:", "p1:"), how:gsub("^p:", "p1:"))), how)
		end
	end)
end)
