-- nginx: where the usual way is closed: no socket can be made, no timer can be had, lua_code_cache is off.
local nginx = require "spec.support.nginx"

local reason = nginx.missing()

describe("nginx under hard conditions", function()
	if reason then
		require("spec.support.missing").all(it, pending, reason)
		return
	end
	local server

	after_each(function()
		if server then server:stop() end
		server = nil
	end)

	local locations = {
		["/await"] = [[ngx.say(require "lua-pool".async(function(a, b) return a + b end, 40, 2):await())]],
		["/slow"] = [[ngx.say(require "lua-pool".async(function() require "lua-pool".sleep(0.05) return "slow" end):await())]],
	}

	local function start(o)
		o.workers, o.locations = 1, o.locations or locations
		server = nginx.start(o)
	end

	local function works()
		local list = {}
		for i = 1, 20 do list[i] = server:open(i % 4 == 0 and "/slow" or "/await") end
		for i = 1, 20 do
			local status, body = list[i]:finish()
			assert.equal(200, status, server:log())
			assert.equal(i % 4 == 0 and "slow\n" or "42\n", body)
		end
	end

	-- Without nginx's own warnings about the cache.
	local function ours_of_complaints()
		return (server:complaints():gsub("[^\n]*lua_code_cache is off[^\n]*\n?", ""))
	end

	local function leaves()
		local pid = server:processes()[1]
		server:signal "HUP"
		assert.is_true(nginx.eventually(function() return #server:processes() == 1 and server:processes()[1] ~= pid end), server:log())
	end

	it("no folder for a socket: it works by looking, says so once, and leaves when it should", function()
		start { http = [[init_by_lua_block {
			require "lua-pool"
			require "lua-pool.core".meet = function(folder) return nil, folder .. ": Read-only file system", 30 end
		}]] }
		works()
		works()
		local complaints = server:complaints()
		local _, times = complaints:gsub("\n?[^\n]+", "")
		assert.equal(1, times, complaints)
		assert.truthy(complaints:find "%[warn%].*Read%-only file system.*looks every few milliseconds", complaints)
		leaves()
	end)

	it("worker processes of another user", function()
		-- A checkout in a folder that only its owner may enter cannot be read by them.
		if os.execute "test $(id -u) = 0 && setpriv --reuid=nobody --clear-groups test -r \"$PWD/lua-pool/init.lua\" 2>/dev/null" ~= 0 then
			pending "needs root, and files that nobody can read"
			return
		end
		start { user = "nobody nogroup", http = [[init_by_lua_block { require "lua-pool" }]] }
		works()
		assert.equal("", server:complaints())
		leaves()
	end)

	it("a socket that nobody of this process connects to is given up", function()
		start { http = [[init_by_lua_block {
			require "lua-pool"
			local core = require "lua-pool.core"
			local meet = core.meet
			core.meet = function(folder)
				local m = meet(folder)
				return { path = function() return m:path() end, accept = function() m:close() return false end, close = function() end }
			end
		}]] }
		works()
		assert.truthy(server:complaints():find "did not arrive", server:log())
		leaves()
	end)

	it("no timer: those who wait look for themselves", function()
		start { http = "lua_max_pending_timers 0;" }
		works()
		assert.equal("", server:complaints())
		leaves()
	end)

	it("lua_code_cache off: each request has a Lua state of its own; nothing of them piles up", function()
		start {
			http = [[lua_code_cache off; init_by_lua_block { POOL = require "lua-pool".new { workers = 1, name = "own" } }]],
			locations = {
				["/await"] = locations["/await"], ["/slow"] = locations["/slow"],
				["/own"] = [[ngx.say(POOL:async(function() return "own" end):await())]],
				["/left"] = [[require "lua-pool".async(function() require "lua-pool".sleep(10) end) ngx.say "left"]],
			},
		}
		works()
		assert.equal("own\n", select(2, server:get "/own"))
		local pid = server:processes()[1]
		local function counts() return nginx.threads(pid), nginx.descriptors(pid) end
		local threads, descriptors
		-- What the first ones left goes first.
		assert.is_true(nginx.eventually(function() threads, descriptors = counts() return threads <= 4 end))
		for _ = 1, 5 do
			works()
			for _ = 1, 4 do
				assert.equal("own\n", select(2, server:get "/own"))
				assert.equal("left\n", select(2, server:get "/left"))
			end
		end
		assert.is_true(nginx.eventually(function()
			local t, d = counts()
			return t <= threads and d <= descriptors
		end), ("%d threads, %d descriptors; before %d, %d"):format(nginx.threads(pid), nginx.descriptors(pid), threads, descriptors))
		leaves()
		assert.equal("", ours_of_complaints())
	end)

	for _, early in ipairs { true, false } do
		it("lua_code_cache off: the end of a request's state waits for no task, " ..
			(early and "beside a state that stays" or "though it is the last one"), function()
			start {
				http = "lua_code_cache off;" .. (early and [[init_by_lua_block { require "lua-pool" }]] or ""),
				locations = { ["/go"] = [[
					require "lua-pool".go(function(file)
						assert(io.open(file .. "begun", "w")):close()
						while not io.open(file .. "go") do require "lua-pool".sleep(0.002) end
						assert(io.open(file .. "ended", "w")):close()
					end, ngx.var.arg_file)
					ngx.say "gone"]] },
			}
			for _, quit in ipairs { false, true } do
				local file = server.dir .. "/" .. tostring(quit) .. "."
				local function appears(name)
					return nginx.eventually(function() return io.open(file .. name) ~= nil end)
				end
				-- The connection ends when the request's state has closed.
				assert.equal("gone\n", select(2, server:get("/go?file=" .. file)))
				assert.is_true(appears "begun")
				if quit then server:signal "QUIT" end -- the end of the process waits
				assert(io.open(file .. "go", "w")):close()
				assert.is_true(appears "ended")
			end
			assert.is_true(nginx.eventually(function() return #server:processes() == 0 end))
			assert.equal("", ours_of_complaints())
		end)
	end
end)
