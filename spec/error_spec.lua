-- Errors: of tasks, on their way to whoever awaits, and where nobody does.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local both = require "spec.support.both"
local child = require "spec.support.child"
local scale = require "spec.support.scale"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local pack = both.pack
local here = debug.getinfo(1, "S").short_src

local function line()
	return debug.getinfo(2, "l").currentline
end

describe("the error of a task", function()
	it("arrives as the very value that it raised", function()
		local values = { "x", 42, 1.5, false, true, { code = 1 }, { { "deep" } } }
		for _, v in ipairs(values) do
			local ok, err = pcall(function() pool.async(error, v, 0):await() end)
			assert.is_false(ok)
			assert.same(v, err)
			local got = pack(pool.async(function() error(v, 0) end):pawait())
			assert.equal(2, got.n)
			assert.is_false(got[1])
			assert.same(v, got[2])
		end
		local got = pack(pool.async(function() error(nil) end):pawait())
		assert.equal(2, got.n)
		assert.is_false(got[1])
		assert.is_nil(got[2])
	end)

	it("says the user's line, for every level", function()
		local at
		local function raises(level)
			local function inner() error("here", level) end
			inner() -- level 2
		end
		local info = debug.getinfo(raises, "S").linedefined
		at = { [0] = "here", ("%s:%d: here"):format(here, info + 1), ("%s:%d: here"):format(here, info + 2) }
		for level = 0, 2 do
			local ok, err = pool.async(raises, level):pawait()
			assert.is_false(ok)
			assert.equal(at[level], err)
			ok, err = pcall(function() return pool.async(raises, level):await() end)
			assert.is_false(ok)
			assert.equal(at[level], err)
		end
	end)

	it("keeps its metatable", function()
		local ok, err = pool.async(function()
			error(setmetatable({ n = 3 }, { __tostring = function(e) return "problem " .. e.n end }))
		end):pawait()
		assert.is_false(ok)
		assert.equal("problem 3", tostring(err))
	end)

	it("that cannot be sent arrives as a string with its type, its text and why", function()
		local ok, err = pool.async(function() error(coroutine.create(print)) end):pawait()
		assert.is_false(ok)
		assert.equal("string", type(err))
		assert.truthy(err:find("thread", 1, true) or err:find("coroutine", 1, true), err)
		ok, err = pool.async(function()
			error(setmetatable({ co = coroutine.create(print) }, { __tostring = function() return "my text" end }))
		end):pawait()
		assert.is_false(ok)
		assert.equal("string", type(err))
		assert.truthy(err:find("my text", 1, true), err)
		assert.truthy(err:find("table", 1, true), err)
		assert.truthy(err:find("cannot send", 1, true), err)
	end)

	it("that raises in __tostring is contained", function()
		local ok, err = pool.async(function()
			error(setmetatable({ n = 1 }, { __tostring = function() error("in tostring") end }))
		end):pawait()
		assert.is_false(ok)
		assert.equal(1, err.n)
		assert.equal(2, pool.async(function() return 2 end):await())
	end)

	it("passes through tasks that await, and can be caught there", function()
		local function child_fails() error({ "inner" }) end
		assert.same(pack(false, { "inner" }), pack(pool.async(function()
			return pool.async(child_fails):await()
		end):pawait()))
		assert.equal("inner", pool.async(function()
			local ok, err = pcall(function() return pool.async(child_fails):await() end)
			return not ok and err[1]
		end):await())
	end)

	it("of a result that cannot be sent names the result and the path", function()
		local ok, err = pool.async(function() return 1, { a = { coroutine.create(print) } } end):pawait()
		assert.is_false(ok)
		assert.truthy(err:find("result #2", 1, true), err)
		assert.truthy(err:find("cannot send a", 1, true), err)
		assert.truthy(err:find("a", 1, true) and err:find("[1]", 1, true), err)
	end)

	it("does not spoil the worker", function()
		local p = pool.new { workers = 1 }
		for i = 1, scale(500) do
			local f, g = p:async(function() error("x", 0) end), p:async(function() return i end)
			assert.same(pack(false, "x"), pack(f:pawait()))
			assert.equal(i, g:await())
		end
		p:close()
	end)
end)

describe("what the task's own code breaks", function()
	local function contained(f, pattern)
		local p = pool.new { workers = 1, on_error = false }
		local ok, err = p:async(f):pawait(30)
		assert.is_false(ok)
		assert.truthy(tostring(err):find(pattern), tostring(err))
		assert.equal("next", p:async(function() return "next" end):await())
		p:close()
	end

	it("is contained: a stack overflow", function()
		contained(function()
			local function f() return 1 + f() end
			return f()
		end, both.jit and "err?o[rv]" or "stack overflow")
	end)

	-- LuaJIT itself has no guard of the C stack: its own interpreter crashes on this.
	if not both.jit then it("is contained: an overflow of the C stack", function()
		contained(function()
			local function f(s) return (s:gsub(".", f)) end
			return f "x"
		end, "overflow")
		contained(function()
			local t = setmetatable({}, { __index = function(t, k) return string.gsub("x", "x", function() return t[k + 1] end) end })
			return t[1]
		end, "overflow")
	end) end

	if not both.jit then it("is contained: an overflow of the C stack in a child that runs on top of its parent", function()
		local p = pool.new { workers = 1, max_threads = 1 }
		local levels, inner, err, again = p:async(function()
			local inside = require "lua-pool"
			local function deep(n, at_end) -- n C levels
				if n == 0 then return at_end() end
				local result
				string.gsub("x", "x", function() result = { deep(n - 1, at_end) } end)
				return table.unpack(result)
			end
			-- Both have all levels to themselves.
			local levels, inner = deep(150, function()
				return 150, inside.async(function() return deep(150, function() return 150 end) end):await()
			end)
			local ok, err = inside.async(function()
				local function f(s) return (s:gsub(".", f)) end
				return f "x"
			end):pawait()
			return levels, inner, not ok and err, inside.async(function() return "again" end):await()
		end):await()
		assert.same({ 150, 150, "again" }, { levels, inner, again })
		assert.truthy(err:find("overflow", 1, true), err)
		assert.equal(3, p:stats().inlined)
		p:close()
	end) end

	it("is contained: an error in a message handler", function()
		local ok, same, kind = pool.async(function()
			local function handler() error("again") end
			local ok, err = xpcall(error, handler, "x")
			return ok, type(err)
		end):await()
		assert.is_false(ok)
		assert.truthy(same ~= nil)
		assert.is_nil(kind)
	end)

	it("is contained: an error of __gc", function()
		local r = child.run [[
			local p = pool.new { workers = 1 }
			print(p:async(function()
				if newproxy then getmetatable(newproxy(true)).__gc = function() error("in gc") end
				else setmetatable({}, { __gc = function() error("in gc") end }) end
				collectgarbage() collectgarbage()
				return "fine"
			end):pawait())
			print(p:async(function() return "next" end):await())
			p:close()
		]]
		assert.equal(0, r.status)
		assert.truthy(r.out:find("next\n", 1, true), r.out)
	end)

	it("is contained: the standard library turned upside down", function()
		local p = pool.new { workers = 1 }
		p:async(function()
			pcall, error, type, pairs, setmetatable, require = nil, nil, nil, nil, nil, nil -- luacheck: ignore
			string, table, coroutine = nil, nil, nil -- luacheck: ignore
			package.loaded["lua-pool"], package.loaded["lua-pool.core"] = false, false
			debug.sethook(function() end, "", 1)
		end):pawait()
		local ok = p:async(function() return 1 end):pawait(30)
		assert.is_true(ok == true or ok == false)
		p:close()
		assert.equal(3, pool.async(function() return 3 end):await())
	end)

	if both.has_close then
		it("is contained: an error of __close", function()
			contained(load [[
				local x <close> = setmetatable({}, { __close = function() error("in close") end })
				return 1
			]], "in close")
		end)
	end
end)

describe("a global of the main program", function()
	it("is nil in a task, and the error says why and what to do", function()
		helper_of_main = function() end -- luacheck: ignore
		local ok, err = pool.async(function() return helper_of_main() end):pawait() -- luacheck: ignore
		assert.is_false(ok)
		assert.truthy(err:find("global 'helper_of_main'", 1, true), err)
		assert.truthy(err:find("nil value", 1, true), err)
		assert.truthy(err:find("globals of its own", 1, true), err)
		assert.truthy(err:find("local", 1, true) and err:find("require", 1, true), err)
		ok, err = pool.async(function() return config_of_main.x end):pawait() -- luacheck: ignore
		assert.is_false(ok)
		assert.truthy(err:find("globals of its own", 1, true), err)
		helper_of_main = nil -- luacheck: ignore
	end)

	it("is all that the advice is given for", function()
		local ok, err = pool.async(function() local t = nil; return t.x end):pawait()
		assert.is_false(ok)
		assert.is_nil(err:find("globals of its own", 1, true), err)
	end)
end)

describe("traceback", function()
	local function inner_function() error("deep") end
	local function outer_function() inner_function() return 1 end

	it("names the functions inside the task and where async was called", function()
		local f = pool.async(outer_function); local called_at = line()
		f:wait()
		local text = f:traceback()
		assert.truthy(text:find("deep", 1, true), text)
		assert.truthy(text:find("stack traceback", 1, true), text)
		assert.truthy(text:find("inner_function", 1, true), text)
		assert.truthy(text:find(("%s:%d"):format(here, debug.getinfo(outer_function, "S").linedefined), 1, true), text)
		assert.truthy(text:find(("async called at %s:%d"):format(here, called_at), 1, true), text)
	end)

	it("is nil for a task that did not fail", function()
		local gate = pool.event()
		local f = pool.async(function() gate:wait() end)
		assert.is_nil(f:traceback())
		gate:set()
		f:await()
		assert.is_nil(f:traceback())
	end)

	it("has the text of an error that is a table", function()
		local f = pool.async(function() error(setmetatable({}, { __tostring = function() return "shown so" end })) end)
		f:wait()
		assert.truthy(f:traceback():find("shown so", 1, true), f:traceback())
		f = pool.async(function() error({}) end)
		f:wait()
		assert.truthy(f:traceback():find("table", 1, true), f:traceback())
	end)

	it("is there for a task that overflowed its stack", function()
		local f = pool.async(function()
			local function g() return 1 + g() end
			return g()
		end)
		f:wait()
		-- LuaJIT may have no stack left for its own words.
		assert.truthy(f:traceback():find("overflow", 1, true) or f:traceback():find("error handling", 1, true), f:traceback())
	end)
end)

describe("a failure that nobody sees", function()
	local function count(text, what)
		return select(2, text:gsub(what, ""))
	end

	it("is reported once on stderr, with where it was raised", function()
		local r = child.run [[
			local p = pool.new { workers = 1 }
			p:async(function() error("nobody looks") end)
			collectgarbage() collectgarbage()
			p:close()
			collectgarbage() collectgarbage()
		]]
		assert.equal(0, r.status)
		assert.equal("", r.out)
		assert.equal(1, count(r.err, "nobody looks"), r.err)
		assert.truthy(r.err:find("stack traceback", 1, true), r.err)
		assert.truthy(r.err:find("async called at", 1, true), r.err)
	end)

	it("is reported when its future is collected only at the end of the program", function()
		local r = child.run [[
			f = pool.async(function() error("kept till the end") end)
			f:wait()
		]]
		assert.equal(0, r.status)
		assert.equal(1, count(r.err, "kept till the end"), r.err)
	end)

	it("is reported for detached tasks", function()
		local r = child.run [[
			local p = pool.new { workers = 1 }
			p:go(function() error("detached one") end)
			p:close()
		]]
		assert.equal(0, r.status)
		assert.equal(1, count(r.err, "detached one"), r.err)
	end)

	it("is not reported when it was seen", function()
		assert.equal("0||", child.told [[
			local p = pool.new { workers = 1 }
			local fs = {}
			for i = 1, 5 do fs[i] = p:async(function() error("seen") end) end
			fs[1]:pawait()
			pcall(fs[2].await, fs[2])
			pcall(pool.all, { fs[3] })
			fs[4]:wait() fs[4]:traceback()
			fs[5]:wait() fs[5]:cancel()
			fs = nil
			collectgarbage() collectgarbage()
			p:close()
		]])
	end)

	it("is silent with on_error = false", function()
		assert.equal("0||", child.told [[
			local p = pool.new { workers = 1, on_error = false }
			p:async(function() error("x") end)
			p:go(function() error("y") end)
			collectgarbage() collectgarbage()
			p:close()
			collectgarbage() collectgarbage()
		]])
	end)

	it("goes to on_error, in a worker, with the error itself and a traceback, once", function()
		local heard = pool.channel(10)
		local p = pool.new { workers = 1, on_error = function(err, traceback)
			heard:send { err = err, traceback = traceback, worker = pool.worker_id() }
		end }
		p:go(function() error({ code = 7 }) end)
		local r = heard:receive()
		assert.same({ code = 7 }, r.err)
		assert.equal("string", type(r.traceback))
		assert.is_true(r.worker ~= 0)
		p:async(function() error("lost", 0) end):wait()
		both.collect()
		r = heard:receive()
		assert.equal("lost", r.err)
		p:close()
		assert.is_nil((heard:try_receive()))
	end)

	it("of an on_error that fails itself is told on stderr, both errors", function()
		local r = child.run [[
			local p = pool.new { workers = 1, on_error = function() error("handler broken") end }
			p:go(function() error("first error") end)
			p:close()
		]]
		assert.equal(0, r.status)
		assert.truthy(r.err:find("handler broken", 1, true), r.err)
		assert.truthy(r.err:find("first error", 1, true), r.err)
	end)

	it("may be handled by an on_error that waits, sleeps and starts tasks", function()
		local r = child.run [[
			local done, never, started = pool.event(), pool.event(), pool.event()
			local p = pool.new { workers = 1, on_error = function(err)
				never:wait(0.001)
				pool.sleep(0.001)
				pool.go(function() started:set() end)
				done:set()
			end }
			p:go(function() error("x") end)
			print(done:wait(10), started:wait(10))
			p:async(function() error("x") end):wait()
			done:reset()
			collectgarbage() collectgarbage()
			print(done:wait(10))
			p:close()
		]]
		assert.equal("0|true true\ntrue\n|", ("%d|%s|%s"):format(r.status, (r.out:gsub("\t", " ")), r.err))
	end)

	it("is reported with its reason when it is the pool's init that fails", function()
		local r = child.run [[
			local p = pool.new { workers = 1, init = function() error("init is broken") end }
			p:go(function() end)
			p:close()
		]]
		assert.equal(0, r.status)
		assert.truthy(r.err:find("init is broken", 1, true), r.err)
	end)
end)
