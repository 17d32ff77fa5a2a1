/* compat: what LuaJIT needs and is too long for a header: the checks of arguments and errors of lauxlib, which look for
 * the caller beyond the Lua function that is around each of ours that waits (suspend.h). */
#include "compat.h"

#if LP_LUAJIT
#include <stdarg.h>
#include <string.h>

int lp_caller_level(lua_State *L)
{
	lua_Debug ar;
	if (!lua_getstack(L, 1, &ar) || !lua_getinfo(L, "S", &ar))
		return 1;
	return strcmp(ar.source, "=lua-pool") == 0 ? 2 : 1;
}

int lp_error(lua_State *L, const char *format, ...)
{
	va_list args;
	luaL_where(L, lp_caller_level(L));
	va_start(args, format);
	lua_pushvfstring(L, format, args);
	va_end(args);
	lua_concat(L, 2);
	return lua_error(L);
}

int lp_argerror(lua_State *L, int arg, const char *what)
{
	lua_Debug ar;
	if (!lua_getstack(L, lp_caller_level(L) - 1, &ar))
		return lp_error(L, "bad argument #%d (%s)", arg, what);
	lua_getinfo(L, "n", &ar);
	if (strcmp(ar.namewhat, "method") == 0 && --arg == 0)
		return lp_error(L, "calling '%s' on bad self (%s)", ar.name, what);
	return lp_error(L, "bad argument #%d to '%s' (%s)", arg, ar.name ? ar.name : "?", what);
}

static int type_error(lua_State *L, int arg, const char *expected)
{
	const char *got = lua_isnone(L, arg) ? "no value" : luaL_typename(L, arg);
	return lp_argerror(L, arg, lua_pushfstring(L, "%s expected, got %s", expected, got));
}

lua_Number lp_checknumber(lua_State *L, int arg)
{
	if (!lua_isnumber(L, arg))
		type_error(L, arg, "number");
	return lua_tonumber(L, arg);
}

lua_Integer lp_checkinteger(lua_State *L, int arg)
{
	if (!lua_isnumber(L, arg))
		type_error(L, arg, "number");
	return lua_tointeger(L, arg);
}

const char *lp_checklstring(lua_State *L, int arg, size_t *len)
{
	const char *s = lua_tolstring(L, arg, len);
	if (!s)
		type_error(L, arg, "string");
	return s;
}

const char *lp_optlstring(lua_State *L, int arg, const char *otherwise, size_t *len)
{
	if (!lua_isnoneornil(L, arg))
		return lp_checklstring(L, arg, len);
	if (len)
		*len = otherwise ? strlen(otherwise) : 0;
	return otherwise;
}

void lp_checktype(lua_State *L, int arg, int type)
{
	if (lua_type(L, arg) != type)
		type_error(L, arg, lua_typename(L, type));
}

void lp_checkany(lua_State *L, int arg)
{
	if (lua_isnone(L, arg))
		lp_argerror(L, arg, "value expected");
}

int lp_checkoption(lua_State *L, int arg, const char *otherwise, const char *const names[])
{
	const char *name = otherwise ? lp_optlstring(L, arg, otherwise, NULL) : lp_checklstring(L, arg, NULL);
	for (int i = 0; names[i]; i++)
		if (strcmp(names[i], name) == 0)
			return i;
	return lp_argerror(L, arg, lua_pushfstring(L, "invalid option '%s'", name));
}
#endif
