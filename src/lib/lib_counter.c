/* lib_counter: pool.counter() for Lua. */
#include <math.h>
#include <stdio.h>

#include "sync/counter.h"
#include "values/handle.h"
#include "vm/state.h"

/* Lua 5.4: any integer. LuaJIT: whole numbers to 2^53 either way; beyond, a number does not say which. */
static int64_t check_whole(lua_State *L, int index)
{
	if (lua_type(L, index) != LUA_TNUMBER)
		luaL_argerror(L, index, lua_pushfstring(L, "whole number expected, got %s", luaL_typename(L, index)));
	if (lua_isinteger(L, index))
		return (int64_t)lua_tointeger(L, index);
	double x = lua_tonumber(L, index);
	if (!(fabs(x) <= 9007199254740992.0) || floor(x) != x)
		luaL_argerror(L, index, lua_pushfstring(L, "whole number expected, got %s", lua_tostring(L, index)));
	return (int64_t)x;
}

static void push_value(lua_State *L, int64_t value)
{
#if LP_LUAJIT
	lua_pushnumber(L, (lua_Number)value); /* lua_Integer may be narrower there */
#else
	lua_pushinteger(L, value);
#endif
}

/* pool.counter([n]) -> counter that starts at n, or 0. */
static int counter_new(lua_State *L)
{
	int64_t value = lua_isnoneornil(L, 1) ? 0 : check_whole(L, 1);
	struct lp_handle *h = lp_handle_new(L, &lp_counter_class);
	struct lp_counter *c = lp_counter_new(value);
	if (!c)
		return luaL_error(L, "not enough memory");
	h->obj = &c->obj;
	return 1;
}

/* counter:add([d]) -> the new value. d is 1 if absent; may be negative. Never blocks, as all of these. */
static int counter_add(lua_State *L)
{
	struct lp_counter *c = lp_check(L, 1, &lp_counter_class);
	int64_t d = lua_isnoneornil(L, 2) ? 1 : check_whole(L, 2);
	int64_t before = atomic_fetch_add(&c->value, d); /* atomic arithmetic wraps, it is not undefined */
	push_value(L, (int64_t)((uint64_t)before + (uint64_t)d));
	return 1;
}

static int counter_get(lua_State *L)
{
	struct lp_counter *c = lp_check(L, 1, &lp_counter_class);
	push_value(L, atomic_load(&c->value));
	return 1;
}

/* counter:set(n) -> the value before. */
static int counter_set(lua_State *L)
{
	struct lp_counter *c = lp_check(L, 1, &lp_counter_class);
	push_value(L, atomic_exchange(&c->value, check_whole(L, 2)));
	return 1;
}

/* counter:cas(expected, new) -> true / false, the value that it has instead. */
static int counter_cas(lua_State *L)
{
	struct lp_counter *c = lp_check(L, 1, &lp_counter_class);
	int64_t expected = check_whole(L, 2);
	int64_t new = check_whole(L, 3);
	bool done = atomic_compare_exchange_strong(&c->value, &expected, new);
	lua_pushboolean(L, done);
	if (done)
		return 1;
	push_value(L, expected);
	return 2;
}

static int counter_tostring(lua_State *L)
{
	struct lp_counter *c = lp_check(L, 1, &lp_counter_class);
	char value[32];
	snprintf(value, sizeof value, "%lld", (long long)atomic_load(&c->value));
	lua_pushfstring(L, "lua-pool.counter: %p (%s)", (void *)c, value);
	return 1;
}

void lp_open_counter(lua_State *L, int state)
{
	static const luaL_Reg methods[] = {{"add", counter_add}, {"get", counter_get}, {"set", counter_set},
		{"cas", counter_cas}, {NULL, NULL}};
	static const luaL_Reg meta[] = {{"__tostring", counter_tostring}, {NULL, NULL}};
	static const luaL_Reg functions[] = {{"counter", counter_new}, {NULL, NULL}};
	lua_pushvalue(L, state);
	lp_handle_class(L, &lp_counter_class, methods, meta, 1);
	lua_pushvalue(L, state);
	luaL_setfuncs(L, functions, 1);
}
