/* lib_misc: small things that the Lua parts need and Lua does not have, or does slowly. */
#include <unistd.h>

#include "wait/cancel.h"
#include "values/handle.h"
#include "lib/lib.h"
#include "vm/signals.h"
#include "vm/suspend.h"
#include "values/values.h"
#include "sched/worker.h"

/* isatty(fd) -> boolean */
static int misc_isatty(lua_State *L)
{
	lua_pushboolean(L, isatty((int)luaL_checkinteger(L, 1)));
	return 1;
}

/* slice(list, first, n) -> table of list[first .. first+n-1], raw. */
static int misc_slice(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_Integer first = luaL_checkinteger(L, 2), n = luaL_checkinteger(L, 3);
	lua_createtable(L, n > 0 && n < INT32_MAX ? (int)n : 0, 0);
	for (lua_Integer i = 0; i < n; i++) {
		lua_rawgeti(L, 1, first + i);
		lua_rawseti(L, -2, (int)(i + 1));
	}
	return 1;
}

/* move(from, n, at, to): to[at .. at+n-1] = from[1 .. n], raw. */
static int misc_move(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_Integer n = luaL_checkinteger(L, 2), at = luaL_checkinteger(L, 3);
	luaL_checktype(L, 4, LUA_TTABLE);
	for (lua_Integer i = 1; i <= n; i++) {
		lua_rawgeti(L, 1, i);
		lua_rawseti(L, 4, (int)(at + i - 1));
	}
	return 0;
}

/* sendable(value) -> boolean, or false and why not. Encodes it once, for nothing. */
static int misc_sendable(lua_State *L)
{
	luaL_checkany(L, 1);
	lua_settop(L, 1);
	struct lp_handle *anchor = lp_handle_new(L, &lp_task_class);
	struct lp_task *t = lp_task_new();
	if (!t)
		return luaL_error(L, "not enough memory");
	anchor->obj = &t->obj;
	if (lp_encode(L, lp_state(L)->values, &t->msg, 1, 1, "value", 1)) {
		lua_pushboolean(L, 1);
		return 1;
	}
	lua_pushboolean(L, 0);
	lua_insert(L, -2);
	return 2;
}

/* names_looked() -> how many modules and fields of modules this state has looked at to know the names of what it sent. */
static int misc_names_looked(lua_State *L)
{
	lua_pushnumber(L, (lua_Number)lp_names_looked(lp_state(L)->values));
	return 1;
}

/* metamethods that `<close>` and a call use, whatever __metatable hides: closer(v) -> its __close, or nil; callable(v) ->
 * boolean. */
static int misc_closer(lua_State *L)
{
	luaL_checkany(L, 1);
	if (!luaL_getmetafield(L, 1, "__close"))
		lua_pushnil(L);
	return 1;
}

static int misc_callable(lua_State *L)
{
	luaL_checkany(L, 1);
	lua_pushboolean(L, lua_isfunction(L, 1) || luaL_getmetafield(L, 1, "__call"));
	return 1;
}

/* kind(v) -> "event" of an event of ours, else its type. */
static int misc_kind(lua_State *L)
{
	luaL_checkany(L, 1);
	struct lp_obj *o = lp_toobj(L, 1);
	lua_pushstring(L, o ? lp_class_short_name(o->cls) : luaL_typename(L, 1));
	return 1;
}

/* raise(text): an error of our Lua code, at the place in the user's code that called it. */
static int misc_raise(lua_State *L)
{
	lua_settop(L, 1);
	return lp_error_on_top(L);
}

/* own_files(): the calling file, and what lies beside it and below, is ours. */
static int misc_own_files(lua_State *L)
{
	lua_Debug ar;
	if (lua_getstack(L, 1, &ar) && lua_getinfo(L, "S", &ar))
		lp_own_files(ar.source);
	return 0;
}

static int misc_is_future(lua_State *L)
{
	lua_pushboolean(L, lp_test(L, 1, &lp_task_class) != NULL);
	return 1;
}

static int one_ended(lua_State *L, struct lp_state *s, struct lp_node *nodes, int answer)
{
	if (answer < 0)
		return lp_wait_failed(L, s, nodes, answer);
	lua_pushinteger(L, answer + 1);
	return 1;
}

/* wait_any(futures, n [, timeout]) -> index of one that has ended / nil, "timeout". Of several that have, the one that
 * ended first. Blocks; a cancellation point. Without a timeout a worker may run the only one that there is. */
static int misc_wait_any(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_Integer n = lp_check_int(L, 2, 1, 1000000);
	lp_time deadline = lp_check_timeout(L, 3);
	lua_settop(L, 3);
	struct lp_node *nodes = lua_newuserdatauv(L, (size_t)n * sizeof *nodes, 0);
	lua_Integer first = 0;
	uint64_t ended = 0;
	for (lua_Integer i = 1; i <= n; i++) {
		lua_rawgeti(L, 1, i);
		struct lp_task *t = lp_check(L, -1, &lp_task_class);
		nodes[i - 1] = (struct lp_node){.obj = &t->obj}; /* the list keeps the future */
		lua_pop(L, 1);
		if (!lp_task_ended(t))
			continue;
		uint64_t then = atomic_load_explicit(&t->ended, memory_order_relaxed);
		if (!first || then < ended) {
			first = i;
			ended = then;
		}
	}
	if (first) {
		lua_pushinteger(L, first);
		return 1;
	}
	if (s->worker && n == 1 && deadline == LP_FOREVER && lp_worker_inline(L, s, (struct lp_task *)nodes[0].obj) &&
		lp_interrupted(s->exec))
		return lp_raise_interrupt(L, s);
	return lp_wait_any_then(L, s, nodes, (int)n, deadline, one_ended);
}

/* caller_place() -> a number for hint_place(n): where the user's code stands that has called our Lua part; see state.h. */
static int misc_caller_place(lua_State *L)
{
	lua_pushnumber(L, (lua_Number)lp_caller_place(L, lp_state(L)));
	return 1;
}

static int misc_hint_place(lua_State *L)
{
	double place = luaL_checknumber(L, 1);
	lp_hint_place(lp_state(L), place > 0 && place < 1e15 ? (int64_t)place : 0);
	return 0;
}

/* is_own_chunk(source) -> boolean. */
static int misc_is_own_chunk(lua_State *L)
{
	lua_pushboolean(L, lp_own_source(luaL_checkstring(L, 1)));
	return 1;
}

void lp_open_misc(lua_State *L, int state)
{
	static const char *const blocking[] = {"wait_any", NULL};
	static const luaL_Reg functions[] = {{"isatty", misc_isatty}, {"slice", misc_slice}, {"move", misc_move},
		{"sendable", misc_sendable}, {"names_looked", misc_names_looked}, {"closer", misc_closer}, {"callable", misc_callable},
		{"kind", misc_kind}, {"raise", misc_raise}, {"own_files", misc_own_files}, {"is_future", misc_is_future},
		{"is_own_chunk", misc_is_own_chunk}, {"caller_place", misc_caller_place}, {"hint_place", misc_hint_place},
		{"wait_any", misc_wait_any}, {NULL, NULL}};
	lua_pushvalue(L, state);
	luaL_setfuncs(L, functions, 1);
	lp_blocking_fields(L, state, -1, blocking);
}
