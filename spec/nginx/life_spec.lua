-- nginx: reload, graceful and fast end, a killed worker process, clients that hang up, lua_code_cache off: all requests
-- in flight are answered, and nothing is left behind.
local nginx = require "spec.support.nginx"

local reason = nginx.missing()

local function litter()
	local p = io.popen "ls -d /tmp/lua-pool-?????? 2>/dev/null"
	local text = p:read "*a"
	p:close()
	return text
end

describe("the life of nginx", function()
	if reason then
		require("spec.support.missing").all(it, pending, reason)
		return
	end
	local server

	local function start(o)
		o.http = (o.http or "") .. [[
			init_by_lua_block {
				pool = require "lua-pool"
				pool.configure { workers = 2 }
				limited = pool.new { workers = 2, queue_limit = 4 }
				function slow(path)
					local p, f = require "lua-pool", nil
					repeat
						p.sleep(0.002)
						f = io.open(path)
					until f
					f:close()
					return "done"
				end
			}]]
		o.locations = o.locations or {}
		-- It ends when the file is there: the spec decides when, whatever happens to processes meanwhile.
		-- The second wait begins when the process may be leaving already.
		o.locations["/slow"] = [[local r = pool.async(slow, ngx.var.arg_file):await()
			ngx.say(pool.async(function(x) return x end, r):await())]]
		o.locations["/quick"] = [[ngx.say(pool.async(function() return "quick" end):await())]]
		o.locations["/pid"] = [[ngx.say(ngx.worker.pid())]]
		server = nginx.start(o)
		server.flag = server.dir .. "/flag"
	end

	local function let_go()
		assert(io.open(server.flag, "w")):close()
	end

	local function slow(n)
		local list = {}
		for i = 1, n do list[i] = server:open("/slow?file=" .. server.flag) end
		return list
	end

	local function all_done(list)
		for _, c in ipairs(list) do
			local status, body = c:finish()
			assert.equal(200, status, body .. "\n" .. server:log())
			assert.equal("done\n", body)
		end
	end

	local function complaints()
		-- What nginx says of connections that clients or reloads end is no news of ours.
		return server:complaints()
	end

	after_each(function()
		if server then server:stop() end
		server = nil
		assert.equal("", litter())
	end)

	local function answered_after(signal)
		-- One worker process: a request that is answered tells that those before it have been taken up.
		start { workers = 1 }
		local before = {}
		for _, pid in ipairs(server:processes()) do before[pid] = true end
		local list = slow(40)
		for _ = 1, 10 do server:get "/pid" end
		server:signal(signal)
		assert.is_true(server:logged "gracefully shutting down")
		return before, list
	end

	it("reload: what is in flight is answered, the old worker processes leave, the new ones work", function()
		local before, list = answered_after "HUP"
		assert.is_true(nginx.eventually(function() return #server:processes() == 2 end), server:log())
		assert.equal("quick\n", select(2, server:get "/quick"))
		let_go()
		all_done(list)
		assert.is_true(nginx.eventually(function()
			for _, pid in ipairs(server:processes()) do
				if before[pid] then return false end
			end
			return #server:processes() == 1
		end), server:log())
		assert.equal("quick\n", select(2, server:get "/quick"))
		assert.equal("", complaints())
	end)

	it("quit: what is in flight is answered, then all leave", function()
		local _, list = answered_after "QUIT"
		let_go()
		all_done(list)
		assert.is_true(nginx.eventually(function() return server:log():find "%d+#%d+: exit\n[^\n]*$" ~= nil
			and #server:processes() == 0 end), server:log())
		assert.equal("", complaints())
	end)

	it("an idle worker process leaves at once", function()
		start { workers = 1 }
		assert.equal("quick\n", select(2, server:get "/quick"))
		local pid = server:processes()[1]
		server:signal "HUP"
		assert.is_true(nginx.eventually(function() return #server:processes() == 1 and server:processes()[1] ~= pid end), server:log())
		assert.equal("", complaints())
	end)

	it("a leaving worker process whose last waiting client hangs up leaves", function()
		start { workers = 1, server = "lua_check_client_abort on;" }
		local list = slow(1)
		for _ = 1, 10 do server:get "/pid" end
		local pid = server:processes()[1]
		server:signal "HUP"
		assert.is_true(server:logged "gracefully shutting down")
		list[1]:abort()
		assert.is_true(nginx.eventually(function() return #server:processes() == 1 and server:processes()[1] ~= pid end), server:log())
		assert.equal("", complaints())
	end)

	it("a killed worker process: the master's next one works, nothing of the old one stays", function()
		start { workers = 1 }
		assert.equal("quick\n", select(2, server:get "/quick"))
		local pid = server:processes()[1]
		os.execute("kill -KILL " .. pid)
		assert.is_true(nginx.eventually(function() return #server:processes() == 1 and server:processes()[1] ~= pid end))
		assert.equal("quick\n", select(2, server:get "/quick"))
	end)

	it("requests leave no thread and no descriptor behind", function()
		start { workers = 1 }
		local pid = server:processes()[1]
		for _ = 1, 20 do server:get "/quick" end
		local threads, descriptors = nginx.threads(pid), nginx.descriptors(pid)
		for _ = 1, 500 do server:get "/quick" end
		assert.is_true(nginx.threads(pid) <= math.max(threads, 3))
		-- Its own connection comes and goes when nobody has waited for a while.
		assert.is_true(nginx.eventually(function() return nginx.descriptors(pid) <= descriptors end))
		assert.equal("", complaints())
	end)

	it("reloads under load: every request is answered", function()
		start { workers = 2 }
		local turns, wrong = 0, {}
		for _ = 1, 5 do
			server:signal "HUP"
			for _ = 1, 30 do
				turns = turns + 1
				local list = {}
				for i = 1, 8 do list[i] = server:open "/quick" end
				for i = 1, 8 do
					local status, body = list[i]:finish()
					if status ~= 200 or body ~= "quick\n" then wrong[#wrong + 1] = status .. ": " .. body end
				end
			end
		end
		assert.same({}, wrong)
		assert.is_true(nginx.eventually(function() return #server:processes() == 2 end), server:log())
		assert.equal("", complaints())
	end)

	it("a client that hangs up: on_abort cancels its task, nothing of it stays", function()
		start { workers = 1, server = "lua_check_client_abort on;", locations = {
			["/endless"] = [[
				local f = pool.async(function(file)
					assert(io.open(file, "w")):close()
					while true do require "lua-pool".sleep(10) end
				end, ngx.var.arg_file)
				assert(ngx.on_abort(function()
					f:cancel(0)
					ngx.exit(499)
				end))
				f:await()
			]],
			["/stats"] = [[local s = pool.stats() ngx.say(s.running, " ", s.queued, " ", s.cancelled)]],
		} }
		local list = {}
		for i = 1, 4 do list[i] = server:open(("/endless?file=%s%d"):format(server.flag, i)) end
		-- Two run, two are queued.
		assert.is_true(nginx.eventually(function() return select(2, server:get "/stats") == "2 2 0\n" end), server:log())
		for i = 1, 4 do list[i]:abort() end
		assert.is_true(nginx.eventually(function() return select(2, server:get "/stats") == "0 0 4\n" end),
			select(2, server:get "/stats") .. server:log())
		assert.equal("quick\n", select(2, server:get "/quick"))
		assert.equal("", complaints())
	end)

	it("requests that do not await leave nothing behind: neither their task nor its error", function()
		start { workers = 1, locations = {
			["/left"] = [[pool.async(function(x) return x end, 1) ngx.say "left"]],
			["/aborted"] = [[pool.async(slow, ngx.var.arg_file):await()]],
			["/stats"] = [[collectgarbage() local s = pool.stats() ngx.say(s.running, " ", s.queued, " ", s.done)]],
		}, server = "lua_check_client_abort on;" }
		for _ = 1, 100 do assert.equal("left\n", select(2, server:get "/left")) end
		-- Killed in its wait: the task runs on, to its end.
		local c = server:open("/aborted?file=" .. server.flag)
		assert.is_true(nginx.eventually(function() return select(2, server:get "/stats") == "1 0 100\n" end), server:log())
		c:abort()
		let_go()
		assert.is_true(nginx.eventually(function() return select(2, server:get "/stats") == "0 0 101\n" end), server:log())
		assert.equal("", complaints())
	end)

	it("quit: a detached task may finish", function()
		start { workers = 1, locations = {
			["/go"] = [[pool.go(function(file)
					assert(io.open(file .. 1, "w")):close()
					require "lua-pool".sleep(0.2)
					assert(io.open(file .. 2, "w")):close()
				end, ngx.var.arg_file) ngx.say "gone"]],
		} }
		assert.equal("gone\n", select(2, server:get("/go?file=" .. server.flag)))
		assert.is_true(nginx.eventually(function() return io.open(server.flag .. 1) ~= nil end))
		server:signal "QUIT"
		assert.is_true(nginx.eventually(function() return server:log():find "%d+#%d+: exit\n[^\n]*$" ~= nil
			and #server:processes() == 0 end), server:log())
		assert.truthy(io.open(server.flag .. 2))
		assert.equal("", complaints())
	end)

	it("a full queue answers 503 with Retry-After, and goes on when there is room", function()
		start { workers = 1, locations = {
			["/limited"] = [[
				local f = limited:try_async(slow, ngx.var.arg_file)
				if not f then
					ngx.header["Retry-After"] = 1
					return ngx.exit(503)
				end
				ngx.say(f:await())
			]],
			["/queued"] = [[local s = limited:stats() ngx.say(s.running, " ", s.queued)]],
		} }
		local list = {}
		for i = 1, 6 do
			list[i] = server:open("/limited?file=" .. server.flag)
			local expected = ("%d %d\n"):format(math.min(i, 2), math.max(0, i - 2))
			assert.is_true(nginx.eventually(function() return select(2, server:get "/queued") == expected end))
		end
		for _ = 1, 3 do
			local status, _, headers = server:get("/limited?file=" .. server.flag)
			assert.equal(503, status)
			assert.truthy(headers:find("Retry-After: 1", 1, true), headers)
		end
		let_go()
		all_done(list)
		assert.equal(200, (server:get("/limited?file=" .. server.flag)))
		assert.equal("", complaints())
	end)
end)
