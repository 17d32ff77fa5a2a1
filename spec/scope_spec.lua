-- pool.scope and obj:with(fn): what `<close>` promises, in every Lua.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local both = require "spec.support.both"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local pack, unpack = both.pack, both.unpack

-- An object with an end, which writes what it is told into a list.
local function closable(log, name, raises)
	return setmetatable({}, { __close = function(_, err)
		log[#log + 1] = { name, err }
		if raises then error(raises, 0) end
	end })
end

local function names(log)
	local out = {}
	for i, entry in ipairs(log) do out[i] = entry[1] end
	return table.concat(out, " ")
end

describe("scope", function()
	it("returns all results of its function, which got the scope and the arguments", function()
		local r = pack(pool.scope(function(s, ...)
			assert.truthy(tostring(s):find "^lua%-pool%.scope")
			return nil, select("#", ...), ..., nil
		end, 1, nil))
		assert.equal(4, r.n)
		assert.same({ nil, 2, 1, nil }, { unpack(r, 1, 4) })
		assert.equal(0, select("#", pool.scope(function() end)))
	end)

	it("closes in reverse order, without an error when there was none", function()
		local log = {}
		assert.equal("done", pool.scope(function(s)
			local first = closable(log, "first")
			assert.equal(first, s:add(first))
			s:defer(function(a, b) log[#log + 1] = { a .. b } end, "sec", "ond")
			s:add(closable(log, "third"))
			assert.equal(0, #log)
			return "done"
		end))
		assert.equal("third second first", names(log))
		assert.is_nil(log[1][2])
		assert.is_nil(log[3][2])
	end)

	it("closes when its function raises, tells the error, and raises it again: that very value", function()
		local log, thrown = {}, { code = 7 }
		local ok, err = pcall(pool.scope, function(s)
			s:add(closable(log, "one"))
			s:add(closable(log, "two"))
			error(thrown)
		end)
		assert.is_false(ok)
		assert.equal(thrown, err)
		assert.equal("two one", names(log))
		assert.equal(thrown, log[1][2])
		assert.equal(thrown, log[2][2])
	end)

	it("raises nil when its function did", function()
		assert.same(pack(false, nil), pack(pcall(pool.scope, function() error(nil) end)))
	end)

	it("goes on closing when one of them raises; that error takes the place of the one before", function()
		local log = {}
		local ok, err = pcall(pool.scope, function(s)
			s:add(closable(log, "one"))
			s:defer(function() log[#log + 1] = { "deferred" } error("third", 0) end)
			s:add(closable(log, "two", "second"))
			s:add(closable(log, "three"))
			error("first", 0)
		end)
		assert.same({ false, "third" }, { ok, err })
		assert.equal("three two deferred one", names(log))
		assert.same({ "first", "first", nil, "third" }, { log[1][2], log[2][2], log[3][2], log[4][2] })
		assert.same({ false, "only" }, { pcall(pool.scope, function(s) s:add(closable(log, "x", "only")) return 1 end) })
	end)

	it("may be nested, and closes the inner one first", function()
		local log = {}
		pool.scope(function(outer)
			outer:add(closable(log, "outer"))
			pool.scope(function(inner) inner:add(closable(log, "inner")) end)
			log[#log + 1] = { "between" }
		end)
		assert.equal("inner between outer", names(log))
	end)

	it("can be yielded out of, in the function and in what closes", function()
		local log = {}
		local co = coroutine.wrap(function()
			return pool.scope(function(s)
				s:defer(function() coroutine.yield "closing" log[#log + 1] = { "closed" } end)
				coroutine.yield "inside"
				return "result"
			end)
		end)
		assert.equal("inside", co())
		assert.equal("closing", co())
		assert.equal(0, #log)
		assert.equal("result", co())
		assert.equal("closed", names(log))
	end)

	it("lets nil and false through, refuses what has no end, and the use of a scope that has ended", function()
		local kept
		pool.scope(function(s)
			kept = s
			assert.is_nil(s:add(nil))
			assert.is_false(s:add(false))
			local ok, err = pcall(s.add, s, {})
			assert.is_false(ok)
			assert.truthy(err:find("object with an end expected, got table", 1, true), err)
			assert.truthy(err:find("defer", 1, true), err)
			ok, err = pcall(s.defer, s, 42)
			assert.is_false(ok)
			assert.truthy(err:find("function expected, got number", 1, true), err)
			ok, err = pcall(s.add, {}, {})
			assert.is_false(ok)
			assert.truthy(err:find("scope:add(...)", 1, true), err)
		end)
		local ok, err = pcall(kept.add, kept, pool.channel())
		assert.is_false(ok)
		assert.truthy(err:find("has ended", 1, true), err)
		ok, err = pcall(pool.scope, 42)
		assert.is_false(ok)
		assert.truthy(err:find("bad argument #1 to 'scope' (function expected, got number)", 1, true), err)
	end)

	it("closes what a cancelled task registered, last first, and what closes may wait", function()
		local up, ch = pool.event(), pool.channel(10)
		local p = pool.new { workers = 1 }
		local f = p:async(function(u, c)
			local lib = require "lua-pool"
			lib.scope(function(s)
				s:defer(function() c:send "one" end)
				s:defer(function()
					lib.sleep(0.001)
					assert(lib.async(function() return 5 end):await() == 5)
					c:send "two"
				end)
				s:add(setmetatable({}, { __close = function(_, err) c:send(err == lib.CANCELLED and "three" or "?") end }))
				u:set()
				lib.event():wait()
			end)
			c:send "went on"
		end, up, ch)
		up:wait()
		assert.is_true(f:cancel(20))
		assert.same({ "three", "two", "one" }, { (ch:receive(20)), (ch:receive(20)), (ch:receive(20)) })
		assert.same({ nil, "empty" }, { ch:try_receive() })
		assert.is_true(p:close(20))
	end)

	it("closes everything when the cancellation comes while it is closing", function()
		local up, go, ch = pool.event(), pool.event(), pool.channel(10)
		local p = pool.new { workers = 1 }
		local f = p:async(function(u, g, c)
			local lib = require "lua-pool"
			lib.scope(function(s)
				s:defer(function() c:send "last" end)
				s:defer(function() u:set() g:wait() c:send "not said" end)
			end)
			c:send "went on"
		end, up, go, ch)
		up:wait()
		assert.is_true(f:cancel(20))
		assert.equal("last", (ch:receive(20)))
		assert.same({ nil, "empty" }, { ch:try_receive() })
		assert.is_true(p:close(20))
	end)

	it("closes everything at whatever moment the cancellation comes", function()
		if os.getenv "LUA_POOL_SANITIZER" == "thread" then return end -- no signal while uninstrumented code loops
		local p = pool.new { workers = 1, jit = both.jit and "checked" or nil }
		for _ = 1, 100 do
			local up, open = pool.event(), pool.counter(0)
			local f = p:async(function(u, n)
				local scope = require "lua-pool".scope
				local first = true
				while true do
					scope(function(s)
						for _ = 1, 3 do
							s:defer(function() n:add(-1) end)
							n:add(1)
						end
						if first then
							first = false
							u:set()
						end
					end)
				end
			end, up, open)
			up:wait()
			assert.is_true(f:cancel(20))
			-- It is told once: between `defer` and `add`, say, or as one of those that close begins.
			assert.is_true(math.abs(open:get()) <= 1, open:get())
		end
		assert.is_true(p:close(20))
	end)
end)

describe("with", function()
	it("of a future cancels it and waits for its end, and gives the function's results", function()
		local never, f = pool.event(), nil
		local r = pack(pool.async(function(e) e:wait() end, never):with(function(future, x)
			f = future
			return x, nil
		end, 3))
		assert.equal(2, r.n)
		assert.equal(3, r[1])
		assert.equal("cancelled", f:status())
	end)

	it("of a pool closes it when what is queued has ended, and cancels first when there was an error", function()
		local p
		assert.equal(8, (pool.new { workers = 1 }):with(function(mine)
			p = mine
			return mine:async(function(x) return x + 1 end, 7):await()
		end))
		assert.is_false(pcall(p.async, p, print))
		local f
		local ok, err = pcall(function()
			return pool.new({ workers = 1 }):with(function(mine)
				f = mine:async(function(e) e:wait() end, pool.event())
				error("left", 0)
			end)
		end)
		assert.same({ false, "left" }, { ok, err })
		assert.equal("cancelled", f:status())
	end)

	it("of a channel closes it", function()
		local ch = pool.channel(1)
		ch:with(function(c) c:send(1) end)
		assert.same({ nil, "closed" }, { ch:send(2) })
	end)

	it("of an imap cancels the rest", function()
		local gate, p = pool.event(), pool.new { workers = 2 }
		local steps = p:imap(function(i) if i > 1 then gate:wait() end return i end, 1000, { batch = 1 })
		assert.equal(1, steps:with(function(each) return (each()) end))
		assert.is_nil(steps())
		gate:set()
		assert.is_true(p:close(20))
		assert.equal(0, p:stats().running)
	end)

	it("says what it wants", function()
		local f = pool.async(print == nil and print or function() end)
		local ok, err = pcall(f.with, f)
		assert.is_false(ok)
		assert.truthy(err:find("bad argument #1 to 'with' (function expected, got nil)", 1, true), err)
		f:wait()
	end)
end)
