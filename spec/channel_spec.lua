-- Channels: every message arrives once, in order, or is still its sender's.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local unpack = table.unpack or unpack
local is54 = _VERSION == "Lua 5.4"
local slow = os.getenv "LUA_POOL_SANITIZER" and 10 or 1

local function pack(...)
	return { n = select("#", ...), ... }
end

-- Until the object says that so many wait.
local function waiting(ch, n)
	while not tostring(ch):find("[, ]" .. n .. " waiting") do pool.sleep(0.0002) end
end

describe("pool.channel", function()
	describe("messages", function()
		it("are all values of one send, nils included", function()
			local ch = pool.channel(10)
			assert.is_true(ch:send(1, nil, "x", nil))
			assert.is_true(ch:send())
			assert.is_true(ch:send(nil))
			assert.same({ n = 4, 1, nil, "x", nil }, pack(ch:receive()))
			assert.same({ n = 0 }, pack(ch:receive()))
			assert.same({ n = 1, nil }, pack(ch:receive()))
			local many = {}
			for i = 1, 200 do many[i] = i end
			ch:send(unpack(many))
			assert.same(many, { ch:receive() })
		end)

		it("come out in the order in which they went in", function()
			local ch = pool.channel(math.huge)
			for i = 1, 5000 do ch:send(i) end
			assert.equal(5000, ch:len())
			assert.equal(5000, #ch)
			for i = 1, 5000 do assert.equal(i, ch:receive()) end
			assert.equal(0, #ch)
		end)

		it("are copies", function()
			local ch, t = pool.channel(1), { 1, { 2 } }
			ch:send(t)
			t[1] = "changed"
			local got = ch:receive()
			assert.same({ 1, { 2 } }, got)
			assert.is_true(got ~= t)
		end)

		it("may be functions, and large", function()
			local ch = pool.channel(2)
			ch:send(function(x) return x + #(("x"):rep(10)) end, ("a"):rep(1000000))
			local f, s = ch:receive()
			assert.equal(15, f(5))
			assert.equal(1000000, #s)
		end)
	end)

	describe("capacity", function()
		it("try_send says when it is full, try_receive when it is empty", function()
			local ch = pool.channel(2)
			assert.same({ nil, "empty" }, { ch:try_receive() })
			assert.is_true(ch:try_send(1))
			assert.is_true(ch:try_send(2))
			assert.same({ nil, "full" }, { ch:try_send(3) })
			assert.equal(1, ch:try_receive())
			assert.is_true(ch:try_send(3))
		end)

		it("0 hands over from one to another only", function()
			local ch = pool.channel()
			assert.same({ nil, "full" }, { ch:try_send(1) })
			assert.same({ nil, "empty" }, { ch:try_receive() })
			assert.same({ nil, "timeout" }, { ch:send_within(0.005, 1) })
			assert.same({ nil, "timeout" }, { ch:receive(0.005) })
			local f = pool.async(function(c) return c:receive() end, ch)
			assert.is_true(ch:send("hello"))
			assert.equal("hello", f:await())
			local g = pool.async(function(c) return c:send("back") end, ch)
			assert.equal("back", ch:receive())
			assert.is_true(g:await())
			local h = pool.async(function(c) return c:receive() end, ch)
			waiting(ch, 1)
			assert.is_true(ch:try_send("now"))
			assert.equal("now", h:await())
		end)

		for _, capacity in ipairs { 0, 1, 1000000 } do
			it(capacity .. ": two producers and two consumers", function()
				local ch, n = pool.channel(capacity), math.floor((capacity == 0 and 1000 or 5000) / slow)
				local producers, consumers = {}, {}
				for p = 1, 2 do
					producers[p] = pool.async(function(c, id, count)
						for i = 1, count do c:send(id, i) end
					end, ch, p, n)
					consumers[p] = pool.async(function(c)
						local last, count = { 0, 0 }, 0
						for id, i in c do
							if i <= last[id] then error("out of order") end
							last[id] = i
							count = count + 1
						end
						return count
					end, ch)
				end
				for p = 1, 2 do producers[p]:await() end
				ch:close()
				assert.equal(2 * n, consumers[1]:await() + consumers[2]:await())
			end)
		end

		it("refuses what is none", function()
			for _, c in ipairs { -1, 1.5, 0 / 0, -math.huge } do
				assert.error_matches(function() pool.channel(c) end, "capacity must be")
			end
			assert.error_matches(function() pool.channel "10" end, "capacity .* expected, got string")
			assert.error_matches(function() pool.channel {} end, "capacity .* expected, got table")
		end)

		it("many wait to send: first come, first served", function()
			local ch, fs = pool.channel(1), {}
			ch:send(0)
			for i = 1, 5 do
				fs[i] = pool.async(function(c, n) return c:send(n) end, ch, i)
				waiting(ch, i)
			end
			for i = 0, 5 do assert.equal(i, ch:receive()) end
			for i = 1, 5 do assert.is_true(fs[i]:await()) end
		end)
	end)

	describe("closing", function()
		it("sends are refused, what is in it can be received", function()
			local ch = pool.channel(5)
			ch:send(1) ch:send(2)
			ch:close()
			ch:close()
			assert.is_true(ch:is_closed())
			assert.same({ nil, "closed" }, { ch:send(3) })
			assert.same({ nil, "closed" }, { ch:try_send(3) })
			assert.same({ nil, "closed" }, { ch:send_within(1, 3) })
			assert.equal(1, ch:receive())
			assert.equal(2, ch:try_receive())
			assert.same({ nil, "closed" }, { ch:receive() })
			assert.same({ nil, "closed" }, { ch:receive(1) })
			assert.same({ nil, "closed" }, { ch:try_receive() })
		end)

		it("wakes everyone who waits, on either end", function()
			local ch, fs = pool.channel(), {}
			for i = 1, 5 do fs[i] = pool.async(function(c) return c:receive() end, ch) end
			waiting(ch, 5)
			ch:close()
			for i = 1, 5 do assert.same({ nil, "closed" }, { fs[i]:await() }) end
			ch = pool.channel(1)
			ch:send(0)
			for i = 1, 5 do fs[i] = pool.async(function(c) return c:send("x") end, ch) end
			waiting(ch, 5)
			ch:close()
			for i = 1, 5 do assert.same({ nil, "closed" }, { fs[i]:await() }) end
			assert.equal(0, ch:receive())
			assert.same({ nil, "closed" }, { ch:receive() })
		end)

		it("ends a loop; a message that would end it too early is an error", function()
			local ch, got = pool.channel(9), {}
			for i = 1, 5 do ch:send(i, i * i) end
			ch:close()
			for a, b in ch do got[a] = b end
			assert.same({ 1, 4, 9, 16, 25 }, got)
			for _ in ch do error "nothing is left" end
			ch = pool.channel(1)
			ch:send(nil, "closed")
			assert.error_matches(function() for _ in ch do end end, "first value is nil") -- luacheck: ignore
		end)

		if is54 then
			it("<close> closes", function()
				local f = assert(load [[
					local pool, out = ...
					do local ch <close> = pool.channel() out[1] = ch end
				]])
				local out = {}
				f(pool, out)
				assert.is_true(out[1]:is_closed())
			end)
		end

		it("channels that nobody else can reach close by themselves", function()
			local fs, up = {}, pool.semaphore(0)
			do
				local ch = pool.channel()
				for i = 1, 20 do
					fs[i] = pool.async(function(c, u) u:release() return c:receive() end, ch, up)
				end
				for _ = 1, 20 do up:acquire() end
				waiting(ch, 20)
			end
			collectgarbage() collectgarbage()
			for i = 1, 20 do assert.same({ nil, "closed" }, { fs[i]:await() }) end
		end)
	end)

	describe("waiting", function()
		it("a receiver that is cancelled takes no message with it: the next one gets it", function()
			local ch = pool.channel()
			for i = 1, math.floor(100 / slow) do
				local f = pool.async(function(c) return c:receive() end, ch)
				waiting(ch, 1)
				local g = pool.async(function(c) return c:receive() end, ch)
				waiting(ch, 2)
				f:cancel(0)
				while tostring(ch):find "2 waiting" do pool.sleep(0) end
				assert.is_true(ch:send(i))
				assert.equal(i, g:await())
				assert.equal("cancelled", f:wait() and f:status())
			end
		end)

		it("a sender that is cancelled leaves nothing behind", function()
			local ch = pool.channel()
			local f = pool.async(function(c) c:send "x" end, ch)
			waiting(ch, 1)
			assert.is_true(f:cancel())
			assert.same({ nil, "timeout" }, { ch:receive(0.005) })
		end)

		it("timeouts and deliveries in the same instant lose nothing", function()
			local ch, n = pool.channel(), math.floor(400 / slow)
			local f = pool.async(function(c, count)
				local got = 0
				for _ = 1, count do
					if c:receive(0.0005) then got = got + 1 end
				end
				return got
			end, ch, n)
			local sent = 0
			while f:status() ~= "done" do
				if ch:send_within(0.0005, "x") then sent = sent + 1 end
			end
			assert.equal(sent, f:await())
		end)

		it("works in the cleaning up of a cancelled task", function()
			local ch, up = pool.channel(1), pool.event()
			local f = pool.async(function(c, u)
				local guard = setmetatable({}, { __gc = function() end })
				u:set()
				local ok = pcall(function() pool.sleep(100) end)
				return ok, guard
			end, ch, up)
			up:wait()
			f:cancel()
			assert.equal("cancelled", f:status())
			assert.is_true(ch:send(1))
		end)
	end)

	describe("what it carries", function()
		it("an unsendable value is refused with its path, and the channel stays usable", function()
			local ch = pool.channel(2)
			local co = coroutine.create(function() end)
			assert.error_matches(function() ch:send(1, { a = { co } }) end, "argument #2%.a.*cannot send a coroutine")
			assert.error_matches(function() ch:send_within(1, co) end, "argument #2: cannot send a coroutine")
			assert.error_matches(function() ch:try_send(co) end, "argument #1: cannot send")
			for i = 1, 1000 do
				if pcall(ch.send, ch, i, co) then error "sent" end
			end
			assert.equal(0, #ch)
			assert.is_true(ch:send(1))
			assert.equal(1, ch:receive())
		end)

		it("a channel, in a table, in a closure, and itself", function()
			local ch, answer = pool.channel(5), pool.channel(5)
			ch:send { deep = { function() return answer end } }
			local got = ch:receive()
			assert.is_true(got.deep[1]() == answer)
			ch:send(ch, answer)
			local same, other = ch:receive()
			assert.is_true(same == ch and other == answer)
			pool.async(function(c) local reply = c:receive() reply:send "thanks" end, ch)
			ch:send(answer)
			assert.equal("thanks", answer:receive())
		end)

		it("channels that contain themselves do not pile up", function()
			collectgarbage()
			for _ = 1, 2000 do
				local ch = pool.channel(2)
				ch:send(ch, ("x"):rep(10000))
			end
			collectgarbage() collectgarbage()
			local status = io.open "/proc/self/statm"
			if status and slow == 1 then
				assert.is_true(tonumber(status:read "*a":match "%d+ (%d+)") * 4096 < 500e6)
			end
		end)

		it("metamethods that use the same channel while a message is made", function()
			local ch = pool.channel(10)
			local mt = {}
			mt.__pool_encode = function(o)
				if o.n > 0 then ch:send(setmetatable({ n = o.n - 1 }, mt)) end
				return o.n
			end
			mt.__pool_decode = function(n) return n end
			if not pcall(ch.send, ch, setmetatable({ n = 3 }, mt)) then
				while ch:try_receive() do end -- needs a class of a module: nothing is to be seen here
			end
			assert.is_true(ch:send "still fine")
		end)
	end)

	it("says in tostring how full it is, whether it is open, who waits", function()
		local ch = pool.channel(3)
		ch:send(1)
		assert.matches("^lua%-pool%.channel: .*%(1 of 3 messages, open%)$", tostring(ch))
		ch:close()
		assert.matches("closed%)$", tostring(ch))
		ch = pool.channel()
		local f = pool.async(function(c) return c:receive() end, ch)
		waiting(ch, 1)
		assert.matches("rendezvous, open, 1 waiting to receive", tostring(ch))
		ch:close()
		f:wait()
		assert.matches("%(0 messages, open%)", tostring(pool.channel(math.huge)))
	end)

	it("refuses what is no channel and no timeout", function()
		local ch = pool.channel(1)
		assert.error_matches(function() ch.send(5, 1) end, "channel expected, got number")
		assert.error_matches(function() ch.receive(pool.event()) end, "channel expected, got event")
		assert.error_matches(function() ch:receive "1" end, "timeout in seconds expected, got string")
		assert.error_matches(function() ch:send_within("1", 2) end, "timeout in seconds expected, got string")
		assert.error_matches(function() ch:send_within() end, "timeout in seconds expected")
	end)
end)
