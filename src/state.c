/* state: see state.h. */
#include "state.h"

#include <math.h>
#include <string.h>

#include "cancel.h"
#include "host.h"
#include "signals.h"
#include "values.h"

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

/* ---- names of chunks ---- */

/* Kept for ever: there are as many as a program has files; past the bound all others share one. */
enum { MAX_NAMES = 4096 };
static lp_mutex names_lock;
static struct {
	const char *name;
	unsigned hash;
} names[2 * MAX_NAMES]; /* [names_lock] open addressing */
static unsigned nnames;

__attribute__((constructor)) static void names_open(void)
{
	lp_fork_guard(&names_lock);
}

static const char *intern(const char *name)
{
	unsigned hash = 5381;
	for (const char *p = name; *p; p++)
		hash = hash * 33 + (unsigned char)*p;
	const char *found = NULL;
	lp_lock(&names_lock);
	for (unsigned i = hash;; i++) {
		unsigned at = i % (2 * MAX_NAMES);
		if (!names[at].name) {
			size_t size = strlen(name) + 1;
			char *copy = nnames < MAX_NAMES ? lp_alloc(size) : NULL;
			if (copy) {
				memcpy(copy, name, size);
				names[at].name = copy;
				names[at].hash = hash;
				nnames++;
			}
			found = copy;
			break;
		}
		if (names[at].hash == hash && strcmp(names[at].name, name) == 0) {
			found = names[at].name;
			break;
		}
	}
	lp_unlock(&names_lock);
	return found ? found : "?";
}

const char *lp_state_chunk_name(struct lp_state *s, const char *source, const char *short_src)
{
	if (s->source == source && s->chunk_name && strcmp(s->chunk_name, short_src) == 0)
		return s->chunk_name;
	s->source = source;
	return s->chunk_name = intern(short_src);
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

int lp_wait(lua_State *L, struct lp_state *s, struct lp_node *nodes, int n, lp_time deadline)
{
	if (!s->exec || (!s->worker && !s->host))
		return luaL_error(L, "this Lua state is closing: nothing can be waited for");
	if (s->host) {
		s->host->hook = (void *)lua_gethook(s->L);
		atomic_store(&s->host->parker, lp_parker_self());
	}
	int fired = lp_wait_any(s->exec, nodes, n, deadline);
	if (s->host)
		lp_host_stand_still();
	switch (fired) {
	case LP_CANCELLED:
		return lp_raise_interrupt(L, s);
	case LP_INTERRUPTED:
		return lp_raise_signal(L, s);
	case LP_DEADLOCK:
		return luaL_error(L, "dead-lock: what this waits for waits for this task in turn (%s)",
			nodes[0].obj->cls->name);
	case LP_NOMEM:
		return luaL_error(L, "not enough memory");
	default:
		return fired;
	}
}
