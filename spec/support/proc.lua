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

--- Open descriptors (the one that lists them is not counted). Asked by this process itself: a program that is started to look
--- finds the pipe to it open at one or at both ends, as it happens.
function proc.descriptors()
	return #assert(require "lua-pool".fs.list "/proc/self/fd") - 1
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
