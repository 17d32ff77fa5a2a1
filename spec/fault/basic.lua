-- One of everything, for tools/faults.sh: it runs this again and again, each time another allocation fails. It may
-- end well or with an ordinary Lua error; it must not crash, hang, leak, or give a wrong answer.
local pool = require "lua-pool"

local function check(ok, what)
	if not ok then
		io.stderr:write("WRONG ANSWER: ", what, "\n")
		os.exit(3)
	end
end

local p = pool.new {workers = 2, on_error = function() end}
local shared = {}
shared.self = shared

local f = p:async(function(a, b, t) return a + b, t, t.self == t end, 1, 2, shared)
local sum, t, same = f:await()
check(sum == 3 and t.self == t and same, "async")

local ok, err = p:async(function() error({code = 7}) end):pawait()
check(not ok and (type(err) ~= "table" or err.code == 7), "error")

local squares = p:map(function(i) return i * i end, 20, {batch = 3})
for i = 1, 20 do check(squares[i] == i * i, "map") end

local names = {}
for name in p:imap(string.upper, {"a", "b", "c"}) do names[#names + 1] = name end
check(table.concat(names) == "ABC", "imap")

-- Sent before it is received: when no thread can be started, the task runs inside async.
local up, ch = pool.event(), pool.channel(4)
ch:send(("x"):rep(2000), {1, {2}})
local text, list = p:async(function(e, c)
	e:set()
	return c:receive()
end, up, ch):await()
up:wait()
check(#text == 2000 and list[2][1] == 2, "channel")

p:go(error, "nobody looks")
check(p:async(function(n)
	local here = require "lua-pool"
	return here.async(function(m) return m + 1 end, n):await()
end, 1):await() == 2, "nested")
p:close()
