/* lib_batch: what lua-pool/batch.lua needs to know of an error that fn has raised in the middle of a batch. */
#include <string.h>

#include "lib/lib.h"
#include "vm/state.h"
#include "sched/worker.h"

enum { FRAMES = 16 }; /* in so many from the bottom of the stack a batch's loop stands: it is what the task calls */

/* How many functions are active. (To ask for a level takes as long as the level is deep, and a stack that has
 * overflowed is.) */
static int stack_depth(lua_State *L)
{
	lua_Debug ar;
	int low = 0, high = 1;
	while (lua_getstack(L, high, &ar)) {
		low = high;
		high *= 2;
	}
	while (high - low > 1) {
		int middle = low + (high - low) / 2;
		if (lua_getstack(L, middle, &ar))
			low = middle;
		else
			high = middle;
	}
	return high;
}

/* Is the function on top one of the first n values? */
static bool among(lua_State *L, int n)
{
	for (int i = 1; i <= n; i++)
		if (lua_rawequal(L, i, -1))
			return true;
	return false;
}

/* loop_index(loops...) -> the value of `i` in the lowest active call of one of these functions; false: not known. */
static int loop_index(lua_State *L)
{
	int n = lua_gettop(L), depth = stack_depth(L);
	lua_Debug ar;
	lua_pushboolean(L, 0);
	for (int level = depth - 1; level > 0 && level >= depth - FRAMES; level--) {
		if (!lua_getstack(L, level, &ar) || !lua_getinfo(L, "f", &ar))
			continue;
		bool found = among(L, n);
		lua_pop(L, 1);
		if (!found)
			continue;
		const char *name;
		for (int k = 1; (name = lua_getlocal(L, &ar, k)); k++) {
			if (strcmp(name, "i") == 0)
				lua_replace(L, n + 1);
			else
				lua_pop(L, 1);
		}
		break;
	}
	lua_settop(L, n + 1);
	return 1;
}

/* renew_state(): memory has run out in this worker: it gets a new Lua state after this task. */
static int renew_state(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	if (s->worker)
		s->worker->renew = true;
	return 0;
}

/* explained(err) -> what a task would have failed with. */
static int explained(lua_State *L)
{
	lua_settop(L, 1);
	lp_explain_error(L);
	return 1;
}

/* on_unsendable(f): see lp_unsendable_key. */
static int on_unsendable(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TFUNCTION);
	lua_settop(L, 1);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &lp_unsendable_key);
	return 0;
}

void lp_open_batch(lua_State *L, int state)
{
	static const luaL_Reg functions[] = {{"loop_index", loop_index}, {"renew_state", renew_state},
		{"explained", explained}, {"on_unsendable", on_unsendable}, {NULL, NULL}};
	lua_pushvalue(L, state);
	luaL_setfuncs(L, functions, 1);
}
