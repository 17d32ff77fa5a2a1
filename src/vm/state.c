/* state: see state.h. */
#include "vm/state.h"

#include <math.h>
#include <string.h>

#include "wait/cancel.h"
#include "sched/host.h"
#include "vm/signals.h"
#include "values/values.h"
#include "sched/worker.h"

static const char state_key;

struct lp_state *lp_state_open(lua_State *L)
{
	if (lua_rawgetp(L, LUA_REGISTRYINDEX, &state_key) == LUA_TUSERDATA)
		return lua_touserdata(L, -1);
	lua_pop(L, 1);
	struct lp_state *s = lua_newuserdatauv(L, sizeof *s, 0);
	memset(s, 0, sizeof *s);
	s->values = lp_values_open(L);
	lua_pushvalue(L, -1);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &state_key);
	return s;
}

lp_time lp_check_timeout(lua_State *L, int index)
{
	if (lua_isnoneornil(L, index))
		return LP_FOREVER;
	if (lua_type(L, index) != LUA_TNUMBER)
		luaL_argerror(L, index, lua_pushfstring(L, "timeout in seconds expected, got %s", luaL_typename(L, index)));
	double seconds = lua_tonumber(L, index);
	if (isnan(seconds))
		luaL_argerror(L, index, "timeout in seconds expected, got NaN");
	return lp_deadline_in(seconds);
}

lua_Integer lp_check_int(lua_State *L, int index, lua_Integer min, lua_Integer max)
{
	double x = luaL_checknumber(L, index);
	if (floor(x) != x)
		luaL_argerror(L, index, lua_pushfstring(L, "whole number expected, got %f", x));
	if (x < (double)min || x > (double)max)
		luaL_argerror(L, index, lua_pushfstring(L, "number from %f to %f expected, got %f", (double)min, (double)max, x));
	return (lua_Integer)x;
}

int lp_push_timeout(lua_State *L)
{
	lua_pushnil(L);
	lua_pushliteral(L, "timeout");
	return 2;
}

void lp_push_deadlock(lua_State *L)
{
	lp_where(L);
	lua_pushfstring(L, "dead-lock: what this waits for waits for this task in turn: %s", lp_deadlock_text());
	lua_concat(L, 2);
}

int lp_wait_raise(lua_State *L, struct lp_state *s, const struct lp_node *node, int answer)
{
	(void)node;
	switch (answer) {
	case LP_CANCELLED:
		return lp_raise_interrupt(L, s);
	case LP_DEADLOCK:
		lp_push_deadlock(L);
		return lua_error(L);
	case LP_CLOSING:
		return luaL_error(L, "this Lua state is closing: nothing can be waited for");
	case LP_RAISED:
		return lua_error(L);
	default:
		return luaL_error(L, "not enough memory");
	}
}

static int run_host_hook(lua_State *L)
{
	lp_run_host_hook(L, lua_touserdata(L, 1));
	return 0;
}

int lp_wait_blocking(lua_State *L, struct lp_state *s, struct lp_node *nodes, int n, lp_time deadline, bool once)
{
	int fired;
	do {
		lp_note_code(L, s);
		if (s->host)
			lp_host_begin_wait(s);
		fired = lp_wait_any(s->exec, nodes, n, deadline);
		if (s->host)
			lp_host_stand_still();
		if (fired == LP_CALLED) {
			bool over = false;
			if (!lp_worker_help(L, s, nodes, n, deadline, &over))
				return LP_RAISED;
			if (over)
				return LP_TIMEOUT;
			continue;
		}
		if (fired != LP_INTERRUPTED)
			return fired;
		if (!lua_checkstack(L, 2))
			return LP_NOMEM;
		lua_pushcfunction(L, run_host_hook);
		lua_pushlightuserdata(L, s);
		if (lua_pcall(L, 1, 0, 0) != LUA_OK)
			return LP_RAISED;
	} while (!once && !(n == 1 && nodes[0].result)); /* it has passed a barrier: see barrier.h */
	return LP_AGAIN;
}

int lp_wait(lua_State *L, struct lp_state *s, struct lp_node *nodes, int n, lp_time deadline)
{
	int fired = LP_CLOSING;
	if (s->exec && (s->worker || s->host))
		fired = lp_wait_blocking(L, s, nodes, n, deadline, false);
	return fired < LP_TIMEOUT ? lp_wait_raise(L, s, nodes, fired) : fired;
}
