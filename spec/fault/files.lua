-- Files, folders and subprocesses, for tools/faults.sh: see basic.lua. What it makes is in a temporary folder, which must
-- be gone afterwards, however it ended.
local pool = require "lua-pool"
local fs = pool.fs

local function check(ok, what)
	if not ok then
		io.stderr:write("WRONG ANSWER: ", what, "\n")
		os.exit(3)
	end
end

-- Out of memory is raised, or answered where the system's refusals are.
local function done(ok, err, ...)
	if ok == nil then error(err, 0) end
	return ok, err, ...
end

local function descriptors()
	local n = 0
	for _ in pairs(done(fs.list "/proc/self/fd")) do n = n + 1 end
	return n
end

local before = descriptors()
local folder = done(fs.tempdir())
folder:with(function()
	local function path(name) return folder:path(name) end
	done(fs.write(path "a", ("x"):rep(3000)))
	done(fs.write(path "a", "abc", {atomic = true, sync = false}))
	check(done(fs.read(path "a")) == "abc", "an atomic write is whole")
	done(fs.append(path "a", "def"))
	done(fs.copy(path "a", path "b"))
	done(fs.open(path "b")):with(function(file)
		check(done(file:pread(3, 3)) == "def", "pread")
		check(done(file:try_lock "shared"), "lock")
	end)
	done(fs.mkdir(path "d/e", {parents = true}))
	done(fs.symlink("../b", path "d/link"))
	local names = {}
	for name in done(fs.walk(path "d")) do names[#names + 1] = name end
	check(#names == 2, "walk")
	local lines = {}
	for line in done(fs.lines(path "a")) do lines[#lines + 1] = line end
	check(lines[1] == "abcdef", "lines")
	check(select(2, fs.within(path "d").read "../a") ~= nil, "within")
	local r = done(pool.run {"cat", stdin = "text"})
	check(r.stdout == "text" and r.code == 0, "run")
end)
check(not fs.exists(folder:path()), "the folder is gone")
collectgarbage()
check(descriptors() <= before + 2, "descriptors are closed") -- the pool may have opened one of its own
