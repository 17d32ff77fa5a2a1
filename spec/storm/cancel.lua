-- A storm of cancellations: for some seconds, tasks of every kind are started, nested, shielded, timed and cancelled at
-- random moments from several threads. What has to hold: each ends, and as cancel says; nothing stays locked; no
-- shield is torn; each worker runs an ordinary task afterwards; nothing is left over.
--
--     tools/env.sh build/5.4 lua5.4 spec/storm/cancel.lua [seconds [seed]]
local pool = require "lua-pool"
local sys = require "sys"

local seconds = tonumber(arg[1]) or 5
local seed = tonumber(arg[2]) or os.time() % 100000
math.randomseed(seed)
print("seed " .. seed)
io.stdout:flush()

local TSAN = os.getenv "LUA_POOL_SANITIZER" == "thread" -- it delivers no signal while uninstrumented code loops
local is54 = _VERSION == "Lua 5.4"

local m, rw, never, ch = pool.mutex(), pool.rwlock(), pool.event(), pool.channel(4)
local began, ended = pool.counter(), pool.counter()
local nobody_writes = sys.pipe()

-- Each goes on for ever, or for a while.
local kinds = {
	function() require "lua-pool".sleep(1000) end,
	function() never:wait() end,
	function() require "sys".read(nobody_writes) end,
	function() while true do ch:send(1) ch:receive() end end,
	function() require "lua-pool".select({ never, ch }, 1000) end,
	function() while true do m:with(function() require "lua-pool".sleep(0) end) end end,
	function() while true do rw:with_write(function() end) rw:with_read(function() end) end end,
	function()
		local lib = require "lua-pool"
		while true do
			lib.shield(function() began:add(1) lib.sleep(1e-5) ended:add(1) end)
		end
	end,
	function()
		local lib = require "lua-pool"
		while true do pcall(lib.deadline, 1e-4, function() lib.sleep(1000) end) end
	end,
	function() -- children, awaited and not
		local lib = require "lua-pool"
		lib.async(function() never:wait() end)
		local function tree(n)
			if n == 0 then never:wait() end
			return require "lua-pool".async(tree, n - 1):await()
		end
		tree(3)
	end,
	function() -- an awaited task that is cancelled may be caught
		local lib = require "lua-pool"
		while true do
			local f = lib.async(function() lib.sleep(1000) end)
			f:cancel(1e-5)
			pcall(f.await, f)
		end
	end,
	function() for _ = 1, 2000 do end return "done" end,
	function() error "failed" end,
}
if not TSAN then
	kinds[#kinds + 1] = function() while true do end end
	kinds[#kinds + 1] = function() while true do pcall(function() while true do end end) end end
	kinds[#kinds + 1] = function()
		while true do coroutine.wrap(function() for _ = 1, 100 do coroutine.yield() end end)() end
	end
	kinds[#kinds + 1] = function() while true do (("x"):rep(100)):gsub(".", function(c) return c end) end end
end
if is54 then
	kinds[#kinds + 1] = load([[
		local m, never, ch = ...
		return function()
			while true do
				local g <close> = m:guard()
				local c <close> = setmetatable({}, {__close = function() require "lua-pool".sleep(1e-5) end})
				if math.random(20) == 1 then local f <close> = require "lua-pool".async(function() never:wait() end) end
			end
		end]])(m, never, ch)
end

local p = pool.new { workers = 4, max_threads = 64, name = "storm", cancel_grace = 0.5, on_error = false,
	jit = jit and "checked" or nil }

local alive, started, cancelled, others = {}, 0, 0, 0
local till = pool.now() + seconds
while pool.now() < till do
	if #alive < 24 then
		started = started + 1
		alive[#alive + 1] = p:async(kinds[math.random(#kinds)])
	end
	local r = math.random(8)
	if r <= 3 and #alive > 4 then
		local f = table.remove(alive, math.random(#alive))
		if r == 1 then f:cancel(0) end
		if r == 2 then -- a second canceller, on another thread
			pool.go(function(x) x:cancel() end, f)
		end
		local yes, status = f:cancel(30)
		if yes == nil then error("a task did not end: seed " .. seed) end
		assert(f:status() == (yes and "cancelled" or status))
		if yes then cancelled = cancelled + 1 else others = others + 1 end
	elseif r == 4 and math.random(100) == 1 then
		p:cancel_all()
		for _, f in ipairs(alive) do
			if f:cancel(30) == nil then error("a task did not end: seed " .. seed) end
		end
		for i = 1, 8 do
			alive[i] = p:async(function()
				local lib, s = require "lua-pool", require "sys"
				return debug.gethook() == nil and not lib.cancel_requested() and not s.pending() and 7
			end)
		end
		for i = 1, 8 do
			if alive[i]:await(30) ~= 7 then error("a worker does not work: seed " .. seed) end
		end
		alive = {}
	end
	if r == 8 then pool.sleep(math.random() * 1e-4) end
end

p:cancel_all()
for _, f in ipairs(alive) do
	if f:cancel(30) == nil then error("a task did not end: seed " .. seed) end
end
if not p:close(30) then error("the pool did not close: seed " .. seed) end
if m:lock(5) == nil or rw:write_lock(5) == nil then error("a lock was left: seed " .. seed) end
if began:get() ~= ended:get() then error("a shield was torn: seed " .. seed) end
local stats = p:stats()
if stats.running ~= 0 or stats.queued ~= 0 then error("something is left: seed " .. seed) end
print(("%d tasks: %d cancelled, %d ended by themselves at that moment; %d with their children"):format(started, cancelled,
	others, stats.done + stats.failed + stats.cancelled))
