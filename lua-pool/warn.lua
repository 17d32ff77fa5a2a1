-- warn: the function of Lua 5.4, for every Lua.
local io = io -- a worker with few `libs` has them only while it opens
local concat, error, rawget, select, type = table.concat, error, rawget, select, type

local on = true

--- warn(text, ...): a warning made of all its arguments, which are strings. Lua 5.4: its own `warn`, with which the program or its
--- user turns warnings on. LuaJIT: a line on stderr, in nginx one of the error log; warn "@off" and "@on" work as there, but
--- they begin on. Never waits.
local function warn(...)
	local n = select("#", ...)
	for i = 1, n == 0 and 1 or n do
		if type((select(i, ...))) ~= "string" then
			error(("bad argument #%d to 'warn' (string expected, got %s)"):format(i, n == 0 and "no value" or type((select(i, ...)))), 2)
		end
	end
	local own = rawget(_G, "warn")
	if own then return own(...) end
	local text = concat({ ... })
	if n == 1 and text:sub(1, 1) == "@" then
		if text == "@on" then on = true elseif text == "@off" then on = false end
		return
	end
	if not on then return end
	local ngx = rawget(_G, "ngx")
	if type(ngx) == "table" and ngx.log then
		ngx.log(ngx.WARN, text)
	elseif io and io.stderr then
		io.stderr:write("Lua warning: " .. text .. "\n")
	end
end

return warn
