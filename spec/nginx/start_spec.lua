-- nginx: before any request: what init_by_lua may do, what its workers inherit, what stays in the log.
local nginx = require "spec.support.nginx"

local reason = nginx.missing()

describe("lua-pool in nginx, at start", function()
	if reason then
		require("spec.support.missing").all(it, pending, reason)
		return
	end
	local server

	setup(function()
		server = nginx.start {
			http = [[init_by_lua_block {
				local pool = require "lua-pool"
				OWN = pool.new { workers = 2, name = "own", init = function() answer = 42 end }
				pool.configure { workers = 1, name = "configured" }
				INIT = { pcall(pool.async, print) }
				GO = { pcall(OWN.go, OWN, print) }
			}]],
			locations = {
				["/own"] = [[ngx.say(OWN:async(function() return answer end):await())]],
				["/configured"] = [[ngx.say(require "lua-pool".stats().workers)]],
				["/init"] = [[ngx.say(tostring(INIT[1]), " ", tostring(INIT[2]), "\n", tostring(GO[1]), " ", tostring(GO[2]))]],
				["/threads"] = [[ngx.say(OWN:stats().threads)]],
			},
		}
	end)

	teardown(function()
		if server then server:stop() end
	end)

	it("init_by_lua creates pools and configures the default one; its workers inherit the description", function()
		assert.equal("1\n", select(2, server:get "/configured"))
		assert.equal("42\n", select(2, server:get "/own"))
	end)

	it("async and go in init_by_lua raise and say where they belong", function()
		local _, body = server:get "/init"
		local async, go = body:match "^([^\n]*)\n([^\n]*)\n$"
		assert.truthy(async:find("^false .*init_worker_by_lua"), async)
		assert.truthy(go:find("^false .*init_worker_by_lua"), go)
	end)

	it("opening a worker starts no process and complains of nothing", function()
		for _ = 1, 4 do server:get "/own" end
		assert.equal("", server:complaints())
		assert.falsy(server:log():find("SIGCHLD", 1, true), server:log())
	end)
end)
