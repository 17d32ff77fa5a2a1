/* compat: the checks of arguments and errors of lauxlib as we need them: an error of ours says where the user's code called, not where our
 * own Lua files did, or the Lua function that is around each of ours that waits (suspend.h, LuaJIT). And what LuaJIT needs and is too
 * long for a header. */
#include "values/compat.h"
#undef luaL_argerror

#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* ---- whose code is it? ---- */

static _Atomic(char *) own_folder; /* how the chunk names of our Lua files begin; never freed: others may be reading it */

void lp_own_files(const char *source)
{
	const char *end = strrchr(source, '/'), *before = atomic_load(&own_folder);
	size_t n = end ? (size_t)(end + 1 - source) : 0;
	if (n < 10 || strncmp(end - 8, "lua-pool", 8) != 0 || (before && strlen(before) == n && memcmp(before, source, n) == 0))
		return;
	char *copy = malloc(n + 1);
	if (!copy)
		return;
	memcpy(copy, source, n);
	copy[n] = '\0';
	atomic_store(&own_folder, copy);
}

bool lp_own_source(const char *source)
{
	const char *folder = atomic_load_explicit(&own_folder, memory_order_acquire);
	return strcmp(source, LP_CHUNK) == 0 || (folder && strncmp(source, folder, strlen(folder)) == 0);
}

enum whose { NOBODYS, OWN, OF_C, USERS };

static enum whose whose(lua_State *L, int level)
{
	lua_Debug ar;
	if (!lua_getstack(L, level, &ar) || !lua_getinfo(L, "S", &ar))
		return NOBODYS;
	return lp_own_source(ar.source) ? OWN : *ar.what == 'C' ? OF_C : USERS;
}

/* The level of whoever called us, from the running C function (0) up; a function of C between ours and ours is a pcall of ours. */
static int user_level(lua_State *L)
{
	int level = 1;
	for (;;) {
		enum whose w = whose(L, level);
		if (w == OWN)
			level++;
		else if (w == OF_C && whose(L, level + 1) == OWN)
			level += 2;
		else
			return w == NOBODYS ? 1 : level;
	}
}

#if LP_LUAJIT
int lp_caller_level(lua_State *L)
{
	lua_Debug ar;
	int level = 1;
	while (lua_getstack(L, level, &ar) && lua_getinfo(L, "S", &ar) && strcmp(ar.source, LP_CHUNK) == 0)
		level++;
	return level;
}
#endif

/* ---- errors ---- */

void lp_where(lua_State *L)
{
	luaL_where(L, user_level(L));
}

int lp_error(lua_State *L, const char *format, ...)
{
	va_list args;
	luaL_where(L, user_level(L));
	va_start(args, format);
	lua_pushvfstring(L, format, args);
	va_end(args);
	lua_concat(L, 2);
	return lua_error(L);
}

int lp_error_on_top(lua_State *L)
{
	luaL_where(L, user_level(L));
	lua_insert(L, -2);
	lua_concat(L, 2);
	return lua_error(L);
}

int lp_argerror(lua_State *L, int arg, const char *what)
{
	lua_Debug ar;
	int level = user_level(L);
#if !LP_LUAJIT
	if (level == 1)
		return luaL_argerror(L, arg, what); /* it also finds names of functions that were passed on */
#endif
	if (!lua_getstack(L, level - 1, &ar))
		return lp_error(L, "bad argument #%d (%s)", arg, what);
	lua_getinfo(L, "n", &ar);
	if (strcmp(ar.namewhat, "method") == 0 && --arg == 0)
		return lp_error(L, "calling '%s' on bad self (%s)", ar.name, what);
	return lp_error(L, "bad argument #%d to '%s' (%s)", arg, ar.name ? ar.name : "?", what);
}

static int type_error(lua_State *L, int arg, const char *expected)
{
	const char *got = lua_isnone(L, arg) ? "no value" : luaL_typename(L, arg);
#if !LP_LUAJIT
	if (luaL_getmetafield(L, arg, "__name") == LUA_TSTRING)
		got = lua_tostring(L, -1);
	else if (lua_type(L, arg) == LUA_TLIGHTUSERDATA)
		got = "light userdata";
#endif
	return lp_argerror(L, arg, lua_pushfstring(L, "%s expected, got %s", expected, got));
}

lua_Number lp_checknumber(lua_State *L, int arg)
{
#if LP_LUAJIT
	int ok = lua_isnumber(L, arg);
	lua_Number x = lua_tonumber(L, arg);
#else
	int ok;
	lua_Number x = lua_tonumberx(L, arg, &ok);
#endif
	if (!ok)
		type_error(L, arg, "number");
	return x;
}

lua_Integer lp_checkinteger(lua_State *L, int arg)
{
#if LP_LUAJIT
	int ok = lua_isnumber(L, arg);
	lua_Integer x = lua_tointeger(L, arg);
#else
	int ok;
	lua_Integer x = lua_tointegerx(L, arg, &ok);
	if (!ok && lua_isnumber(L, arg))
		lp_argerror(L, arg, "number has no integer representation");
#endif
	if (!ok)
		type_error(L, arg, "number");
	return x;
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

lua_Number lp_optnumber(lua_State *L, int arg, lua_Number otherwise)
{
	return lua_isnoneornil(L, arg) ? otherwise : lp_checknumber(L, arg);
}

lua_Integer lp_optinteger(lua_State *L, int arg, lua_Integer otherwise)
{
	return lua_isnoneornil(L, arg) ? otherwise : lp_checkinteger(L, arg);
}
