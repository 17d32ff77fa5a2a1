-- pool.report() and "async called at" named lines of lua-pool's own files (clock.lua:26, map.lua:105), where the user's
-- line is meant.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local both = require "spec.support.both"
local child = require "spec.support.child"

-- Each waits for the event `e` in a function of ours that is written in Lua, and has `line` as its line. Made by load: it has
-- a name of its own.
local waits = {
	sleep_until = "pool.sleep_until(pool.now() + 60)",
	map = "pool.map(function() e:wait() end, 2, { batch = 1 })",
	["map in batches"] = "pool.map(function() e:wait() end, 8)",
	each = "pool.each(function() e:wait() end, { 1, 2 })",
	imap = "for _ in pool.imap(function() e:wait() end, 3) do end",
	all = "pool.all { pool.async(function() e:wait() end) }",
	any = "pool.any { pool.async(function() e:wait() end) }",
	as_completed = "for _ in pool.as_completed { pool.async(function() e:wait() end) } do end",
	group = "local g = pool.group() g:async(function() e:wait() end) g:await()",
	scope = "pool.scope(function() e:wait() end)",
	deadline = "pool.deadline(60, function() e:wait() end)",
	shield = "pool.shield(function() e:wait() end)",
	["mutex:with"] = "m:with(function() e:wait() end)",
	["semaphore:with"] = "pool.semaphore(1):with(function() e:wait() end)",
	["dict:update"] = "pool.dict():update('k', function() e:wait() return 1 end)",
	named = "pool.named('a name', function() e:wait() return pool.event() end)",
	once = "pool.once(function() e:wait() end)()",
	["pcall of a lock"] = "held:lock()",
}

describe("a report", function()
	local function own_lines(text)
		local found = {}
		for place in text:gmatch "[^%s()]*lua%-pool/[%w_/]+%.lua:%d+" do found[#found + 1] = place end
		for place in text:gmatch "lua%-pool:%d+" do found[#found + 1] = place end
		for place in text:gmatch "%[string [^%]]*%]:%d+" do found[#found + 1] = place end
		return found
	end

	for name, code in pairs(waits) do
		it("shows the user's line for " .. name, function()
			local p = pool.new { workers = 4, name = "reported" }
			local e, m, held = pool.event(), pool.mutex(), pool.mutex()
			held:lock()
			local f = p:async(function(text, ...)
				local load = loadstring or load -- luacheck: ignore 113
				return assert(load("local pool, e, m, held = ... " .. text, "@users_file"))(...)
			end, code, require "lua-pool", e, m, held)
			local text
			local mine
			local limit = pool.now() + 20
			repeat
				both.collect()
				mine = {}
				text = pool.report()
				for line in text:gmatch "[^\n]+" do
					if line:find("reported", 1, true) and (line:find(" waits", 1, true) or line:find(" sleeps", 1, true)) then
						mine[#mine + 1] = line
					end
				end
				local there = false
				for _, line in ipairs(mine) do there = there or line:find("users_file:1", 1, true) end
			until there or f:status() == "failed" or pool.now() > limit
			assert.truthy(text:find("users_file:1", 1, true), text)
			assert.equal("running", f:status(), f:traceback())
			for _, line in ipairs(mine) do assert.same({}, own_lines(line)) end
			f:cancel(0)
			e:set()
			held:unlock()
			f:wait()
			p:cancel_all()
			p:close()
		end)
	end

	it("says 'async called at' with the user's line for what map has started", function()
		local r = child.run([[
			local ok, err = pcall(pool.map, function(i) error("in map " .. i) end, 1, { batch = 1 })
			local f = pool.async(function() local t = nil; return t.x end)
			f:wait()
			io.write(f:traceback(), "\n")
			local seen = {}
			local go, limit = pool.event(), pool.now() + 20
			local p = pool.new { workers = 1, name = "mapping" }
			local co = p:async(function()
				pool.map(function() go:wait() end, 3, { batch = 1 })
			end)
			repeat
				for _, line in ipairs(pool.report "list") do
					if line.pool == "mapping" and line.started then seen[line.started] = true end
				end
				local n = 0
				for _ in pairs(seen) do n = n + 1 end
			until n >= 2 or pool.now() > limit
			go:set()
			co:await()
			for place in pairs(seen) do io.write(place:match "[^/]*$" == place and place or "FILE " .. place:match ":%d+$", "\n") end
		]])
		assert.equal("", r.err)
		assert.equal(0, r.status, r.out)
		assert.truthy(r.out:find "async called at [^\n]*:3", r.out)
		assert.truthy(r.out:find "FILE :9\n", r.out)
		assert.truthy(r.out:find "FILE :10\n", r.out)
		assert.same({}, own_lines(r.out))
	end)

	it("counts all files beside lua-pool/init.lua as ours, wherever they lie, and no others", function()
		local r = child.run([[
			local function list(folder) return io.popen("find " .. folder .. " -name '*.lua'"):read "*a" end
			local folder = package.path:match "([^;]*)/%?%.lua;" .. "/lua-pool"
			local core = require "lua-pool.core"
			local n = 0
			for path in list(folder):gmatch "[^\n]+" do
				assert(core.is_own_chunk("@" .. path), path)
				n = n + 1
			end
			assert(n > 20)
			assert(not core.is_own_chunk("@" .. folder .. ".lua"))
			assert(not core.is_own_chunk("@/elsewhere/lua-pool/map.lua"))
			assert(not core.is_own_chunk "@users_file" and not core.is_own_chunk "=lua-pools" and core.is_own_chunk "=lua-pool")
		]])
		assert.equal("0||", r.status .. "|" .. r.out .. "|" .. r.err)
	end)
end)
