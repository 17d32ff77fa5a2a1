/* lib_ends: hearing of the ends of several futures, for lua-pool/futures.lua. */
#include "wait/cancel.h"
#include "sched/ends.h"
#include "values/handle.h"
#include "lib/lib.h"
#include "vm/signals.h"
#include "vm/suspend.h"
#include "sched/worker.h"

static struct lp_ends *check_ends(lua_State *L)
{
	return lp_check(L, 1, &lp_ends_class);
}

/* ends(list, n) -> the ends of list[1 .. n]. The futures are counted until they have all been told, or `close`. */
static int ends_new(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_Integer n = lp_check_int(L, 2, 0, INT32_MAX);
	for (lua_Integer i = 1; i <= n; i++) { /* whatever raises: before anything is counted */
		lua_rawgeti(L, 1, i);
		lp_check(L, -1, &lp_task_class);
		lua_pop(L, 1);
	}
	struct lp_handle *h = lp_handle_new(L, &lp_ends_class);
	struct lp_ends *e = lp_ends_new((uint32_t)n);
	if (!e)
		return luaL_error(L, "not enough memory");
	h->obj = &e->obj;
	for (lua_Integer i = 1; i <= n; i++) {
		lua_rawgeti(L, 1, i);
		lp_ends_set(e, (uint32_t)(i - 1), (struct lp_task *)lp_toobj(L, -1));
		lua_pop(L, 1);
	}
	if (!lp_ends_begin(e))
		return luaL_error(L, "not enough memory");
	return 1;
}

static int one_ended(lua_State *L, struct lp_state *s, struct lp_node *n, int answer)
{
	if (answer < 0)
		return lp_wait_failed(L, s, n, answer);
	if (n->result == LP_NO_END)
		lua_pushnil(L);
	else
		lua_pushinteger(L, n->result + 1);
	return 1;
}

/* ends:next([timeout]) -> the index of the one that ended next / nil: that was all / nil, "timeout". Blocks; a cancellation
 * point. A worker may run the last one that is left. */
static int ends_next(lua_State *L)
{
	struct lp_ends *e = check_ends(L);
	struct lp_state *s = lp_state(L);
	lp_time deadline = lp_check_timeout(L, 2);
	if (s->worker && deadline == LP_FOREVER) {
		struct lp_task *last = lp_ends_last(e);
		if (last && lp_worker_inline(L, s, last) && lp_interrupted(s->exec))
			return lp_raise_interrupt(L, s);
	}
	struct lp_node node = {.obj = &e->obj};
	return lp_wait_then(L, s, &node, deadline, one_ended);
}

/* ends:close(): lets go of the futures. */
static int ends_close(lua_State *L)
{
	lp_ends_close(check_ends(L));
	return 0;
}

static int ends_gc(lua_State *L)
{
	struct lp_ends *e = lp_test(L, 1, &lp_ends_class);
	if (e) {
		lp_handle_end(L, 1);
		lp_ends_close(e);
		lp_release(e);
	}
	return 0;
}

void lp_open_ends(lua_State *L, int state)
{
	static const luaL_Reg methods[] = {{"next", ends_next}, {"close", ends_close}, {NULL, NULL}};
	static const char *const blocking[] = {"next", NULL};
	static const luaL_Reg meta[] = {{"__gc", ends_gc}, {NULL, NULL}};
	static const luaL_Reg functions[] = {{"ends", ends_new}, {NULL, NULL}};
	lua_pushvalue(L, state);
	lp_handle_class(L, &lp_ends_class, methods, meta, 1);
	lp_blocking_methods(L, state, &lp_ends_class, blocking);
	lua_pushvalue(L, state);
	luaL_setfuncs(L, functions, 1);
}
