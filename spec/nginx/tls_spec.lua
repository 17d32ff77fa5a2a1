-- nginx: the phases of a TLS handshake. Submitting and requesting a cancellation work in all; a wait suspends those that
-- this nginx lets be suspended (OpenResty's does; without its patches not even ngx.sleep works there); storing a session
-- refuses it.
local nginx = require "spec.support.nginx"
local scratch = require "spec.support.scratch"

local reason = nginx.missing()

describe("phases of a TLS handshake in nginx", function()
	if reason then
		require("spec.support.missing").all(it, pending, reason)
		return
	end
	local server, dir

	local function run(command)
		local p = assert(io.popen(command .. " 2>&1"))
		local text = p:read "*a"
		p:close()
		return text
	end

	-- Requests over TLS 1.2, whose sessions have an id, on a connection each: later ones resume the session of the first.
	local function get(socket, ...)
		local command = ("curl -sSk --http1.0 --tls-max 1.2 --max-time 20 --unix-socket %s/%s"):format(dir, socket)
		for _, path in ipairs { ... } do command = ("%s https://here/%s"):format(command, path) end
		return run(command)
	end

	setup(function()
		dir = scratch.folder()
		run(([[cd %s && openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=here -days 2 -keyout key -out certificate]]):format(dir))
		local tls = ([[
			ssl_certificate %s/certificate;
			ssl_certificate_key %s/key;
			ssl_protocols TLSv1.2;
			ssl_session_tickets off;
		]]):format(dir, dir)
		local seen = [[location / { content_by_lua_block {
			ngx.say(ngx.var.ssl_session_reused, " ", tostring(seen[ngx.var.uri:sub(2)]))
		} }]]
		server = nginx.start {
			workers = 1,
			http = ([[
			init_by_lua_block {
				pool, session = require "lua-pool", require "ngx.ssl.session"
				seen, sessions = {}, {}
				function idle(e) e:wait() end
				-- All that does not wait.
				function submitted(phase)
					local f = pool.async(idle, pool.event())
					f:cancel(0)
					pool.go(function() end)
					seen[phase] = ngx.get_phase() .. ", " .. tostring(select(2, pool.async(idle, pool.event()):await(0)))
				end
				function waited(phase)
					seen[phase] = pool.async(function(p) return "waited in " .. p end, ngx.get_phase()):await()
				end
			}
			ssl_session_fetch_by_lua_block {
				submitted "ssl_session_fetch"
				local s = sessions[session.get_session_id()]
				if s then assert(session.set_serialized_session(s)) end
			}
			ssl_session_store_by_lua_block {
				submitted "ssl_session_store"
				seen.refused = select(2, pcall(idle, pool.event()))
				sessions[session.get_session_id()] = session.get_serialized_session()
			}
			server {
				listen unix:%s/submitting ssl; %s
				ssl_client_hello_by_lua_block { submitted "ssl_client_hello" }
				ssl_certificate_by_lua_block { submitted "ssl_cert" }
				server_rewrite_by_lua_block { waited "server_rewrite" }
				%s
			}
			server {
				listen unix:%s/sleeping ssl; %s
				ssl_client_hello_by_lua_block { ngx.sleep(0.001) }
				ssl_certificate_by_lua_block { ngx.sleep(0.001) }
				location / { content_by_lua_block { ngx.say "slept" } }
			}
			server {
				listen unix:%s/waiting ssl; %s
				ssl_client_hello_by_lua_block { waited "ssl_client_hello" }
				ssl_certificate_by_lua_block { waited "ssl_cert" }
				%s
			}
			]]):format(dir, tls, seen, dir, tls, dir, tls, seen),
		}
	end)

	teardown(function()
		if server then server:stop() end
		scratch.remove(dir)
	end)

	for _, phase in ipairs { "ssl_client_hello", "ssl_cert" } do
		it(phase .. ": async, go, cancel(0) and a poll work", function()
			assert.equal((". %s, timeout\n"):format(phase), get("submitting", phase), server:log())
		end)
	end

	it("server_rewrite waits", function()
		assert.equal(". waited in server_rewrite\n", get("submitting", "server_rewrite"), server:log())
	end)

	it("fetching and storing a session: async, go, cancel(0) and a poll work, and the session goes on", function()
		local text = get("submitting", "ssl_session_store", "ssl_session_fetch")
		assert.equal(". ssl_session_store, timeout\nr ssl_session_fetch, timeout\n", text, server:log())
	end)

	it("storing a session refuses to wait, names itself and an alternative", function()
		local text = get("submitting", "refused")
		assert.truthy(text:find("cannot wait in ssl_session_store_by_lua.*pool%.go"), text .. server:log())
	end)

	it("client_hello and certificate wait, where this nginx can suspend a handshake", function()
		for _ = 1, 3 do
			if get("sleeping", "") ~= "slept\n" then
				pending "this nginx cannot suspend a handshake: not even ngx.sleep works in these phases"
				return
			end
		end
		for _, phase in ipairs { "ssl_client_hello", "ssl_cert" } do
			assert.equal((". waited in %s\n"):format(phase), get("waiting", phase), server:log())
		end
	end)

	it("nothing of this is in the log", function()
		assert.equal("", server:complaints())
	end)
end)
