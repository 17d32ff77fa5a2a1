-- file: the methods of open files as they are in C. Those that may block are replaced, in the class, by ones that go to a
-- worker under an event loop; this table is how they are known there.
local core = require "lua-pool.core"
local sys = require "lua-pool.fs.sys"

local methods = core.classes["lua-pool.file"]
local file = {}
for name, f in pairs(methods) do file[name] = f end

for _, name in ipairs { "pread", "pwrite", "read", "read_some", "readinto", "write", "seek", "size", "stat", "sync", "datasync", "truncate",
	"lock", "try_lock", "unlock", "close" } do
	methods[name] = file[name] and sys.route(file[name])
end

return file
