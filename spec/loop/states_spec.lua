-- Several Lua states of one process, each with an event loop of its own on a thread of its own; and the end of a state under a loop.
local pool = require "lua-pool"
local loops = require "spec.support.loops"

-- start(text) runs the text as a chunk in a new state on a new thread, where run(fn) lets the loop run fn as a coroutine to
-- its end; the answer waits for the state to have closed.
local threads = {}

function threads.luv()
	local uv = require "luv"
	return function(text)
		local thread = uv.new_thread(function(code)
			local loop = require "luv"
			function run(fn) -- luacheck: ignore
				loop.new_timer():start(0, 0, coroutine.wrap(function()
					fn()
					loop.stop()
				end))
				loop.run()
			end
			assert(load(code, "=thread"))()
		end, text)
		return function() thread:join() end
	end
end

function threads.cqueues()
	local thread = require "cqueues.thread"
	return function(text)
		local t = assert(thread.start(function(_, code)
			local cqueues = require "cqueues"
			function run(fn) -- luacheck: ignore
				local controller = cqueues.new()
				controller:wrap(fn)
				assert(controller:loop())
			end
			assert((loadstring or load)(code, "=thread"))() -- luacheck: ignore
		end, text))
		return function()
			local ok, err = t:join()
			assert(ok, err)
		end
	end
end

for _, name in ipairs { "luv", "cqueues" } do
	describe("states with loops of " .. name, function()
		local loop = loops.here(name)
		if not loop then
			require("spec.support.missing").all(it, pending, name .. " is not installed for this Lua")
			return
		end
		local start = threads[name]()
		local turn = 0
		local function named(which, object)
			return pool.named(("states %s %d %s"):format(name, turn, which), function() return object end)
		end

		before_each(function() turn = turn + 1 end)

		it("two of them suspend and wake coroutines of their own only, and meet in a channel", function()
			local out, back = named("out", pool.channel()), named("back", pool.channel())
			local join = start(([[
				local pool = require "lua-pool"
				local out, back = pool.named "states %s %d out", pool.named "states %s %d back"
				run(function()
					for i = 1, 50 do
						local n = out:receive()
						back:send(pool.async(function(x) return x + 1 end, n):await())
					end
				end)]]):format(name, turn, name, turn))
			local got, ticks = {}, 0
			loop.all(function()
				for i = 1, 50 do
					out:send(i)
					got[i] = back:receive()
				end
			end, function()
				while #got < 50 do
					loop.sleep(0.001)
					ticks = ticks + 1
				end
			end)
			join()
			for i = 1, 50 do assert.equal(i + 1, got[i]) end
			assert.is_true(ticks > 0)
		end)

		it("closing one does not wait for its tasks: detached ones go on, the others are cancelled", function()
			local gate, _, log = named("gate", pool.event()), named("up", pool.semaphore(0)), named("log", pool.channel(4))
			local join = start(([[
				local pool = require "lua-pool"
				local prefix = "states %s %d "
				local function task(p, how)
					local l = require "lua-pool"
					local gate, up, log = l.named(p .. "gate"), l.named(p .. "up"), l.named(p .. "log")
					l.shield(function()
						up:release()
						gate:wait()
						log:send(how .. (l.cancel_requested() and " cancelled" or " finished"))
					end)
				end
				run(function()
					pool.go(task, prefix, "detached")
					FUTURE = pool.async(task, prefix, "awaited")
					local up = pool.named(prefix .. "up")
					up:acquire()
					up:acquire()
				end)]]):format(name, turn))
			join() -- the state has closed, and both still wait for the gate
			gate:set()
			local ends = { (log:receive(60)), (log:receive(60)) }
			table.sort(ends)
			assert.same({ "awaited cancelled", "detached finished" }, ends)
		end)
	end)
end
