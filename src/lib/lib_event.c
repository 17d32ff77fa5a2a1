/* lib_event: pool.event() for Lua. */
#include "sync/event.h"
#include "values/handle.h"
#include "vm/suspend.h"

/* pool.event() -> event, not set. */
static int event_new(lua_State *L)
{
	struct lp_handle *h = lp_handle_new(L, &lp_event_class);
	struct lp_event *e = lp_event_new();
	if (!e)
		return luaL_error(L, "not enough memory");
	h->obj = &e->obj;
	return 1;
}

/* event:set(): wakes everyone who waits; never blocks. */
static int event_set(lua_State *L)
{
	lp_event_set(lp_check(L, 1, &lp_event_class));
	return 0;
}

static int event_reset(lua_State *L)
{
	lp_event_reset(lp_check(L, 1, &lp_event_class));
	return 0;
}

static int event_is_set(lua_State *L)
{
	lua_pushboolean(L, lp_event_is_set(lp_check(L, 1, &lp_event_class)));
	return 1;
}

/* event:wait([timeout]) -> true / nil, "timeout". Blocks; a cancellation point. */
static int event_wait(lua_State *L)
{
	struct lp_event *e = lp_check(L, 1, &lp_event_class);
	struct lp_node node = {.obj = &e->obj};
	return lp_wait_then(L, lp_state(L), &node, lp_check_timeout(L, 2), lp_then_true);
}

static int event_tostring(lua_State *L)
{
	struct lp_event *e = lp_check(L, 1, &lp_event_class);
	lua_pushfstring(L, "lua-pool.event: %p (%s)", (void *)e, lp_event_is_set(e) ? "set" : "not set");
	return 1;
}

void lp_open_event(lua_State *L, int state)
{
	static const luaL_Reg methods[] = {
		{"set", event_set}, {"reset", event_reset}, {"is_set", event_is_set}, {"wait", event_wait}, {NULL, NULL}};
	static const luaL_Reg meta[] = {{"__tostring", event_tostring}, {NULL, NULL}};
	static const char *const blocking[] = {"wait", NULL};
	static const luaL_Reg functions[] = {{"event", event_new}, {NULL, NULL}};
	lua_pushvalue(L, state);
	lp_handle_class(L, &lp_event_class, methods, meta, 1);
	lp_blocking_methods(L, state, &lp_event_class, blocking);
	lua_pushvalue(L, state);
	luaL_setfuncs(L, functions, 1);
}
