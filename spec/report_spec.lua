-- The report: who waits where for what, and who holds it; the dead-lock error that names the ring; the stuck pool.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local child = require "spec.support.child"
local proc = require "spec.support.proc"
local scale = require "spec.support.scale"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local function line_of(name)
	return (debug.getinfo(name, "S").short_src:gsub("^%./", "")):gsub("%p", "%%%0")
end
local HERE = line_of(line_of) -- this file, as a pattern

-- The entry of the task whose future this is; waits until it is there and in this state.
local function entry_of(future, state)
	local address, found = tostring(future):match "0x%x+", nil
	assert.is_true(proc.eventually(function()
		for _, e in ipairs(pool.report "list") do
			if e.task == address and (not state or e.state == state) then found = e end
		end
		return found ~= nil
	end))
	return found
end

describe("pool.report", function()
	it("says of each waiting task where in its code, for what, and who holds that", function()
		local m, go = pool.mutex(), pool.event()
		local owner = pool.async(function(mu, e)
			mu:lock()
			e:wait()
			mu:unlock()
		end, m, go)
		assert.equal("waiting", entry_of(owner, "waiting").state)
		local waiter = pool.async(function(mu)
			mu:lock()
			mu:unlock()
		end, m)
		local e = entry_of(waiter, "waiting")
		local line = debug.getinfo(1, "l").currentline
		assert.matches(HERE .. ":" .. line - 4 .. "$", e.at)
		assert.matches(HERE .. ":%d+$", e.started)
		assert.is_true(e.objects[1] == m)
		assert.equal(tostring(owner):match "0x%x+", e.holder.task)
		assert.is_true(e.worker ~= e.holder.worker)
		assert.matches("waits at " .. HERE .. ":%d+ for mutex 0x%x+, held by task 0x%x+ %(async at " .. HERE, pool.report())
		go:set()
		waiter:await()
		assert.is_true(proc.eventually(function() return pool.report() == "no task runs or waits" end))
	end)

	it("knows what is waited for: futures, channels, groups, several at once, the clock, nothing", function()
		local never, ch, g = pool.event(), pool.channel(), pool.group()
		local member = g:async(function(e) e:wait() end, never)
		local function waits(what)
			return entry_of(what, "waiting").text
		end
		local fs = {
			pool.async(function(f) f:wait(1000) end, member),
			pool.async(function(c) c:receive() end, ch),
			pool.async(function(group) group:await(1000) end, g),
			pool.async(function(e, c)
				local here = require "lua-pool"
				here.select { e, e, c, { here.channel(), "send", 1 }, e, e }
			end, never, ch),
		}
		assert.matches("for future 0x%x+ %(async at .*%), which is running on worker %d+", waits(fs[1]))
		assert.matches("for channel 0x%x+ to receive", waits(fs[2]))
		assert.matches("for group 0x%x+, of which 1 tasks are left", waits(fs[3]))
		assert.matches("for event 0x%x+, or event 0x%x+, or .*, or 2 more$", waits(fs[4]))
		local sleeper = pool.async(function() require "lua-pool".sleep(1000) end)
		assert.matches("sleeps at " .. HERE, entry_of(sleeper, "sleeping").text)
		local own = pool.async(function()
			local runs = 0
			for _, e in ipairs(require "lua-pool".report "list") do
				if e.state == "running" and e.text:find "runs$" then runs = runs + 1 end
			end
			return runs
		end):await()
		assert.equal(1, own)
		for _, f in ipairs(fs) do assert.is_true(f:cancel()) end
		g:cancel()
		sleeper:cancel()
	end)

	it("the main state, and tasks that another runs on top of", function()
		local seen = pool.async(function()
			local here = require "lua-pool"
			local f = here.async(function()
				local text
				repeat text = require "lua-pool".report() until text:find "main state waits" -- it spins for a moment first
				return text
			end)
			return f:await() -- runs it in its stead
		end):await()
		assert.matches("the main state waits at " .. HERE .. ":%d+ for future 0x%x+", seen)
		if seen:find("in its stead", 1, true) then -- else another worker was faster
			assert.matches("waits for the task that runs in its stead", seen)
		end
	end)

	it("the place is the user's, not that of our own Lua parts", function()
		local told = pool.map(function(i)
			if i ~= 1 then return "" end
			local here = require "lua-pool"
			local text
			repeat text = here.report() until text:find "the main state waits"
			return text
		end, 1)
		assert.matches("the main state waits at " .. HERE, told[1])
	end)

	it("can be asked at any moment", function()
		local stop, m, n = pool.event(), pool.mutex(), pool.counter()
		local fs = {}
		for i = 1, 3 do
			fs[i] = pool.async(function(e, mu, c)
				local here = require "lua-pool"
				while not e:is_set() do
					mu:with(function() c:add() end)
					here.async(function() end):await()
					here.channel():receive(0.00005)
				end
			end, stop, m, n)
		end
		for _ = 1, scale(300) do
			assert.is_string(pool.report())
			assert.is_table(pool.report "list")
		end
		stop:set()
		for i = 1, 3 do fs[i]:await() end
	end)

	it("does not keep channels alive that nobody can reach", function()
		local up = pool.event()
		local fs = {}
		for i = 1, 10 do
			fs[i] = pool.async(function(c, u)
				u:set()
				local a, why = c:receive()
				return a, why
			end, pool.channel(), up)
		end
		up:wait()
		for _ = 1, 50 do pool.report() end
		for _ = 1, 4 do collectgarbage() end
		for i = 1, 10 do
			for _ = 1, 4 do collectgarbage() end
			assert.same({ nil, "closed" }, { fs[i]:await() })
		end
	end)

	it("refuses other forms", function()
		assert.error_matches(function() pool.report "tree" end, "invalid option 'tree'")
	end)
end)

describe("a dead-lock error", function()
	it("names the ring of mutexes, with places", function()
		local n = 4
		local forks, here = {}, pool.barrier(n)
		for i = 1, n do forks[i] = pool.mutex() end
		local fs = {}
		for i = 1, n do
			fs[i] = pool.async(function(left, right, all)
				left:lock()
				all:wait()
				right:lock()
				right:unlock()
				left:unlock()
			end, forks[i], forks[i % n + 1], here)
		end
		local told
		for i = 1, n do
			local ok, err = fs[i]:pawait()
			if not ok then told = told or err end
		end
		assert.matches("^" .. HERE .. ":%d+: dead%-lock: what this waits for waits for this task in turn: mutex 0x%x+, ", told)
		local _, places = told:gsub("whose owner waits at " .. HERE .. ":%d+ for mutex 0x%x+, ", "")
		assert.equal(n - 1, places, told)
		assert.matches("whose owner is this task$", told)
	end)

	it("names the ring of futures", function()
		local ch, told = pool.channel(10), pool.channel(10)
		local function task(c, t)
			local other = c:receive()
			local ok, err = pcall(other.await, other)
			if not ok then t:send(err) end
		end
		local a = pool.async(task, ch, told)
		local b = pool.async(task, ch, told)
		ch:send(b)
		ch:send(a)
		a:wait()
		b:wait()
		local err = told:receive()
		if not err:find "whose task is this task" then err = told:receive() end
		assert.matches("dead%-lock.*future 0x%x+, whose task .*is this task$", err)
	end)

	-- A task awaits its group, a member of which awaits that task. Each has its turn to close the ring.
	local function group_and_member(last)
		local me, up, go, told = pool.channel(1), pool.semaphore(0), pool.event(), pool.channel(2)
		local f = pool.async(function(c, u, e, t, who)
			local here = require "lua-pool"
			local mine, g = c:receive(), here.group()
			g:go(function() end)
			g:go(function(u1, e1) -- keeps the group busy, and is in no ring
				u1:release()
				e1:wait()
			end, u, e)
			local member = g:async(function(owner, u1, e1, t1, who1)
				u1:release()
				if who1 == "member" then e1:wait() end
				local ok, err = pcall(owner.await, owner)
				t1:send("member", ok, err)
			end, mine, u, e, t, who)
			u:acquire() -- both have begun: await does not run them itself
			u:acquire()
			if who == "owner" then e:wait() end
			local ok, err = pcall(g.await, g)
			t:send("owner", ok, err)
			g:cancel(0)
			return tostring(member)
		end, me, up, go, told, last)
		me:send(f)
		return f, go, told
	end

	-- Until so many tasks wait for an object of this class.
	local function waiting_for(class, n)
		assert.is_true(proc.eventually(function()
			local count = 0
			for _, e in ipairs(pool.report "list") do
				if e.state == "waiting" and not e.main and tostring(e.objects[1]):find(class, 1, true) then count = count + 1 end
			end
			return count == n
		end))
	end

	it("names the ring through a group, whichever of its waits is the last", function()
		local f, go, told = group_and_member "owner"
		waiting_for("lua-pool.future", 1) -- the member
		waiting_for("lua-pool.event", 2)
		go:set()
		local who, ok, err = told:receive(10)
		assert.same({ "owner", false }, { who, ok })
		assert.matches("dead%-lock: .*: group 0x%x+, one of whose tasks waits at " .. HERE .. ":%d+ for future 0x%x+, " ..
			"whose task is this task$", err)
		assert.is_true((f:wait(10)))

		f, go, told = group_and_member "member"
		waiting_for("lua-pool.group", 1) -- the owner
		waiting_for("lua-pool.event", 2)
		go:set()
		who, ok, err = told:receive(10)
		assert.same({ "member", false }, { who, ok })
		assert.matches("dead%-lock: .*: future 0x%x+, whose task waits at " .. HERE .. ":%d+ for group 0x%x+, " ..
			"one of whose tasks is this task$", err)
		assert.same({ "owner", true, true }, { told:receive(10) }) -- the ring is open, so the others go on
		assert.is_true((f:wait(10)))
	end)

	it("finds a ring through any of several readers, and through a mutex and a group", function()
		local rw, m, up, go = pool.rwlock(), pool.mutex(), pool.semaphore(0), pool.event()
		local idle = pool.async(function(l, u, e)
			l:read_lock()
			u:release()
			e:wait()
			l:unlock()
		end, rw, up, go)
		local writer = pool.async(function(l, mu, u, e)
			mu:lock()
			u:release()
			e:wait()
			u:release()
			local ok, err = pcall(l.write_lock, l)
			return ok, err
		end, rw, m, up, go)
		up:acquire()
		up:acquire()
		local reader = pool.async(function(l, mu)
			l:read_lock()
			local ok, err = pcall(mu.lock, mu)
			return ok, err
		end, rw, m)
		waiting_for("lua-pool.mutex", 1)
		local late = pool.event() -- one reader stays inside while the ring closes
		local stays = pool.async(function(l, u, e)
			l:read_lock()
			u:release()
			e:wait()
			l:unlock()
		end, rw, up, late)
		up:acquire()
		go:set()
		local ok, err = writer:await(10)
		assert.is_false(ok)
		assert.matches("rwlock 0x%x+, whose owner waits at " .. HERE .. ":%d+ for mutex 0x%x+, whose owner is this task$", err)
		assert.is_true((reader:await(10)))
		late:set()
		idle:await()
		stays:await()

		-- A member wants what the one who awaits the group has locked.
		local told, held = pool.channel(1), pool.mutex()
		local owner = pool.async(function(mu, t)
			local here = require "lua-pool"
			mu:lock()
			local g = here.group()
			g:go(function(mu1, t1)
				local fine, why = pcall(mu1.lock, mu1)
				if not fine then t1:send(why) end
			end, mu, t)
			local fine, why = pcall(g.await, g)
			if not fine then t:send(why) end
			mu:unlock()
		end, held, told)
		assert.matches("dead%-lock: .*mutex 0x%x+.*this task$", told:receive(10))
		assert.is_true((owner:wait(10)))
	end)

	it("is none while the group's tasks are about to be cancelled, or wait with a time limit", function()
		local me, up = pool.channel(1), pool.event()
		local f = pool.async(function(c, u)
			local here = require "lua-pool"
			local mine, g = c:receive(), here.group()
			g:go(function(owner, u1)
				u1:set()
				owner:await()
			end, mine, u)
			u:wait()
			return g:cancel()
		end, me, up)
		me:send(f)
		assert.is_true((f:await(10)))
		f = pool.async(function(c)
			local here = require "lua-pool"
			local mine, g = c:receive(), here.group()
			local member = g:async(function(owner) return owner:await(0.02) end, mine)
			return g:await(), select("#", member:await())
		end, me)
		me:send(f)
		assert.same({ true, 2 }, { f:await(10) })
	end)
end)

describe("a pool whose threads all wait while tasks are queued", function()
	local stuck = [[
		local p = pool.new { workers = 2, max_threads = 2, name = "jammed", on_error = %s }
		local ch, up = pool.channel(), pool.semaphore(0)
		for _ = 1, 2 do
			p:go(function(c, u)
				u:release()
				c:receive()
			end, ch, up)
		end
		for _ = 1, 2 do up:acquire() end
		local f = p:async(function(c)
			c:send(1)
			c:send(2)
		end, ch)
		assert(not f:wait(0.3))
		ch:send(1) -- one goes on, and the queue with it
		f:cancel()
		ch:close()
		p:close()
		print "ended"
	]]
	local waits = "task 0x%x+ %(async at [^ ]+:%d+%) on worker %d+ of pool 'jammed' waits at [^ ]+:%d+ for channel 0x%x+ to receive"

	it("says so once on stderr, with what each waits for", function()
		local r = child.run(stuck:format "nil")
		assert.equal("ended\n", r.out, r.err)
		assert.matches("all 2 threads of pool 'jammed' wait for others while %d tasks are queued", r.err)
		assert.equal(1, select(2, r.err:gsub("wait for others", "")))
		assert.equal(2, select(2, r.err:gsub(waits, "")), r.err)
	end)

	it("tells on_error, if there is one", function()
		local r = child.run(stuck:format [[function(err, trace)
			print("told: " .. err)
			assert(err == trace)
		end]])
		assert.matches("^told: all 2 threads of pool 'jammed' wait for others", r.out)
		assert.matches("ended\n$", r.out)
		assert.equal(2, select(2, r.out:gsub(waits, "")), r.out)
		assert.equal("", r.err)
	end)

	it("and is silent if that was asked for", function()
		local r = child.run(stuck:format "false")
		assert.equal("ended\n", r.out)
		assert.equal("", r.err)
	end)
end)
