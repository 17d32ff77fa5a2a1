-- lua-pool: ordinary Lua functions on every core.
--
-- The module is also the default pool, one per process: pool.async(fn, ...) and p:async(fn, ...) are the same
-- function. Here the parts are put together; the work is in lua-pool.core (C) and in the modules beside this.
local math, os, require = math, os, require -- a worker with few `libs` has them only while it opens
local core = require "lua-pool.core"
local version = require "lua-pool.version"
version.check(core)
core.own_files()
local cancel = require "lua-pool.cancel"
local clock = require "lua-pool.clock"
local group = require "lua-pool.group"
local dict = require "lua-pool.dict"
local futures = require "lua-pool.futures"
local loop = require "lua-pool.loop"
local map = require "lua-pool.map"
local options = require "lua-pool.options"
local scope = require "lua-pool.scope"
local warn = require "lua-pool.warn"
local worker = require "lua-pool.worker"
require "lua-pool.array" -- it adds methods


local pool = {
	_VERSION = "lua-pool " .. version.VERSION,
	CANCELLED = core.CANCELLED, TIMEOUT = core.TIMEOUT,
	async = core.async, try_async = core.try_async, go = core.go,
	worker_id = core.worker_id, id_count = core.id_count, cpu_count = core.cpu_count,
	cancel_requested = core.cancel_requested, check_cancel = core.check_cancel,
	loop = loop.loop,
	sleep_until = clock.sleep_until,
	shield = cancel.shield, deadline = cancel.deadline,
	scope = scope.scope, warn = warn,
	group = group.new, named = require "lua-pool.named",
	all = futures.all, any = futures.any, as_completed = futures.as_completed,
}
for _, name in ipairs { "event", "channel", "counter", "mutex", "condition", "semaphore", "rwlock", "barrier", "once",
	"array", "buffer", "transfer", "select", "timer", "report", "now", "sleep" } do
	pool[name] = core[name]
end
pool.dict = dict.new

-- ---- pools ----

local function workers_by_default()
	local wanted = os.getenv and tonumber((os.getenv "LUA_POOL_WORKERS"))
	if wanted and wanted >= 0 and wanted <= 1024 and wanted == math.floor(wanted) then return wanted end
	return core.cpu_count()
end

-- nginx serves all its clients with one thread: when tasks want every core, it must not have to take turns with them.
local NICE_IN_SERVERS = 5
local server = type(rawget(_G, "ngx")) == "table"

-- All that C reads of checked options; sizes in bytes, times in seconds, absent means no limit.
local function complete(o)
	local workers = o.workers or workers_by_default()
	return {
		workers = workers,
		max_threads = o.max_threads or math.max(256, workers),
		queue_limit = o.queue_limit or 0,
		stack_size = o.stack_size or 0,
		memory_limit = o.memory_limit or 0,
		nice = o.nice or server and NICE_IN_SERVERS or 0,
		idle_timeout = o.idle_timeout,
		cancel_grace = o.cancel_grace or 1,
		exit_timeout = o.exit_timeout or 5,
		task_timeout = o.task_timeout,
		jit_checked = worker.interprets(o),
		silent = o.on_error == false,
		reports = type(o.on_error) == "function",
		name = o.name or "lua-pool",
	}
end

local function create(o)
	return core.new_pool(complete(o), worker.prelude(), worker.config(core, o))
end

local function checked(opts, what)
	local o = options.check(opts, options.pool, what)
	if o.memory_limit and o.jit == true and rawget(_G, "jit") then
		error(("%s: option 'jit' must be \"checked\" where there is a 'memory_limit': code that LuaJIT has compiled does not survive it"):format(
			what), 3)
	end
	if o.max_threads and o.max_threads < (o.workers or workers_by_default()) then
		error(("%s: option 'max_threads' (%d) must be at least 'workers' (%d)"):format(what, o.max_threads,
			o.workers or workers_by_default()), 3)
	end
	return o
end

--- pool.new{...} -> pool. Options: see docs/api.md. Threads start when there is work.
function pool.new(opts)
	return create(checked(opts, "pool.new"))
end

local configured = {}

--- pool.configure{...}: options of the default pool, before its first use.
function pool.configure(opts)
	if core.worker_id() ~= 0 then
		error("pool.configure: a task cannot configure the pool that runs it", 2)
	end
	local o = checked(opts, "pool.configure")
	if core.has_default() then
		error("pool.configure: the default pool is in use already; configure it before the first task", 2)
	end
	configured = o
end

core.on_default(function()
	return core.share_default(create(configured))
end)

-- nginx runs init_by_lua before it forks its worker processes.
local ngx = rawget(_G, "ngx")
if type(ngx) == "table" and type(ngx.get_phase) == "function" and ngx.get_phase() == "init" then
	require "lua-pool.loop.nginx" -- worker processes may have lost the right to read the file
	core.on_early(function()
		return ngx.get_phase() == "init" and "no task can be started in init_by_lua: nginx forks its worker processes afterwards, "
			.. "and the threads would not be there; use init_worker_by_lua (pool.new and pool.configure are fine here)" or nil
	end)
end

-- The methods of pools that are written in Lua, and the module's functions that mean the default pool.
local methods = core.classes["lua-pool.pool"]
for name, f in pairs(map) do
	methods[name] = f
	pool[name] = function(...) return f(core.default(), ...) end
end
methods.group = group.of
for _, name in ipairs { "close", "resize", "stats", "cancel_all" } do
	local f = methods[name]
	pool[name] = function(...) return f(core.default(), ...) end
end

-- Loaded when they are asked for: most programs use one or none of them.
local parts = { fs = "lua-pool.fs", run = "lua-pool.run" }
setmetatable(pool, {__index = function(t, name)
	local module = parts[name]
	if module then
		local part = require(module)
		rawset(t, name, part)
		return part
	end
end})

return pool
