-- When no thread can be had for the monitor, what needs it says so, instead of doing nothing in silence; a request reaches its task all
-- the same.
local describe, it, assert = describe, it, assert
local child = require "spec.support.child"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end

local preload = package.searchpath and package.searchpath("nomonitor", package.cpath)
for template in package.cpath:gmatch "[^;]+" do
	local path = template:gsub("%?", "nomonitor")
	local f = not preload and io.open(path, "rb")
	if f then
		f:close()
		preload = path
	end
end

local function told(script)
	if os.getenv "LUA_POOL_SANITIZER" then return nil end -- its runtime has to be the first that is loaded
	return child.told(script, { env = "LD_PRELOAD=" .. child.quote(assert(preload)), limit = 15 })
end

local function expect(wanted, script)
	local got = told(script)
	if got then assert.equal(wanted, got) end
end

describe("without a thread for the monitor", function()
	it("pool.deadline in a task raises, and the task goes on", function()
		expect("0|false\ttrue\n|", [[
			print(pool.async(function()
				local lib = require "lua-pool"
				local ok, err = pcall(lib.deadline, 0.01, function() while true do end end)
				return ok, tostring(err):find("no thread can be had", 1, true) ~= nil
			end):await())]])
	end)

	it("a task under task_timeout fails and says why", function()
		expect("0|false\ttrue\n|", [[
			local p = pool.new { workers = 1, task_timeout = 0.01, on_error = false }
			local ok, err = p:async(function() while true do end end):pawait()
			print(ok, tostring(err):find("no thread can be had that would see to task_timeout", 1, true) ~= nil)]])
	end)

	it("deadlines of the main state hold for its waits", function()
		expect("0|true\n|", [[
			local ok, err = pcall(pool.deadline, 0.01, function() pool.event():wait() end)
			print(not ok and err == pool.TIMEOUT)]])
	end)

	it("a timer cannot be made, and says so", function()
		expect("0|false\ttrue\n|", [[
			local ok, err = pcall(pool.timer, 0.01)
			print(ok, err:find("no thread", 1, true) ~= nil)]])
	end)

	it("cancelling reaches waits, sleeps and calls, again and again", function()
		expect("0|done\n|", [[
			local p = pool.new { workers = 2, jit = ]] .. (rawget(_G, "jit") and '"checked"' or "nil") .. [[ }
			for i = 1, 60 do
				local up = pool.event()
				local f = p:async(function(u, k)
					local lib = require "lua-pool"
					u:set()
					if k % 3 == 0 then lib.event():wait() elseif k % 3 == 1 then lib.sleep(1000) end
					while true do end
				end, up, i)
				up:wait()
				assert(f:cancel(10))
			end
			print "done"]])
	end)
end)
