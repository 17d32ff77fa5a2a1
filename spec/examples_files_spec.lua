-- The examples about files do what they say.
local describe, it, assert, setup, teardown = describe, it, assert, setup, teardown
local child = require "spec.support.child"
local scratch = require "spec.support.scratch"
local pool = require "lua-pool"
local fs = pool.fs

describe("examples/", function()
	local dir
	setup(function() dir = scratch.folder() end)
	teardown(function() scratch.remove(dir) end)

	it("checksum.lua lists checksums, finds what has changed, names what is missing", function()
		assert(fs.mkdir(dir .. "/tree/sub", { parents = true }))
		assert(fs.write(dir .. "/tree/wiki", "Wikipedia")) -- 11e60398, as everybody computes it
		assert(fs.write(dir .. "/tree/empty", ""))
		assert(fs.write(dir .. "/tree/sub/large", ("abcdefgh\255"):rep(300000)))
		local r = assert(pool.run { child.lua, "examples/checksum.lua", dir .. "/tree" })
		assert.equal(0, r.code, r.stderr)
		local large = r.stdout:match "(%x+)  [^\n]*/large"
		assert.equal(("00000001  %s/tree/empty\n%s  %s/tree/sub/large\n11e60398  %s/tree/wiki\n"):format(dir, large, dir, dir), r.stdout)
		assert(fs.write(dir .. "/list", r.stdout))
		r = pool.run { child.lua, "examples/checksum.lua", "-c", dir .. "/list" }
		assert.same({ 0, "3 files checked, all as they were\n" }, { r.code, r.stdout }, r.stderr)
		assert(fs.write(dir .. "/tree/wiki", "wikipedia"))
		assert(fs.remove(dir .. "/tree/empty"))
		r = pool.run { child.lua, "examples/checksum.lua", "-c", dir .. "/list" }
		assert.equal(1, r.code)
		assert.matches("tree/wiki: CHANGED", r.stderr)
		assert.matches("tree/empty: No such file or directory", r.stderr)
	end)

	it("loganalyser.lua counts over rotated and compressed logs", function()
		local line = '10.0.0.%d - - [10/Oct/2000:%02d:55:36 -0700] "GET /page%d?q=1 HTTP/1.0" %d 100 "-" "x"\n'
		local function log(first, n)
			local lines = {}
			for i = first, first + n - 1 do lines[#lines + 1] = line:format(i % 3, i % 24, i % 5, i % 10 == 0 and 404 or 200) end
			return table.concat(lines)
		end
		assert(fs.write(dir .. "/access.log", log(1, 1000) .. "not a line of a log\n"))
		assert(fs.write(dir .. "/access.log.1", log(1001, 4000)))
		assert(fs.write(dir .. "/access.log.2", log(5001, 5000)))
		assert.equal(0, pool.run { "gzip", dir .. "/access.log.2" }.code)
		assert(fs.write(dir .. "/access.log.3.gz", "broken"))
		local r = assert(pool.run { child.lua, "examples/loganalyser.lua", dir .. "/access.log*" })
		assert.equal(0, r.code, r.stderr)
		assert.matches("^4 files, 10001 lines %(1 of another format%), 1.0 MB sent", r.stdout)
		assert.matches("answers\n%s+9000  200\n%s+1000  404\n", r.stdout)
		assert.matches("paths\n%s+2000  /page0\n", r.stdout)
		assert.matches("access.log.3.gz", r.stderr)
	end)
end)
