-- fs: files and folders. Every function here works in the main state, in a task, and as pool.async(fs.read, path): they
-- are sent by their names. What the system refuses is answered as nil, "path: No such file or directory", errno; misuse
-- raises.
--
-- The parts are in lua-pool/fs/: each adds its functions to a table, once for the paths of the process and once for
-- every folder that `within` binds them to.
local check = require "lua-pool.fs.check"
local sys = require "lua-pool.fs.sys"
require "lua-pool.fs.file"

local parts = {}
for _, name in ipairs { "names", "whole", "temp", "walk", "glob", "lines", "many", "watch" } do
	parts[#parts + 1] = require("lua-pool.fs." .. name)
end

local function build(root)
	local fs = {}
	for _, part in ipairs(parts) do part(fs, root) end

	--- within(dir) -> the same functions for paths that start in dir and cannot leave it: not by "..", an absolute path or a
	--- symbolic link (nil, err, EXDEV). For names that come from others.
	function fs.within(dir)
		check.path(dir, "within")
		local folder, err, errno = sys.fs_folder(root, dir)
		if not folder then return nil, err, errno end
		return build(folder)
	end

	return fs
end

return build(nil)
