-- Clocks and sleeping.
local describe, it, assert = describe, it, assert
local scale = require "spec.support.scale"
local scratch = require "spec.support.scratch"
local pool = require "lua-pool"
local core = require "lua-pool.core"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

describe("pool.now", function()
	it("tells the time of five clocks", function()
		local a, b = pool.now(), pool.now "monotonic"
		assert.is_true(b >= a and b - a < 10)
		assert.is_true(math.abs(pool.now "realtime" - os.time()) < 3)
		assert.is_true(pool.now "boottime" >= b - 1)
		local cpu = pool.now "process"
		assert.is_true(pool.now "thread" <= cpu + 1)
		assert.error_matches(function() pool.now "wall" end, "invalid option 'wall'")
	end)
end)

describe("pool.sleep", function()
	it("takes as long as it is told, in the main state and in a task", function()
		for _, call in ipairs { function(f, ...) return f(...) end, function(f, ...) return pool.async(f, ...):await() end } do
			assert.is_true(call(function()
				local here = require "lua-pool"
				local start = here.now()
				here.sleep(0.01)
				return here.now() - start >= 0.01
			end))
		end
		local start = pool.now()
		assert.is_nil(pool.async(pool.sleep, 0.01):await())
		assert.is_true(pool.now() - start >= 0.01)
	end)

	it("returns at once for 0 and less; NaN and what is no number is misuse", function()
		for _, seconds in ipairs { 0, -1, -math.huge, 1e-12 } do assert.is_nil(pool.sleep(seconds)) end
		assert.error_matches(function() pool.sleep(0 / 0) end, "seconds expected, got NaN")
		assert.error_matches(function() pool.sleep "1" end, "seconds %(a number%) expected, got string")
		assert.error_matches(function() pool.sleep() end, "seconds %(a number%) expected, got n")
	end)

	it("for ever, and until times that never come, ends when it is cancelled, at any moment", function()
		for _ = 1, scale(50, 5) do
			assert.equal("cancelled", scratch.cancelled(function(up) up:set() require "lua-pool".sleep(math.huge) end))
			assert.equal("cancelled", scratch.cancelled(function(up) up:set() require "lua-pool".sleep_until(math.huge) end))
			assert.equal("cancelled", scratch.cancelled(function(up) up:set() require "lua-pool".sleep_until(2 ^ 60, "realtime") end))
		end
		local ok, err = pcall(pool.deadline, 0.01, pool.sleep, 1e300)
		assert.is_true(not ok and err == pool.TIMEOUT)
	end)
end)

describe("pool.sleep_until", function()
	it("sleeps until a time of a clock; a time that has passed returns at once", function()
		for _, clock in ipairs { "monotonic", "realtime", "boottime" } do
			local time = pool.now(clock) + 0.01
			assert.is_nil(pool.sleep_until(time, clock))
			assert.is_true(pool.now(clock) >= time)
			assert.is_nil(pool.sleep_until(time - 100, clock))
			assert.is_nil(pool.sleep_until(-math.huge, clock))
		end
		local time = pool.now() + 0.01
		pool.async(pool.sleep_until, time):await()
		assert.is_true(pool.now() >= time)
	end)

	it("refuses what is no time and no clock that one can wait for", function()
		assert.error_matches(function() pool.sleep_until(0 / 0) end, "bad argument #1 to 'sleep_until' %(time in seconds expected, got NaN")
		assert.error_matches(function() pool.sleep_until "1" end, "time in seconds expected, got string")
		assert.error_matches(function() pool.sleep_until() end, "time in seconds expected, got nil")
		assert.error_matches(function() pool.sleep_until(1, "process") end, 'clock "monotonic", "realtime" or "boottime" expected, got "process"')
		assert.error_matches(function() pool.sleep_until(1, 2) end, "expected, got number")
	end)

	-- The wall clock of the machine is not ours to set: a clock of the spec's own stands in for it.
	local function with_clock(fake, f)
		local now, sleep = core.now, core.sleep
		core.now, core.sleep = fake.now, fake.sleep
		local ok, err = pcall(f)
		core.now, core.sleep = now, sleep
		assert(ok, err)
	end

	it("sleeps on when the wall clock is set back, and wakes when it is set forward", function()
		local time, slept = 1000, 0
		local set = {}
		local fake = {
			now = function() return time end,
			sleep = function(seconds)
				slept = slept + math.max(0, seconds)
				time = time + math.max(0, seconds)
				time = table.remove(set, 1) or time
			end,
		}
		with_clock(fake, function()
			set = { 995 } -- set back during the first second
			pool.sleep_until(1003, "realtime")
			assert.is_true(time >= 1003)
			assert.is_true(math.abs(slept - 9) < 1e-6) -- one second, and eight from 995 on
			time, slept, set = 1000, 0, { false, 5000 }
			pool.sleep_until(4000, "realtime")
			assert.equal(2, slept)
		end)
	end)
end)
