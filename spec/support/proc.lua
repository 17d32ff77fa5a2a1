-- proc: what the kernel says of this process.
local proc = {}

local function field(name)
	local f = assert(io.open "/proc/self/status")
	local text = f:read "*a"
	f:close()
	return text:match("\n" .. name .. ":%s*(%S+)")
end

--- Bytes of memory in use.
function proc.rss()
	return tonumber(field "VmRSS") * 1024
end

function proc.threads()
	return tonumber(field "Threads")
end

--- Open descriptors (the one that lists them is not counted).
function proc.descriptors()
	local p = io.popen "ls /proc/$PPID/fd | wc -l"
	local n = tonumber(p:read "*a")
	p:close()
	return n
end

--- Waits until check() holds, looking again and again; false when `seconds` (10) went by. For what other threads do
--- to the process and nobody announces, such as a thread that leaves.
function proc.eventually(check, seconds)
	local pool = require "lua-pool"
	local limit = pool.now() + (seconds or 10)
	while not check() do
		if pool.now() > limit then return false end
		pool.sleep(0.001)
	end
	return true
end

return proc
