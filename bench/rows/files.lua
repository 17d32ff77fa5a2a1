-- files: small and large files, trees, subprocesses, sleep; beside plain io and io.popen, lua-filesystem, lua-luv, and the
-- programs that are made for it. Everything is in the page cache.
local pool = require "lua-pool"
local harness = require "bench.harness"
local fs = pool.fs

local has_lfs, lfs = pcall(require, "lfs")
local uv = harness.luv

local rows = {}
local function row(name, measure)
	table.insert(rows, {name = name, measure = measure})
end

-- A folder for the length of one row.
local function scratch(measure)
	return function(c, report)
		local dir = assert(fs.tempdir())
		local ok, err = pcall(measure, c, report, dir:path())
		dir:remove()
		if not ok then error(err, 0) end
	end
end

local function plain_read(path)
	local f = assert(io.open(path, "rb"))
	local text = f:read "*a"
	f:close()
	return text
end

-- Reads all paths with luv's thread pool, `most` at a time.
local function luv_read(paths, most)
	local next, running, bytes = 0, 0, 0
	local function start()
		while running < most and next < #paths do
			next = next + 1
			running = running + 1
			uv.fs_open(paths[next], "r", 420, function(_, fd)
				uv.fs_fstat(fd, function(_, stat)
					uv.fs_read(fd, stat.size, 0, function(_, data)
						uv.fs_close(fd, function()
							bytes = bytes + #data
							running = running - 1
							start()
						end)
					end)
				end)
			end)
		end
	end
	start()
	uv.run()
	return bytes
end

row("small files", scratch(function(_, report, dir)
	local paths, n = {}, 10000
	for i = 1, n do
		paths[i] = ("%s/%d/%d"):format(dir, i % 100, i)
		if i <= 100 then fs.mkdir(("%s/%d"):format(dir, i % 100)) end
		assert(fs.write(paths[i], ("x"):rep(1000 + i % 3000)))
	end
	local function each(read)
		return function(k)
			for _ = 1, k do
				local bytes = 0
				for i = 1, n do bytes = bytes + #read(paths[i]) end
				assert(bytes > n * 1000)
			end
		end
	end
	local ours, plain, luv, one = harness.compare {n = 4,
		{1, function(k)
			for _ = 1, k do
				local bytes = 0
				for _, text in fs.read_many(paths) do bytes = bytes + #text end
				assert(bytes > n * 1000)
			end
		end},
		{1, each(plain_read)},
		uv and {1, function(k) for _ = 1, k do assert(luv_read(paths, 64) > n * 1000) end end},
		{1, each(fs.read)},
	}
	report {what = "10,000 small files, read_many", ours = ours, beside = {"io", plain}, luv = luv,
		target = ">= 1.6x io (ratio <= 0.62x)", hit = ours <= plain / 1.6}
	report {what = "10,000 small files, fs.read one by one", ours = one, beside = {"io", plain}, luv = luv}
end))

row("large file", scratch(function(_, report, dir)
	local path, size = dir .. "/large", 64 * 1048576
	assert(fs.write(path, ("0123456789abcdef"):rep(size / 16)))
	local build = os.getenv "LUA_POOL_BUILD" or "build/5.4"
	local buffer = pool.buffer(size)
	local f = assert(fs.open(path))
	local ours, plain, into = harness.compare {
		{3, function(k) for _ = 1, k do assert(#fs.read(path) == size) end end},
		{3, function(k) for _ = 1, k do assert(#plain_read(path) == size) end end},
		f.readinto and {3, function(k)
			for _ = 1, k do
				f:seek("set", 0)
				assert(f:readinto(buffer) == size)
			end
		end},
	}
	f:close()
	local r = pool.run {build .. "/bench/readfile", path, "15"}
	local c = assert(tonumber(r and r.stdout:match "read (%d+)"), "bench/readfile is not built: use `make bench`") / 1e9
	report {what = "64 MiB in one read", ours = ours, beside = {"read in C", c}, target = "<= 1.1x read in C",
		hit = ours <= 1.1 * c}
	report {what = "64 MiB in one read", ours = ours, beside = {"io", plain}}
	-- Into memory that is there already, which that of C is not: no target.
	if into then report {what = "64 MiB into a buffer", ours = into, beside = {"read in C", c}} end
end))

local function lfs_walk(dir)
	local n = 0
	for name in lfs.dir(dir) do
		if name ~= "." and name ~= ".." then
			local path = dir .. "/" .. name
			n = n + 1
			if lfs.symlinkattributes(path, "mode") == "directory" then n = n + lfs_walk(path) end
		end
	end
	return n
end

local function luv_walk(dir)
	local n, scan = 0, assert(uv.fs_scandir(dir))
	for name, kind in function() return uv.fs_scandir_next(scan) end do
		n = n + 1
		if kind == "directory" then n = n + luv_walk(dir .. "/" .. name) end
	end
	return n
end

row("tree", scratch(function(_, report, dir)
	for i = 1, 1000 do
		local folder = ("%s/%d/%d"):format(dir, i % 20, i)
		assert(fs.mkdir(folder, {parents = true}))
		for k = 1, 50 do assert(fs.write(folder .. "/" .. k, "")) end
	end
	local total = 1000 * 51 + 20
	local ours, find, plain, luv = harness.compare {n = 4,
		{1, function(k)
			for _ = 1, k do
				local n = 0
				for _ in fs.walk(dir) do n = n + 1 end
				assert(n == total)
			end
		end},
		{1, function(k)
			for _ = 1, k do assert(tonumber(pool.run {"sh", "-c", "find " .. dir .. " | wc -l"}.stdout) == total + 1) end
		end},
		has_lfs and {1, function(k) for _ = 1, k do assert(lfs_walk(dir) == total) end end},
		uv and {1, function(k) for _ = 1, k do assert(luv_walk(dir) == total) end end},
	}
	report {what = "walk of 51,020 entries", ours = ours, beside = {"find", find}, luv = luv,
		target = ">= find (ratio <= 1.00x)", hit = ours <= find}
	if plain then report {what = "walk of 51,020 entries", ours = ours, beside = {"lfs", plain}, luv = luv} end
end))

-- Runs n times `true`, `most` at a time.
local function luv_spawn(n, most)
	local started, running, ended = 0, 0, 0
	local function start()
		while running < most and started < n do
			started = started + 1
			running = running + 1
			local out = uv.new_pipe(false)
			local handle
			handle = uv.spawn("true", {stdio = {nil, out, nil}}, function(code)
				assert(code == 0)
				ended = ended + 1
				running = running - 1
				handle:close()
				start()
			end)
			uv.read_start(out, function(_, data)
				if not data then out:close() end
			end)
		end
	end
	start()
	uv.run()
	assert(ended == n)
end

row("subprocesses", function(c, report)
	local n = 1000
	local list = {}
	for i = 1, n do list[i] = {"true"} end
	local ours, plain, luv, xargs = harness.compare {n = 4,
		{1, function(k)
			for _ = 1, k do
				for _, r in ipairs(pool.map(pool.run, list)) do assert(r.code == 0) end
			end
		end},
		{1, function(k)
			for _ = 1, k do
				for _ = 1, n do io.popen "true":close() end
			end
		end},
		uv and {1, function(k) for _ = 1, k do luv_spawn(n, c.cores) end end},
		{1, function(k)
			for _ = 1, k do
				assert(pool.run {"sh", "-c", ("seq %d | xargs -n 1 -P %d true"):format(n, c.cores)}.code == 0)
			end
		end},
	}
	report {what = "1,000 subprocesses, output captured", ours = ours, beside = {"io.popen", plain}, luv = luv,
		target = ">= 0.9x lua-luv (ratio <= 1.11x)", hit = not luv or ours <= luv / 0.9}
	report {what = "1,000 subprocesses, output captured", ours = ours, beside = {"xargs -P", xargs}, luv = luv}
end)

-- How much later than asked for a sleep ends, on the thread of the program and in a task; beside clock_nanosleep in C.
row("sleep", function(_, report)
	local build = os.getenv "LUA_POOL_BUILD" or "build/5.4"
	local length, count = 0.001, 50
	local function late(seconds, n)
		local here = require "lua-pool"
		local list = {}
		for i = 1, n do
			local start = here.now()
			here.sleep(seconds)
			list[i] = here.now() - start - seconds
		end
		return list
	end
	local ours, task, c = {}, {}, {}
	local function add(to, list)
		for _, x in ipairs(list) do to[#to + 1] = x end
	end
	for _ = 1, 5 do -- in turns, so that all see the same machine
		add(ours, late(length, count))
		add(task, pool.async(late, length, count):await())
		local r = pool.run {build .. "/bench/nap", ("%d"):format(length * 1e9), ("%d"):format(count)}
		assert(r and r.code == 0, "bench/nap is not built: use `make bench`")
		for ns in r.stdout:gmatch "%d+" do c[#c + 1] = tonumber(ns) / 1e9 end
	end
	local nanosleep = harness.median(c)
	for _, place in ipairs {{"", ours}, {" in a task", task}} do
		local median = harness.median(place[2])
		report {what = "sleep(1 ms)" .. place[1] .. ": how late it ends", ours = median, beside = {"clock_nanosleep", nanosleep},
			target = "<= clock_nanosleep + 100 us", hit = median <= nanosleep + 1e-4}
	end
end)

return rows
