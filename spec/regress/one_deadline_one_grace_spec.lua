-- One deadline has one grace, however many clean-ups there are; then the task is abandoned.
local describe, it, assert, before_each, after_each = describe, it, assert, before_each, after_each
local pool = require "lua-pool"
local stuck = require "spec.support.stuck"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local GRACE = 0.05

-- Leaves a scope by a time limit; its clean-ups wait, and note which of them came to their ends.
local function clean_ups(log, n, seconds)
	local lib = require "lua-pool"
	lib.scope(function(s)
		for _ = 1, n do
			s:defer(function()
				local went = "cut"
				lib.scope(function(inner)
					inner:defer(function() log:try_send(went) end)
					lib.sleep(seconds)
					went = "whole"
				end)
			end)
		end
		lib.event():wait(1000)
	end)
end

-- Once one was cut off, all that follow are; one that has no time left at all may not even come to its note.
local function check(log, n)
	local seen, cut, whole = {}, false, 0
	for word in log do
		seen[#seen + 1] = word
		if cut then assert.equal("cut", word, table.concat(seen, " ")) end
		cut = cut or word == "cut"
		if word == "whole" then whole = whole + 1 end
	end
	assert.is_true(whole < n, table.concat(seen, " ")) -- each would be, had each its own grace
end

for what, run in pairs {
	["a deadline"] = { nil, function(fn, ...) return select(2, pcall(require "lua-pool".deadline, 0.3, fn, ...)) end },
	["task_timeout"] = { 0.3, function(fn, ...) return fn(...) end },
} do
	describe(what, function()
		local p, log
		before_each(function()
			log = pool.channel(100)
			p = pool.new { workers = 1, cancel_grace = GRACE, task_timeout = run[1], on_error = false,
				jit = jit and "checked" or nil, init = function() require "lua-pool" end }
		end)
		after_each(function()
			p:cancel_all()
			assert.is_true(p:close(20))
		end)

		it("grants one grace to many clean-ups", function()
			local f = p:async(function(go, fn, l, s) return go(fn, l, 12, s) == require "lua-pool".TIMEOUT end,
				run[2], clean_ups, log, GRACE * 0.6)
			assert.is_true(f:wait(20))
			log:close()
			check(log, 12)
			if not run[1] then assert.is_true(f:await()) else assert.equal("failed", f:status()) end
			assert.equal(0, p:stats().abandoned)
		end)

		it("grants none to clean-ups that do not end: the task is abandoned", function()
			local gate = stuck.gate()
			local f = p:async(function(go, task, g, l)
				return go(function()
					local lib = require "lua-pool"
					lib.scope(function(s)
						s:defer(function() l:send "inside" task(g) end)
						lib.event():wait(1000)
					end)
				end)
			end, run[2], stuck.task, gate, log)
			local ok, err = f:pawait(20)
			assert.is_false(ok)
			assert.is_true(err == pool.TIMEOUT)
			assert.same({ "inside", 1 }, { log:receive(20), p:stats().abandoned })
			stuck.come_back(gate)
		end)
	end)
end
