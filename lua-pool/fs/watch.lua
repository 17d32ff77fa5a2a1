-- watch: what happens to a file or in a folder.
local math = math -- a worker with few `libs` has them only while it opens
local check = require "lua-pool.fs.check"
local sys = require "lua-pool.fs.sys"

local known = { watch = { capacity = check.count } }

return function(fs, root)
	--- watch(path [, opts]) -> channel / nil, err, errno. Its messages are what, path: "create", "modify", "close" (after writing),
	--- "attrib", "delete", "moved_from", "moved_to" of what is in a folder (not below), or of a file; "delete_self", "move_self" of
	--- itself. Closing the channel ends it, and so does dropping it; it is closed when what it watches is gone. opts: capacity of
	--- the channel (1024): when it is full messages are lost, and the next one is "overflow".
	function fs.watch(path, opts)
		check.path(path, "watch")
		local o = check.options(opts, known.watch, "watch")
		return sys.fs_watch(root, path, math.min(o.capacity or 1024, 1000000000))
	end
end
