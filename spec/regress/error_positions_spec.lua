-- Errors of channel:send, dict:set, select and others did not say where in the user's code the call stands, or named a line of our own files.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

-- Each call is wrong, and is no tail call: the function that makes it is still there when it raises.
local co = coroutine.create(function() end)
local bad = {co}
local up = function() return co end
local function f() return up() end
local p, ch, d, g = pool.new {workers = 1, on_error = false}, pool.channel(9), pool.dict(), pool.group()

-- luacheck: push ignore 211 311 631
local wrong = {
	async = function() local r = pool.async(f) return r end,
	async_arg = function() local r = pool.async(print, bad) return r end,
	try_async = function() local r = pool.try_async(f) return r end,
	go = function() local r = pool.go(f) return r end,
	pasync = function() local r = p:async(f) return r end,
	g_async = function() local r = g:async(f) return r end,
	g_go = function() local r = g:go(f) return r end,
	send = function() local r = ch:send(bad) return r end,
	try_send = function() local r = ch:try_send(bad) return r end,
	send_within = function() local r = ch:send_within(1, bad) return r end,
	set = function() local r = d:set("a", bad) return r end,
	add = function() local r = d:add("b", bad) return r end,
	update = function() local r = d:update("a", function() return bad end) return r end,
	get = function() local r = d:get(bad) return r end,
	setkey = function() local r = d:set(bad, 1) return r end,
	incr = function() d:set("x", "y") local r = d:incr("x") return r end,
	select_send = function() local r = pool.select({{ch, "send", bad}}, 1) return r end,
	select_bad = function() local r = pool.select({5}, 1) return r end,
	once = function() local r = pool.once(f) return r end,
	once_result = function() local o = pool.once(function() return coroutine.create(print) end) local r = o() return r end,
	named = function() local r = pool.named("x", f) return r end,
	named2 = function() local r = pool.named("x2", function() return bad end) return r end,
	map = function() local r = pool.map(f, 3) return r end,
	map_el = function() local r = pool.map(print, {bad}) return r end,
	each = function() local r = pool.each(f, 3) return r end,
	map_type = function() local r = pool.map(5, 3) return r end,
	map_opts = function() local r = pool.map(print, 3, {nope = 1}) return r end,
	imap = function() local iter = pool.imap(f, function() return 1 end) local r = iter() return r end,
	imap_type = function() local r = pool.imap(5, 5) return r end,
	new_init = function() local r = pool.new{init = f} return r end,
	new_opt = function() local r = pool.new{nope = 1} return r end,
	configure = function() local r = pool.configure{init = f} return r end,
	amap = function() local r = pool.array("f64", 3):map(f) return r end,
	walk = function() local iter = pool.fs.walk("/tmp", {filter = f}) local r = iter() return r end,
	timer = function() local r = pool.timer(bad) return r end,
	all = function() local r = pool.all({5}) return r end,
	any = function() local r = pool.any({5}) return r end,
	any0 = function() local r = pool.any({}) return r end,
	asc = function() local r = pool.as_completed({5}) return r end,
	dict_opts = function() local r = pool.dict{nope = 1} return r end,
	group_opts = function() local r = pool.group{nope = 1} return r end,
	run = function() local r = pool.run{} return r end,
	run2 = function() local r = pool.run{"x", nope = 1} return r end,
	run3 = function() local r = pool.run{"true", stdin = co} return r end,
	sleep = function() local r = pool.sleep("x") return r end,
	sleep_until = function() local r = pool.sleep_until("x") return r end,
	now = function() local r = pool.now("x") return r end,
	deadline = function() local r = pool.deadline("x", print) return r end,
	deadline2 = function() local r = pool.deadline(1, 5) return r end,
	shield = function() local r = pool.shield(5) return r end,
	scope = function() local r = pool.scope(5) return r end,
	scope_add = function() pool.scope(function(sc) local r = sc:add(5) return r end) end,
	scope_defer = function() pool.scope(function(sc) local r = sc:defer(5) return r end) end,
	warn = function() local r = pool.warn({}) return r end,
	loop = function() local r = pool.loop("nope") return r end,
	report = function() local r = pool.report("nope") return r end,
	cancel = function() local fu = pool.async(print) fu:await() local r = fu:cancel("x") return r end,
	await = function() local fu = pool.async(function() end) local r = fu:await("x") return r end,
	unlock = function() local r = pool.mutex():unlock() return r end,
	relock = function() local m = pool.mutex() m:lock() local r = m:lock() return r end,
	mwith = function() local r = pool.mutex():with(5) return r end,
	cond = function() local r = pool.condition():wait(5) return r end,
	sem = function() local r = pool.semaphore("x") return r end,
	barrier = function() local r = pool.barrier(0) return r end,
	rw = function() local r = pool.rwlock():unlock() return r end,
	array = function() local r = pool.array("f64") return r end,
	arr2 = function() local r = pool.array("nope", 3) return r end,
	arr3 = function() local a = pool.array("u8", 3) a[9] = 1 end,
	arr4 = function() local a = pool.array("u8", 3) a[1] = 1000 end,
	arr5 = function() local a = pool.array("u8", 3) local r = a[9] return r end,
	transfer = function() local r = pool.transfer(5) return r end,
	chan = function() local r = pool.channel("x") return r end,
	counter = function() local r = pool.counter("x") return r end,
	resize = function() local r = p:resize(-1) return r end,
	close = function() local r = p:close("x") return r end,
	fsread = function() local r = pool.fs.read(5, 6) local q = pool.fs.read(nil) return r end,
	fswrite = function() local r = pool.fs.write("/tmp/x", nil) return r end,
	fsopen = function() local r = pool.fs.open("/tmp/x", "zz") return r end,
	fslines = function() local r = pool.fs.lines(nil) return r end,
	fswatch = function() local r = pool.fs.watch(nil) return r end,
	fsmany = function() local iter = pool.fs.read_many(5) local r = iter() return r end,
	fsopt = function() local r = pool.fs.write("/tmp/x", "y", {nope = 1}) return r end,
	fsglob = function() local r = pool.fs.glob(nil) return r end,
	fscopy = function() local r = pool.fs.copy(nil) return r end,
	fsstat = function() local r = pool.fs.stat(nil) return r end,
	fsmk = function() local r = pool.fs.mkdir("/tmp/x", {nope=1}) return r end,
	tempfile = function() local r = pool.fs.tempfile{nope = 1} return r end,
	tempdir = function() local r = pool.fs.tempdir{nope = 1} return r end,
	within = function() local r = pool.fs.within(nil) return r end,
	filer = function() local fl = pool.fs.tempfile() local r = fl:read("x") return r end,
	filew = function() local fl = pool.fs.tempfile() local r = fl:write(co) return r end,
	filep = function() local fl = pool.fs.tempfile() local r = fl:pread() return r end,
	filepw = function() local fl = pool.fs.tempfile() local r = fl:pwrite() return r end,
	filel = function() local fl = pool.fs.tempfile() local r = fl:lock("nope") return r end,
	files = function() local fl = pool.fs.tempfile() local r = fl:seek("nope") return r end,
	filec = function() local fl = pool.fs.tempfile() fl:close() local r = fl:read(1) return r end,
	gcount = function() local r = g.count(5) return r end,
	gawait = function() local r = g:await("x") return r end,
	gcancel = function() local r = g:cancel("x") return r end,
	event = function() local r = pool.event():wait("x") return r end,
	closed = function() local q = pool.new{workers=1} q:close() local r = q:async(print) return r end,
	chs = function() local r = ch:with(5) return r end,
	fwith = function() local r = pool.async(print):with(5) return r end,
	keys = function() local r = d.keys(5) return r end,
	dwait = function() local r = d:wait("zz", "x") return r end,
}
-- luacheck: pop

local names = {}
for name in pairs(wrong) do names[#names + 1] = name end
table.sort(names)

describe("the error of a wrong call says where in the user's code it stands:", function()
	for _, name in ipairs(names) do
		it(name, function()
			local line = debug.getinfo(wrong[name], "S").linedefined
			local ok, err = pcall(wrong[name])
			assert.is_false(ok)
			assert.is_string(err)
			assert.equal("error_positions_spec.lua:" .. line .. ":", err:match "^[^%s:]*/([%w_]+%.lua:%d+:) ", err)
			assert.is_nil(err:match "lua%-pool/[%w_/]*%.lua:", err)
		end)
	end

	it("what goes through our own files names the function that was called, and its argument", function()
		local file = pool.fs.tempfile()
		local _, err = pcall(function() file:read("x") return 1 end)
		assert.matches("bad argument #1 to 'read' (number of bytes expected, got string)", err, 1, true)
		_, err = pcall(function() local r = pool.map(f, 3) return r end)
		assert.matches("^[^\n]-:%d+: argument #1: upvalue 'up'", err)
		_, err = pcall(function() local r = pool.map(print, {1, {co}}) return r end)
		assert.matches("^[^\n]-:%d+: element 2%[1%]: cannot send a coroutine", err)
		file:close()
	end)

	it("the same in a task", function()
		local line = debug.getinfo(1, "l").currentline + 2
		local ok, err = p:async(function(c)
			c:send({coroutine.create(print)})
			return 1
		end, ch):pawait()
		assert.is_false(ok)
		assert.matches("error_positions_spec.lua:" .. line .. ": argument #1[1]: cannot send a coroutine", err, 1, true)
	end)
end)
