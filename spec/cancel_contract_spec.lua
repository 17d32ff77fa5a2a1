-- What cancellation promises besides stopping: who is reached, what clean-up may do, what everybody is told, Ctrl-C.
local describe, it, assert, before_each, after_each = describe, it, assert, before_each, after_each
local pool = require "lua-pool"
local child = require "spec.support.child"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local is54 = _VERSION == "Lua 5.4"

describe("CANCELLED and TIMEOUT", function()
	it("are what they are in every state, whichever way they came", function()
		local function look(c, t, awaited)
			local lib = require "lua-pool"
			local ch = lib.channel(1)
			ch:send(c)
			return c == lib.CANCELLED and lib.CANCELLED == ch:receive() and t == lib.TIMEOUT and c ~= t and awaited == c
				and tostring(c) == "cancelled" and tostring(t) == "timeout", c, t
		end
		local f = pool.async(function() pool.event():wait() end)
		f:cancel()
		local _, err = f:pawait()
		local here, c, t = look(pool.CANCELLED, pool.TIMEOUT, err)
		assert.is_true(here)
		local there, c2, t2 = pool.async(look, c, t, err):await()
		assert.is_true(there)
		assert.is_true(c2 == pool.CANCELLED and t2 == pool.TIMEOUT and c2 ~= t2)
		assert.is_false(pool.CANCELLED == "cancelled")
	end)

	it("are what clean-up is told", function()
		if not is54 then return end
		local up, ch = pool.event(), pool.channel(1)
		local f = pool.async(load [[
			local up, ch = ...
			local pool = require "lua-pool"
			local c <close> = setmetatable({}, {__close = function(_, err)
				ch:send(err == pool.CANCELLED, tostring(err), pool.cancel_requested())
			end})
			up:set()
			pool.event():wait()]], up, ch)
		up:wait()
		assert.is_true(f:cancel(20))
		assert.same({ true, "cancelled", true }, { ch:receive(20) })
	end)
end)

describe("cancelling a parent", function()
	local p
	before_each(function() p = pool.new { workers = 2, name = "family" } end)
	after_each(function() p:cancel_all() assert.is_true(p:close(20)) end)

	it("reaches children on other workers and a grandchild, which finishes its shield first", function()
		local up, go, committed = pool.event(), pool.event(), pool.event()
		local parent = p:async(function(u, g, c)
			local lib = require "lua-pool"
			local kid = lib.async(function(u2, g2, c2)
				local lib2 = require "lua-pool"
				local grandchild = lib2.async(function(u3, g3, c3)
					require "lua-pool".shield(function()
						u3:set()
						g3:wait()
						c3:set()
					end)
					require "lua-pool".event():wait()
				end, u2, g2, c2)
				lib2.event():wait(1000)
				grandchild:await()
			end, u, g, c)
			lib.event():wait(1000)
			kid:await()
		end, up, go, committed)
		up:wait()
		assert.is_true(parent:cancel(20))
		assert.is_false(committed:is_set())
		go:set()
		assert.is_true(p:close(20))
		assert.is_true(committed:is_set())
		assert.equal(3, p:stats().cancelled)
	end)

	it("ends its child for another task too that awaits it", function()
		local ch, up = pool.channel(1), pool.event()
		local parent = p:async(function(c, u)
			local lib = require "lua-pool"
			local kid = lib.async(function(u2) u2:set() require "lua-pool".event():wait() end, u)
			c:send(kid)
			lib.event():wait(1000)
			kid:await()
		end, ch, up)
		local kid = ch:receive()
		up:wait()
		local other = p:async(function(k)
			local ok, err = pcall(k.await, k)
			return ok, err == require "lua-pool".CANCELLED
		end, kid)
		assert.is_true(parent:cancel(20))
		assert.same({ false, true }, { other:await() })
		assert.equal("cancelled", kid:status())
	end)
end)

describe("clean-up", function()
	it("sends, writes a file, awaits a task of its own, locks: all as ever", function()
		if not is54 then return end
		local up, ch, m, path = pool.event(), pool.channel(), pool.mutex(), child.tmpname()
		local f = pool.async(load [[
			local up, ch, m, path = ...
			local pool = require "lua-pool"
			local file <close> = assert(io.open(path, "w"))
			local c <close> = setmetatable({}, {__close = function()
				m:with(function() file:write(pool.async(function() return "rolled back" end):await()) end)
				pool.sleep(0.002)
				ch:send "sent"
			end})
			up:set()
			while true do pool.sleep(1) end]], up, ch, m, path)
		up:wait()
		f:cancel(0)
		assert.equal("sent", ch:receive(20))
		assert.is_true(f:cancel(20))
		local file = assert(io.open(path))
		assert.equal("rolled back", file:read "a")
		file:close()
		os.remove(path)
	end)

	it("runs finalisers and removes temporary files", function()
		if not is54 then return end
		local up, path = pool.event(), child.tmpname()
		local f = pool.async(load [[
			local up, path = ...
			assert(io.open(path, "w")):close()
			local c <close> = setmetatable({}, {__close = function() os.remove(path) end})
			local garbage = setmetatable({}, {__gc = function() io.open(path .. ".gc", "w"):close() end})
			garbage = nil
			collectgarbage()
			up:set()
			while true do require "lua-pool".sleep(1) end]], up, path)
		up:wait()
		assert.is_true(f:cancel(20))
		assert.is_nil(io.open(path))
		assert.is_true(os.remove(path .. ".gc"))
	end)
end)

describe("a pool", function()
	it("that is closed: its futures go on answering", function()
		local p = pool.new { workers = 1 }
		local done, failed = p:async(function() return 5 end), p:async(error, "x")
		local up = pool.event()
		local stopped = p:async(function(u) u:set() require "lua-pool".sleep(1000) end, up)
		up:wait()
		stopped:cancel()
		failed:wait()
		p:close()
		assert.same({ false, "done" }, { done:cancel() })
		assert.same({ false, "failed" }, { failed:cancel() })
		assert.is_true(stopped:cancel())
		assert.same({ "done", "failed", "cancelled" }, { done:status(), failed:status(), stopped:status() })
		assert.equal(5, done:await())
	end)

	it("cancels all: what runs, what is queued, what is detached", function()
		local p = pool.new { workers = 1, max_threads = 1 }
		local up, ran = pool.event(), pool.event()
		p:go(function(u) u:set() require "lua-pool".sleep(1000) end, up)
		local queued = {}
		for i = 1, 100 do queued[i] = p:async(function(r) r:set() end, ran) end
		up:wait()
		p:cancel_all()
		assert.is_true(p:close(20))
		for i = 1, 100 do assert.equal("cancelled", queued[i]:status()) end
		assert.is_false(ran:is_set())
		assert.equal(101, p:stats().cancelled)
	end)
end)

describe("cancel", function()
	it("says what is wrong with its argument", function()
		local f = pool.async(function() end)
		for _, bad in ipairs { "x", {}, true } do
			assert.error_matches(function() f:cancel(bad) end, "timeout in seconds expected")
		end
		assert.error_matches(function() f:cancel(0 / 0) end, "NaN")
		assert.error_matches(function() f.cancel {} end, "future expected")
		f:wait()
		assert.same({ false, "done" }, { f:cancel(-1) })
	end)
end)

describe("Ctrl-C", function()
	-- Where the main state may wait.
	local places = {
		await = [[ pool.async(function() pool.sleep(1000) end):await() ]],
		sleep = [[ pool.sleep(1000) ]],
		lock = [[ local m, up = pool.mutex(), pool.event()
			pool.async(function(x, u) x:lock() u:set() pool.sleep(1000) end, m, up)
			up:wait()
			m:lock() ]],
		receive = [[ local ch = pool.channel()
			pool.async(function(c) pool.sleep(1000) c:send() end, ch)
			ch:receive() ]],
		map = [[ pool.map(function() pool.sleep(1000) end, 10) ]],
		cancel = [[ local up = pool.event()
			local f = pool.async(function(u) pool.shield(function() u:set() pool.sleep(1000) end) end, up)
			up:wait()
			f:cancel() ]],
	}
	for name, code in pairs(places) do
		it("ends " .. name .. ' of the main state: "interrupted!", and the stack unwinds', function()
			local r = child.run([[
				local sys = require "sys"
				sys.later(sys.SIGINT, 100)
				local ok, err = pcall(function() ]] .. code .. [[ end)
				print(ok, (tostring(err):gsub("^.*interrupted!.*$", "interrupted!")))
				os.exit(0, false)
			]], { limit = 20 })
			assert.equal("false\tinterrupted!\n", r.out, r.err)
			assert.equal(0, r.status)
		end)
	end

	it("a second time ends the process", function()
		local r = child.run([[
			local sys = require "sys"
			sys.later(sys.SIGINT, 100)
			sys.later(sys.SIGINT, 400)
			pcall(pool.sleep, 1000)
			io.write "first\n"
			io.stdout:flush()
			pcall(pool.sleep, 1000)
			print "not here"
		]], { limit = 20 })
		assert.equal("first\n", r.out)
		assert.equal(130, r.status)
	end)

	it("goes to a handler of the script's own, if there is one", function()
		local r = child.run([[
			local sys = require "sys"
			local go = pool.event()
			sys.signal(sys.SIGINT, function() go:set() end)
			sys.later(sys.SIGINT, 100)
			print(pool.async(function(e) e:wait() return "its own" end, go):await())
		]], { limit = 20 })
		assert.equal("its own\n", r.out, r.err)
		assert.equal(0, r.status)
	end)
end)
