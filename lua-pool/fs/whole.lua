-- whole: files that are read and written as one string.
local core = require "lua-pool.core"
local check = require "lua-pool.fs.check"

local function sync_policy(v)
	if type(v) == "boolean" then return v end
	return nil, "a boolean"
end

local known = {
	write = { mode = check.permissions, sync = sync_policy, exclusive = check.boolean },
	append = { mode = check.permissions, sync = sync_policy },
}

return function(fs, root)
	--- read(path) -> its content as a string / nil, err, errno.
	function fs.read(path)
		check.path(path, "read")
		return core.fs_read(root, path)
	end

	--- write(path, data [, opts]) -> true / nil, err, errno, bytes that were written before. opts: mode (permissions of a new file,
	--- "666" less the umask), exclusive (it must not be there), sync (returns when it is on the disk).
	function fs.write(path, data, opts)
		check.path(path, "write")
		check.data(data, "write")
		local o = check.options(opts, known.write, "write")
		return core.fs_write(root, path, data, o.exclusive and "wcx" or "wct", o.mode, o.sync)
	end

	--- append(path, data [, opts]) -> as write. The file is made if it is not there; data of several writers never mix.
	function fs.append(path, data, opts)
		check.path(path, "append")
		check.data(data, "append")
		local o = check.options(opts, known.append, "append")
		return core.fs_write(root, path, data, "wca", o.mode, o.sync)
	end
end
