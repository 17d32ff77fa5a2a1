-- Measures lua-pool beside plain Lua, beside lua-luv's work queue and beside the machine: `make bench`.
--
--   lua bench/run.lua [PATTERN]     only the rows whose name matches
--
-- Ratios are our time by theirs, within this run: below 1 we are faster. "Beside" is the same work in plain Lua, or
-- what the row names. The targets are the project's own.
local pool = require "lua-pool"
local harness = require "bench.harness"

-- One file per subject; each answers a list of rows {name, measure = function(context, report)}.
local subjects = {
	"core",
	"cancel",
	"files",
	"together",
	"data",
	"loops",
	"peers",
}
local rows = {}
for _, subject in ipairs(subjects) do
	for _, row in ipairs(require("bench.rows." .. subject)) do rows[#rows + 1] = row end
end

local wanted = arg[1] or ""

local function machine_name()
	local f = io.open "/proc/cpuinfo"
	local name = f and f:read "*a":match "model name%s*: ([^\n]*)"
	if f then f:close() end
	return name or "?"
end

local context = {cores = pool.stats().workers, machine = harness.machine()}
local m = context.machine

print(("%s, %d workers, %s%s"):format(jit and jit.version or _VERSION, context.cores, machine_name(),
	harness.luv and "" or ", without lua-luv"))
print(("futex ping-pong: %s on one core, %s between cores, %s when both spin; memcpy of 1 MiB: %s")
	:format(harness.show.time(m.same), harness.show.time(m.other), harness.show.time(m.line), harness.show.time(m.memcpy)))
local others = harness.others()
print()
harness.head()

local hits, misses, failed = 0, {}, false
for _, row in ipairs(rows) do
	if row.name:find(wanted) then
		local ok, err = pcall(row.measure, context, function(result)
			harness.print(result)
			if result.hit then
				hits = hits + 1
			elseif result.target then
				table.insert(misses, result.what)
			end
		end)
		if not ok then
			failed = true
			print(("%-46s cannot be measured: %s"):format(row.name, tostring(err)))
		end
	end
end

print()
print(("%d targets hit, %d missed%s"):format(hits, #misses, #misses > 0 and ": " .. table.concat(misses, "; ") or ""))
local busy = others()
if busy > 0.15 then
	print(("THE MACHINE WAS BUSY: other programs took %.1f of its cores, so these numbers say little"):format(busy))
end
os.exit(not failed, true)
