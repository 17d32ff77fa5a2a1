-- Life and death: how a process ends, what a signal does, what is left behind. Everything happens in child processes.
local describe, it, assert = describe, it, assert
local both = require "spec.support.both"
local child = require "spec.support.child"
local scale = require "spec.support.scale"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end

local LIMIT = 20 -- seconds: far more than any of these needs, far less than for ever

-- What the tasks of a program are doing when it ends. Each piece of script returns once it is so.
local doing = {
	pending = [[
		local p = pool.new { workers = 1, max_threads = 1, on_error = false }
		local up, never = pool.event(), pool.event()
		local holder = p:async(function() up:set() never:wait() end)
		up:wait()
		local fs = {}
		for i = 1, 100 do fs[i] = p:async(function() print "must not run" end) end
	]],
	running = [[
		local up, stop = pool.event(), pool.event()
		local f = pool.async(function()
			up:set()
			local n = 0
			for i = 1, 20000000 do n = n + i % 7 end
			return n
		end)
		up:wait()
	]],
	sleeping = [[
		local up = pool.event()
		local f = pool.async(function() up:set() pool.sleep(1000) end)
		up:wait()
	]],
	blocked = [[
		local up, ch, never = pool.counter(0), pool.channel(), pool.event()
		local all = pool.event()
		local function arrive() if up:add(1) == 4 then all:set() end end
		local other = pool.async(function() arrive() never:wait() end)
		local fs = {
			pool.async(function() arrive() ch:receive() end),
			pool.async(function() arrive() never:wait(1000) end),
			pool.async(function() arrive() other:await() end),
		}
		all:wait()
	]],
	detached = [[
		local up = pool.event()
		pool.go(function()
			up:set()
			pool.sleep(0.01)
			print "detached ended"
		end)
		up:wait()
	]],
	idle = [[
		local f = pool.async(function() return 1 end)
		f:await()
	]],
	cancelled = [[
		local up, never = pool.event(), pool.event()
		local f = pool.async(function() up:set() never:wait() end)
		up:wait()
		f:cancel()
	]],
}

-- How it ends: the script's last lines, the status, whether detached tasks may finish.
local ends = {
	{ "falling off the end", [[ io.write "main ends\n" ]], 0, true },
	{ "os.exit(n, true)", [[ io.write "main ends\n" os.exit(3, true) ]], 3, true },
	{ "os.exit(n, false)", [[ io.write "main ends\n" os.exit(4, false) ]], 4, true },
	{ "os.exit(true)", [[ io.write "main ends\n" os.exit(true) ]], 0, true },
	{ "an error", [[ io.write "main ends\n" error("main failed", 0) ]], 1, true },
	{ "SIGTERM", [[ io.write "main ends\n" io.stdout:flush() os.execute "kill -TERM $PPID" pool.sleep(1000) ]], 128 + 15, false },
	{ "SIGINT", [[ io.write "main ends\n" io.stdout:flush() io.popen "kill -INT $PPID":close() pool.event():wait() ]], nil, nil },
	{ "kill -9", [[ io.write "main ends\n" io.stdout:flush() os.execute "kill -9 $PPID" pool.sleep(1000) ]], 128 + 9, false },
}

for what, script in pairs(doing) do
	describe("a program whose tasks are " .. what, function()
		for _, ending in ipairs(ends) do
			local name, last, status, finishes = ending[1], ending[2], ending[3], ending[4]
			it("that ends by " .. name .. " has the right status and output, in bounded time", function()
				if both.jit and name == "os.exit(true)" then return end -- 5.1 takes numbers only
				local r = child.run(script .. last, { limit = LIMIT })
				local told = name .. ": " .. r.status .. "|" .. r.out .. "|" .. r.err
				assert.are_not.equal(124, r.status, told)
				if name == "SIGINT" then
					-- `lua` turns it into an error, `luajit` too; a second one would end it.
					assert.is_true(r.status == 1 or r.status == 130, told)
				else
					assert.equal(status, r.status, told)
				end
				assert.truthy(r.out:find("main ends\n", 1, true), told)
				assert.is_nil(r.out:find("must not run", 1, true), told)
				assert.is_nil(r.err:find("abandoned", 1, true), told)
				assert.is_nil(r.err:find("did not", 1, true), told)
				if name == "an error" then
					assert.truthy(r.err:find("main failed", 1, true), told)
				elseif name ~= "SIGINT" then
					assert.equal("", r.err, told)
				end
				if what == "detached" and finishes then assert.truthy(r.out:find("detached ended", 1, true), told) end
			end)
		end
	end)
end

describe("detached tasks at the end of the program", function()
	it("finish, those that are queued too, and those that they await", function()
		local r = child.run([[
			pool.configure { workers = 2 }
			for i = 1, 50 do
				pool.go(function()
					local n = pool.async(function() return 1 end):await()
					pool.go(function() print("end of", n) end)
				end)
			end
		]], { limit = LIMIT })
		assert.equal(0, r.status)
		assert.equal(("end of\t1\n"):rep(50), r.out .. r.err)
	end)

	it("are given up after exit_timeout, and stderr says so", function()
		local r = child.run([[
			local up, never = pool.event(), pool.event()
			pool.configure { workers = 2, exit_timeout = 0.05 }
			pool.go(function() up:set() never:wait() end)
			up:wait()
		]], { limit = LIMIT })
		assert.equal(0, r.status)
		assert.truthy(r.err:find("lua-pool: ", 1, true), r.err)
	end)
end)

describe("os.exit inside a task", function()
	for _, others in ipairs { 0, 3 } do
		it(("ends the process with that status, %d other tasks waiting"):format(others), function()
			for _, code in ipairs { "0", "7", "255", "true", "false", "" } do
				local wanted = tonumber(code) or (code == "false" and 1 or 0)
				local r = child.run(([[
					pool.configure { workers = 2 }
					local up, never = pool.counter(0), pool.event()
					for i = 1, %d do pool.async(function() up:add(1) never:wait() end) end
					io.write "buffered by main "
					local f = pool.async(function() io.write "buffered by the task\n" os.exit(%s) end)
					f:await()
					print "not reached"
				]]):format(others, code), { limit = LIMIT })
				assert.equal(wanted, r.status)
				assert.equal("buffered by main buffered by the task\n|", r.out .. "|" .. r.err)
			end
		end)
	end

	it("of several tasks at once ends it too", function()
		for _ = 1, scale(20) do
			local r = child.run([[
				pool.configure { workers = 4 }
				local up, gate = pool.counter(0), pool.event()
				local fs = {}
				for i = 1, 4 do fs[i] = pool.async(function() if up:add(1) == 4 then gate:set() end gate:wait() os.exit(5) end) end
				for i = 1, 4 do fs[i]:await() end
			]], { limit = LIMIT })
			assert.equal("5||", ("%d|%s|%s"):format(r.status, r.out, r.err))
		end
	end)

	it("works with workers = 0, and while the main program ends", function()
		local r = child.run([[
			local p = pool.new { workers = 0 }
			p:async(function() os.exit(6) end)
		]], { limit = LIMIT })
		assert.equal("6||", ("%d|%s|%s"):format(r.status, r.out, r.err))
		for _ = 1, scale(20) do
			r = child.run("pool.go(function() os.exit(0) end)", { limit = LIMIT })
			assert.equal("0||", ("%d|%s|%s"):format(r.status, r.out, r.err))
		end
	end)
end)

describe("the end of the state", function()
	it("leaves finalisers of older objects a closed library, and no crash", function()
		local r = child.run([[
			local function finaliser()
				local pool = package.loaded["lua-pool"]
				for _, name in ipairs { "async", "go", "map", "stats", "resize", "close", "imap", "try_async" } do
					local ok, err = pcall(pool[name], print, 3)
					if ok then print(name .. " worked") end
				end
				print((pcall(pool.sleep, 0.001)))
				print(pcall(f.status, f))
				print((pcall(e.wait, e)))
				print(tostring(p) ~= nil, (pcall(p.async, p, print)))
			end
			if newproxy then old = newproxy(true) getmetatable(old).__gc = finaliser
			else old = setmetatable({}, { __gc = finaliser }) end
			local pool = require "lua-pool"
			f = pool.async(function() return 1 end)
			e = pool.event()
			p = pool.new { workers = 1 }
			p:async(function() end):await()
			f:await()
			io.write "end of main\n"
		]], { limit = LIMIT, bare = true })
		assert.equal(0, r.status)
		assert.equal("", r.err)
		assert.truthy(r.out:find "^end of main\n", r.out)
		assert.is_nil(r.out:find("worked", 1, true), r.out)
	end)

	it("runs the finalisers of worker states, and finish, before the process ends", function()
		local r = child.run([[
			pool.configure { workers = 1, finish = function() print "finish" end }
			pool.async(function()
				if newproxy then kept = newproxy(true) getmetatable(kept).__gc = function() print "gc" end
				else kept = setmetatable({}, { __gc = function() print "gc" end }) end
			end):await()
		]], { limit = LIMIT })
		assert.equal("0|finish\ngc\n|", ("%d|%s|%s"):format(r.status, r.out, r.err))
	end)

	it("is bounded though a finaliser of a worker waits for ever", function()
		local r = child.run([[
			pool.configure { workers = 1, exit_timeout = 0.05 }
			local never = pool.event()
			pool.async(function()
				if newproxy then kept = newproxy(true) getmetatable(kept).__gc = function() never:wait() end
				else kept = setmetatable({}, { __gc = function() never:wait() end }) end
			end):await()
		]], { limit = LIMIT })
		assert.equal(0, r.status)
		assert.truthy(r.err:find("abandoned", 1, true), r.err)
	end)

	it("with an error in a <close> variable is as usual", function()
		if not both.has_close then return end
		local r = child.run([[
			local up, never = pool.event(), pool.event()
			local f = pool.async(function() up:set() never:wait() end)
			up:wait()
			local x <close> = setmetatable({}, { __close = function() error("in close", 0) end })
		]], { limit = LIMIT })
		assert.equal(1, r.status)
		assert.truthy(r.err:find("in close", 1, true), r.err)
	end)
end)

describe("the module", function()
	it("may be unloaded and loaded again while tasks run", function()
		local r = child.run([[
			local up, gate = pool.event(), pool.event()
			local f = pool.async(function() up:set() gate:wait() return "kept" end)
			up:wait()
			for _ = 1, 5 do
				for name in pairs(package.loaded) do if name:find "^lua%-pool" then package.loaded[name] = nil end end
				collectgarbage()
				local again = require "lua-pool"
				assert(again.async(function() return 1 end):await() == 1)
				assert(again.CANCELLED == pool.CANCELLED)
				local f2 = again.async(function(g) return g:status() end, f)
				assert(f2:await() == "running")
			end
			gate:set()
			print(f:await())
		]], { limit = LIMIT })
		assert.equal("0|kept\n|", ("%d|%s|%s"):format(r.status, r.out, r.err))
	end)

	it("loaded and never used costs no thread and no exit", function()
		assert.equal("0||", child.told("", { limit = LIMIT }))
	end)

	it("works in the first line of a program", function()
		assert.equal("0|42\n|", child.told([[print(require "lua-pool".async(function() return 42 end):await())]], { bare = true }))
	end)
end)

describe("signals", function()
	it("of the host are handled on the host's thread: Ctrl-C ends a wait with an error", function()
		local r = child.run([[
			local never, up = pool.event(), pool.event()
			local f = pool.async(function()
				up:set()
				never:wait()
			end)
			up:wait()
			pool.go(function() io.popen "kill -INT $PPID":close() end)
			local ok, err = pcall(f.await, f)
			print(ok, (tostring(err):gsub("^.*interrupted!.*$", "interrupted!")))
		]], { limit = LIMIT })
		assert.equal(0, r.status)
		assert.equal("false\tinterrupted!\n", r.out)
	end)

	it("are blocked in workers, but not in the processes that they start", function()
		local r = child.run([[
			local function blocked(path)
				for line in io.lines(path) do
					local mask = line:match "^SigBlk:%s*(%x+)"
					if mask then return mask end
				end
			end
			local function in_child()
				local p = io.popen "grep SigBlk /proc/self/status"
				local mask = p:read("*a"):match "%x%x%x+"
				p:close()
				return mask
			end
			local here, there = blocked "/proc/thread-self/status", pool.async(function()
				return blocked "/proc/thread-self/status"
			end):await()
			print(tonumber(here, 16) == 0, tonumber(there, 16) ~= 0, tonumber((pool.async(in_child):await()), 16))
			os.execute "true"
			print(pool.async(function()
				os.execute "grep SigBlk /proc/self/status > /dev/null"
				return io.popen("echo read"):read "*l"
			end):await())
		]], { limit = LIMIT })
		assert.equal("0|true\ttrue\t0\nread\n|", ("%d|%s|%s"):format(r.status, r.out, r.err))
	end)
end)

describe("fork and exec", function()
	it("leaks no descriptor into children", function()
		local r = child.run([[
			local p = pool.new { workers = 2 }
			p:async(function() end):await()
			local function count() local h = io.popen "ls /proc/self/fd | wc -l" local n = h:read "*n" h:close() return n end
			print(count() == p:async(count):await())
			p:close()
		]], { limit = LIMIT })
		assert.equal("0|true\n|", ("%d|%s|%s"):format(r.status, r.out, r.err))
	end)

	if child.may_fork then
		it("gives the child fresh pools, and the parent its own undisturbed", function()
			local r = child.run([[
				local sys = require "sys"
				local up, gate = pool.event(), pool.event()
				local f = pool.async(function() up:set() gate:wait() return "parent's" end)
				up:wait()
				local p = pool.new { workers = 2 }
				p:async(function() end):await()
				io.stdout:flush()
				local pid = sys.fork()
				if pid == 0 then
					local ok, err = pcall(f.await, f, 0)
					print(ok, err)
					print((pcall(gate.set, gate)))
					print(pool.async(function() return "child's default" end):await())
					print(p:async(function() return "child's p" end):await())
					print(p:close())
					pool.go(function() pool.sleep(0.01) print "child's detached" end)
					os.exit(9, true)
				end
				print(sys.wait(pid))
				gate:set()
				print(f:await(), p:async(function() return "still here" end):await())
			]], { limit = LIMIT })
			assert.equal(0, r.status)
			assert.equal("", r.err)
			assert.truthy(r.out:find("^false\t[^\n]*parent process"), r.out)
			assert.truthy(r.out:find("\nfalse\nchild's default\nchild's p\ntrue\nchild's detached\n9\nparent's\tstill here\n", 1, true), r.out)
		end)

		if child.may_fork_busy then it("works a hundred times while tasks come and go", function()
			local r = child.run(([[
				local sys = require "sys"
				local p = pool.new { workers = 2 }
				for i = 1, %d do
					local fs = {}
					for k = 1, 20 do fs[k] = p:async(function(x) return { x } end, k) end
					local pid = sys.fork()
					if pid == 0 then
						local sum = 0
						for k = 1, 20 do sum = sum + p:async(function(x) return x end, k):await() end
						sys._exit(sum == 210 and 0 or 1)
					end
					for k = 1, 20 do assert(fs[k]:await()[1] == k) end
					assert(sys.wait(pid) == 0)
				end
				p:close()
				print "done"
			]]):format(scale(100, 5)), { limit = 60 })
			assert.equal("0|done\n|", ("%d|%s|%s"):format(r.status, r.out, r.err))
		end) end
	end
end)

describe("many short programs", function()
	it("end without a crash, whatever the moment", function()
		for i = 1, scale(60, 10) do
			local r = child.run(([[
				local p = pool.new { workers = 2 }
				for i = 1, %d do p:async(function(x) return x end, i) pool.async(function(x) return { x } end, i) end
				%s
			]]):format(i * 3, ({ "", "os.exit(0, true)", "os.exit(0, false)", "p:close()", "p = nil collectgarbage()" })[i % 5 + 1]),
				{ limit = LIMIT })
			assert.equal("0||", ("%d|%s|%s"):format(r.status, r.out, r.err))
		end
	end)
end)
