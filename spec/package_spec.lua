-- The package: what `luarocks make`, `make install` and a broken machine do. Everything happens in a copy of the
-- sources, as an ordinary user even when the tests run as root.

local lua = os.getenv "LUA_POOL_LUA" or "lua5.4"
local jit_run = rawget(_G, "jit") ~= nil
local luarocks = jit_run and "luarocks --lua-version=5.1" or "luarocks --lua-version=5.4"
local abi = jit_run and "5.1" or "5.4"
local home

local function quote(s)
	return "'" .. s:gsub("'", "'\\''") .. "'"
end

local function output(command)
	local p = assert(io.popen("{ " .. command .. "\n} 2>&1; echo \" $?\"", "r"))
	local all = p:read "*a"
	p:close()
	local text, status = all:match "^(.*) (%d+)\n$"
	return tonumber(status), text
end

-- Runs a script in an almost empty environment, in a folder of the copy.
local function as_user(folder, script)
	local id = select(2, output "id -u")
	local drop = id:match "^0\n" and "setpriv --reuid=65534 --regid=65534 --clear-groups " or ""
	return output(("cd %s && %senv -i MAKEFLAGS=-j$(nproc) PATH=/usr/local/bin:/usr/bin:/bin HOME=%s sh -c %s </dev/null"):format(
		quote(home .. "/" .. folder), drop, quote(home), quote(script)))
end

local function ok(folder, script)
	local status, text = as_user(folder, script)
	assert.equal(0, status, script .. "\n" .. text)
	return text
end

local function lines(text)
	local list = {}
	for line in text:gmatch "[^\n]+" do list[#list + 1] = line end
	table.sort(list)
	return list
end

local function lua_files(folder)
	local text = select(2, output(("cd %s 2>/dev/null && find lua-pool -name '*.lua'"):format(quote(folder))))
	return lines(text)
end

-- Without luarocks, or where our library runs inside a sanitizer, there is nothing to see here.
local skip = os.getenv "LUA_POOL_SANITIZER" or os.getenv "LUA_POOL_PORTABLE"
	or output "command -v luarocks" ~= 0

-- LuaRocks takes the headers of plain Lua 5.1 for 5.1 unless it is told.
local headers = ""
if jit_run then
	headers = " LUA_INCDIR=" .. select(2, output "pkg-config --variable=includedir luajit"):match "^[^\n]*"
end
local try_it = "local pool = require 'lua-pool' print((pool.async(function(a) return a * 2 end, 21):await()))"

local function run_installed(tree)
	return ok("elsewhere", ("eval \"$(%s path --tree %s/%s)\"; exec %s -e %s"):format(
		luarocks, home, tree, lua, quote(try_it)))
end

(skip and pending or describe)("the package", function()
	setup(function()
		home = select(2, output "mktemp -d"):match "^[^\n]+"
		assert.equal(0, (output(([[set -e
			chmod 755 %s; mkdir %s/src %s/elsewhere
			tar -cf - --exclude=./build --exclude=./.git --exclude='*.rock' . | tar -xf - -C %s/src
			if [ "$(id -u)" = 0 ]; then chown -R 65534:65534 %s; fi]]):gsub("%%s", (quote(home):gsub("%%", "%%%%"))))))
	end)

	teardown(function()
		if home and #home > 5 then output("rm -rf " .. quote(home)) end
	end)

	it("passes luarocks lint", function()
		ok("src", luarocks .. " lint rockspec/lua-pool-scm-1.rockspec")
	end)

	it("is built and installed by luarocks make as an ordinary user", function()
		ok("src", ("%s make --tree %s/tree rockspec/lua-pool-scm-1.rockspec%s"):format(luarocks, home, headers))
	end)

	it("has every Lua file of the sources", function()
		assert.same(lua_files ".", lua_files(home .. "/tree/share/lua/" .. abi))
	end)

	it("is found from another folder, and runs a task", function()
		assert.equal("42\n", run_installed "tree")
	end)

	it("can be packed, removed without a trace, and installed again", function()
		ok("elsewhere", ("%s pack --tree %s/tree lua-pool"):format(luarocks, home))
		ok("elsewhere", ("%s remove --tree %s/tree lua-pool"):format(luarocks, home))
		assert.same({}, lua_files(home .. "/tree/share/lua/" .. abi))
		assert.not_equal(0, (output(("test -e %s/tree/lib/lua/%s/lua-pool/core.so"):format(quote(home), abi))))
		ok("elsewhere", ("%s install --tree %s/again ./lua-pool-scm-1.*.rock"):format(luarocks, home))
		assert.equal("42\n", run_installed "again")
	end)

	it("is installed by make install and taken away by make uninstall", function()
		local make = ("make -s LUA=%s %%s PREFIX=/p DESTDIR=%s/dest TAG=rock"):format(jit_run and "jit" or "5.4", home)
		ok("src", make:format "install")
		assert.equal("42\n", ok("elsewhere", ("LUA_PATH='%s/dest/p/share/lua/%s/?.lua;%s/dest/p/share/lua/%s/?/init.lua;;' "
			.. "LUA_CPATH='%s/dest/p/lib/lua/%s/?.so;;' exec %s -e %s"):format(
			home, abi, home, abi, home, abi, lua, quote(try_it))))
		ok("src", make:format "uninstall")
		assert.same({}, lines(select(2, output(("find %s/dest -type f"):format(quote(home))))))
	end)

	-- What stops the build is said in one line, before any message of the compiler.
	local function stops(arguments, ...)
		local status, text = as_user("src", "make -s TAG=broken " .. arguments)
		assert.not_equal(0, status)
		local said = {}
		for _, line in ipairs(lines(text)) do
			if not line:find "^make" then said[#said + 1] = line end
		end
		assert.equal(1, #said, text)
		for _, word in ipairs {...} do
			assert.truthy(said[1]:find(word, 1, true), said[1] .. "\nshould contain: " .. word)
		end
	end

	it("says which header is missing", function()
		stops("LUA_CFLAGS=-I/nowhere", "no lua.h", "apt-get install", "LUA_INCDIR=")
		stops("LUA_INCDIR=/nowhere", "no lua.h", "-I/nowhere")
	end)

	it("refuses another Lua's headers", function()
		ok("elsewhere", "mkdir -p lua53; echo '#define LUA_VERSION_NUM 503' >lua53/lua.h; : >lua53/lauxlib.h")
		stops(("LUA_INCDIR=%s/elsewhere/lua53"):format(home), "Lua 5.4 or LuaJIT")
		stops("LUA=5.3", "LUA=5.4 or LUA=jit")
	end)

	it("says which compiler is missing, or what it lacks", function()
		stops("CC=no-such-compiler", "no-such-compiler", "CC=")
		stops("CC='cc -D_Atomic=unknown'", "C11 atomics", "CC=")
	end)
end)
