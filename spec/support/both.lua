-- both: what Lua 5.4 and LuaJIT do differently, for specs that run on both.
local both = {}

both.jit = rawget(_G, "jit") ~= nil
both.has_close = _VERSION == "Lua 5.4"
both.unpack = table.unpack or unpack -- luacheck: ignore

function both.pack(...)
	return { n = select("#", ...), ... }
end

--- chunk(text, ...) -> results of a chunk in the syntax of 5.4, called with the arguments.
function both.chunk(text, ...)
	return assert(load(text, "=chunk"))(...)
end

--- Collects until nothing is left to collect (finalisers may make garbage of their own).
function both.collect()
	for _ = 1, 4 do collectgarbage() end
end

return both
