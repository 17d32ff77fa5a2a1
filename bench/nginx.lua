-- Measures lua-pool inside a real nginx: `make bench-nginx` (LOAD_SECONDS=60 for the long load, ROWS=pattern for some rows).
--
--   rate      small tasks awaited by requests, beside nginx's own ngx.run_worker_thread, taking turns
--   latency   how long an unrelated location takes while 200 clients keep the pool busy, beside 200 clients of a plain
--             location: with two threads, with one (of two cores, one is left to the event loop), and with two of nginx's own
--   reload    100 reloads under load, beside the same with a plain location; what is left behind
--
-- The clients are wrk's, on the same machine: with few cores they take their share of it in every column alike.
local nginx = require "spec.support.nginx"

local missing = nginx.missing()
if missing then
	print("bench/nginx.lua: " .. missing)
	os.exit(1)
end

local LONG = tonumber(os.getenv "LOAD_SECONDS" or "") or 6
local wanted = os.getenv "ROWS" or ""
local TURNS = tonumber(os.getenv "REPETITIONS" or "") or 5

local units = { us = 1e-6, ms = 1e-3, s = 1, m = 60 }

local function start_wrk(server, path, connections, seconds)
	local p = assert(io.popen(("timeout %d wrk -t1 -c%d -d%ds --latency --timeout 10s http://127.0.0.1:%d%s 2>&1")
		:format(seconds + 20, connections, seconds, server.port, path)))
	return function()
		local text = p:read "*a"
		p:close()
		local number, unit = text:match "99%%%s+([%d.]+)(%a+)"
		local errors = 0
		for n in (text:match "Socket errors:([^\n]*)" or ""):gmatch "%d+" do errors = errors + n end
		assert(number, text)
		return {
			rate = tonumber(text:match "Requests/sec:%s+([%d.]+)"), p99 = tonumber(number) * units[unit],
			requests = tonumber(text:match "(%d+) requests in"), errors = errors,
			refused = tonumber(text:match "Non%-2xx or 3xx responses: (%d+)") or 0, text = text,
		}
	end
end

local function wrk(...)
	return start_wrk(...)()
end

local function median(list)
	table.sort(list)
	return list[math.ceil(#list / 2)]
end

local spin = [[
local function spin(us)
	local ffi = require "ffi"
	pcall(ffi.cdef, "typedef struct { long s, ns; } lp_bench_time; int clock_gettime(int, lp_bench_time *);")
	local t = ffi.new "lp_bench_time"
	ffi.C.clock_gettime(1, t)
	local s, ns = t.s, t.ns
	repeat ffi.C.clock_gettime(1, t) until tonumber(t.s - s) * 1e6 + tonumber(t.ns - ns) / 1e3 >= us
	return us
end
]]

local function server(workers, threads)
	local folder = os.tmpname()
	os.remove(folder)
	os.execute("mkdir " .. folder)
	local f = assert(io.open(folder .. "/bench_work.lua", "w"))
	f:write(spin, "return { trivial = function(x) return x end, spin = spin }\n")
	f:close()
	local function both(path, ours, theirs)
		return { [path] = ours, [path .. "-nginx"] = theirs }
	end
	local locations = { ["/lua"] = [[ngx.say(1)]] }
	for path, l in pairs(both("/trivial", [[ngx.say((require "lua-pool".async(TRIVIAL, 1):await()))]],
		[[local ok, x = ngx.run_worker_thread("bench", "bench_work", "trivial", 1) ngx.say(x)]])) do
		locations[path] = l
	end
	for _, us in ipairs { 10, 500 } do
		for path, l in pairs(both("/spin" .. us, ("ngx.say((require 'lua-pool'.async(SPIN, %d):await()))"):format(us),
			("local ok, x = ngx.run_worker_thread('bench', 'bench_work', 'spin', %d) ngx.say(x)"):format(us))) do
			locations[path] = l
		end
	end
	local s = nginx.start {
		workers = workers, locations = locations, main = "thread_pool bench threads=2 max_queue=65536;", level = "notice",
		http = ([[
			init_by_lua_block {
				require "lua-pool".configure { workers = %d }
				TRIVIAL = function(x) return x end
				%s
				SPIN = spin
			}
		]]):format(threads or 2, spin), path = folder .. "/?.lua;",
	}
	s.folder = folder
	return s
end

local function stop(s)
	s:stop()
	os.execute("rm -rf " .. s.folder)
end

local rows = {}

function rows.rate(report)
	local s = server(1)
	for _, path in ipairs { "/trivial", "/spin10", "/spin500" } do
		local ours, theirs, plain = {}, {}, {}
		wrk(s, path, 64, 1)
		wrk(s, path .. "-nginx", 64, 1)
		for _ = 1, TURNS do
			table.insert(ours, wrk(s, path, 64, 1).rate)
			table.insert(theirs, wrk(s, path .. "-nginx", 64, 1).rate)
			if path == "/trivial" then table.insert(plain, wrk(s, "/lua", 64, 1).rate) end
		end
		local a, b = median(ours), median(theirs)
		report(("rate of %s"):format(path), ("%.0f/s"):format(a), ("%.0f/s"):format(b), a / b, path == "/spin500" and 0.95 or 1,
			plain[1] and ("no offloading at all: %.0f/s"):format(median(plain)) or "")
	end
	report.log(s)
	stop(s)
end

function rows.latency(report)
	local full, spared = server(1), server(1, 1)
	local loads = { plain = { full, "/lua" }, ours = { full, "/spin500" }, spared = { spared, "/spin500" },
		theirs = { full, "/spin500-nginx" } }
	local p99 = { plain = {}, ours = {}, spared = {}, theirs = {} }
	for _ = 1, TURNS do
		for which, l in pairs(loads) do
			local load = start_wrk(l[1], l[2], 200, LONG / TURNS + 1)
			table.insert(p99[which], wrk(l[1], "/plain", 1, math.ceil(LONG / TURNS)).p99)
			load()
		end
	end
	local b = median(p99.plain)
	for _, row in ipairs { { "2 threads", "ours" }, { "1 thread", "spared" }, { "2 of nginx's", "theirs" } } do
		local a = median(p99[row[2]])
		report(("p99 of a plain location, 200 clients, %s"):format(row[1]), ("%.2f ms"):format(a * 1e3),
			("%.2f ms"):format(b * 1e3), a / b, row[2] ~= "theirs" and -1.2 or nil, "")
	end
	for _, s in ipairs { full, spared } do
		report.log(s)
		stop(s)
	end
end

local function litter()
	local p = io.popen "ls -d /tmp/lua-pool-?????? 2>/dev/null | wc -l"
	local n = tonumber(p:read "*a")
	p:close()
	return n
end

function rows.reload(report)
	local s = server(2)
	local lost = {}
	for _, path in ipairs { "/trivial", "/lua" } do
		local load = start_wrk(s, path, 50, math.max(12, LONG))
		for _ = 1, 100 do
			s:signal "HUP"
			os.execute "sleep 0.1"
		end
		local r = load()
		lost[path] = r.errors + r.refused
		assert(nginx.eventually(function() return #s:processes() == 2 end, 20), "old workers are left")
	end
	report("requests lost in 100 reloads", lost["/trivial"], lost["/lua"], lost["/trivial"] / math.max(1, lost["/lua"]), -1, "")
	-- What an awaited request leaves in a worker process: no thread beyond the pool's, no descriptor beyond one connection.
	local threads, descriptors = 0, 0
	for _, pid in ipairs(s:processes()) do
		threads = math.max(threads, nginx.threads(pid))
		descriptors = math.max(descriptors, nginx.descriptors(pid))
	end
	print(("  afterwards: %d workers, at most %d threads and %d descriptors in one, %d socket folders in /tmp")
		:format(#s:processes(), threads, descriptors, litter()))
	report.log(s)
	stop(s)
end

print(("%-52s %12s %12s %7s  %s"):format("what", "lua-pool", "beside", "ratio", "target"))
print(("-"):rep(100))
local missed = 0
local report = setmetatable({}, { __call = function(_, what, ours, theirs, ratio, target, note)
	if not target then return print(("%-52s %12s %12s %6.2fx"):format(what, ours, theirs, ratio)) end
	local hit
	if target < 0 then hit = ratio <= -target else hit = ratio >= target end
	if not hit then missed = missed + 1 end
	print(("%-52s %12s %12s %6.2fx  %s%.2fx %s  %s"):format(what, ours, theirs, ratio, target < 0 and "<=" or ">=", math.abs(target),
		hit and "ok" or "MISSED", note))
end })
function report.log(s)
	local complaints = s:complaints()
	if complaints ~= "" then
		missed = missed + 1
		print("  error.log: " .. complaints:sub(1, 2000))
	end
end
for _, name in ipairs { "rate", "latency", "reload" } do
	if name:find(wanted) then rows[name](report) end
end
print(missed == 0 and "all targets hit" or missed .. " missed")
