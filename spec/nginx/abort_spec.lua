-- nginx: clients that hang up while their requests wait. nginx kills the light thread and uses its coroutine again, so the
-- killed wait and the next one were in the same lists, and the collector's end of the first broke them: the worker process
-- died. Besides: what a killed wait was given goes to others, and no report tells of the dead, without a collection.
local nginx = require "spec.support.nginx"
local scale = require "spec.support.scale"

local missing = nginx.missing()

-- ABORT_ROUNDS=500: as long as `make check` wants it.
local ROUNDS = tonumber(os.getenv "ABORT_ROUNDS" or "") or scale(60, 10)
local CLIENTS = 30

describe("nginx, when clients hang up", function()
	if missing then
		pending(missing)
		return
	end
	local server

	after_each(function()
		if server then server:stop() end
		server = nil
	end)

	local function get(path)
		local status, body = server:get(path)
		assert.equal(200, status, body .. "\n" .. server:log())
		return body
	end

	-- nginx does not notice a client that has gone before its handler begins: they hang up when `begun` says so.
	local function abort_many(path, begun)
		local list = {}
		for i = 1, CLIENTS do list[i] = server:open(type(path) == "table" and path[i % #path + 1] or path) end
		begun()
		for i = 1, CLIENTS do list[i]:abort() end
	end

	local function nobody_waits(path)
		local body
		assert.is_true(nginx.eventually(function()
			body = get(path)
			return body == "no task runs or waits\n"
		end, 60), body)
	end

	local REPORT = [[ngx.say((require "lua-pool".report()))]]
	local COLLECT = "collectgarbage() collectgarbage() " .. REPORT

	it("examples/nginx lives on, the collector forced after each round", function()
		local f = assert(io.open "examples/nginx/nginx.conf")
		local template = f:read "*a":gsub("/usr/lib/nginx/modules", "@modules@"):gsub("worker_processes 2;", "worker_processes 1; daemon off; @user@")
			:gsub("pid logs/nginx.pid;", "pid @dir@/pid;"):gsub("logs/", "@dir@/"):gsub("127.0.0.1:8088", "127.0.0.1:@port@ backlog=1024")
			:gsub('lua_package_path "[^"]*"', 'lua_package_path "@path@;;"'):gsub('lua_package_cpath "[^"]*"', 'lua_package_cpath "@cpath@;;"')
			:gsub("location = /stats", "location = /collect { content_by_lua_block { " .. COLLECT .. " } }\n%0")
		f:close()
		server = nginx.start { template = template, path = (os.getenv "PWD" or ".") .. "/examples/nginx/?.lua;" }
		local pid = server:processes()[1]
		for _ = 1, ROUNDS do
			abort_many("/stretch?rounds=200000", function() get "/stats" end)
			get "/collect"
		end
		nobody_waits "/collect"
		assert.equal(200, (server:get "/stretch?rounds=10"))
		assert.equal(pid, server:processes()[1], server:log())
		assert.equal("", server:complaints())
	end)

	-- Each request says so when its wait was killed. None waits in a coroutine of its own (coroutine.wrap): nginx's Lua module
	-- dies by itself of a client that hangs up then, also of one in ngx.sleep.
	local HTTP = [[
		lua_shared_dict marks 1m;
		init_by_lua_block {
			pool = require "lua-pool"
			pool.configure { workers = 2 }
			things = {}
			function shared()
				if not things.m then
					things = { m = pool.mutex(), ch = pool.channel(), full = pool.channel(1), sem = pool.semaphore(0), rw = pool.rwlock(),
						e = pool.event(), dict = pool.dict(), cond = pool.condition() }
					things.full:send "first"
					things.f = pool.async(function(e) e:wait() return "result" end, things.e)
				end
				return things
			end
			function waits(fn)
				ngx.shared.marks:incr("begun", 1, 0)
				ngx.on_abort(function()
					ngx.shared.marks:incr("aborted", 1, 0)
					ngx.exit(499)
				end)
				fn(shared())
				ngx.say "went on"
			end
		}]]
	local KINDS = {
		await = "t.f:await()", lock = "t.m:lock()", receive = "t.ch:receive()", send = "t.full:send(1)", acquire = "t.sem:acquire()",
		read = "t.rw:read_lock()", write = "t.rw:write_lock()", select = "pool.select { t.ch, t.m, t.f }", sleep = "pool.sleep(100)",
		cond = "local m = pool.mutex() m:lock() t.cond:wait(m)", key = "t.dict:wait('key')",
		all = "pool.all { t.f }", shield = "pool.shield(function() t.f:await() end)",
		deadline = "pool.deadline(100, function() t.f:await() end)",
		thread = "ngx.thread.wait(ngx.thread.spawn(function() t.m:lock() end))",
		held = "local m = pool.mutex() m:lock() t.m:lock()",
	}

	local function start(server_options)
		local locations = {
			["/hold"] = [[local t = shared() t.m:lock() t.rw:write_lock()
				while not ngx.shared.marks:get "let go" do ngx.sleep(0.005) end t.m:unlock() t.rw:unlock() ngx.say "held"]],
			["/mark"] = [[ngx.shared.marks:set("let go", true) ngx.say "marked"]],
			["/aborted"] = [[ngx.say(ngx.shared.marks:get "aborted" or 0)]],
			["/begun"] = [[ngx.say(ngx.shared.marks:get "begun" or 0)]],
			["/report"] = REPORT, ["/collect"] = COLLECT,
			["/stop"] = [[collectgarbage "stop" ngx.say "stopped"]],
			["/end"] = [[local t = shared()
				t.m:lock() t.m:unlock() t.rw:write_lock() t.rw:unlock() t.sem:release() t.sem:acquire()
				t.ch:close() t.e:set()
				ngx.say(t.full:receive(), " ", t.f:await())]],
		}
		local paths = {}
		for name, code in pairs(KINDS) do
			paths[#paths + 1] = "/" .. name
			locations["/" .. name] = ("waits(function(t) %s end)"):format(code)
		end
		server = nginx.start { workers = 1, http = HTTP, locations = locations,
			server = "lua_check_client_abort on;" .. (server_options or "") }
		table.sort(paths)
		return paths
	end

	local function all_have(what, n)
		local count
		assert.is_true(nginx.eventually(function()
			count = tonumber(get("/" .. what))
			return count >= n
		end), count)
	end

	it("every kind of wait: nothing breaks, whatever was killed", function()
		local paths = start()
		local holder = server:open "/hold"
		for round = 1, ROUNDS do
			abort_many(paths, function() all_have("begun", round * CLIENTS) end)
			-- Meanwhile coroutines are used again.
			if round % 3 == 0 then get "/collect" else get "/report" end
		end
		get "/mark"
		assert.equal("held\n", select(2, holder:finish()))
		assert.equal("first result\n", get "/end")
		nobody_waits "/report"
		assert.equal("", server:complaints())
	end)

	it("the report and the next one in line know at once, without a collection", function()
		local paths = start()
		get "/stop"
		local holder = server:open "/hold"
		for round = 1, 5 do
			local list = {}
			for i, path in ipairs(paths) do list[i] = server:open(path) end
			local n = #paths
			assert.is_true(nginx.eventually(function() return select(2, get "/report":gsub("coroutine ", "")) >= n end), get "/report")
			for i = 1, n do list[i]:abort() end
			all_have("aborted", round * n)
			assert.is_nil(get "/report":find("coroutine ", 1, true), get "/report")
		end
		get "/mark"
		assert.equal("held\n", select(2, holder:finish()))
		assert.equal("first result\n", get "/end")
		assert.equal("", server:complaints())
	end)

	it("what a light thread holds that ngx.thread.kill ends in a wait goes to others, its deadline scope ends with it", function()
		server = nginx.start { workers = 1, http = HTTP, locations = { ["/kill"] = [[
			collectgarbage "stop"
			local m, e, used, reused = pool.mutex(), pool.event(), {}, false
			for _ = 1, 20 do
				local t = ngx.thread.spawn(function()
					used[tostring(coroutine.running())] = true
					m:lock()
					pool.deadline(0.01, function() pool.shield(function() e:wait() end) end)
				end)
				assert(ngx.thread.kill(t))
				local ok, _, state = ngx.thread.wait(ngx.thread.spawn(function()
					reused = reused or used[tostring(coroutine.running())]
					ngx.sleep(0.015)
					local _, why = e:wait(0.001) -- else the scope of the other
					local ok, state = m:lock(5)
					if ok then m:unlock() end
					return why, state
				end))
				assert(ok, _)
				ngx.print(state, " ")
			end
			collectgarbage "restart"]] } }
		assert.equal(("abandoned "):rep(20), get "/kill")
		assert.equal("", server:complaints())
	end)
end)
