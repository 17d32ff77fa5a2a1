-- worker: how the Lua state of a worker is made ready. `prelude` is sent to every worker of a pool as
-- the first thing it runs, so it uses nothing but its arguments and the standard libraries.
local worker = {}

local function prelude(config, core)
	local searchers = package and (package.searchers or package.loaders)
	if package then
		package.path, package.cpath = config.path, config.cpath
		for name, loader in pairs(config.preload) do
			if type(loader) == "userdata" then loader = core.from_cpointer(loader) end
			if package.preload[name] == nil then package.preload[name] = loader end
		end
	end

	-- C modules have static data that is not made for two threads: one is opened at a time in the
	-- process, and it stays loaded when a state closes.
	local function guarded(search)
		return function(name)
			local function open(loader, path)
				if type(loader) ~= "function" then return loader, path end
				return function(...)
					if type(path) == "string" then core.pin(path) end
					local results = { core.alone(loader, ...) }
					if not results[1] then error(results[2], 0) end
					return results[2]
				end, path
			end
			local ok, loader, path = core.alone(search, name)
			if not ok then error(loader, 0) end
			return open(loader, path)
		end
	end
	if searchers then
		for i = 3, 4 do
			if searchers[i] then searchers[i] = guarded(searchers[i]) end
		end
	end

	local loaded, standard, lost = package and package.loaded, {}, core.lost

	-- What a task calls protected does not catch the end of the task itself.
	core.rawpcall, core.rawxpcall = pcall, xpcall
	if core.install_protected then
		core.install_protected()
	else
		-- LuaJIT: wrappers in Lua, since its own can be yielded across and compiled, and C functions cannot. Named as what
		-- they call: messages name the argument's function.
		local pcall, xpcall, resume, load, raise, type = pcall, xpcall, coroutine and coroutine.resume, load, error, type
		local is_own, was_told, telling, stop_again = core.is_own, core.was_told, core.telling, core.stop_again
		local guard, handle, sub = core.guard, core.handle, string.sub
		-- An error that took the place of the one with which the task was told ends the task as well.
		local function pass(before, ...)
			local ok, err = ...
			if not ok then
				if type(err) == "userdata" and is_own(err) then raise(err, 0) end
				if telling[1] ~= before and was_told() then stop_again() end
			end
			return ...
		end
		local handlers = setmetatable({}, { __mode = "kv" }) -- a closure for each call would keep its loop from being compiled
		_G.pcall = function(...) return pass(telling[1], pcall(...)) end
		local function stoppable(h)
			return function(err)
				-- An overflow leaves room for the handler and little more.
				if type(err) == "string" and sub(err, -14) == "stack overflow" then return h(err) end
				return handle(h, err)
			end
		end
		_G.xpcall = function(f, h, ...)
			if type(h) ~= "function" then return xpcall(f, h, ...) end
			local mine = handlers[h]
			if not mine then
				mine = stoppable(h)
				handlers[h] = mine
			end
			return pass(telling[1], xpcall(f, mine, ...))
		end
		load = guard(load)
		_G.load = function(...) return pass(telling[1], load(...)) end
		if string then string.gsub = guard(string.gsub, true) end
		if coroutine then
			coroutine.resume = function(...) return pass(telling[1], resume(...)) end
			coroutine.create, coroutine.wrap = guard(coroutine.create), guard(coroutine.wrap)
		end
	end

	-- A module that is stopped half-way through its loading would be lost to this state (LuaJIT refuses it ever after).
	if require then
		local require0, shield, check = require, core.shield, core.check_cancel
		if not shield then
			local rawpcall, begin, finish, raise = core.rawpcall, core.scope_begin, core.scope_end, error
			local function after(scope, ok, ...)
				finish(scope)
				if not ok then raise((...), 0) end
				return ...
			end
			function shield(fn, ...) return after(begin(fn), rawpcall(fn, ...)) end
		end
		local function checked(...)
			check() -- what the module has waited for is not the task's
			return ...
		end
		function require(name)
			local module = loaded[name]
			-- LuaJIT marks what is being loaded, and what could not be, with a light userdata or a strange number.
			local kind = module and type(module)
			if kind and kind ~= "userdata" and kind ~= "number" then return module end
			if module == nil and standard[name] ~= nil then -- somebody has emptied package.loaded
				lost()
				return standard[name]
			end
			return checked(shield(require0, name))
		end
	end

	print = core.print
	if io and io.write then
		local output, methods = core.guarded_output, getmetatable(io.stdout).__index
		io.write, io.flush = output(io.write, true), output(io.flush, true)
		methods.write, methods.flush = output(methods.write), output(methods.flush)
	end
	if math and math.randomseed then math.randomseed(core.seed()) end
	if os then
		os.exit = core.exit
		-- Lua 5.4's forms of the results, which a LuaJIT may have been built with. (os.execute() would tell, but starts a shell.)
		local execute, booleans = core.execute, table ~= nil and table.pack ~= nil
		os.execute = function(command) return execute(command, booleans) end
	end
	if io then
		for _, name in ipairs { "open", "lines", "tmpfile" } do
			if io[name] then io[name] = core.opener(io[name]) end
		end
	end
	if io and io.popen then
		local popen, child, opened = io.popen, core.child, core.opened
		io.popen = function(...) return opened(child(popen, ...)) end
	end
	if config.interprets and jit then
		local on = jit.on
		-- Of single functions it means what it meant; nothing turns the whole compiler on again.
		jit.on = function(f, ...) if f ~= nil then return on(f, ...) end end
	end
	if config.libs then
		-- Our own parts are loaded while all libraries are there, and keep what they need of them.
		core.rawpcall(function() return require "lua-pool".fs, require "lua-pool".run end)
		local keep = {}
		for _, name in ipairs(config.libs) do keep[name] = true end
		-- What is not listed is not there, in whatever place: `module` takes what package.loaded has, `require` what is preloaded.
		local preload = package.preload
		for _, name in ipairs { "package", "coroutine", "table", "io", "os", "string", "math", "utf8", "debug", "bit", "jit", "ffi" } do
			if not keep[name] then
				_G[name] = nil
				local inside = name .. "."
				for _, t in ipairs { loaded, preload } do
					for key in pairs(t) do
						if key == name or type(key) == "string" and key:sub(1, #inside) == inside then t[key] = nil end
					end
				end
			end
		end
		if not keep.package then
			require, module = nil, nil
			for key in pairs(preload) do preload[key] = nil end
		end
		if not keep.base then
			for _, name in ipairs { "dofile", "loadfile", "load", "loadstring", "collectgarbage" } do _G[name] = nil end
		end
	end
	if debug then
		-- Lua itself crashes when its registry has been emptied, and so do C functions whose upvalues and variables are not
		-- what they left there.
		debug.getregistry = core.registry
		local setupvalue, setlocal, getinfo = debug.setupvalue, debug.setlocal, debug.getinfo
		local function is_c(info) return info ~= nil and info.what == "C" end
		debug.setupvalue = function(f, ...)
			if type(f) == "function" and is_c(getinfo(f, "S")) then return nil end
			return setupvalue(f, ...)
		end
		debug.setlocal = function(thread, level, ...)
			if type(thread) == "thread" then
				if type(level) == "number" and is_c(getinfo(thread, level, "S")) then return nil end
				return (setlocal(thread, level, ...))
			end
			if type(thread) ~= "number" then return setlocal(thread, level, ...) end
			if is_c(getinfo(thread + 1, "S")) then return nil end
			return (setlocal(thread + 1, level, ...)) -- our own level is one
		end
	end
	-- What a task may have emptied by the time that something is to come by its name.
	if loaded then
		for name, module in pairs(loaded) do standard[name] = module end
	end
	core.keep_standard(standard)
	if config.init then config.init() end
	return config.finish, config.on_error
end

--- Not a field of the module itself: functions of loaded modules are sent by name, this one by value.
function worker.prelude()
	return prelude
end

--- Do these workers only interpret? Asked for, so that all loops can be stopped; or because memory is limited: LuaJIT's compiled
--- code, in which an allocation fails again and again, ends with a segmentation fault.
function worker.interprets(options)
	return options.jit == "checked" or options.memory_limit ~= nil and options.memory_limit > 0
end

--- What the prelude is told: taken from the state that creates the pool, when it creates it.
function worker.config(core, options)
	local preload = {}
	for name, loader in pairs(package.preload) do
		if name ~= "lua-pool.core" then
			local value = core.cpointer(loader) or loader
			if type(value) == "userdata" or core.sendable(value) then preload[name] = value end
		end
	end
	return {
		path = package.path, cpath = package.cpath, preload = preload,
		init = options.init, finish = options.finish, on_error = options.on_error or nil,
		libs = options.libs, interprets = worker.interprets(options),
	}
end

return worker
