-- Subprocesses: what they get, what comes back, and that none outlives the call that is ended.
local describe, it, assert, setup, teardown = describe, it, assert, setup, teardown
local both = require "spec.support.both"
local child = require "spec.support.child"
local proc = require "spec.support.proc"
local scale = require "spec.support.scale"
local scratch = require "spec.support.scratch"
local pool = require "lua-pool"
local fs = pool.fs
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local pack = both.pack

-- What this process has started and not reaped: the names and states of its children.
local function children()
	local list = {}
	for _, task in ipairs(assert(fs.list "/proc/self/task")) do
		for pid in (fs.read("/proc/self/task/" .. task .. "/children") or ""):gmatch "%d+" do
			list[#list + 1] = (fs.read("/proc/" .. pid .. "/stat") or "gone"):match "%(.-%) %S" or "gone"
		end
	end
	return table.concat(list, ", ")
end

local function alive(pid)
	local stat = fs.read("/proc/" .. pid .. "/stat")
	return stat ~= nil and not stat:find "%) [ZX] "
end

describe("pool.run", function()
	local dir
	setup(function() dir = scratch.folder() end)
	teardown(function() scratch.remove(dir) end)

	it("answers the exit code and what was written", function()
		assert.same({ code = 0, stdout = "hello\n", stderr = "" }, pool.run { "echo", "hello" })
		assert.same({ code = 3, stdout = "out", stderr = "err" }, pool.run { "sh", "-c", "printf out; printf err >&2; exit 3" })
		assert.same({ code = 0, stdout = "1 2", stderr = "" }, pool.run { "printf", "%s %s", 1, 2 })
	end)

	it("is the same in a task and as a task", function()
		local expected = { code = 0, stdout = "x\n", stderr = "" }
		assert.same(expected, pool.async(pool.run, { "echo", "x" }):await())
		assert.same(expected, pool.async(function() return require "lua-pool".run { "echo", "x" } end):await())
	end)

	it("passes arguments as they are: no shell", function()
		local odd = { "a b", "$HOME", "*", "", "'\"\\", "new\nline", "\255", "-n" }
		local r = pool.run { "printf", "<%s>", both.unpack(odd) }
		assert.equal("<" .. table.concat(odd, "><") .. ">", r.stdout)
	end)

	it("says which signal ended it", function()
		assert.same({ signal = 9, stdout = "", stderr = "" }, pool.run { "sh", "-c", "kill -9 $$" })
		assert.same({ signal = 15, stdout = "", stderr = "" }, pool.run { "sh", "-c", "kill $$" })
	end)

	it("tells what could not be started", function()
		local nowhere = dir .. "/none"
		assert.same({ n = 3, nil, "no-such-command: No such file or directory", 2 }, pack(pool.run { "no-such-command" }))
		assert.same({ n = 3, nil, nowhere .. ": No such file or directory", 2 }, pack(pool.run { nowhere }))
		assert.same({ n = 3, nil, nowhere .. ": No such file or directory", 2 }, pack(pool.run { "true", cwd = nowhere }))
		assert.same({ n = 3, nil, "/dev/null: Not a directory", 20 }, pack(pool.run { "true", cwd = "/dev/null" }))
		assert.same({ n = 3, nil, dir .. ": Permission denied", 13 }, pack(pool.run { dir }))
		fs.write(dir .. "/plain", "x")
		assert.same({ n = 3, nil, dir .. "/plain: Permission denied", 13 }, pack(pool.run { dir .. "/plain" }))
		assert.same({ n = 3, nil, ": No such file or directory", 2 }, pack(pool.run { "" }))
	end)

	it("refuses what makes no sense", function()
		assert.error_matches(function() pool.run() end, "table with a command expected, got nil")
		assert.error_matches(function() pool.run "ls" end, "table with a command expected, got string")
		assert.error_matches(function() pool.run {} end, "no command")
		assert.error_matches(function() pool.run { "ls", {} } end, "argument 2 of the command must be a string, got table")
		assert.error_matches(function() pool.run { "l\0s" } end, "argument 1 of the command holds a zero byte")
		assert.error_matches(function() pool.run { "ls", stdot = 1 } end, "unknown option \"stdot\", did you mean 'stdout'")
		assert.error_matches(function() pool.run { "ls", stdout = "caputre" } end, "option 'stdout' must be \"capture\"")
		assert.error_matches(function() pool.run { "ls", stdout = "stdout" } end, "option 'stdout' must be")
		assert.error_matches(function() pool.run { "ls", stdin = 5 } end, "option 'stdin' must be a string")
		assert.error_matches(function() pool.run { "ls", timeout = "1" } end, "option 'timeout' must be seconds")
		assert.error_matches(function() pool.run { "ls", env = { ["a=b"] = "c" } } end, "option 'env'")
		assert.error_matches(function() pool.run { "ls", cwd = "a\0b" } end, "option 'cwd'")
	end)

	it("sets the folder and the environment", function()
		assert.equal("/\n", pool.run { "pwd", cwd = "/" }.stdout)
		assert.equal("1|2|\n", pool.run { "sh", "-c", "echo \"$A|$B|$HOME\"", env = { A = "1", B = 2, HOME = false } }.stdout)
		assert.matches("/", pool.run { "sh", "-c", "echo $PATH", env = { A = "1" } }.stdout)
		local r = pool.run { "env", env = { ONLY = "this" }, clear_env = true }
		assert.equal("ONLY=this\n", r.stdout)
	end)

	describe("input", function()
		it("is nothing, or a string of any size", function()
			assert.equal("", pool.run { "cat" }.stdout)
			assert.equal("abc\0def", pool.run { "cat", stdin = "abc\0def" }.stdout)
			local much = ("0123456789abcdef"):rep(scale(200000, 20000))
			assert.is_true(pool.run { "cat", stdin = much }.stdout == much)
		end)

		it("may be ignored: a closed pipe is no error and no death", function()
			local much = ("x"):rep(5000000)
			assert.equal(0, pool.run { "true", stdin = much }.code)
			assert.equal("x", pool.run { "head", "-c", "1", stdin = much }.stdout)
			assert.equal("x", pool.async(pool.run, { "head", "-c", "1", stdin = much }):await().stdout)
			local r = child.run [[
				local r = pool.run {"sh", "-c", "exec <&-; sleep 0.05; echo fine", stdin = ("x"):rep(3000000)}
				print(r.code, r.stdout)
			]]
			assert.equal("0\tfine\n\n", r.out, r.err)
			assert.equal(0, r.status)
		end)

		it("comes from a file, a function, a channel", function()
			fs.write(dir .. "/in", "line 1\nline 2\n")
			local f = assert(fs.open(dir .. "/in"))
			assert.equal("line 1\nline 2\n", pool.run { "cat", stdin = f }.stdout)
			assert.is_nil(f:read(1)) -- one position for all
			f:close()

			local n = 0
			local r = pool.run { "cat", stdin = function()
				n = n + 1
				return n <= 3 and "piece " .. n or nil
			end }
			assert.equal("piece 1piece 2piece 3", r.stdout)
			assert.equal(0, pool.run { "true", stdin = function() return ("y"):rep(100000) end }.code)

			local ch = pool.channel()
			local running = pool.async(pool.run, { "cat", stdin = ch })
			for i = 1, 100 do assert.is_true(ch:send(("%d "):format(i))) end
			ch:close()
			assert.matches("^1 2 .* 100 $", running:await().stdout)
		end)
	end)

	describe("output", function()
		it("of 100 MiB on both streams makes no dead-lock", function()
			local size = scale(100, 8) * 1048576
			local r = pool.run { "sh", "-c", ("head -c %d /dev/zero & head -c %d /dev/zero >&2; wait"):format(size, size / 8) }
			assert.equal(size, #r.stdout)
			assert.equal(size / 8, #r.stderr)
		end)

		it("and input of many MiB at the same time make none", function()
			local much = ("0123456789abcdef"):rep(scale(400000, 50000))
			local r = pool.run { "sh", "-c", "tee /dev/stderr", stdin = much }
			assert.is_true(r.stdout == much and r.stderr == much)
		end)

		it("goes nowhere, into a file, to a function, into a channel, into the other", function()
			local r = pool.run { "sh", "-c", "echo a; echo b >&2", stdout = "null" }
			assert.same({ code = 0, stderr = "b\n" }, r)

			local f = assert(fs.open(dir .. "/out", "w"))
			r = pool.run { "sh", "-c", "echo a; echo b >&2", stdout = f, stderr = f }
			assert.same({ code = 0 }, r)
			f:close()
			assert.equal("a\nb\n", fs.read(dir .. "/out"))

			local pieces = {}
			r = pool.run { "seq", "100000", stdout = function(piece) pieces[#pieces + 1] = piece end }
			assert.same({ code = 0, stderr = "" }, r)
			assert.equal(588895, #table.concat(pieces))

			local ch = pool.channel(2)
			local running = pool.async(pool.run, { "seq", "100000", stdout = ch })
			local sum = 0
			for piece in ch do sum = sum + #piece end
			assert.equal(588895, sum)
			assert.equal(0, running:await().code)

			assert.same({ code = 0, stdout = "a\nb\n" }, pool.run { "sh", "-c", "echo a; echo b >&2", stderr = "stdout" })
		end)

		it("that nobody wants any more ends the one who writes", function()
			local ch = pool.channel()
			local running = pool.async(pool.run, { "yes", stdout = ch })
			assert.matches("^y\ny\n", (ch:receive()))
			ch:close()
			assert.equal(13, running:await(20).signal)
			assert.equal(13, pool.run { "yes", stdout = function() return false end }.signal)
		end)

		it("an error of the function ends the command and is raised", function()
			local pid
			local ok, err = pcall(pool.run, { "sh", "-c", "echo $$; exec sleep 100", stdout = function(piece)
				pid = piece:match "%d+"
				error({ mine = true })
			end })
			assert.is_false(ok)
			assert.is_true(err.mine)
			assert.is_false(alive(pid))
		end)

		it("inherited is written where ours is", function()
			local r = child.run [[
				pool.run {"sh", "-c", "cat; echo out; echo err >&2", stdout = "inherit", stderr = "inherit", inherit_stdin = true}
			]]
			assert.equal("out\n", r.out)
			assert.equal("err\n", r.err)
		end)
	end)

	describe("ends", function()
		-- A shell that says its number and that of a child of its own, and waits.
		local family = "trap '' %s; sleep 100 & echo $$ $!; wait; wait"

		local function both_gone(text)
			local a, b = text:match "(%d+) (%d+)"
			return proc.eventually(function() return not alive(a) and not alive(b) end)
		end

		it("with a timeout: the command and its children, and what it wrote is there", function()
			local ok, why, r = pool.run { "sh", "-c", family:format "HUP", timeout = 0.2 }
			assert.same({ nil, "timeout" }, { ok, why })
			assert.equal(15, r.signal)
			assert.is_true(both_gone(r.stdout))
		end)

		it("with KILL after the grace, for one that ignores TERM", function()
			local _, why, r = pool.run { "sh", "-c", family:format "TERM", timeout = 0.2, grace = 0.1 }
			assert.equal("timeout", why)
			assert.equal(9, r.signal)
			assert.is_true(both_gone(r.stdout))
		end)

		it("a child that holds the output open after the command has ended does not outlive the timeout", function()
			local _, why, r = pool.run { "sh", "-c", "sleep 100 & echo $$ $!", timeout = 0.2, grace = 0.1 }
			assert.equal("timeout", why)
			assert.equal(0, r.code)
			assert.is_true(both_gone(r.stdout))
		end)

		it("when its task is cancelled, at any moment, with its children; no zombie is left", function()
			local before = scratch.descriptors()
			for _ = 1, scale(15, 4) do
				local ch = pool.channel(1)
				local f = pool.async(pool.run, { "sh", "-c", family:format "HUP", stdout = ch, grace = 0.1 })
				local numbers = ch:receive()
				pool.sleep(math.random() * 0.003)
				assert.is_true(f:cancel(20))
				assert.is_true(both_gone(numbers))
			end
			for _ = 1, scale(15, 4) do
				assert.equal("cancelled", scratch.cancelled(function(up)
					up:set()
					require "lua-pool".run { "sleep", "100" }
				end))
			end
			assert.equal("", children())
			assert.equal(before, scratch.descriptors())
		end)

		it("with a deadline, in the main state and in a task", function()
			local function try()
				local here = require "lua-pool"
				return pcall(here.deadline, 0.05, function() here.run { "sleep", "100" } end)
			end
			local ok, err = try()
			assert.is_true(not ok and err == pool.TIMEOUT)
			ok, err = pool.async(try):await()
			assert.is_true(not ok and err == pool.TIMEOUT)
			assert.equal("", children())
		end)

		it("on Ctrl-C in the main state", function()
			local r = child.run(([[
				local ok, err = pcall(pool.run, {"sh", "-c", "echo $$ >%s/pid; kill -INT $PPID; sleep 100"})
				print(ok, tostring(err):match "interrupted!" or err)
			]]):format(dir))
			assert.equal("false\tinterrupted!\n", r.out, r.err)
			assert.is_true(proc.eventually(function() return not alive(fs.read(dir .. "/pid"):match "%d+") end))
		end)
	end)

	it("leaves no child, no descriptor; many at once", function()
		pool.map(function() return require "lua-pool".run { "true" }.code end, 4, { batch = 1 })
		both.collect()
		local before = scratch.descriptors()
		local codes = pool.map(function(i)
			local here = require "lua-pool"
			if i % 10 == 0 then return select(3, here.run { "no-such-command" }) end
			return here.run { "sh", "-c", "echo " .. i .. "; exit " .. i % 7 }.code
		end, scale(200, 30), { batch = 1 })
		for i, code in ipairs(codes) do assert.equal(i % 10 == 0 and 2 or i % 7, code) end
		assert.equal("", children())
		assert.equal(before, scratch.descriptors())
	end)

	it("a command inherits no descriptor and no signal mask of ours", function()
		local open = assert(io.open(dir .. "/kept", "w")) -- without O_CLOEXEC
		for _, run in ipairs { pool.run, function(t) return pool.async(pool.run, t):await() end } do
			local r = run { "sh", "-c", "ls /proc/self/fd | wc -l; grep -E 'Sig(Blk|Ign)' /proc/self/status" }
			-- 0, 1, 2 and the one that ls opens; glibc's posix_spawn ignores its own two signals, 32 and 33.
			local fds, blocked, ignored = r.stdout:match "(%d+)\nSigBlk:\t(%x+)\nSigIgn:\t(%x+)\n"
			assert.same({ "4", 0, "00000000" }, { fds, tonumber(blocked, 16), (ignored:gsub("180000000$", "00000000"):sub(-8)) })
		end
		open:close()
	end)

	it("says so when somebody else takes its exit status", function()
		local r = child.run [[
			local ok, signal = pcall(require, "posix.signal")
			if not ok then print "lost" os.exit(0) end
			signal.signal(signal.SIGCHLD, signal.SIG_IGN)
			local r, err = pool.run {"true"}
			print(r == nil and err:match "lost" or "known")
		]]
		assert.equal("lost\n", r.out, r.err)
	end)
end)
