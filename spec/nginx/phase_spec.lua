-- nginx: every phase: where waiting suspends, where it is refused with the phase's name and what to do instead, and
-- that submitting and requesting a cancellation work everywhere.
local nginx = require "spec.support.nginx"

local reason = nginx.missing()

describe("phases of nginx", function()
	if reason then
		require("spec.support.missing").all(it, pending, reason)
		return
	end
	local server

	setup(function()
		server = nginx.start {
			workers = 1,
			http = [[
			init_by_lua_block {
				pool = require "lua-pool"
				told = {}
				-- What a phase can do, for /told.
				function try(phase)
					local f = pool.async(function(e) e:wait() end, pool.event())
					told[phase] = { pcall(f.await, f) }
					f:cancel(0)
					pool.go(function(p) return p end, phase)
				end
				EARLY = { pcall(function() return pool.event():wait() end) }
				SLEEP = { pcall(pool.sleep, 1) }
				POLL = { pcall(function() return pool.event():wait(0) end) }
			}
			init_worker_by_lua_block { try "init_worker" }
			exit_worker_by_lua_block {
				try "exit_worker"
				local f = assert(io.open(ngx.config.prefix() .. "/exit_worker", "w"))
				f:write(tostring(told.exit_worker[1]), " ", tostring(told.exit_worker[2]))
				f:close()
			}
			upstream balanced { server 0.0.0.1; balancer_by_lua_block {
				if not ngx.ctx.tried then ngx.ctx.tried = true try "balancer" end
				require "ngx.balancer".set_current_peer("127.0.0.1", ngx.var.server_port)
			} }
			]],
			locations = {
				["/rewrite"] = { [[rewrite_by_lua_block { ngx.ctx.r = pool.async(function() return "rewrite" end):await() }
					content_by_lua_block { ngx.say(ngx.ctx.r) }]] },
				["/access"] = { [[access_by_lua_block { ngx.ctx.r = pool.async(function() return "access" end):await() }
					content_by_lua_block { ngx.say(ngx.ctx.r) }]] },
				["/header_filter"] = { [[content_by_lua_block { ngx.say "sent" }
					header_filter_by_lua_block { try "header_filter" }]] },
				["/body_filter"] = { [[content_by_lua_block { ngx.say "sent" }
					body_filter_by_lua_block { if ngx.arg[2] then try "body_filter" end }]] },
				["/log"] = { [[content_by_lua_block { ngx.say "sent" } log_by_lua_block { try "log" }]] },
				["/set"] = { [[set_by_lua_block $x { try "set" return "x" } content_by_lua_block { ngx.say "sent" }]] },
				["/balancer"] = { [[proxy_pass http://balanced/plain;]] },
				["/told"] = [[local t = told[ngx.var.arg_phase] ngx.say(tostring(t and t[1]), " ", tostring(t and t[2]))]],
				["/init"] = [[for _, t in ipairs { EARLY, SLEEP, POLL } do
					ngx.say(tostring(t[1]), " ", tostring(t[2]), " ", tostring(t[3])) end]],
				["/try"] = [[try "content" ngx.say(tostring(told.content[1]))]],
			},
		}
	end)

	teardown(function()
		if server then server:stop() end
	end)

	it("rewrite and access suspend", function()
		assert.equal("rewrite\n", select(2, server:get "/rewrite"))
		assert.equal("access\n", select(2, server:get "/access"))
	end)

	for _, phase in ipairs { "set", "header_filter", "body_filter", "log", "balancer", "init_worker" } do
		it(phase .. " refuses to wait, names itself and an alternative; async, go and cancel(0) work", function()
			if phase ~= "init_worker" then
				local status, text = server:get("/" .. phase)
				assert.equal(200, status, text .. server:log())
			end
			local answer
			-- The log phase comes after the answer.
			assert.is_true(nginx.eventually(function()
				answer = select(2, server:get("/told?phase=" .. phase))
				return not answer:find "^nil"
			end))
			assert.truthy(answer:find("^false .*cannot wait in " .. phase .. "_by_lua"), answer)
			assert.truthy(answer:find("ngx.timer.at", 1, true), answer)
		end)
	end

	it("init refuses to wait, and names itself; a poll is no wait", function()
		local _, text = server:get "/init"
		local lines = {}
		for line in text:gmatch "[^\n]+" do lines[#lines + 1] = line end
		assert.truthy(lines[1]:find "^false .*cannot wait in init_by_lua.*init_worker_by_lua", lines[1])
		assert.truthy(lines[2]:find "^false .*cannot wait in init_by_lua", lines[2])
		assert.equal("true nil timeout", lines[3])
	end)

	it("exit_worker refuses to wait and names itself; async, go and cancel(0) work", function()
		server:signal "HUP" -- the worker process is followed by another
		local said
		assert.is_true(nginx.eventually(function()
			local f = io.open(server.dir .. "/exit_worker")
			said = f and f:read "*a" or ""
			if f then f:close() end
			return said ~= ""
		end), server:log())
		assert.truthy(said:find "^false .*cannot wait in exit_worker_by_lua", said)
	end)

	it("nothing of this is in the log", function()
		assert.equal("", server:complaints())
	end)
end)
