-- Metamethods and methods that were called by hand, with what they are not made for, ended the process; and a task that had
-- emptied the error it was cancelled with made those after it on its worker unstoppable.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local child = require "spec.support.child"
local scale = require "spec.support.scale"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

-- (n, seed, path of a file that exists) -> the text "n calls". Everything that the debug library can reach.
local attack = [[
local function attack(n, seed, path, hidden)
	local pool = require "lua-pool"
	local core = require "lua-pool.core"
	if pool.worker_id() == 0 then pool.configure { on_error = false } end
	math.randomseed(seed)
	local function nothing() end
	local function make()
		local objects = {
			event = pool.event(), channel = pool.channel(2), counter = pool.counter(1), mutex = pool.mutex(), condition = pool.condition(),
			semaphore = pool.semaphore(1), rwlock = pool.rwlock(), barrier = pool.barrier(2), once = pool.once(nothing),
			array = pool.array("f64", 4), buffer = pool.buffer(8), dict = pool.dict(), timer = pool.timer(60), group = pool.group(),
			pool = pool.new { workers = 1, on_error = false }, file = pool.fs.open(path), CANCELLED = pool.CANCELLED, TIMEOUT = pool.TIMEOUT,
			future = pool.async(nothing), tempdir = pool.fs.tempdir and pool.fs.tempdir(), transfer = pool.transfer(pool.buffer(8)),
		}
		objects.guard = objects.mutex:guard()
		return objects
	end
	local objects = make()

	-- What can be called: f -> the name of the class that it is for.
	local list, seen, tables = {}, {}, {}
	local function add(class, t)
		if type(t) ~= "table" or tables[t] then return end
		tables[t] = true
		for key, f in pairs(t) do
			if type(f) == "function" and not seen[f] then
				seen[f] = true
				list[#list + 1] = { class = class, name = tostring(key), f = f }
			elseif key == "__index" then
				add(class, f)
			end
		end
		add(class, debug.getmetatable(t))
	end
	for name, o in pairs(objects) do
		add(name, debug.getmetatable(o))
	end
	for name, methods in pairs(core.classes) do add(name:gsub("^lua%-pool%.", ""), methods) end
	if hidden then -- metatables that no object leads to
		for _, t in pairs(debug.getregistry()) do
			if type(t) == "table" and t ~= debug.getmetatable(io.stdout) and (rawget(t, "__gc") or rawget(t, "__close")) then
				add("?", t)
			end
		end
	end
	table.sort(list, function(a, b) return a.class .. a.name < b.class .. b.name end)
	assert(#list > 150, #list)

	local wrong = { false, true, 0, 1, -1, 0.5, 3, 2 ^ 53, 1 / 0, 0 / 0, "", "x", "5", {}, { 1, 2 }, setmetatable({}, { __call = nothing }),
		nothing, tostring, coroutine.create(nothing), io.stdout, setmetatable({}, { __index = function(_, k) return k end }) }
	local newproxy = rawget(_G, "newproxy")
	if newproxy then wrong[#wrong + 1] = newproxy(true) end
	wrong[#wrong + 1] = core.cpointer(tostring) -- light userdata
	local classes = {}
	for name in pairs(objects) do classes[#classes + 1] = name end
	table.sort(classes)
	local function value(class)
		local i = math.random(#wrong + #classes + 2)
		if i <= #wrong then return wrong[i] end
		local name = classes[i - #wrong]
		return name ~= class and objects[name] or nil
	end
	local skip = { ["pool.close"] = true, ["pool.__close"] = true } -- the object is closed then; all that follows would say so
	for i = 1, n do
		local c = list[math.random(#list)]
		local self = value(c.class)
		if i % 3 == 0 and objects[c.class] and not skip[c.class .. "." .. c.name] and c.name ~= "__gc" then self = objects[c.class] end
		local a, b, d = value(), value(), value()
		local count = math.random(0, 4)
		pcall(pool.deadline, 0, function()
			if count == 0 then return c.f() end
			if count == 1 then return c.f(self) end
			if count == 2 then return c.f(self, a) end
			if count == 3 then return c.f(self, a, b) end
			return c.f(self, a, b, d)
		end)
		if i % 100 == 0 then
			objects = make()
			collectgarbage "step"
		end
	end

	-- The second end of an object is harmless, and nothing that is used after its end is more than an error.
	for name, o in pairs(make()) do
		local mt = debug.getmetatable(o)
		mt.__gc(o)
		mt.__gc(o)
		for _, c in ipairs(list) do
			if c.class == name and c.name ~= "__gc" then pcall(c.f, o, nothing, 1) end
		end
		pcall(tostring, o)
		pcall(pool.select, { o }, 0)
		pcall(pool.async, nothing, o)
	end
	collectgarbage()
	collectgarbage()
	return #list > 0 and "survived"
end
]]

local file = child.tmpname()
do
	local f = assert(io.open(file, "w"))
	f:write "some text\n"
	f:close()
end

describe("metamethods and methods that are called by hand", function()
	it("answer wrong arguments with errors: 10,000 calls in the main state", function()
		for seed = 1, 2 do
			local r = child.told(attack .. ("print(attack(%d, %d, %q, true)) os.exit(0, true)"):format(scale(5000, 500), seed, file),
				{ limit = 100 })
			assert.equal("0|survived\n|", r)
		end
	end)

	it("answer wrong arguments with errors in tasks", function()
		local script = attack .. ([[
			local p = pool.new { workers = 1, on_error = false }
			print(p:async(attack, %d, 3, %q):await())
			print(p:async(function() return "and the next" end):await())
			os.exit(0, true)]]):format(scale(3000, 300), file)
		assert.equal("0|survived\nand the next\n|", child.told(script, { limit = 100 }))
	end)

	it("are not given by getmetatable", function()
		local o = { pool.event(), pool.channel(), pool.counter(0), pool.mutex(), pool.condition(), pool.semaphore(1), pool.rwlock(),
			pool.barrier(1), pool.once(print), pool.array("i8", 1), pool.buffer(1), pool.dict(), pool.timer(9), pool.group(),
			pool.new {}, pool.fs.open(file), pool.CANCELLED, pool.TIMEOUT, pool.async(tostring, 1), pool.mutex():guard(),
			pool.transfer(pool.buffer(1)) }
		assert.equal(21, #o)
		for i = 1, #o do
			local mt = getmetatable(o[i])
			assert.equal("string", type(mt))
			assert.truthy(mt:find "^lua%-pool%.%a+$", mt)
		end
	end)

	it("leave an object that is received again whole", function()
		local e, ch = pool.event(), pool.channel(9)
		ch:send(e)
		ch:send(e)
		local first = ch:receive()
		debug.getmetatable(first).__gc(first)
		local again = ch:receive()
		again:set()
		assert.is_true(again:is_set())
	end)
end)

describe("the error that a task is cancelled with", function()
	-- Each ends the task that got it; then another task on the same worker has to be stopped.
	local function stopped_after(spoil)
		local p = pool.new { workers = 1, on_error = false, jit = "checked" }
		local up = pool.event()
		local f = p:async(function(e, fn)
			local ok, err
			local loop = setmetatable({}, { __index = function() e:set() while true do end end })
			if _VERSION == "Lua 5.4" then
				-- The error reaches what closes.
				local close = load "local c, f = ... local x <close> = setmetatable({}, { __close = c }) f()"
				close(function(_, e2) fn(e2) end, function() return loop.x end)
			else
				ok, err = xpcall(function() return loop.x end, function(e2) fn(e2) return e2 end)
			end
			return ok, err
		end, up, spoil)
		up:wait()
		assert.is_true(f:cancel(20))
		up:reset()
		local g = p:async(function(e) e:set() while true do end end, up)
		up:wait()
		assert.is_true(g:cancel(20))
		assert.equal("cancelled", g:status())
		-- It is told once, and its clean-up runs.
		up:reset()
		local cleaned = pool.event()
		local h = p:async(function(e, c)
			pool.mutex():with(function()
				pool.scope(function(s)
					s:defer(function() pool.sleep(0) c:set() end)
					e:set()
					pool.event():wait()
				end)
			end)
		end, up, cleaned)
		up:wait()
		assert.is_true(h:cancel(20))
		assert.is_true(cleaned:is_set())
		assert.is_true(p:close())
	end

	it("can be finalised by hand", function()
		stopped_after(function(err)
			local mt = debug.getmetatable(err)
			if type(mt) == "table" then mt.__gc(err) mt.__gc(err) end
			mt = debug.getmetatable(pool.CANCELLED)
			mt.__gc(pool.CANCELLED)
		end)
	end)

	it("can have its metatable emptied", function()
		stopped_after(function(err)
			for _, o in ipairs { err, pool.CANCELLED, pool.TIMEOUT } do
				local mt = debug.getmetatable(o)
				if type(mt) == "table" then
					for k in pairs(mt) do mt[k] = nil end
				end
			end
		end)
	end)

	it("is no way to its metatable", function()
		stopped_after(function(err)
			assert(type(getmetatable(err)) ~= "table")
		end)
	end)
end)

describe("the debug library", function()
	it("may give a userdata of ours another metatable", function()
		assert.equal("0|survived\n|", child.told([[
			local objects = { pool.event(), pool.mutex(), pool.channel(1), pool.mutex():guard(), pool.fs.open ]] .. ("%q"):format(file) .. [[,
				pool.array("i8", 3), pool.CANCELLED }
			local metatables = {}
			for i, o in ipairs(objects) do metatables[i] = debug.getmetatable(o) end
			for _, t in pairs(debug.getregistry()) do
				-- Not Lua's own, which believe their callers.
				if type(t) == "table" and t ~= debug.getmetatable(io.stdout) and (rawget(t, "__gc") or rawget(t, "__index")) then
					metatables[#metatables + 1] = t
				end
			end
			local set = debug.setmetatable
			for _, o in ipairs(objects) do
				for _, mt in ipairs(metatables) do
					set(o, mt)
					pcall(function() return o.x end)
					pcall(function() o.x = 1 end)
					pcall(tostring, o)
					pcall(function() return o == objects[1], #o, o() end)
				end
			end
			local foreign = io.tmpfile()
			for _, mt in ipairs(metatables) do
				set(foreign, mt)
				for _, f in pairs(mt) do
					if type(f) == "function" then pcall(pool.deadline, 0, f, foreign) end
				end
			end
			objects, foreign = nil, nil
			collectgarbage() collectgarbage()
			print "survived"
			]], { limit = 60 }))
	end)
	it("reads the file no longer", function() os.remove(file) end)
end)
