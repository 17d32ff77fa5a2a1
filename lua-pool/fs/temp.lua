-- temp: files and folders that go away by themselves. Only for the paths of the process.
local os = os -- a worker with few `libs` has them only while it opens
local check = require "lua-pool.fs.check"
local sys = require "lua-pool.fs.sys"

local EEXIST, TRIES = 17, 100

local function name(v)
	if type(v) == "string" and not v:find "[/%z]" then return v end
	return nil, "part of a file's name (a string without '/')"
end

local known = {
	tempfile = { dir = function(v)
		if type(v) == "string" then return v end
		return nil, "a path"
	end, prefix = name, suffix = name, keep = check.boolean },
}
known.tempdir = { dir = known.tempfile.dir, prefix = name }

-- Calls make(path) with names that nobody can guess until one is free.
local function fresh(o, make)
	local dir = o.dir or os.getenv "TMPDIR" or "/tmp"
	for _ = 1, TRIES do
		local result, err, errno = make(("%s/%s%s%s"):format(dir, o.prefix or "lua-", sys.fs_random(), o.suffix or ""))
		if result or errno ~= EEXIST then return result, err, errno end
	end
	return nil, dir .. ": File exists", EEXIST
end

return function(fs, root)
	if root then return end

	--- tempfile([opts]) -> file, its path / nil, err, errno. For reading and writing, for us alone ("600"); removed when it is
	--- closed. opts: dir (TMPDIR, or /tmp), prefix, suffix, keep (it is not removed).
	function fs.tempfile(opts)
		local o = check.options(opts, known.tempfile, "tempfile")
		local file, err, errno = fresh(o, function(path) return sys.fs_open(nil, path, "rwcx", 384, not o.keep) end)
		if not file then return nil, err, errno end
		return file, file:path()
	end

	--- tempdir([opts]) -> folder / nil, err, errno. folder:path([name]); folder:remove(), the end of its scope, or the end of its
	--- last handle removes it with all that is in it. opts: dir, prefix.
	function fs.tempdir(opts)
		local o = check.options(opts, known.tempdir, "tempdir")
		return fresh(o, sys.fs_tempdir)
	end
end
