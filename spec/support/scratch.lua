-- scratch: a folder of the spec's own, and what the specs of files count.
local pool = require "lua-pool"
local fs = pool.fs

local scratch = {}

local made = 0

--- A fresh folder; remove it with scratch.remove. `in_memory`: where many files are made and removed fast, if the system
--- has such a place.
function scratch.folder(in_memory)
	local base = os.tmpname()
	os.remove(base)
	made = made + 1
	local path = ("%s-%d"):format(base, made)
	if in_memory then
		local memory = "/dev/shm" .. path:match "/[^/]*$"
		if fs.mkdir(memory) then return memory end
	end
	assert(fs.mkdir(path))
	return path
end

function scratch.remove(path)
	assert(fs.remove(path, { recursive = true }))
end

--- Descriptors that this process has open, beside those that lua-pool itself may keep from now on.
function scratch.descriptors()
	local list = assert(fs.list "/proc/self/fd")
	return #list - 1 -- the one that lists
end

--- What happens to a call in a task that waits in it: runs `body(up, ...)` in a task, which calls up:set() right before the
--- call; cancels it after a random while and answers the future's status.
function scratch.cancelled(body, ...)
	local up = pool.event()
	local f = pool.async(body, up, ...)
	up:wait()
	pool.sleep(math.random() * 0.003)
	local ok, status = f:cancel(20)
	return ok == true and "cancelled" or status
end

return scratch
