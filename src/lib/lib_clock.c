/* lib_clock: pool.now and pool.sleep. */
#include <math.h>
#include <time.h>

#include "lib/lib.h"
#include "vm/suspend.h"

/* pool.now([clock]) -> seconds of "monotonic" (default), "realtime", "boottime", "process" or "thread". */
static int clock_now(lua_State *L)
{
	static const char *const names[] = {"monotonic", "realtime", "boottime", "process", "thread", NULL};
	static const clockid_t ids[] = {
		CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME, CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID};
	struct timespec ts;
	clock_gettime(ids[luaL_checkoption(L, 1, "monotonic", names)], &ts);
	lua_pushnumber(L, (lua_Number)ts.tv_sec + (lua_Number)ts.tv_nsec / 1e9);
	return 1;
}

static int sleep_done(lua_State *L, struct lp_state *s, struct lp_node *nodes, int answer)
{
	return answer == LP_TIMEOUT ? 0 : lp_wait_raise(L, s, nodes, answer);
}

/* pool.sleep(seconds). Blocks, keeps the permit; a cancellation point. 0 and less return at once; math.huge never. */
static int clock_sleep(lua_State *L)
{
	if (lua_type(L, 1) != LUA_TNUMBER)
		luaL_argerror(L, 1, lua_pushfstring(L, "seconds (a number) expected, got %s", luaL_typename(L, 1)));
	double seconds = lua_tonumber(L, 1);
	luaL_argcheck(L, !isnan(seconds), 1, "seconds expected, got NaN");
	return lp_wait_then(L, lp_state(L), NULL, lp_deadline_in(seconds), sleep_done);
}

void lp_open_clock(lua_State *L, int state)
{
	static const char *const blocking[] = {"sleep", NULL};
	static const luaL_Reg functions[] = {{"now", clock_now}, {"sleep", clock_sleep}, {NULL, NULL}};
	lua_pushvalue(L, state);
	luaL_setfuncs(L, functions, 1);
	lp_blocking_fields(L, state, -1, blocking);
}
