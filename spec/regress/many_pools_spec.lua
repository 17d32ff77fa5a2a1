-- What has to find everything finds it in the 5,000th pool, too: cancelling, deadlines, the report, the end of the program.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local child = require "spec.support.child"
local scale = require "spec.support.scale"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local others = {}
local function many(n)
	for i = #others + 1, n do others[i] = pool.new { workers = 1, on_error = false } end
end

describe("with 1,100 other pools", function()
	many(1100)
	local last = pool.new { workers = 1, name = "the-last", on_error = false }

	it("cancelling a task reaches what it has started in the newest", function()
		local up = pool.event()
		local ch = pool.channel(1)
		local f = others[1]:async(function(p, u, c)
			c:send((p:async(function(u1) u1:set() require "lua-pool".event():wait() end, u)))
			require "lua-pool".event():wait()
		end, last, up, ch)
		local below = ch:receive(20)
		assert.is_true(up:wait(20))
		assert.is_true(f:cancel(20))
		assert.is_true(below:wait(20))
		assert.equal("cancelled", below:status())
	end)

	it("and what is queued there", function()
		local up, never = pool.event(), pool.event()
		local small = pool.new { workers = 1, max_threads = 1 }
		local holder = small:async(function(u, e) u:set() e:wait() end, up, never)
		assert.is_true(up:wait(20))
		local ch = pool.channel(1)
		local f = others[1]:async(function(p, c)
			c:send((p:async(function() end)))
			require "lua-pool".event():wait()
		end, small, ch)
		local below = ch:receive(20)
		assert.is_true(f:cancel(20))
		assert.is_true(below:wait(20))
		assert.equal("cancelled", below:status())
		assert.is_true(holder:cancel(20))
		small:close()
	end)

	it("a deadline in the newest is told", function()
		local f = last:async(function()
			local lib = require "lua-pool"
			return pcall(lib.deadline, 0.01, function()
				local n = 0
				while true do n = n + #tostring(n) end -- no wait that would look at the clock
			end)
		end)
		local ok, err = f:await(20)
		assert.is_false(ok)
		assert.is_true(err == pool.TIMEOUT)
	end)

	it("task_timeout in the newest is told", function()
		local p = pool.new { workers = 1, task_timeout = 0.01, on_error = false }
		local f = p:async(function()
			local n = 0
			while true do n = n + #tostring(n) end
		end)
		assert.is_true(f:wait(20))
		assert.equal("failed", f:status())
		p:close()
	end)

	it("the report has the newest", function()
		local up = pool.event()
		local f = last:async(function(u) u:set() require "lua-pool".event():wait() end, up)
		assert.is_true(up:wait(20))
		assert.match("the%-last", pool.report())
		assert.is_true(f:cancel(20))
	end)

	it("the report has all of very many lines", function()
		local p = pool.new { workers = 4 }
		-- One on top of the other: each is a line.
		local f = p:async(function(depth)
			local lib = require "lua-pool"
			local function down(k, fn)
				if k == 0 then return #require "lua-pool".report("list") end
				return require "lua-pool".async(fn, k - 1, fn):await()
			end
			return lib.async(down, depth, down):await()
		end, 500)
		assert.is_true(f:await(60) > 500)
		local held = pool.mutex()
		held:lock()
		local wide = pool.new { workers = 1, max_threads = 300, stack_size = 4 * 1024 * 1024 }
		local up, fs = pool.semaphore(0), {}
		for i = 1, 250 do
			fs[i] = wide:async(function(m, s) s:release() m:lock(1000) end, held, up)
		end
		for _ = 1, 250 do assert.is_true(up:acquire(60)) end
		local text = pool.report()
		local _, lines = text:gsub("\n", "")
		assert.is_true(lines >= 249, text)
		assert.is_nil(text:find("and more", 1, true))
		wide:cancel_all()
		wide:close()
		held:unlock()
		p:close()
	end)

	it("cancel_all and close of each do what they say", function()
		for i = #others, 1, -1 do
			others[i]:cancel_all()
			others[i]:close()
			others[i] = nil
		end
		assert.is_true(last:close(20))
	end)
end)

describe("a program with 4,200 pools", function()
	it("ends all of them", function()
		local r = child.run(([[
			local all = {}
			for i = 1, %d do all[i] = pool.new { workers = 1 } end
			local up, never = pool.event(), pool.event()
			local last = pool.new { workers = 1, finish = function() io.stderr:write "finished\n" end }
			local f = last:async(function(u, e) u:set() e:wait() end, up, never)
			up:wait()
			os.exit(0, false)
		]]):format(scale(4200)), { limit = 60 })
		assert.equal("0||finished\n", r.status .. "|" .. r.out .. "|" .. r.err)
	end)
end)
