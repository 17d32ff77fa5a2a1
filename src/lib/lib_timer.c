/* lib_timer: pool.timer for Lua. */
#include <math.h>
#include <stdio.h>

#include "values/handle.h"
#include "vm/suspend.h"
#include "sync/timer.h"

static struct lp_timer *check_timer(lua_State *L)
{
	return lp_check(L, 1, &lp_timer_class);
}

/* seconds at `index`, and an interval behind it if there is one. */
static lp_time check_moment(lua_State *L, int index, lp_time *interval)
{
	lua_Number seconds = luaL_checknumber(L, index), every = luaL_optnumber(L, index + 1, 1);
	luaL_argcheck(L, !isnan(seconds), index, "seconds expected, got NaN");
	luaL_argcheck(L, every > 0, index + 1, "interval in seconds (more than 0) expected");
	*interval = 0;
	if (!lua_isnoneornil(L, index + 1))
		*interval = every >= 9e9 ? LP_FOREVER / 2 : every < 1e-6 ? 1000 : (lp_time)(every * 1e9);
	return seconds > 0 ? lp_deadline_in(seconds) : lp_now();
}

/* pool.timer(seconds [, interval]) -> timer that is due in so many seconds, and then each interval. */
static int timer_new(lua_State *L)
{
	lp_time interval, due = check_moment(L, 1, &interval);
	struct lp_handle *h = lp_handle_new(L, &lp_timer_class);
	struct lp_timer *t = lp_timer_new(due, interval);
	if (!t)
		return luaL_error(L, "not enough memory, or no thread, for a timer");
	h->obj = &t->obj;
	return 1;
}

static int push_times(lua_State *L, const struct lp_node *n)
{
	if (n->result != LP_TIMER_CLOSED) {
		lua_pushinteger(L, n->result);
		return 1;
	}
	lua_pushnil(L);
	lua_pushliteral(L, "closed");
	return 2;
}

static int came_due(lua_State *L, struct lp_state *s, struct lp_node *n, int answer)
{
	return answer < 0 ? lp_wait_failed(L, s, n, answer) : push_times(L, n);
}

/* timer:wait([timeout]) -> n, how many times it has come due since it was waited for last / nil, "timeout" / nil,
 * "closed". Blocks; a cancellation point. */
static int timer_wait(lua_State *L)
{
	struct lp_timer *t = check_timer(L);
	struct lp_node n = {.obj = &t->obj};
	return lp_wait_then(L, lp_state(L), &n, lp_check_timeout(L, 2), came_due);
}

/* timer:set(seconds [, interval]): due anew, from now; opens one that was closed. */
static int timer_set(lua_State *L)
{
	struct lp_timer *t = check_timer(L);
	lp_time interval, due = check_moment(L, 2, &interval);
	lp_timer_set(t, due, interval);
	return 0;
}

/* timer:close(), cancel(): comes due no more; who waits for it gets nil, "closed". */
static int timer_close(lua_State *L)
{
	lp_timer_close(check_timer(L));
	return 0;
}

static int timer_tostring(lua_State *L)
{
	struct lp_timer *t = check_timer(L);
	lp_time due, interval;
	bool closed;
	unsigned waiting;
	char text[128] = "closed", every[48] = "", wait[32] = "";
	lp_timer_get(t, &due, &interval, &closed, &waiting);
	double left = due == LP_FOREVER ? HUGE_VAL : (double)(due - lp_now()) / 1e9;
	if (interval)
		snprintf(every, sizeof every, ", every %.3f s", (double)interval / 1e9);
	if (waiting)
		snprintf(wait, sizeof wait, ", %u waiting", waiting);
	if (!closed && left > 0)
		snprintf(text, sizeof text, "due in %.3f s%s%s", left, every, wait);
	else if (!closed)
		snprintf(text, sizeof text, "due%s%s", every, wait);
	lua_pushfstring(L, "lua-pool.timer: %p (%s)", (void *)t, text);
	return 1;
}

void lp_open_timer(lua_State *L, int state)
{
	static const luaL_Reg methods[] = {{"wait", timer_wait}, {"set", timer_set}, {"close", timer_close},
		{"cancel", timer_close}, {NULL, NULL}};
	static const char *const blocking[] = {"wait", NULL};
	static const luaL_Reg meta[] = {{"__tostring", timer_tostring}, {"__close", timer_close}, {NULL, NULL}};
	static const luaL_Reg functions[] = {{"timer", timer_new}, {NULL, NULL}};
	lua_pushvalue(L, state);
	lp_handle_class(L, &lp_timer_class, methods, meta, 1);
	lp_blocking_methods(L, state, &lp_timer_class, blocking);
	lua_pushvalue(L, state);
	luaL_setfuncs(L, functions, 1);
}
