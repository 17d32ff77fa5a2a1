-- loops: the event loops of the specs in spec/loop, each as {name, spawn(fn), sleep(seconds), run()}: spawn starts a
-- coroutine that the loop runs, run returns when the loop has nothing left to do. abandon(fn [, last]) lets a coroutine come
-- to its wait in fn, calls last, and sees to it that it is never resumed; inside a coroutine of the loop. here(name)
-- answers nil where the loop is not installed.
local loops = {}

-- copas 4 is not in Debian: a checkout beside this one may have it.
local third_party = "../shared/third-party/copas/"

local function try(name)
	local ok, module = pcall(require, name)
	return ok and module or nil
end

local function luv()
	local uv = try "luv"
	if not uv then return nil end
	local function after(seconds, fn)
		local t = uv.new_timer()
		t:start(math.ceil(seconds * 1000), 0, function()
			t:close()
			fn()
		end)
	end
	return {
		spawn = function(fn) after(0, coroutine.wrap(fn)) end,
		sleep = function(seconds)
			local co = coroutine.running()
			after(seconds, function() assert(coroutine.resume(co)) end)
			coroutine.yield()
		end,
		run = function() uv.run() end,
		-- What a program does that ends a coroutine of its own.
		abandon = coroutine.close and function(fn, last)
			local co = coroutine.create(fn)
			assert(coroutine.resume(co))
			if last then last() end
			assert(coroutine.close(co))
		end,
	}
end

local function cqueues()
	local cq = try "cqueues"
	if not cq then return nil end
	local controller = cq.new()
	return {
		spawn = function(fn) controller:wrap(fn) end,
		sleep = cq.sleep,
		run = function() assert(controller:loop()) end,
		abandon = function(fn, last)
			local other = cq.new()
			other:wrap(fn)
			assert(other:step(0))
			if last then last() end
			cq.sleep(0) -- what was polled last is kept
		end,
	}
end

local function copas()
	local function find() return try "copas" end
	local c = find()
	if not c or not c.sleep then
		package.loaded.copas = nil
		package.path = third_party .. "?.lua;" .. third_party .. "?/init.lua;" .. package.path -- it loads parts later
		c = find()
	end
	if not c or not c.sleep or not try "socket" then return nil end
	return {
		spawn = function(fn)
			c.addthread(function()
				c.sleep(0)
				fn()
			end)
		end,
		sleep = c.sleep,
		run = function() c.loop() end,
		abandon = function(fn, last)
			local thread = c.addthread(fn)
			c.sleep(0)
			c.sleep(0)
			if last then last() end
			c.removethread(thread)
			c.sleep(0.001)
		end,
	}
end

-- The loop and the adapter of examples/pollloop.
local function custom()
	if not try "posix.poll" then return nil end
	local loop = require "examples.pollloop.loop"
	local adapter = require "examples.pollloop.adapter"
	require "lua-pool".loop(adapter)
	return { spawn = loop.spawn, sleep = loop.sleep, run = loop.run, adapter = adapter, usual = adapter }
end

local makers = { luv = luv, cqueues = cqueues, copas = copas, custom = custom }

function loops.here(name)
	local loop = makers[name]()
	if not loop then return nil end
	loop.name = name
	loop.adapter = loop.adapter or name -- what pool.loop takes to choose it
	loop.usual = loop.usual or "auto" -- what pool.loop takes to have it as it began
	-- all(fn, ...) runs each as a coroutine until the loop has nothing left to do; the first error is raised.
	function loop.all(...)
		local failed, reason = false, nil
		local ended, n = 0, select("#", ...)
		for _, fn in ipairs { ... } do
			loop.spawn(function()
				local ok, err = xpcall(fn, function(e) return type(e) == "string" and debug.traceback(e) or e end)
				ended = ended + 1
				if not ok and not failed then failed, reason = true, err end
			end)
		end
		loop.run()
		if failed then error(reason, 0) end
		assert(ended == n, "the loop has ended, and " .. (n - ended) .. " coroutines have not")
	end
	return loop
end

return loops
