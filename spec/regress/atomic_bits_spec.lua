-- A file that is replaced at one stroke keeps its set-user-ID, set-group-ID and sticky bits, whoever replaces it. The kernel
-- takes the first two away when an ordinary user writes to a file or somebody gives it away: they are set after that.
local describe, it, assert, setup, teardown = describe, it, assert, setup, teardown
local child = require "spec.support.child"
local scratch = require "spec.support.scratch"

describe("an ordinary user's file", function()
	local dir
	setup(function() dir = scratch.folder() end)
	teardown(function() scratch.remove(dir) end)

	-- Runs the script as an ordinary user in a folder of its own. `root`: what it does before, where it can do more.
	local made = 0
	local function as_user(script, root)
		made = made + 1
		local r = child.run(([[
			local fs, sys, top = pool.fs, require "sys", %q
			local id = sys.getuid()
			local privileged = id == 0
			local dir = top .. "/" .. %q
			local function at(name) return dir .. "/" .. name end
			assert(fs.mkdir(dir))
			assert(fs.chmod(top, "755"))
			assert(fs.chmod(dir, "777"))
			pool.fs.stat(dir) -- all that is loaded late is loaded while we may
			sys.umask(18)
			do %s end
			if privileged then
				id = 65534
				assert(sys.become(id))
			end
			local function mode(name) return ("%%o"):format(assert(fs.stat(at(name))).mode) end
			local function is(expected, got) if expected ~= got then error(("expected %%s, got %%s"):format(expected, got), 2) end end
			%s
		]]):format(dir, "of" .. made, root or "", script))
		assert.equal("", r.err)
		assert.equal(0, r.status)
	end

	it("keeps them through write{atomic}, copy{atomic} and append, in every combination", function()
		as_user [[
			for _, bits in ipairs { "0640", "1640", "2650", "4750", "6755", "7777", "4000" } do
				local expected = ("%o"):format(tonumber(bits, 8))
				for _, sync in ipairs { true, false } do
					assert(fs.write(at "f", "old"))
					assert(fs.chmod(at "f", bits))
					is(expected, mode "f")
					assert(fs.write(at "f", "new", { atomic = true, sync = sync }))
					is(expected, mode "f")
					assert(fs.remove(at "f"))
				end
				assert(fs.write(at "f", "old"))
				assert(fs.write(at "from", "other"))
				assert(fs.chmod(at "f", bits))
				assert(fs.copy(at "from", at "f", { atomic = true }))
				is(expected, mode "f")
				assert(fs.chmod(at "f", "600"))
				is("other", fs.read(at "f"))
				assert(fs.remove(at "f"))
			end
		]]
	end)

	it("gets them when it is new and they were asked for, less the umask", function()
		as_user [[
			local ways = {
				function(o) return fs.write(at "f", "text", o) end,
				function(o) return fs.append(at "f", "text", o) end,
				function(o) return fs.copy(at "from", at "f", o) end,
			}
			assert(fs.write(at "from", "text"))
			for _, way in ipairs(ways) do
				for _, bits in ipairs { "1640", "2757", "4777", "6755", "4000", "200" } do
					for atomic = 0, way == ways[2] and 0 or 1 do
						local o = { mode = bits }
						if atomic == 1 then o.atomic = true end
						assert(way(o))
						local expected = tonumber(bits, 8)
						expected = expected - (expected / 2 % 2 >= 1 and 2 or 0) - (expected / 16 % 2 >= 1 and 16 or 0) -- umask 022
						is(("%o"):format(expected), mode "f")
						assert(fs.chmod(at "f", "600"))
						is("text", fs.read(at "f"))
						assert(fs.remove(at "f"))
					end
				end
			end
			-- One that is there is written as by anybody: the system decides.
			assert(fs.write(at "f", "text"))
			assert(fs.write(at "f", "more", { mode = "4755" }))
			is("644", mode "f")
		]]
	end)

	it("does not get them for another owner or group than had them", function()
		if require "sys".getuid() ~= 0 then return end -- nobody can give a file away here, so there is none to find
		as_user([[
			assert(fs.write(at "theirs", "new", { atomic = true }))
			is("755", mode "theirs") -- not 6755 of ours
			is(65534, fs.stat(at "theirs").uid)
			assert(fs.write(at "group", "new", { atomic = true }))
			is("4755", mode "group") -- the owner is the same; we are not in its group
			is("new", fs.read(at "group"))
			assert(fs.write(at "mine", "new", { atomic = true }))
			is("6755", mode "mine")
		]], [[
			for _, name in ipairs { "theirs", "group", "mine" } do assert(fs.write(at(name), "old")) end
			assert(os.execute(("chown 1:1 %s; chown 65534:1 %s; chown 65534:65534 %s; chmod 6755 %s %s %s"):format(at "theirs",
				at "group", at "mine", at "theirs", at "group", at "mine")))
		]])
	end)
end)
