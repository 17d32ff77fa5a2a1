-- Files and subprocesses under an event loop: only the calling coroutine waits.
local describe, it, assert, setup, teardown, pending = describe, it, assert, setup, teardown, pending
local scratch = require "spec.support.scratch"
local pool = require "lua-pool"
local fs = pool.fs

local has_cqueues, cqueues = pcall(require, "cqueues")

describe("under an event loop", function()
	local dir
	setup(function() dir = scratch.folder() end)
	teardown(function() scratch.remove(dir) end)

	it("calls of pool.fs, files, pool.run and sleep_until let the loop go on", function()
		if not has_cqueues then return require("spec.support.missing").here(pending, "no cqueues here") end
		os.execute("mkfifo " .. dir .. "/pipe")
		local loop, ended, answers = cqueues.new(), false, {}
		local other_ran = {}
		loop:wrap(function()
			local f = assert(fs.open(dir .. "/pipe"))
			answers.pipe = f:read(3) -- written by the other coroutine, once it has seen us wait
			f:close()
			answers.closed = f:is_closed()
			answers.run = pool.run { "cat", stdin = "through cat" }.stdout
			answers.bad = select(2, pcall(fs.read))
			answers.missing = { fs.read(dir .. "/none") }
			assert(fs.write(dir .. "/a", "text", { atomic = true }))
			answers.text = fs.read(dir .. "/a")
			answers.list = table.concat(fs.list(dir), " ")
			answers.size = assert(fs.open(dir .. "/a")):size()
			local n = 0
			for _ in fs.walk(dir) do n = n + 1 end
			answers.walked = n
			for line in fs.lines(dir .. "/a") do answers.line = line end
			local time = pool.now() + 0.02
			pool.sleep_until(time)
			answers.slept = pool.now() >= time
			ended = true
		end)
		loop:wrap(function()
			cqueues.sleep(0)
			other_ran.before = answers.pipe == nil
			fs.write(dir .. "/pipe", "abc")
		end)
		local ok, err = loop:loop(20)
		assert.is_true(ok, err)
		assert.is_true(ended)
		assert.is_true(other_ran.before)
		assert.same({ pipe = "abc", closed = true, run = "through cat", text = "text", list = "a pipe", size = 4, walked = 2, line = "text",
			slept = true, missing = { nil, dir .. "/none: No such file or directory", 2 }, bad = answers.bad }, answers)
		assert.matches("path %(a string%) expected, got nil", answers.bad)
	end)
end)
