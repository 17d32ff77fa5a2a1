-- The file beside, to which an atomic write goes first: it is always found a name, whatever lies there already; a writer that
-- dies at any moment leaves the old file or the new one, and at most one beside, which the next write removes.
local describe, it, assert, setup, teardown = describe, it, assert, setup, teardown
local child = require "spec.support.child"
local scratch = require "spec.support.scratch"
local pool = require "lua-pool"
local fs = pool.fs

local ATOMIC, FAST = { atomic = true }, { atomic = true, sync = false }

describe("an atomic write", function()
	local dir
	setup(function() dir = scratch.folder() end)
	teardown(function() scratch.remove(dir) end)
	local function at(name) return dir .. "/" .. name end

	-- Makes all the names that follow from that of a target.
	local function occupy(name, make)
		for i = 0, 15 do assert(make(at((".%s.lua-pool-%d"):format(name, i)), i)) end
	end
	local function beside(name)
		local n = 0
		for _, found in ipairs(assert(fs.list(dir))) do
			if found:sub(1, #name + 11) == "." .. name .. ".lua-pool-" then n = n + 1 end
		end
		return n
	end

	it("beside names that are taken for good: links, folders, files of others that live", function()
		local locks = {}
		local sys = require "sys"
		local kinds = {
			links = function(path) return fs.symlink("nowhere", path) end,
			linked = function(path) return fs.symlink(dir, path) end,
			folders = function(path) return fs.mkdir(path) end,
			fifos = function(path) return sys.mkfifo(path) end,
			living = function(path)
				locks[#locks + 1] = sys.flock(path)
				return locks[#locks]
			end,
		}
		for name, make in pairs(kinds) do
			occupy(name, make)
			for i = 1, 3 do
				local text = name .. i
				assert.is_true(fs.write(at(name), text, i == 2 and FAST or ATOMIC))
				assert.equal(text, fs.read(at(name)))
				assert.equal(16, beside(name), name)
			end
			assert.is_true(fs.copy(at(name), at(name .. "2"), ATOMIC))
		end
		for _, fd in ipairs(locks) do sys.close(fd) end
		assert.is_true(fs.write(at "living", "now they are dead", ATOMIC))
		assert.equal(0, beside "living")
	end)

	it("removes what dead writers left under either kind of name, and nothing else", function()
		local foreign = { ".f.lua-pool-", ".f.lua-pool-16", ".f.lua-pool-short", ".f.lua-pool-0123456789ABC", ".f.lua-pool-0123456789ab.c",
			".ff.lua-pool-0123456789ab", ".f.lua-pool" }
		for _, name in ipairs(foreign) do assert(fs.write(at(name), "of somebody else")) end
		assert(fs.mkdir(at ".f.lua-pool-ab0123456789"))
		for _, last in ipairs { "0", "15" } do
			assert(fs.write(at(".f.lua-pool-" .. last), "litter"))
			assert(fs.write(at ".f.lua-pool-0123456789ab", "litter"))
			assert.is_true(fs.write(at "f", "text", FAST))
			assert.is_false(fs.exists(at(".f.lua-pool-" .. last)))
			assert.is_false(fs.exists(at ".f.lua-pool-0123456789ab"))
		end
		for _, name in ipairs(foreign) do assert.equal("of somebody else", fs.read(at(name))) end
		local long = ("n"):rep(250)
		for i = 0, 15 do assert(fs.symlink("nowhere", at((".%s.%s.lua-pool-%d"):format(long:sub(1, 200), "c2a6e8f4e9d6a0b5", i)))) end
		assert.is_true(fs.write(at(long), "text", FAST)) -- whatever its names are
		assert.equal("text", fs.read(at(long)))
	end)

	for _, where in ipairs { "among names that are free", "beside sixteen links" } do
		it("killed at each of its system calls, " .. where .. ", leaves one of the two, and the next leaves nothing", function()
			if not child.may_fork then return end -- (ThreadSanitizer)
			local name = where:match "links" and "blocked" or "killed"
			if name == "blocked" then occupy(name, function(path) return fs.symlink("nowhere", path) end) end
			local r = child.run(([[
				local fs, sys, dir, name = pool.fs, require "sys", %q, %q
				local path = dir .. "/" .. name
				local function beside()
					local n = 0
					for _, found in ipairs(assert(fs.list(dir))) do
						if found:sub(1, #name + 11) == "." .. name .. ".lua-pool-" and found:find "pool%%-%%w+$" then n = n + 1 end
					end
					return n
				end
				local usual = beside()
				for round, options in ipairs { { atomic = true, sync = true }, { atomic = true, sync = false } } do
					for made = 0, 1 do
						local moments, old, new, left = 0, 0, 0, 0
						while true do
							if made == 0 then assert(fs.write(path, "old")) else fs.remove(path) end
							local n = moments + 1
							local killed, why = sys.killed_at(function() assert(fs.write(path, "new", options)) end, n)
							if killed == nil then error(why) end
							local text = fs.read(path)
							if text == "new" then new = new + 1
							else
								assert(text == (made == 0 and "old" or nil), tostring(text))
								old = old + 1
							end
							if not killed then break end
							moments = n
							local more = beside() - usual
							assert(more == 0 or more == 1, more)
							left = left + more
							if made == 0 then assert(fs.write(path, "next", options)) else
								assert(fs.write(path, "next", { atomic = true, sync = false }))
							end
							assert(fs.read(path) == "next")
							assert(beside() == usual, "litter")
						end
						assert(moments > 10 and old > 5 and new > 1 and left > 2, ("%%d %%d %%d %%d"):format(moments, old, new, left))
					end
				end
				print "through"
			]]):format(dir, name), { limit = 60 })
			assert.equal("", r.err)
			assert.equal("through\n", r.out)
			assert.equal(0, r.status)
		end)
	end

	it("by many at once, of whom some are killed, leaves nothing after the next", function()
		local r = child.run(([[
			local fs, sys, path, dir = pool.fs, require "sys", %q, %q
			for _ = 1, 3 do
				local pids = {}
				for i = 1, 25 do
					local pid = sys.fork()
					if pid == 0 then
						for k = 1, 20 do
							local text = ("%%04d"):format(i * 100 + k):rep(2000)
							if not fs.write(path, text, { atomic = true, sync = false }) then sys._exit(1) end
						end
						sys._exit(0)
					end
					pids[i] = pid
				end
				for i = 1, 25, 2 do os.execute("kill -9 " .. pids[i]) end
				for i = 1, 25 do
					local status = sys.wait(pids[i])
					assert(status == 0 or status == 137, status)
				end
				local text = fs.read(path)
				assert(not text or #text == 8000 and text == text:sub(1, 4):rep(2000), "a mix")
				assert(fs.write(path, ("last"):rep(2000), { atomic = true, sync = false }))
				for _, name in ipairs(fs.list(dir)) do assert(not name:find("crowd.lua-pool-", 1, true), name) end
			end
			print "through"
		]]):format(at "crowd", dir), { limit = 60 })
		assert.equal("", r.err)
		assert.equal("through\n", r.out)
	end)
end)
