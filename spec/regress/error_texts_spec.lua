-- The error of a value of 10,000 nested levels was 12 to 30 KB long, and what a key of a megabyte led to could not be read at all.
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

local channel = pool.channel(math.huge)

local function refused(v)
	local ok, err = pcall(channel.send, channel, v)
	assert.is_false(ok)
	return err
end

local function nested(levels, key, inner)
	local t = inner
	for i = levels, 1, -1 do t = {[key or "level" .. i] = t} end
	return t
end

describe("the path to what cannot be sent", function()
	it("is cut in the middle when it is long: the first steps and the last", function()
		for _, levels in ipairs {200, 1000, 3000} do
			local err = refused(nested(levels, nil, {last = coroutine.create(print)}))
			assert.is_true(#err < 1100, levels .. ": " .. #err)
			assert.matches("^argument #1%.level1%.level2%.level3%.", err)
			assert.matches((".level%d.level%d.last: cannot send a coroutine"):format(levels - 1, levels), err, 1, true)
			assert.matches("%.level%d+ %.%.%. %.level%d+", err)
			assert.equal(1, select(2, err:gsub(" %.%.%. ", "")))
		end
		local err = refused(nested(20000, 1, 5))
		assert.matches("^argument #1%[1%]%[1%]", err)
		assert.matches("%[1%] %.%.%. %[1%].*%[1%]: nested deeper than %d+ levels$", err)
		assert.is_true(#err < 1100, tostring(#err))
	end)

	it("is whole when it is not", function()
		local err = refused(nested(40, nil, coroutine.create(print)))
		local steps = {}
		for i = 1, 40 do steps[i] = ".level" .. i end
		assert.equal("argument #1" .. table.concat(steps) .. ": cannot send a coroutine", err)
	end)

	it("shows the beginning of a long key", function()
		local err = refused({[("k"):rep(2 ^ 20)] = coroutine.create(print), x = 1})
		assert.equal('argument #1["' .. ("k"):rep(60) .. '..."]: cannot send a coroutine', err)
		err = refused({[("k"):rep(60) .. "!"] = coroutine.create(print)})
		assert.matches("kkk...\"]: cannot send", err, 1, true)
		err = refused({["two words"] = coroutine.create(print)})
		assert.equal('argument #1["two words"]: cannot send a coroutine', err)
	end)

	it("is as short where it comes through functions, objects and results", function()
		local function encode(o) return o.inner end
		local o = coroutine.create(print)
		for _ = 1, 300 do o = setmetatable({inner = o}, {__pool_encode = encode, __pool_decode = function(v) return v end}) end
		local err = refused(o)
		assert.is_true(#err < 1100, tostring(#err))
		assert.matches("%.<__pool_encode> %.%.%. %.<__pool_encode>", err)
		local ok
		ok, err = pool.async(function()
			local t = coroutine.create(print)
			for i = 1, 500 do t = {["level" .. i] = t} end
			return t
		end):pawait()
		assert.is_false(ok)
		assert.is_true(#err < 1200, tostring(#err))
		assert.matches("result #1%.level500%.level499", err)
		assert.matches("%.level2%.level1: cannot send a coroutine", err)
	end)
end)
