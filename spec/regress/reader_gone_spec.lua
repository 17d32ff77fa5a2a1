-- `lua script.lua | head -1` never ended: workers block SIGPIPE, and print drops its error.
local describe, it, assert = describe, it, assert
local child = require "spec.support.child"

describe("a task that writes to a reader that is gone", function()
	-- The status of the script in `script | head -1`, and what else it left in the file NOTE.
	local function piped(script, options)
		options = options or {}
		local note = child.tmpname()
		local r = child.run("NOTE = " .. ("%q"):format(note) .. " " .. script, {
			limit = 30, wrap = function(command)
				return ("bash -c %s"):format(child.quote(("%s { %s ; } %s | head -n 1 >/dev/null; echo ${PIPESTATUS[0]} >%s.status")
					:format(options.before or "", command, options.stderr and "2>&1" or "", note)))
			end,
		})
		local function read(name)
			local f = io.open(name)
			local text = f and f:read "*a" or ""
			if f then f:close() end
			os.remove(name)
			return text
		end
		return tonumber(read(note .. ".status")), read(note), r.err
	end
	local SIGPIPE = 128 + 13

	local ways = {
		["print, awaited"] = "pool.async(function() while true do print 'line' end end):await()",
		["print, caught by who awaits"] = "while true do pcall(function() pool.async(function() while true do print 'line' end end):await() end) end",
		["print of a child"] = "pool.async(function() pool.async(function() while true do print 'line' end end):await() end):await()",
		["print, detached"] = "pool.go(function() while true do print 'line' end end) pool.event():wait()",
		["io.write"] = "pool.async(function() while true do io.write 'line\\n' end end):await()",
		["io.stdout:write"] = "pool.async(function() while true do io.stdout:write 'line\\n' end end):await()",
		["io.stdout:flush"] = "pool.async(function() io.stdout:setvbuf 'full' while true do io.stdout:write 'line\\n' io.stdout:flush() end end):await()",
		["map"] = "pool.map(function() while true do print 'line' end end, 4)",
		["on_error that prints"] = [[
			local p = pool.new { workers = 1, on_error = function() print "line" end }
			while true do p:go(error, "x") pool.sleep(0.001) end]],
	}
	for name, script in pairs(ways) do
		it("ends the program as it would without a pool: " .. name, function()
			local status, _, err = piped(script)
			assert.equal(SIGPIPE, status, err)
		end)
	end

	it("ends it also when the reports of failures have no reader", function()
		assert.equal(SIGPIPE, (piped("while true do pool.go(error, 'x') pool.sleep(0.001) end", { stderr = true })))
	end)

	it("may catch the error and go on", function()
		local status, note = piped [[
			local text = pool.async(function()
				local ok, err
				repeat ok, err = pcall(print, "line") until not ok
				local ok2, err2
				repeat ok2, err2 = pcall(io.write, "line\n") until not ok2
				local f = io.stdout
				local ok3, err3 = pcall(function() for _ = 1, 100000 do f:write("line\n") f:flush() end end)
				assert(not ok3)
				local function bare(text) return (text:gsub("^[^\n]*:%d+: ", "")) end
				return table.concat({ bare(err), bare(err2), bare(err3) }, "\n")
			end):await()
			local f = io.open(NOTE, "w")
			f:write(text)
			f:close()
			os.exit(7)]]
		assert.equal(7, status)
		assert.equal(("Broken pipe: nobody reads any more what this program writes\n"):rep(3):sub(1, -2), note)
	end)

	it("goes on where the program ignores the signal, as it would without a pool", function()
		local status, note = piped([[
			local text = pool.async(function()
				for _ = 1, 100000 do print "a line that is not very short" end
				local r, err, number
				repeat r, err, number = io.write(("x"):rep(10000)) until not r
				return err .. " " .. number
			end):await()
			local f = io.open(NOTE, "w")
			f:write(text)
			f:close()
			os.exit(7)]], { before = "trap '' PIPE;" })
		assert.equal("Broken pipe 32", note)
		assert.equal(7, status)
	end)

	it("leaves the host's disposition and mask alone, and other files as they were", function()
		local r = child.run [[
			local function mask() for line in io.lines "/proc/thread-self/status" do
				if line:find "^SigBlk" or line:find "^SigIgn" then io.stderr:write(line:sub(-8), "\n") end end end
			mask()
			pool.async(function()
				local p = io.popen("exec true", "w")
				local r, err
				for _ = 1, 1000 do r, err = p:write(("x"):rep(10000)) if not r then break end pool.sleep(0.001) end
				p:close()
				print(r, err)
				print(pcall(function() io.write({}) end))
				print(pcall(function() io.stdout:write({}) end))
				local f = io.tmpfile()
				f:close()
				print(select(2, pcall(function() f:write "x" end)))
				print(io.write "" == io.stdout or io.write "")
			end):await()
			mask()]]
		local before, after = r.err:match "^(.-\n.-\n)(.*)$"
		assert.equal(before, after)
		local lines = {}
		for line in r.out:gmatch "[^\n]+" do lines[#lines + 1] = line end
		assert.equal("nil\tBroken pipe", lines[1], r.out)
		assert.truthy(lines[2]:find ":%d+: bad argument #1 to 'write' %(string expected, got table%)", lines[2])
		assert.truthy(lines[3]:find ":%d+: bad argument #1 to 'write' %(string expected, got table%)", lines[3])
		assert.truthy(lines[4]:find ":%d+: attempt to use a closed file", lines[4])
		assert.equal("true", lines[5])
	end)
end)
