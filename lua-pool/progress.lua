-- progress: `progress = true` of map and its kin: one line on a terminal that is drawn again and again.
-- Where stderr is no terminal nothing is written; a function is called with (done, total) instead.
local io, math = io, math -- a worker with few `libs` has them only while it opens
local core = require "lua-pool.core"

local progress = {}

local REDRAW = 0.1 -- seconds

local function clock(seconds)
	if seconds ~= seconds or seconds == math.huge then return "--:--" end
	seconds = math.floor(seconds + 0.5)
	if seconds >= 3600 then
		return ("%d:%02d:%02d"):format(math.floor(seconds / 3600), math.floor(seconds / 60) % 60, seconds % 60)
	end
	return ("%02d:%02d"):format(math.floor(seconds / 60), seconds % 60)
end

local function rate(n)
	if n >= 1e6 then return ("%.1fM/s"):format(n / 1e6) end
	if n >= 1e4 then return ("%.1fk/s"):format(n / 1e3) end
	return ("%.0f/s"):format(n)
end

local function draw(done, total, elapsed)
	local speed = elapsed > 0 and done / elapsed or 0
	if not total then
		return ("\r\27[K%d done, %s, %s"):format(done, rate(speed), clock(elapsed))
	end
	local width = 30
	local part = total == 0 and 1 or done / total
	local filled = math.floor(part * width)
	return ("\r\27[K[%s%s] %3d %% %d/%d, %s, %s left"):format(("#"):rep(filled), ("."):rep(width - filled),
		math.floor(part * 100), done, total, rate(speed), clock(speed > 0 and (total - done) / speed or math.huge))
end

--- Answers report(done) and finish(); total is nil when it is not known.
function progress.start(wanted, total)
	if type(wanted) == "function" then
		return function(done) wanted(done, total) end, function() end
	end
	if not wanted or not core.isatty(2) then
		return function() end, function() end
	end
	local began, last, shown = core.now(), -math.huge, nil
	local function report(done, always)
		local now = core.now()
		shown = done
		if always or now - last >= REDRAW then
			last = now
			io.stderr:write(draw(done, total, now - began))
		end
	end
	return report, function()
		if shown then
			report(shown, true)
			io.stderr:write("\n")
		end
	end
end

return progress
