-- handlers of nginx.conf beside this. What is given to the pool are ordinary functions; what waits for them is a light
-- thread of nginx, so the worker process serves others meanwhile.
local pool = require "lua-pool"

local handlers = {}

--- offload(fn, ...) -> results of fn(...), run by the pool. Answers the request with 503 and a Retry-After when the
--- pool's queue is full, and gives the task up when the client does (with lua_check_client_abort on).
local function offload(fn, ...)
	local future = pool.try_async(fn, ...)
	if not future then
		ngx.header["Retry-After"] = "1"
		return ngx.exit(503)
	end
	ngx.on_abort(function()
		future:cancel(0)
		ngx.exit(499)
	end)
	return future:await()
end

-- Runs on a thread of the pool: it sees its arguments and its upvalues, and neither ngx nor the request.
local function stretch(password, rounds)
	local bit = require "bit"
	local hash = 5381
	for _ = 1, rounds do
		for i = 1, #password do
			hash = bit.bxor(bit.tobit(hash * 33), password:byte(i))
		end
	end
	return bit.tohex(hash)
end

function handlers.stretch()
	local arguments = ngx.req.get_uri_args()
	ngx.say(offload(stretch, arguments.password or "secret", tonumber(arguments.rounds) or 100000))
end

function handlers.primes()
	local counts = pool.map(function(from)
		local found = 0
		for n = from, from + 9999 do
			local prime = n > 1
			for d = 2, math.floor(math.sqrt(n)) do
				if n % d == 0 then prime = false break end
			end
			if prime then found = found + 1 end
		end
		return found
	end, { 0, 10000, 20000, 30000 })
	ngx.say("primes in each ten thousand: ", table.concat(counts, " "))
end

-- Made in the worker process that counts: shared objects do not cross nginx's fork.
local counter
local function counted()
	counter = counter or pool.counter()
	return counter
end

--- In log_by_lua, where nothing can wait: the request does not pay for what the task does.
function handlers.count(uri, status)
	pool.go(function(c, line)
		if not line:find " 200$" then error("not counted: " .. line) end
		c:add(1)
	end, counted(), uri .. " " .. status)
end

function handlers.stats()
	local s = pool.stats()
	ngx.say(("workers %d, running %d, queued %d, counted %d"):format(s.workers, s.running, s.queued, counted():get()))
end

return handlers
