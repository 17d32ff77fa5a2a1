-- nginx: waiting in a worker process suspends the light thread that waits, and nobody else.
local nginx = require "spec.support.nginx"

local reason = nginx.missing()

describe("waiting in nginx", function()
	if reason then
		require("spec.support.missing").all(it, pending, reason)
		return
	end
	local server

	-- What is waited for between requests lives in one worker process.
	setup(function()
		server = nginx.start {
			workers = 1,
			http = [[init_worker_by_lua_block {
				pool = require "lua-pool"
				pool.configure { workers = 2 }
				state = { count = 0 }
				gate, held, messages, mutex = pool.event(), pool.counter(), pool.channel(4), pool.mutex()
				function held_task(g, n) n:add(1) g:wait() return "released" end
			}]],
			locations = {
				["/await"] = [[ngx.say(pool.async(function(a, b) return a + b end, 40, 2):await())]],
				["/error"] = [[local ok, err = pool.async(function() error { code = 7 } end):pawait() ngx.say(tostring(ok), err.code)]],
				["/held"] = [[ngx.say(pool.async(held_task, gate, held):await())]],
				["/how-many"] = [[ngx.say(held:get())]],
				["/release"] = [[gate:set() ngx.say "set"]],
				["/reset"] = [[gate:reset() held:set(0) ngx.say "reset"]],
				["/receive"] = [[ngx.say(messages:receive())]],
				["/send"] = [[messages:send(ngx.var.arg_m) ngx.say "sent"]],
				["/timeout"] = [[local e = pool.event() ngx.say(tostring(e:wait(0.01)), " ", select(2, e:wait(0.01)))]],
				["/poll"] = [[local f = pool.async(held_task, pool.event(), held) ngx.say(select(2, f:await(0))) f:cancel()]],
				["/sleep"] = [[local t = pool.now() pool.sleep(0.02) ngx.say(pool.now() - t >= 0.02)]],
				["/mutex"] = [[mutex:lock() local n = state.count + 1 pool.sleep(0.001) state.count = n mutex:unlock() ngx.say(n)]],
				["/select"] = [[local a, b = pool.channel(), pool.channel(1) b:send "b" ngx.say(pool.select { a, b })
					local f = pool.async(function(c) c:send "a" end, a) ngx.say(pool.select { a, b })]],
				["/map"] = [[ngx.say(table.concat(pool.map(function(x) return x * x end, 5), " "))]],
				["/nice"] = [[local function nice(which)
						local text = io.open("/proc/" .. which .. "/stat"):read "*a"
						return tonumber((text:match "^.*%) (.*)$":gsub("%S+ ", "", 16):match "^%S+"))
					end
					local plain = pool.new { workers = 1, nice = 0 }
					local mine = nice "self"
					local stands_back = pool.async(nice, "thread-self"):await() > mine
					ngx.say(stands_back, " ", plain:async(nice, "thread-self"):await() == mine)
					plain:close()]],
				["/many"] = [[local list = {}
					for i = 1, 50 do list[i] = pool.async(function(x) return x end, i) end
					local sum = 0
					for _, f in ipairs(list) do sum = f:await() + sum end
					ngx.say(sum)]],
				["/generator"] = [[local f = coroutine.wrap(function()
						for i = 1, 3 do coroutine.yield(pool.async(function(x) return x * 2 end, i):await()) end
					end)
					ngx.say(f(), f(), f())]],
				["/threads"] = [[local sum = 0
					local function one(i)
						local x = pool.async(function(y) return y end, i):await()
						sum = sum + x
					end
					local threads = {}
					for i = 1, 20 do threads[i] = ngx.thread.spawn(one, i) end
					for _, t in ipairs(threads) do assert(ngx.thread.wait(t)) end
					ngx.say(sum)]],
				["/timer"] = [[local done = pool.event()
					local result
					ngx.timer.at(0, function() result = pool.async(function() return "from a timer" end):await() done:set() end)
					done:wait() ngx.say(result)]],
				["/cancel"] = [[local f = pool.async(function() while true do require "lua-pool".sleep(10) end end)
					ngx.say(tostring(f:cancel()), " ", f:status())]],
				["/two-awaits"] = [[state.shared = state.shared or pool.async(held_task, gate, held)
					ngx.say(state.shared:await())]],
				["/leave-locked"] = [[mutex:lock() ngx.say "left"]],
				["/locked"] = [[local ok, how = mutex:lock() mutex:unlock() ngx.say(tostring(ok), " ", tostring(how))]],
				["/leave-deadline"] = { [[lua_check_client_abort on; content_by_lua_block {
					pool.deadline(0.05, function() held:add(1) pool.event():wait() end)
				}]] },
				["/across"] = [[mutex:lock() local f = pool.async(function(x) return x end, 1) f:await() pool.sleep(0.001)
					mutex:unlock() ngx.say "unlocked"]],
				["/run"] = [[ngx.say((pool.run { "sh", "-c", "until [ -e '" .. ngx.var.arg_file .. "' ]; do sleep 0.01; done" }).code)]],
				["/code"] = [[local a = pool.run { "sh", "-c", "exit 3" } local b = pool.run { "true" }
					ngx.say(a.code, " ", b.code, " ", (pool.async(function() return (os.execute "exit 0") end):await()))]],
				["/read"] = [[ngx.say(#pool.fs.read "/proc/version" > 0)]],
				["/group"] = [[local g, sum = pool.group(), pool.counter()
					for i = 1, 3 do g:async(function(n, x) n:add(x) end, sum, i) end
					g:await() ngx.say(sum:get())]],
				["/pool-timer"] = [[ngx.say(tostring(pool.timer(0.01):wait()))]],
				["/any"] = [[ngx.say(pool.any { pool.async(function() return "first" end) })]],
				["/loop"] = [[ngx.say(pool.loop())]],
			},
		}
	end)

	teardown(function()
		if server then server:stop() end
	end)

	local function body(path)
		local status, text = server:get(path)
		assert.equal(200, status, path .. ": " .. text .. server:complaints())
		return (text:gsub("\n$", ""))
	end

	it("finds by itself that nginx is in charge", function()
		assert.equal("nginx", body "/loop")
	end)

	it("the threads stand back behind the one that serves, unless they are told not to", function()
		assert.equal("true true", body "/nice")
	end)

	it("await gives results and errors", function()
		assert.equal("42", body "/await")
		assert.equal("false7", body "/error")
	end)

	it("2,000 requests one after the other are all answered", function()
		for _ = 1, 2000 do
			if body "/await" ~= "42" then error "wrong answer" end
		end
	end)

	it("serves others while 200 requests wait for tasks that do not end", function()
		body "/reset"
		local connections = {}
		for i = 1, 200 do connections[i] = server:open "/held" end
		-- Two run; the rest is queued. The same worker process answers these:
		assert.is_true(nginx.eventually(function() return tonumber(body "/how-many") >= 2 end))
		for _ = 1, 20 do assert.equal("plain", body "/plain") end
		body "/release"
		for i = 1, 200 do assert.equal("released\n", select(2, connections[i]:finish())) end
		assert.equal("200", body "/how-many")
	end)

	it("a future may be awaited in two requests", function()
		body "/reset"
		local a, b = server:open "/two-awaits", server:open "/two-awaits"
		assert.is_true(nginx.eventually(function() return tonumber(body "/how-many") == 1 end))
		body "/release"
		assert.equal("released\n", select(2, a:finish()))
		assert.equal("released\n", select(2, b:finish()))
	end)

	it("receive, select, sleep, timeouts, polls", function()
		local c = server:open "/receive"
		body "/send?m=hello"
		assert.equal("hello\n", select(2, c:finish()))
		assert.equal("2b\n1a", body "/select")
		assert.equal("nil timeout", body "/timeout")
		assert.equal("timeout", body "/poll")
		assert.equal("true", body "/sleep")
	end)

	it("requests that lock one mutex wait for each other", function()
		local connections = {}
		for i = 1, 20 do connections[i] = server:open "/mutex" end
		local seen = {}
		for i = 1, 20 do seen[tonumber((select(2, connections[i]:finish())))] = true end
		for i = 1, 20 do assert.is_true(seen[i], "two requests held the mutex at once") end
	end)

	it("what a request has left locked is given back when its coroutine serves another", function()
		assert.equal("unlocked", body "/across")
		for _ = 1, 3 do
			body "/leave-locked"
			assert.equal("true abandoned", body "/locked")
			assert.equal("true nil", body "/locked")
		end
	end)

	it("the deadline of a request that was given up is not the next one's", function()
		body "/reset"
		local c = server:open "/leave-deadline"
		assert.is_true(nginx.eventually(function() return body "/how-many" == "1" end))
		c:abort()
		assert.equal("true", body "/sleep") -- until the deadline has passed
		assert.equal("true", body "/sleep")
		assert.equal("true", body "/sleep")
		for _ = 1, 10 do assert.equal("42", body "/await") end
	end)

	it("map, many futures, generators, light threads, timers, cancel", function()
		assert.equal("1 4 9 16 25", body "/map")
		assert.equal("1275", body "/many")
		assert.equal("246", body "/generator")
		assert.equal("210", body "/threads")
		assert.equal("from a timer", body "/timer")
		assert.equal("true cancelled", body "/cancel")
	end)

	it("subprocesses, files, groups, timers, any", function()
		local flag = server.dir .. "/flag"
		local c = server:open("/run?file=" .. flag)
		for _ = 1, 20 do assert.equal("plain", body "/plain") end
		assert.equal("true", body "/read")
		assert(io.open(flag, "w")):close()
		assert.equal("0\n", select(2, c:finish()))
		assert.equal("6", body "/group")
		assert.equal("1", body "/pool-timer")
		assert.equal("1first", body "/any")
	end)

	it("the status of a subprocess is not lost to nginx, which waits for all children", function()
		for _ = 1, 10 do
			local list = {}
			for i = 1, 4 do list[i] = server:open "/code" end
			for i = 1, 4 do assert.equal("3 0 0\n", select(2, list[i]:finish())) end
		end
	end)

	it("the log has none of our lines", function()
		assert.equal("", server:complaints())
	end)
end)
