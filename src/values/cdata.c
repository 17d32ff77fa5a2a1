/* cdata: see cdata.h. */
#include "values/cdata.h"

#if LP_LUAJIT
#include <string.h>

/* Pushes the function that the text returns; made once per state. */
static void push_helper(lua_State *L, const void *key, const char *text)
{
	if (lua_rawgetp(L, LUA_REGISTRYINDEX, key) == LUA_TFUNCTION)
		return;
	lua_pop(L, 1);
	if (luaL_loadstring(L, text) != LUA_OK)
		lua_error(L);
	lua_call(L, 0, 1);
	lua_pushvalue(L, -1);
	lua_rawsetp(L, LUA_REGISTRYINDEX, key);
}

enum lp_cdata_kind lp_cdata_get(lua_State *L, int index, uint64_t *bits)
{
	static const char key;
	if (lua_type(L, index) != LUA_TCDATA)
		return LP_CDATA_NONE;
	index = lua_absindex(L, index);
	push_helper(L, &key,
		"local ffi = require 'ffi' local i64, u64 = ffi.typeof 'int64_t', ffi.typeof 'uint64_t'\n"
		"local tostring, sub = tostring, string.sub\n"
		"return function(x)\n"
		"  if sub(tostring(x), 1, 6) == 'ctype<' then return end\n" /* to istype a type is of its own type */
		"  if ffi.istype(i64, x) then return 0, ffi.string(ffi.new('int64_t[1]', x), 8) end\n"
		"  if ffi.istype(u64, x) then return 1, ffi.string(ffi.new('uint64_t[1]', x), 8) end\n"
		"end");
	lua_pushvalue(L, index);
	lua_call(L, 1, 2);
	enum lp_cdata_kind kind = LP_CDATA_NONE;
	if (!lua_isnil(L, -2)) {
		kind = (enum lp_cdata_kind)lua_tointeger(L, -2);
		memcpy(bits, lua_tostring(L, -1), sizeof *bits);
	}
	lua_pop(L, 2);
	return kind;
}

void lp_cdata_push(lua_State *L, enum lp_cdata_kind kind, uint64_t bits)
{
	static const char key;
	push_helper(L, &key,
		"local ffi = require 'ffi' local kinds = { [0] = 'int64_t[1]', 'uint64_t[1]' }\n"
		"return function(kind, bytes) local x = ffi.new(kinds[kind]) ffi.copy(x, bytes, 8) return x[0] end");
	lua_pushinteger(L, kind);
	lua_pushlstring(L, (const char *)&bits, sizeof bits);
	lua_call(L, 2, 1);
}
#endif
