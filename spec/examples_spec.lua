-- The examples run, end by themselves, and print what they say they print.
local describe, it, assert = describe, it, assert
local child = require "spec.support.child"

local function example(name, args, options)
	options = options or {}
	options.args = args
	local f = assert(io.open("examples/" .. name .. ".lua", "rb"))
	local text = f:read "*a"
	f:close()
	options.bare = true
	return child.run(text, options)
end

describe("examples/philosophers.lua", function()
	it("shows who waits for whom, the ring, and that all have eaten", function()
		local r = example "philosophers"
		assert.equal(0, r.status, r.err)
		local _, waiting = r.out:gsub("waits at [^ ]+:%d+ for mutex 0x%x+, held by task 0x%x+ %(async at [^ ]+:%d+%) on worker %d+", "")
		assert.equal(4, waiting, r.out)
		assert.matches("waits at [^ ]+:%d+ for event 0x%x+", r.out)
		assert.matches("\nphilosopher 5 is refused the right fork: [^\n]*dead%-lock: ", r.out)
		local _, ring = r.out:gsub("whose owner waits at [^ ]+:%d+ for mutex 0x%x+, ", "")
		assert.equal(4, ring, r.out)
		assert.matches("whose owner is this task\n", r.out)
		assert.matches("\nall 5 have eaten; 1 was refused a fork once\n$", r.out)
		assert.equal("", r.err)
	end)
end)

describe("examples/sort.lua", function()
	it("sorts any number of numbers, and finds the same as one core alone", function()
		for _, n in ipairs { 1, 2, 7, 1000, 300000 } do
			local r = example("sort", tostring(n))
			assert.equal(0, r.status, r.err)
			assert.matches("^" .. n .. " numbers: [%d.]+ s on one core, [%d.]+ s with %d+ workers: [%d.]+ times as fast\n" ..
				"sorted, and the same both ways\n$", r.out)
			assert.equal("", r.err)
		end
	end)

	it("refuses what is no number of numbers, and says when there is no memory", function()
		for _, wrong in ipairs { "0", "-5", "1.5", "many" } do
			local r = example("sort", wrong)
			assert.equal(1, r.status)
			assert.matches("whole number of at least 1", r.err)
		end
		local r = example("sort", "1e15")
		assert.equal(1, r.status)
		assert.matches("not enough memory", r.err)
	end)
end)

describe("examples/pipeline.lua", function()
	it("counts what is there, as one core alone does", function()
		local dir = child.tmpname()
		assert(os.execute("mkdir -p " .. dir .. "/sub"))
		local function write(name, text)
			local f = assert(io.open(dir .. "/" .. name, "wb"))
			f:write(text)
			f:close()
		end
		for i = 1, 200 do
			write(("%ssource%d.c"):format(i % 2 == 0 and "sub/" or "", i),
				'#include <stdio.h>\n' .. (i % 4 == 0 and '  #  include "own.h"\n' or "") .. "int x; // #include <not.h>\n")
		end
		write("other.txt", "#include <not.h>\n")
		local r = example("pipeline", dir)
		os.execute("rm -r " .. dir)
		assert.equal(0, r.status, r.err)
		assert.matches("^ +200  stdio%.h\n +50  own%.h\n200 files include 2 headers 250 times: ", r.out)
		assert.matches("they agree\n$", r.out)
	end)

	it("says so if there is nothing", function()
		local r = example("pipeline", "/nonexistent")
		assert.equal(1, r.status)
		assert.matches("no C files in /nonexistent", r.err)
	end)
end)
