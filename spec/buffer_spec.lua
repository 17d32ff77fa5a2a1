-- Buffers: bytes that states share, and memory that moves.
local describe, it, assert, pending = describe, it, assert, pending
local pool = require "lua-pool"
local both = require "spec.support.both"
local child = require "spec.support.child"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

describe("pool.buffer", function()
	it("is n zero bytes, or the bytes of a string", function()
		local b = pool.buffer(3)
		assert.equal("\0\0\0", b:string())
		assert.equal(3, #b)
		local text = "any \0 bytes \255"
		assert.equal(text, pool.buffer(text):string())
		assert.equal("", pool.buffer(0):string())
		assert.matches("^lua%-pool%.buffer: .*%(3 bytes%)$", tostring(b))
	end)

	it("reads and writes bytes by number, strings by range", function()
		local b = pool.buffer "hello"
		assert.equal(104, b[1])
		b[1] = 74
		assert.equal("Jello", b:string())
		assert.equal("ell", b:string(2, 4))
		assert.equal("lo", b:string(-2))
		assert.equal("", b:string(6))
		assert.error_matches(function() b[1] = 256 end, "a whole number from 0 to 255 expected %(u8%), got 256")
		assert.error_matches(function() return b[6] end, "index 6 is outside of 1 %.%.%. 5")
		assert.error_matches(function() b:string(7) end, "7 is outside of 1 %.%.%. 5")
		assert.error_matches(function() b:string(1, 6) end, "6 is outside of 1 %.%.%. 5")
	end)

	it("is the same memory in a task", function()
		local b = pool.buffer(2)
		pool.async(function(x) x[2] = 9 end, b):await()
		assert.equal(9, b[2])
		assert.is_true(pool.async(function(x) return x end, b):await() == b)
	end)

	it("shows its bytes as an array of another type, and an array as bytes", function()
		local b = pool.buffer(16)
		local a = b:array "i32"
		assert.equal(4, #a)
		a[2] = -1
		assert.equal("\255\255\255\255", b:string(5, 8))
		assert.equal(-1, b:array("i16", 5, 6)[1])
		assert.equal("f64", b:array("f64"):type())
		assert.equal(16, #a:buffer())
		a:buffer()[16] = 1
		assert.equal(16777216, a[4]) -- where the specs run, the lowest byte is the first
		assert.error_matches(function() b:array("i32", 1, 6) end, "6 bytes are no whole number of i32 %(4 bytes each%)")
		assert.error_matches(function() b:array("i32", 2, 5) end, "must begin at a multiple of 4 bytes")
	end)

	it("refuses what is no size and no string", function()
		assert.error_matches(function() pool.buffer() end, "number of bytes or string expected, got no value")
		assert.error_matches(function() pool.buffer {} end, "number of bytes or string expected, got table")
		assert.error_matches(function() pool.buffer(-1) end, "a number of elements %(whole, at least 0%) expected, got %-1")
		assert.error_matches(function() pool.buffer(1.5) end, "expected, got 1.5")
		assert.error_matches(function() pool.buffer(2 ^ 50) end, "not enough memory for 1125899906842624 elements of u8")
	end)

	it("gives its address to the FFI: a struct of C in memory that tasks share", function()
		local b = pool.buffer(16)
		assert.equal("userdata", type(b:pointer()))
		if not both.jit then return pending "no FFI" end
		local ffi = require "ffi"
		ffi.cdef "struct lp_spec_point { double x; int32_t y; };"
		local p = ffi.cast("struct lp_spec_point *", b:pointer())
		p.x, p.y = 1.5, -3
		local x, y = pool.async(function(buffer)
			local f = require "ffi"
			pcall(f.cdef, "struct lp_spec_point { double x; int32_t y; };")
			local q = f.cast("struct lp_spec_point *", buffer:pointer())
			q.x = q.x * 2
			return q.x, q.y
		end, b):await()
		assert.same({3, -3, 3}, {x, y, p.x})
	end)

	it("goes on in a forked child, as a copy of its own", function()
		if not child.may_fork then return pending "no fork under this sanitizer" end
		assert.equal("0|child 7 8\nparent 7\n|", child.told [[
			local sys = require "sys"
			local b = pool.buffer(1)
			b[1] = 7
			local pid = sys.fork()
			if pid == 0 then
				local before = b[1]
				b[1] = 8
				print("child " .. before .. " " .. pool.async(function(x) return x[1] end, b):await())
				os.exit(0, true)
			end
			sys.wait(pid)
			print("parent " .. b[1])
		]])
	end)
end)

describe("pool.transfer", function()
	local function string_of(b) return b:string() end

	it("gives the memory to the receiver and leaves the sender an empty handle", function()
		local b = pool.buffer "mine"
		assert.equal("mine", pool.async(string_of, pool.transfer(b)):await())
		assert.matches("%(moved away%)$", tostring(b))
		assert.error_matches(function() return b[1] end, "this buffer is empty: it was moved away")
		assert.error_matches(function() b[1] = 1 end, "moved away")
		assert.error_matches(function() return #b end, "moved away")
		assert.error_matches(function() b:slice() end, "moved away")
		assert.error_matches(function() pool.transfer(b) end, "moved away")
		assert.is_true(b == b) -- luacheck: ignore
	end)

	it("moves arrays, through channels, in tables, as a result, and back", function()
		local ch = pool.channel(1)
		local a = pool.array("f64", {1, 2})
		assert.is_true(ch:send {"list", pool.transfer(a)})
		local there = ch:receive()[2]
		assert.same({1, 2}, there:table())
		local back = pool.async(function(x)
			x[1] = 5
			return require "lua-pool".transfer(x)
		end, pool.transfer(there)):await()
		assert.same({5, 2}, back:table())
		assert.error_matches(function() return #a end, "this array is empty")
		assert.error_matches(function() return #there end, "this array is empty")
	end)

	it("leaves the buffer where it is if the send fails", function()
		local b = pool.buffer "still here"
		local ch = pool.channel(0)
		assert.same({nil, "full"}, {ch:try_send(pool.transfer(b))})
		assert.same({nil, "timeout"}, {ch:send_within(0.001, pool.transfer(b))})
		ch:close()
		assert.same({nil, "closed"}, {ch:send(pool.transfer(b))})
		assert.is_false(pcall(pool.async, string_of, pool.transfer(b), coroutine.create(print)))
		assert.equal("still here", b:string())
	end)

	it("gives it back if what was sent is thrown away unread", function()
		local p = pool.new {workers = 1}
		local up, go = pool.event(), pool.event()
		local busy = p:async(function(u, g) u:set() g:wait() end, up, go)
		up:wait()
		local b = pool.buffer "unread"
		local f = p:async(string_of, pool.transfer(b))
		assert.error_matches(function() return #b end, "moved away")
		assert.is_true(f:cancel())
		go:set()
		busy:await()
		p:close()
		f = nil -- luacheck: ignore
		both.collect()
		assert.equal("unread", b:string())
	end)

	it("moves once", function()
		local b = pool.buffer "x"
		local t = pool.transfer(b)
		assert.error_matches(function() pool.async(print, t, t) end, "argument #3: cannot move what was moved already")
		assert.equal("x", b:string())
		assert.equal("x", pool.async(string_of, t):await())
		assert.error_matches(function() pool.async(string_of, t) end, "argument #2: cannot move what was moved already")
	end)

	it("is safe while other tasks use the buffer: they see it whole or empty", function()
		local p = pool.new {workers = 3} -- two of them are busy looking
		local b = pool.buffer(("x"):rep(100))
		local ready, moved = pool.semaphore(0), pool.event()
		local readers = {}
		for i = 1, 2 do
			readers[i] = p:async(function(x, r, m)
				r:release()
				local ok, what
				repeat
					local last = m:is_set()
					ok, what = pcall(x.string, x)
					if ok and #what ~= 100 or not ok and not what:find "moved away" then return what end
				until last
				return not ok and "empty at last"
			end, b, ready, moved)
		end
		ready:acquire()
		ready:acquire()
		for _ = 1, 50 do
			local ch = pool.channel(0)
			ch:try_send(pool.transfer(b)) -- nobody receives: it comes back
		end
		assert.equal(100, p:async(function(x) return #x end, pool.transfer(b)):await())
		both.collect()
		moved:set()
		for i = 1, 2 do assert.equal("empty at last", readers[i]:await()) end
		p:close()
	end)

	it("refuses what cannot be moved", function()
		assert.error_matches(function() pool.transfer "text" end, "array or buffer expected, got string")
		assert.error_matches(function() pool.transfer(pool.event()) end, "array or buffer expected, got userdata")
	end)
end)
