-- pool.run that fails at any of its steps leaves nothing: no pipe half open, no child that nobody waits for, no task.
local describe, it, assert = describe, it, assert
local child = require "spec.support.child"

describe("pool.run with too few descriptors", function()
	for name, how in pairs {
		["captures"] = [[{ "cat", stdin = "in" }]],
		["feeds from a channel"] = [[(function()
			local c = pool.channel(2)
			c:send "in"
			c:close()
			return { "cat", stdin = c }
		end)()]],
		["feeds from a function into channels"] = [[(function()
			local given
			return { "cat", stdout = pool.channel(100), stderr = pool.channel(100), stdin = function()
				if not given then given = true return "in" end
			end }
		end)()]],
		["uses files"] = [[{ "cat", stdin = input, stdout = output, stderr = "stdout" }]],
		["cannot start"] = [[{ "/no/such/command", stdin = "in" }]],
		["is cut off"] = [[{ "sleep", "20", stdin = "in", timeout = 0.02, grace = 0 }]],
	} do
		it(name .. ": works, or says why, and leaves nothing", function()
			local r = child.run(([[
				local sys = require "sys"
				local fs = pool.fs
				local input, output = assert(fs.open "/dev/null"), assert(fs.open("/dev/null", "w"))
				local function descriptors() return #fs.list "/proc/self/fd" end
				local function spec() return %s end
				-- All that is loaded and opened once.
				pool.run { "true", stdin = "in" }
				pool.async(function() require "lua-pool".fs.stat "/" end):await()
				pool.run(spec())
				collectgarbage()
				local limit = descriptors() + 16
				sys.limit(limit)
				local worked, refused = 0, 0
				for free = 0, 12 do
					collectgarbage()
					local kept, before = {}, descriptors()
					while true do
						local f = fs.open "/dev/null"
						if not f then break end
						kept[#kept + 1] = f
					end
					for _ = 1, free do table.remove(kept):close() end
					local filled = #kept
					local ok, result, err, errno = pcall(pool.run, spec())
					assert(#kept == filled)
					for _, f in ipairs(kept) do f:close() end
					if ok and result then worked = worked + 1
					else
						refused = refused + 1
						assert(not ok and tostring(result):find "Too many open files" or errno == 24 or errno == 2 or err == "timeout",
							tostring(result) .. tostring(err))
					end
					assert(sys.children() == "none", sys.children())
					-- A feeder, say, of which the handle is in another state.
					local limit_ = pool.now() + 10
					repeat collectgarbage() until descriptors() == before or pool.now() > limit_
					assert(descriptors() == before, ("%%d free: %%d instead of %%d"):format(free, descriptors(), before))
				end
				assert(refused > 0)
				print(worked > 0)
			]]):format(how), { limit = 60 })
			assert.equal("", r.err)
			assert.equal(tostring(name ~= "cannot start" and name ~= "is cut off") .. "\n", r.out)
			assert.equal(0, r.status)
		end)
	end
end)
