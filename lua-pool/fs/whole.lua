-- whole: files that are read and written as one string, and copied.
local check = require "lua-pool.fs.check"
local sys = require "lua-pool.fs.sys"

local known = {
	write = { mode = check.permissions, sync = check.boolean, exclusive = check.boolean, atomic = check.boolean },
	append = { mode = check.permissions, sync = check.boolean },
	copy = { mode = check.permissions, sync = check.boolean, exclusive = check.boolean, atomic = check.boolean },
}

-- How sure it has to be before a new file takes the name: the content, unless that is not wanted; the name if it is.
local function certainty(sync)
	return sync and 2 or sync == nil and 1 or 0
end

return function(fs, root)
	--- read(path) -> its content as a string / nil, err, errno.
	function fs.read(path)
		check.path(path, "read")
		return sys.fs_read(root, path)
	end

	--- write(path, data [, opts]) -> true / nil, err, errno, bytes that were written before. opts: mode (permissions of a new file,
	--- "666" less the umask), exclusive (it must not be there), sync (returns when it is on the disk). atomic: whoever reads sees
	--- the old content or the new, whatever happens: the data goes to a file beside, which then takes the name. It keeps
	--- permissions and, as far as we may, owner; a symbolic link is followed; other hard links keep the old content.
	function fs.write(path, data, opts)
		check.path(path, "write")
		check.data(data, "write")
		local o = check.options(opts, known.write, "write")
		if o.atomic and o.exclusive then error("write: options 'atomic' and 'exclusive' exclude each other", 2) end
		if o.atomic then
			local ok, err, errno = sys.fs_replace(root, path, data, o.mode, certainty(o.sync))
			if ok then return true end
			if ok == nil then return nil, err, errno end
			-- false: a device, say, which keeps its name
		end
		return sys.fs_write(root, path, data, o.exclusive and "wcx" or "wct", o.mode, o.sync)
	end

	--- append(path, data [, opts]) -> as write. The file is made if it is not there; data of several writers never mix.
	function fs.append(path, data, opts)
		check.path(path, "append")
		check.data(data, "append")
		local o = check.options(opts, known.append, "append")
		return sys.fs_write(root, path, data, "wca", o.mode, o.sync)
	end

	--- copy(from, to [, opts]) -> true / nil, err, errno. Content and permissions of one file; inside the kernel where that can be.
	--- opts: mode (instead of the permissions of `from`), exclusive, atomic, sync as in write. A copy that fails leaves no new file.
	function fs.copy(from, to, opts)
		check.path(from, "copy")
		check.path(to, "copy", 2)
		local o = check.options(opts, known.copy, "copy")
		if o.atomic and o.exclusive then error("copy: options 'atomic' and 'exclusive' exclude each other", 2) end
		return sys.fs_copy(root, from, to, o.mode, o.atomic, o.exclusive, o.atomic and certainty(o.sync) or o.sync and 1 or 0)
	end
end
