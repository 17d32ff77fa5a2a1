-- The check that the folders of src are layers: it passes here, and refuses each kind of violation.
local pool = require "lua-pool"
local scratch = require "spec.support.scratch"

local fs = pool.fs

describe("tools/layers.lua", function()
	local dir, root

	local function check(where)
		local r = assert(pool.run { arg and arg[-1] or "lua5.4", "tools/layers.lua", where, timeout = 60 })
		return r.code, r.stdout
	end

	-- A small tree of two folders, in which all is well.
	before_each(function()
		dir = scratch.folder()
		root = dir
		for _, d in ipairs { "src", "src/low", "src/high" } do assert(fs.mkdir(root .. "/" .. d)) end
		assert(fs.write(root .. "/src/LAYERS", "low   what is below\nhigh  what is above\n"))
		assert(fs.write(root .. "/src/low/a.h", ""))
		assert(fs.write(root .. "/src/low/a.c", '#include "low/a.h"\n'))
		assert(fs.write(root .. "/src/high/b.h", '#include "low/a.h"\n'))
		assert(fs.write(root .. "/src/high/b.c", '#include "high/b.h"\n'))
	end)
	after_each(function() scratch.remove(dir) end)

	local function refused(pattern)
		local code, said = check(root)
		assert.equal(1, code, said)
		assert.matches(pattern, said)
	end

	it("passes for this checkout", function()
		local code, said = check "."
		assert.equal(0, code, said)
	end)

	it("passes for a tree in which all is well", function()
		local code, said = check(root)
		assert.equal(0, code, said)
		assert.equal("", said)
	end)

	it("refuses an include that points up", function()
		assert(fs.write(root .. "/src/low/a.h", '#include "high/b.h"\n'))
		refused "src/low/a%.h includes high/b%.h: high lies above low"
	end)

	it("lets one pass that is listed, and refuses one that is listed and gone", function()
		assert(fs.write(root .. "/src/LAYERS", "low   below\nhigh  above\nup low/a.h high/b.h  a reason\n"))
		refused "low/a%.h includes high/b%.h is not there any more"
		assert(fs.write(root .. "/src/low/a.h", '#include "high/b.h"\n'))
		local code, said = check(root)
		assert.equal(0, code, said)
	end)

	it("refuses a header that is named without its folder", function()
		assert(fs.write(root .. "/src/high/b.h", '#include "a.h"\n'))
		refused "src/high/b%.h: 'a%.h' is no header of src"
	end)

	it("refuses a .c file that does not include its own header first", function()
		assert(fs.write(root .. "/src/high/b.c", '#include "low/a.h"\n#include "high/b.h"\n'))
		refused "src/high/b%.c: its first include of ours is low/a%.h"
	end)

	it("refuses a folder that is not listed, and a file in none", function()
		assert(fs.mkdir(root .. "/src/new"))
		assert(fs.write(root .. "/src/new/c.c", ""))
		assert(fs.write(root .. "/src/d.c", ""))
		refused "src/new/c%.c: its folder is not in src/LAYERS"
		refused "src/d%.c: its folder is not in src/LAYERS"
	end)
end)
