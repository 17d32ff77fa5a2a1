-- child: runs a Lua script in a process of its own and answers how it ended, what it wrote and how long it took.
-- The script finds lua-pool as this process does. A process that does not end is killed: status 124.
local child = {}

child.lua = os.getenv "LUA_POOL_LUA" or (rawget(_G, "jit") and "luajit" or "lua5.4")

--- ThreadSanitizer cannot start threads in the child of a process with threads: what a script forks (sys.fork).
child.may_fork = os.getenv "LUA_POOL_SANITIZER" ~= "thread"
--- AddressSanitizer of gcc 12 does not take its allocator's locks over a fork, as glibc's malloc does: the child of a
--- process whose threads are allocating just then waits for ever for one that was taken.
child.may_fork_busy = child.may_fork and os.getenv "LUA_POOL_SANITIZER" ~= "address"

local function quote(s)
	return "'" .. s:gsub("'", "'\\''") .. "'"
end
child.quote = quote

--- A wrap of run: file permissions bind the script, also where root runs the tests. It stays root without the two
--- capabilities that pass them by, so that it still reads a checkout in root's own folder.
function child.bound_by_permissions(command)
	local h = io.popen "id -u"
	local id = h:read "*a"
	h:close()
	if not id:match "^0%s" then return command end
	return "setpriv --bounding-set=-dac_override,-dac_read_search sh -c " .. child.quote(command)
end

local function write(path, text)
	local f = assert(io.open(path, "wb"))
	assert(f:write(text))
	f:close()
end

local function read(path)
	local f = assert(io.open(path, "rb"))
	local text = f:read "*a"
	f:close()
	return text
end

--- A fresh name for a file in the system's folder for such.
function child.tmpname()
	local name = os.tmpname()
	os.remove(name)
	return name
end

local preamble = ("package.path, package.cpath = %q, %q\n"):format(package.path, package.cpath):gsub("\n", " ")
-- What most of the scripts begin with, on their first line: messages keep the script's own lines.
local usual = preamble .. " local pool = require 'lua-pool' "

--- run(script [, options]) -> { status, out, err }. options: lua = another interpreter or program, args, limit
--- (seconds, 30), stdin, env (a prefix such as "A=b"), bare = true (pool is not required for the script),
--- wrap = function(command) -> command.
-- The status is 128 + the signal's number for one that a signal ended.
function child.run(script, options)
	options = options or {}
	local base = child.tmpname()
	local paths = { script = base .. ".lua", out = base .. ".out", err = base .. ".err", status = base .. ".status" }
	write(paths.script, (options.bare and preamble or usual) .. "\n" .. script)
	local command = ("%s timeout -k 2 %d %s %s %s"):format(options.env or "", options.limit or 30,
		options.lua or child.lua, quote(paths.script), options.args or "")
	if options.wrap then command = options.wrap(command) end
	-- A shell of its own: the statuses of os.execute differ between the versions of Lua.
	os.execute(("{ %s ; } >%s 2>%s <%s; echo $? >%s"):format(command, quote(paths.out), quote(paths.err),
		options.stdin or "/dev/null", quote(paths.status)))
	local result = { status = tonumber(read(paths.status)), out = read(paths.out), err = read(paths.err) }
	for _, path in pairs(paths) do os.remove(path) end
	-- The shell's own remark about a process that a signal ended is no output of ours.
	result.err = ("\n" .. result.err):gsub("\n[%w ]*Terminated *\n", "\n"):gsub("\n[%w ]*Killed *\n", "\n"):gsub("^\n", "")
	return result
end

--- The same, and the result as one string for comparisons: "status|out|err".
function child.told(script, options)
	local r = child.run(script, options)
	return ("%d|%s|%s"):format(r.status, r.out, r.err)
end

return child
