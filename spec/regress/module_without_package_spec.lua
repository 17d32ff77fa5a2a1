-- A module that is sent by name into a pool without `require` was answered with "attempt to call a nil value".
local describe, it, assert = describe, it, assert
local pool = require "lua-pool"
local child = require "spec.support.child"
local _ENV = _G -- luacheck: ignore
if setfenv then setfenv(1, _G) end -- tasks get the ordinary globals, not the test runner's

describe("a module that is sent by name", function()
	it("says why it cannot be loaded where there is no 'package'", function()
		local p = pool.new { workers = 1, libs = { "base", "string", "table", "math" }, on_error = false }
		local module = require "spec.support.both"
		local ok, err = p:async(function(m) return m.pack end, module):pawait()
		assert.is_false(ok)
		assert.matches("the module 'spec.support.both' was sent by name, is not loaded in this state, and there is no 'require' here", err)
		p:close()
	end)

	it("is not the mark that LuaJIT leaves of one whose loading has failed", function()
		assert.equal("0|false\tbroken\nfalse\tbroken\nfalse\tsent\n|", (child.told [[
			package.preload.broken = function() error("broken", 0) end
			package.preload.sent = function()
				if require "lua-pool".worker_id() > 0 then error("sent", 0) end
				return { f = 1 }
			end
			local sent = require "sent"
			local p = pool.new { workers = 1 }
			local function why(ok, err)
				err = tostring(err)
				print(ok, err:match "loop or previous" and "broken" or err:match "^%a+" or err)
			end
			for _ = 1, 2 do why(p:async(function() return require "broken" end):pawait()) end
			p:async(function(m) return m.f end, sent):pawait()
			local ok, err = p:async(function(m) return type(m) end, sent):pawait()
			print(ok, tostring(err):find "sent" and "sent" or err)
		]]))
	end)
end)
