-- names: what is done to names in folders, and opening.
local table = table -- a worker with few `libs` has them only while it opens
local check = require "lua-pool.fs.check"
local sys = require "lua-pool.fs.sys"

-- Of errno(3), on Linux and everywhere else: these numbers have never differed.
local ENOENT, EEXIST, ENOTDIR = 2, 17, 20

local modes = { r = "r", w = "wct", a = "wca", ["r+"] = "rw", ["w+"] = "rwct", ["a+"] = "rwca" }

local known = {
	create = { exclusive = check.boolean, truncate = check.boolean, append = check.boolean, mode = check.permissions },
	mkdir = { parents = check.boolean, mode = check.permissions },
	remove = { recursive = check.boolean },
	stat = { follow = check.boolean },
}

return function(fs, root)
	--- open(path [, mode]) -> file / nil, err, errno. Mode as in io.open: "r" (default), "w", "a", "r+", "w+", "a+". Blocks only
	--- for a FIFO that is opened for writing: until somebody reads it.
	function fs.open(path, mode)
		check.path(path, "open")
		local letters = mode == nil and "r" or type(mode) == "string" and modes[(mode:gsub("b", ""))]
		if not letters then
			error(("bad argument #2 to 'open' (mode \"r\", \"w\", \"a\", \"r+\", \"w+\" or \"a+\" expected, got %s)")
				:format(type(mode) == "string" and ("%q"):format(mode) or type(mode)), 2)
		end
		return sys.fs_open(root, path, letters)
	end

	--- create(path [, flags]) -> file, for reading and writing, made if it is not there / nil, err, errno. flags: exclusive (it
	--- must not be there), truncate (emptied), append (each write goes to the end), mode (permissions, "666" less the umask).
	function fs.create(path, flags)
		check.path(path, "create")
		local o = check.options(flags, known.create, "create")
		return sys.fs_open(root, path, "rwc" .. (o.exclusive and "x" or "") .. (o.truncate and "t" or "")
			.. (o.append and "a" or ""), o.mode)
	end

	--- stat(path [, {follow = false}]) -> {type, size, mode, mtime, ...} / nil, err, errno. follow = false: of a symbolic link itself.
	function fs.stat(path, opts)
		check.path(path, "stat")
		return sys.fs_stat(root, path, check.options(opts, known.stat, "stat").follow == false)
	end

	--- exists(path) -> boolean / nil, err, errno when it cannot be known. A symbolic link exists if what it leads to does.
	function fs.exists(path)
		check.path(path, "exists")
		local stat, err, errno = sys.fs_stat(root, path)
		if stat then return true end
		if errno == ENOENT or errno == ENOTDIR then return false end
		return nil, err, errno
	end

	--- list(path) -> sorted list of the names in a folder / nil, err, errno.
	function fs.list(path)
		check.path(path, "list")
		local names, err, errno = sys.fs_list(root, path)
		if not names then return nil, err, errno end
		table.sort(names)
		return names
	end

	local function is_folder(path)
		local stat = sys.fs_stat(root, path)
		return stat and stat.type == "directory"
	end

	local function make(path, mode)
		local ok, err, errno = sys.fs_mkdir(root, path, mode)
		if ok or errno == EEXIST and is_folder(path) then return true end
		local parent = errno == ENOENT and path:match "^(.*[^/])/+[^/]+/*$"
		if not parent then return nil, err, errno end
		ok, err, errno = make(parent)
		if not ok then return nil, err, errno end
		ok, err, errno = sys.fs_mkdir(root, path, mode)
		if ok or errno == EEXIST and is_folder(path) then return true end -- others make it too
		return nil, err, errno
	end

	--- mkdir(path [, opts]) -> true / nil, err, errno. parents: makes those above as well, and a folder that is there is fine;
	--- mode: permissions ("777" less the umask).
	function fs.mkdir(path, opts)
		check.path(path, "mkdir")
		local o = check.options(opts, known.mkdir, "mkdir")
		if o.parents then return make(path, o.mode) end
		return sys.fs_mkdir(root, path, o.mode)
	end

	--- remove(path [, opts]) -> true / nil, err, errno: a file, a symbolic link, an empty folder; recursive: a folder with all that
	--- is in it (links in it are removed, not followed).
	function fs.remove(path, opts)
		check.path(path, "remove")
		local o = check.options(opts, known.remove, "remove")
		return (o.recursive and sys.fs_remove_tree or sys.fs_remove)(root, path)
	end

	--- rename(from, to) -> true / nil, err, errno. A file that is there is replaced, at one stroke.
	function fs.rename(from, to)
		check.path(from, "rename")
		check.path(to, "rename", 2)
		return sys.fs_rename(root, from, to)
	end

	--- link(from, to) -> true / nil, err, errno: a second name of the same file.
	function fs.link(from, to)
		check.path(from, "link")
		check.path(to, "link", 2)
		return sys.fs_link(root, from, to)
	end

	--- symlink(target, path) -> true / nil, err, errno: path leads to target, which need not be there.
	function fs.symlink(target, path)
		check.path(target, "symlink")
		check.path(path, "symlink", 2)
		return sys.fs_symlink(root, path, target)
	end

	--- readlink(path) -> where a symbolic link leads / nil, err, errno.
	function fs.readlink(path)
		check.path(path, "readlink")
		return sys.fs_readlink(root, path)
	end

	--- chmod(path, mode) -> true / nil, err, errno. mode: "644" or a number.
	function fs.chmod(path, mode)
		check.path(path, "chmod")
		local number, expected = check.permissions(mode)
		if not number then
			error(("bad argument #2 to 'chmod' (%s expected, got %s)"):format(expected, tostring(mode)), 2)
		end
		return sys.fs_chmod(root, path, number)
	end
end
