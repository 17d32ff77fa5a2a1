-- sys: the C functions of files for the code in this folder. Under an event loop a call goes to a worker and suspends the
-- coroutine that called it; the loop goes on meanwhile. (The C functions go there by name.)
local core = require "lua-pool.core"
local loop = require "lua-pool.loop"

local sys = {}

--- route(f) -> f, which under an event loop runs in a worker. f must be known by name there.
function sys.route(f)
	return function(...)
		if loop.loop() then return core.async(f, ...):await() end
		return f(...)
	end
end

for name, f in pairs(core) do
	if name:find "^fs_" then sys[name] = sys.route(f) end
end

return sys
