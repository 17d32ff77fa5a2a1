-- What is promised on LuaJIT in its own way: cdata, compiled loops, wrappers of protected calls, recursion in C functions; and the
-- functions of 5.4 that it lacks. What needs no LuaJIT runs on both.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local both = require "spec.support.both"
local child = require "spec.support.child"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local pack = both.pack
local TSAN = os.getenv "LUA_POOL_SANITIZER" == "thread" -- no signal while uninstrumented code loops

describe("warn", function()
	local script = [[
		pool.warn "@on"
		pool.warn("the ", "disk ", "is full")
		pool.warn "@off"
		pool.warn "not shown"
		pool.warn "@on"
		pool.async(function()
			require "lua-pool".warn "@on"
			require "lua-pool".warn("from ", "a task")
		end):await()
		print(pcall(pool.warn, "x", 1))
		print(pcall(pool.warn))]]

	it("writes one line that begins with 'Lua warning: ', can be turned off and on, and takes strings only", function()
		local r = child.run(script)
		assert.equal(0, r.status)
		assert.equal("Lua warning: the disk is full\nLua warning: from a task\n", r.err)
		assert.truthy(r.out:find("bad argument #2 to 'warn' (string expected, got number)", 1, true), r.out)
		assert.truthy(r.out:find("bad argument #1 to 'warn' (string expected, got no value)", 1, true), r.out)
	end)
end)

describe("protected calls in a task", function()
	local p = pool.new { workers = 1, on_error = false }

	it("return what the standard ones do, neither more nor less", function()
		assert.same(pack(1, 4, 3, 1, 2), pack(p:async(function()
			return select("#", pcall(function() end)), select("#", pcall(function() return 1, nil, nil end)),
				select("#", xpcall(function(...) return ... end, print, nil, nil)),
				select("#", coroutine.resume(coroutine.create(function() end))), select("#", pcall(error, nil))
		end):await()))
	end)

	it("can be yielded across", function()
		assert.same({ 1, 2, true, "end" }, { p:async(function()
			local co = coroutine.wrap(function()
				return pcall(function()
					coroutine.yield(1)
					coroutine.yield(2)
					return "end"
				end)
			end)
			local a, b = co(), co()
			return a, b, co()
		end):await() })
	end)

	it("give a message handler the stack of the error", function()
		local ok, trace = p:async(function()
			local function culprit() error "here" end
			return xpcall(function() culprit() end, debug.traceback)
		end):await()
		assert.is_false(ok)
		assert.truthy(trace:find("here", 1, true))
		assert.truthy(trace:find("culprit", 1, true), trace)
	end)

	it("contain an overflow of the stack, which the task may go on after", function()
		assert.same({ false, true, "went on" }, { p:async(function()
			local function deep() return deep() + 1 end
			local ok, err = pcall(deep)
			return ok, tostring(err):find("stack overflow", 1, true) ~= nil, "went on"
		end):await() })
	end)

	it("an overflow that nobody catches says so, whatever the frames are like", function()
		for _, f in ipairs {
			function() local function deep() return deep() + 1 end return deep() end,
			function() local function deep(a) local b, c, d, e, g = a, a, a, a, a return deep(a) + b + c + d + e + g end return deep(1) end,
			function() local function deep(...) return select("#", deep(1, ...)) end return deep() end,
		} do
			local future = p:async(f)
			local ok, err = future:pawait()
			assert.is_false(ok)
			assert.truthy(tostring(err):find("stack overflow", 1, true) or tostring(err):find("too many results", 1, true)
				or tostring(err) == "not enough memory", tostring(err))
			assert.equal("failed", future:status())
		end
		assert.equal(3, p:async(function() return 3 end):await())
	end)

	it("contain recursion through C functions", function()
		for _, f in ipairs {
			function() local function deep(s) return (s:gsub(".", deep)) end return deep "x" end,
			function() local function deep() return coroutine.wrap(deep)() end return deep() end,
			function()
				local function deep()
					local f, err = load(function() deep() end)
					if not f then error(err, 0) end
				end
				return deep()
			end,
			function() local function deep() table.sort({ 3, 2, 1 }, function(a, b) deep() return a < b end) end return deep() end,
		} do
			local ok = p:async(function(g) return (pcall(g)) end, f):await()
			assert.is_boolean(ok)
		end
		assert.equal(3, p:async(function() return 3 end):await())
		assert.is_true(p:close(20))
	end)
end)

if both.jit then
	local i64, u64 = both.chunk "return 9007199254740993LL, 0xffffffffffffffffULL" -- no syntax of 5.4

	describe("on LuaJIT", function()
		it("int64 and uint64 travel by value and stay what they are; other cdata is refused with its path", function()
			local ffi = require "ffi"
			local a, b, t = pool.async(function(x, y)
				local f = require "ffi"
				assert(f.istype("int64_t", x) and f.istype("uint64_t", y))
				return x + 1, y, { deep = { y } }
			end, i64, u64):await()
			assert.is_true(ffi.istype("int64_t", a) and ffi.istype("uint64_t", b) and ffi.istype("uint64_t", t.deep[1]))
			assert.is_true(a == i64 + 1)
			assert.is_true(b == u64 and t.deep[1] == b)
			for _, value in ipairs { ffi.new "int[3]", ffi.new "int32_t", ffi.cast("void *", 0), ffi.typeof "int64_t" } do
				local ok, err = pcall(pool.async, print, { list = { value } })
				assert.is_false(ok)
				assert.truthy(err:find("argument #2.list[1]: cannot send a cdata", 1, true), err)
			end
			local ok, err = pool.async(function() return { x = require "ffi".new "int[3]" } end):pawait()
			assert.is_false(ok)
			assert.truthy(err:find("result #1.x: cannot send a cdata", 1, true), err)
		end)

		if not TSAN then
			it("jit = 'checked': a loop that would have been compiled is stopped", function()
				local p = pool.new { workers = 1, jit = "checked" }
				local up = pool.event()
				assert.is_false(p:async(function() return (jit.status()) end):await())
				local f = p:async(function(u)
					local x = 0
					for i = 1, 1e5 do x = x + i end
					u:set()
					while true do x = x + 1 end
				end, up)
				up:wait()
				assert.is_true(f:cancel(20))
				assert.is_true(p:close(20))
			end)

			it("a message handler that never ends is stopped", function()
				local p = pool.new { workers = 1, jit = "checked" }
				local up = pool.event()
				local f = p:async(function(u)
					xpcall(function() error "x" end, function() u:set() while true do end end)
				end, up)
				up:wait()
				assert.is_true(f:cancel(20))
				assert.is_true(p:close(20))
			end)
		end

		it("by default a compiled loop goes on: cancel(timeout) says so, and the pool goes on with another thread", function()
			local r = child.run([[
				local p = pool.new { workers = 1, exit_timeout = 0.1 }
				local up = pool.event()
				local f = p:async(function(u)
					local x = 0
					local function loop(n) for i = 1, n do x = x + 1 end end
					loop(1e6)
					u:set()
					loop(math.huge)
				end, up)
				up:wait()
				print(f:cancel(0.3))
				io.stdout:flush()
				os.exit(0, false)]])
			assert.equal(0, r.status)
			assert.truthy(r.out == "nil\ttimeout\n" or r.out == "true\n", r.out) -- stopped where it left the compiled code
		end)

		it("memory of large results is given back though its collector counts allocations, not bytes", function()
			local p = pool.new { workers = 1, memory_limit = 48 * 2 ^ 20 }
			for _ = 1, 300 do assert.equal(2 ^ 20, #p:async(string.rep, "x", 2 ^ 20):await()) end
			assert.is_true(p:close(20))
		end)
	end)
end
