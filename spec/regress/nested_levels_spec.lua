-- LuaJIT refused what was nested deeper than 3,990 levels, where 10,000 are promised; and where the size of the stack could not
-- be found (a system without /proc), every table was "nested deeper than 0 levels".
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local child = require "spec.support.child"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

-- make(n, inner) -> inner inside n levels
local shapes = {
	lists = function(n, t) for _ = 1, n do t = { t } end return t end,
	fields = function(n, t) for _ = 1, n do t = { next = t } end return t end,
	["marked lists"] = function(n, t) -- each level is referred to a second time
		local all = {}
		for i = 1, n do
			t = { t }
			all[i] = t
		end
		return { t, all }
	end,
	["keys"] = function(n, t) for _ = 1, n do t = { [t] = true } end return t end,
	["functions"] = function(n, t)
		for _ = 1, n / 2 do
			local inner = t
			t = { function() return inner end }
		end
		return t
	end,
	["metatables"] = function(n, t)
		local mt = { level = true }
		for _ = 1, n do t = setmetatable({ t }, mt) end
		return t
	end,
}

describe("nesting", function()
	for name, make in pairs(shapes) do
		it("of 9,900 levels travels: " .. name, function()
			local ch = pool.channel(1)
			ch:send(make(9900, { "bottom" }))
			local got = ch:receive()
			if name == "marked lists" then
				local t, all = got[1], got[2]
				assert.equal(9900, #all)
				for i = 9900, 1, -1 do
					assert(rawequal(all[i], t), i)
					t = t[1]
				end
				got = t
			else
				local depth = 0
				while got[1] ~= "bottom" do
					local key, value = next(got)
					got = type(value) == "boolean" and key or value
					if type(got) == "function" then got = got() end
					depth = depth + 1
				end
				assert.is_true(depth >= 4950)
			end
			assert.equal("bottom", got[1])
		end)
	end

	it("of 9,900 levels goes to a task and comes back", function()
		local p = pool.new { workers = 1 }
		local got = p:async(function(t) return t end, shapes.lists(9900, { "bottom" })):await()
		local depth = 0
		while got[1] ~= "bottom" do got, depth = got[1], depth + 1 end
		assert.equal(9900, depth)
		p:close()
	end)

	it("is refused beyond 10,000 levels, with a path", function()
		local ok, err = pcall(pool.channel(1).send, pool.channel(1), shapes.lists(10100, {}))
		assert.is_false(ok)
		assert.truthy(err:find("nested deeper than 10000 levels", 1, true), err:sub(-200))
	end)

	if os.getenv "LUA_POOL_SANITIZER" then return end -- its runtime wants to be preloaded first
	it("works where nobody knows the size of the stack", function()
		local build = os.getenv "LUA_POOL_BUILD" or package.cpath:match "([^;]*)/%?%.so"
		local script = [[
			local t = {}
			for _ = 1, %d do t = { t } end
			local p = pool.new { workers = 1, on_error = false }
			print(p:async(function(u) local n = 0 while u do u = u[1] n = n + 1 end return n end, t):pawait())
			local ch = pool.channel(1)
			ch:send(t)
			print(ch:receive() ~= nil)]]
		local r = child.told(script:format(50), { env = ("LD_PRELOAD=%s/nostack.so"):format(build) })
		assert.equal("0|true\t51\ntrue\n|", r)
	end)
end)
