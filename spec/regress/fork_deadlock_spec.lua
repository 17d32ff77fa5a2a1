-- fork took the locks of the process in the order of file names: while files were watched, messages sent, tasks cancelled,
-- it could wait for a lock whose holder waited for one that it had taken already. Now in the order of their ranks.
local describe, it, assert, setup, teardown = describe, it, assert, setup, teardown
local child = require "spec.support.child"
local scale = require "spec.support.scale"
local scratch = require "spec.support.scratch"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

-- What goes on while the process forks, each in a task of its own until `stop` is set. And what a child does by itself.
local prelude = [[
	local sys = require "sys"
	local fs = pool.fs
	local busy = {}
	function busy.files(stop, dir) -- who watches them is `watched`
		local lib, i = require "lua-pool", 0
		repeat
			i = i + 1
			lib.fs.write(dir .. "/" .. i % 8, "x")
		until stop:is_set()
	end
	function busy.watched(stop, dir)
		local lib = require "lua-pool"
		repeat
			local ch = assert(lib.fs.watch(dir))
			for _ = 1, 2000 do
				if stop:is_set() or not ch:receive(0.01) then break end
			end
			ch:close()
		until stop:is_set()
	end
	function busy.messages(stop)
		local lib = require "lua-pool"
		local a, b = lib.channel(4), lib.channel()
		local echo = lib.async(function(from, to) for m in from do if not to:send(m) then return end end end, a, b)
		repeat
			a:send { 1, 2, 3 }
			b:receive()
		until stop:is_set()
		a:close()
		echo:await()
	end
	function busy.tasks(stop)
		local lib = require "lua-pool"
		repeat
			local fs = {}
			for k = 1, 10 do fs[k] = lib.async(function(x) return { x } end, k) end
			for k = 1, 10 do fs[k]:await() end
		until stop:is_set()
	end
	function busy.cancelled(stop)
		local lib = require "lua-pool"
		repeat
			local up = lib.event()
			local f = lib.async(function(u) u:set() while true do u:is_set() end end, up)
			up:wait()
			f:cancel()
			lib.async(function() lib.sleep(100) end):cancel(0)
		until stop:is_set()
	end
	function busy.pools(stop)
		local lib = require "lua-pool"
		repeat
			local p = lib.new { workers = 1 }
			p:async(function() end):await()
			p:close()
		until stop:is_set()
	end
	function busy.dicts(stop)
		local lib, i = require "lua-pool", 0
		repeat
			i = i + 1
			local d = lib.dict()
			for k = 1, 20 do d:set(k, ("x"):rep(100)) end
			d:update(i % 20 + 1, function(v) return v end)
			lib.named("counter", function() return lib.counter() end):add(1)
		until stop:is_set()
	end
	function busy.timers(stop)
		local lib = require "lua-pool"
		local t = lib.timer(0.0002, 0.0002)
		repeat
			t:wait()
			pcall(lib.deadline, 0.001, lib.sleep, 0.0001)
		until stop:is_set()
	end
	function busy.locks(stop)
		local lib = require "lua-pool"
		local m, rw = lib.mutex(), lib.rwlock()
		local other = lib.async(function(s, l, r) repeat l:lock() r:read_lock() r:unlock() l:unlock() until s:is_set() end, stop, m, rw)
		repeat
			m:lock()
			rw:write_lock()
			rw:unlock()
			m:unlock()
			lib.report()
		until stop:is_set()
		other:await()
	end
	function busy.processes(stop)
		local lib = require "lua-pool"
		repeat lib.run { "true" } until stop:is_set()
	end
	local function once()
		local set = pool.event()
		set:set()
		for _, name in ipairs(names) do assert(pool.async(busy[name], set, dir):pawait()) end
	end
]]

-- Forks n times while these go on; each child does all of it once.
local function storm(dir, n, names)
	return (prelude:gsub("ipairs%(names%)", function() return "ipairs(names)" end):gsub("^", function()
		return ("local dir, names = %q, {}\nfor name in (%q):gmatch '%%a+' do names[#names + 1] = name end\n"):format(dir, names)
	end)) .. ([[
		local stop = pool.event()
		local p = pool.new { workers = #names, name = "busy" }
		local running = {}
		for i, name in ipairs(names) do running[i] = p:async(busy[name], stop, dir) end
		for i = 1, %d do
			local pid = sys.fork()
			if pid == 0 then
				once()
				sys._exit(0)
			end
			local status = sys.wait(pid)
			assert(status == 0, "child " .. i .. " ended with " .. tostring(status))
		end
		stop:set()
		for i, name in ipairs(names) do
			local ok, err = running[i]:pawait(20)
			assert(ok, name .. ": " .. tostring(err))
		end
		assert(p:close(20))
		print "done"
	]]):format(n)
end

describe("a process that forks", function()
	local dir
	setup(function() dir = scratch.folder() end)
	teardown(function() scratch.remove(dir) end)

	for _, names in ipairs {
		"files watched messages files", "cancelled tasks timers locks",
		"files watched messages tasks cancelled pools dicts timers locks processes",
	} do
		it("does not hang, nor does the child, amid " .. names, function()
			if not child.may_fork_busy then return end
			local r = child.run(storm(dir, scale(names:find "^files watched messages files" and 120 or 12, 5), names), { limit = 100 })
			assert.equal("0|done\n|", ("%d|%s|%s"):format(r.status, r.out, r.err))
		end)
	end
end)
