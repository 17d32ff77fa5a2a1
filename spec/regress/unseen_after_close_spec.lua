-- A failure whose future was given up after its pool had been closed went to stderr, although the pool had an on_error.
local describe, it, assert = describe, it, assert
local child = require "spec.support.child"

describe("a failure that nobody saw, of a pool that is closed,", function()
	local function told(workers, script)
		return child.told(([[
			local heard = pool.channel(1000)
			local opts = { workers = %d, on_error = function(err, traceback)
				heard:send(tostring(err), traceback:find("traceback", 1, true) ~= nil, pool.worker_id() > 0)
			end }
			local p = pool.new(opts)
			local function collect() for _ = 1, 3 do collectgarbage() end end
			local function fails(...) error(table.concat({ ... }, " "), 0) end
		]]):format(workers) .. script)
	end

	for _, workers in ipairs { 0, 1, 2 } do
		it(("goes to on_error, in a worker of its own (workers = %d)"):format(workers), function()
			assert.equal("0|false\nthe first\ttrue\ttrue\nthe second\ttrue\ttrue\ntrue\n|", told(workers, [[
				local f = p:async(fails, "the", "first")
				local g = p:async(fails, "the", "second")
				f:wait() g:wait()
				p:close()
				print(pcall(p.async, p, fails) and "open" or "false")
				f = nil
				collect()
				print(heard:receive(10))
				g = nil
				collect()
				print(heard:receive(10))
				print(p:close())
			]]))
		end)
	end

	it("a thousand at once; the thread that tells them ends again", function()
		assert.equal("0|1000\t0\n|", told(2, [[
			local list = {}
			for i = 1, 1000 do list[i] = p:async(fails, i) end
			for i = 1, 1000 do list[i]:wait() end
			p:close()
			list = nil
			collect()
			local seen, n = {}, 0
			for _ = 1, 1000 do
				local text = assert(heard:receive(10))
				if not seen[text] then n = n + 1 end
				seen[text] = true
			end
			p:close() -- waits for it
			print(n, p:stats().threads)
		]]))
	end)

	it("also when the pool is collected before, and as the program ends", function()
		local text = told(1, [[
			local f, g = p:async(fails, "collected"), p:async(fails, "at the end")
			f:wait() g:wait()
			p:close()
			p = nil
			collect()
			f = nil
			collect()
			print(heard:receive(10))
			opts.on_error = function(err) io.stdout:write("heard: ", err, "\n") end
			local q = pool.new(opts)
			local h = q:async(fails, "last")
			h:wait()
			q:close()
			AT_THE_END = h -- collected by lua_close
		]])
		assert.equal("0|collected\ttrue\ttrue\nheard: last\n|", (text:gsub("heard: at the end\n", "")))
	end)

	it("is silent with on_error = false, and on stderr without on_error", function()
		assert.equal("0||", child.told [[
			local p = pool.new { workers = 1, on_error = false }
			local f = p:async(error, "x")
			f:wait()
			p:close()
			f = nil
			collectgarbage() collectgarbage()
		]])
		assert.truthy(child.told [[
			local p = pool.new { workers = 1 }
			local f = p:async(error, "x")
			f:wait()
			p:close()
			f = nil
			collectgarbage() collectgarbage()
		]]:find "^0||lua%-pool: a task failed and its future was never awaited: [^\n]*x\n")
	end)
end)
