-- run: pool.run{...}: one subprocess, from its start to its end. No shell, a process group of its own; whatever ends
-- the call ends the group.
local core = require "lua-pool.core"
local loop = require "lua-pool.loop"
local options = require "lua-pool.options"

local GRACE = 1 -- seconds between TERM and KILL

local kind = core.kind

local function stream(words, text)
	local allowed = {}
	for word in words:gmatch "%S+" do allowed[word] = true end
	return function(v)
		local k = kind(v)
		if allowed[k] and k ~= "string" then return v end
		if k == "string" and allowed["=" .. v] then return v end
		return nil, text
	end
end

local function text(v)
	if type(v) == "string" and not v:find "%z" then return v end
	return nil, "a string without zero bytes"
end

local function seconds(v)
	if type(v) == "number" and v >= 0 then return v end
	return nil, "seconds (a number of at least 0)"
end

local function environment(v)
	if type(v) ~= "table" then return nil, "a table of names and values" end
	for name, value in pairs(v) do
		if type(name) ~= "string" or name == "" or name:find "[=%z]" then return nil, "a table with names as keys, without '='" end
		if value ~= false and (type(value) ~= "string" and type(value) ~= "number" or tostring(value):find "%z") then
			return nil, "a table with strings, or false, as values"
		end
	end
	return v
end

local function boolean(v)
	if type(v) == "boolean" then return v end
	return nil, "a boolean"
end

local outputs = '"capture", "inherit", "null", a file, a channel or a function'
local known = {
	stdin = function(v)
		if type(v) == "string" then return v end
		return stream("file channel function", "a string (what it reads), a file, a channel or a function")(v)
	end,
	stdout = stream("=capture =inherit =null file channel function", outputs),
	stderr = stream("=capture =inherit =null =stdout file channel function", outputs .. ', or "stdout"'),
	cwd = text, env = environment, timeout = seconds, grace = seconds,
	clear_env = boolean, inherit_stdin = boolean,
}

local function command(spec)
	if type(spec) ~= "table" then
		error(("bad argument #1 to 'run' (table with a command expected, got %s)"):format(type(spec)), 3)
	end
	local args, given = {}, {}
	for key, value in pairs(spec) do
		if type(key) ~= "number" then given[key] = value end
	end
	for i, arg in ipairs(spec) do
		if type(arg) ~= "string" and type(arg) ~= "number" then
			error(("pool.run: argument %d of the command must be a string, got %s"):format(i, type(arg)), 3)
		end
		args[i] = tostring(arg)
		if args[i]:find "%z" then error(("pool.run: argument %d of the command holds a zero byte"):format(i), 3) end
	end
	if #args == 0 then error("pool.run: no command: pool.run{\"cmd\", \"argument\", ...}", 3) end
	return args, options.check(given, known, "pool.run")
end

-- A task: what comes out of a channel goes into the pipe, until one of the two is closed.
local function feed(channel, file)
	while true do
		local piece = channel:receive()
		if piece == nil or not file:write(piece) then break end
	end
	file:close()
end

-- What takes the pieces of an output, and how the process is told to make it.
local function sink(target)
	local k = kind(target)
	if k == "function" then return "pipe", target end
	if k == "channel" then
		return "pipe", function(piece) return target:send(piece) ~= nil end, target
	end
	if target == nil or target == "capture" then return "pipe" end
	return target
end

local function go_on(process, o, out, err, data, more)
	local deadline = o.timeout and core.now() + o.timeout
	while true do
		local what, piece = core.run_step(process, deadline, out ~= nil, err ~= nil, data, more ~= nil)
		if what == "done" then return true end
		if what == nil then return false end
		if what == "stdin" then
			data = more()
			if data == nil then data, more = "", nil end
			if type(data) ~= "string" then error("pool.run: the function for stdin must return strings, then nil", 0) end
		else
			local take = what == "stdout" and out or err
			if take(piece) == false then core.run_shut(process, what) end
		end
	end
end

--- run{command, argument..., stdin, inherit_stdin, stdout, stderr, cwd, env, clear_env, timeout, grace} -> {code, signal, stdout,
--- stderr} / nil, err, errno / nil, "timeout", {...}. Returns when the command has ended and its output is closed. Blocks, keeps
--- the worker; when it is cancelled, or times out, the command's process group gets TERM, and KILL after `grace` (1 s).
local run
function run(spec)
	local args, o = command(spec)
	if loop.loop() then return core.async(run, spec):await() end -- the functions of `spec` are sent along then
	o.grace = o.grace or GRACE
	local out_how, out, out_channel = sink(o.stdout)
	local err_how, err, err_channel = sink(o.stderr)
	local input = kind(o.stdin)
	local process = core.run_new(o.grace, out_channel, err_channel)
	local how = {
		args = args, cwd = o.cwd, env = o.env or o.clear_env and {} or nil, clear_env = o.clear_env,
		stdin = input == "file" and o.stdin or input ~= "nil" and "pipe" or o.inherit_stdin and "inherit" or "null",
		stdout = out_how, stderr = err_how,
	}
	-- Whatever ends this function, the command has ended when `with` returns.
	local ended, why, errno = process:with(function()
		local started, err1, number = core.run_start(how, process)
		if not started then return nil, err1, number end
		if input == "string" then return go_on(process, o, out, err, o.stdin, nil) end
		if input == "function" then return go_on(process, o, out, err, "", o.stdin) end
		if input ~= "channel" then return go_on(process, o, out, err, "", nil) end
		local pipe = assert(core.run_stdin(process))
		-- Whatever happens the pipe is closed, and the feeder has ended.
		return pipe:with(function()
			return core.async(feed, o.stdin, pipe):with(function() return go_on(process, o, out, err, "", nil) end)
		end)
	end)
	if ended == nil then return nil, why, errno end

	local code, signal, stdout, stderr, lost = core.run_result(process)
	if lost then
		return nil, args[1] .. ": its exit status is lost: this process ignores SIGCHLD, or waits for all its children elsewhere", 10
	end
	local result = {
		code = code, signal = signal,
		stdout = out_how == "pipe" and not out and stdout or nil, stderr = err_how == "pipe" and not err and stderr or nil,
	}
	if not ended then return nil, "timeout", result end
	return result
end

return run
