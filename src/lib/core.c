/* core: opens lua-pool.core in a Lua state: the state's record, its host, the classes, the functions.
 * lua-pool/init.lua builds the module that users see from the table that this returns. */
#include <string.h>

#include "sched/close.h"
#include "values/handle.h"
#include "wait/inbox.h"
#include "lib/lib.h"
#include "vm/signals.h"

static const char sentinel_key;

struct sentinel {
	struct lp_own own;
	struct lp_state *state; /* NULL: its host could not be made */
};

/* The state closes: created when the module is loaded, so finalised after all that was made later. */
static int sentinel_gc(lua_State *L)
{
	struct sentinel *box = lp_own_end(L, 1, sizeof *box, &sentinel_key);
	struct lp_state *s = box ? box->state : NULL;
	if (s && s->host) {
		struct lp_host *h = s->host;
		s->host = NULL;
		s->current = NULL;
		lp_inbox_free(s->inbox);
		s->inbox = NULL;
		if (s->under_loop || s->asks_main)
			lp_host_leave(h);
		else
			lp_host_close(h);
		lp_release(h);
	}
	return 0;
}

/* Ctrl-C in the `lua` program only sets a hook on the main state. */
static bool host_signalled(struct lp_exec *e)
{
	struct lp_host *h = lp_entry(e, struct lp_host, exec);
	return (void *)lua_gethook(h->L) != h->hook;
}

static lua_State *main_thread(lua_State *L)
{
#if LP_LUAJIT
	return L; /* 5.1 does not tell; hooks are global there anyway */
#else
	lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
	lua_State *main = lua_tothread(L, -1);
	lua_pop(L, 1);
	return main;
#endif
}

static void open_host(lua_State *L, struct lp_state *s)
{
	struct sentinel *box = lua_newuserdatauv(L, sizeof *box, 0);
	*box = (struct sentinel){{0}, NULL};
	lp_own_set(box, &sentinel_key);
	lua_newtable(L);
	lua_pushcfunction(L, sentinel_gc);
	lua_setfield(L, -2, "__gc");
	lua_setmetatable(L, -2);
	s->L = main_thread(L);
	if (!(s->host = lp_host_new(s->L)))
		luaL_error(L, "not enough memory");
	box->state = s;
	s->exec = &s->host->exec;
	s->exec->signalled = host_signalled;
	lua_rawsetp(L, LUA_REGISTRYINDEX, &sentinel_key);
	lp_close_at_exit();
}

int luaopen_pool_core(lua_State *L);

/* ---- the version ---- */

#ifndef LP_VERSION /* the Makefile takes it from lua-pool/version.lua */
#define LP_VERSION "unknown"
#endif

static const char *own_path(void)
{
	const char *path = lp_library_path((void *)luaopen_pool_core);
	return path ? path : "?";
}

/* The Lua files must be of our version. Those that are newer than the question ask it themselves; this is for older ones. */
static void check_version(lua_State *L)
{
	int top = lua_gettop(L);
	lua_getglobal(L, "require");
	if (!lua_isfunction(L, -1)) { /* nothing can be loaded here, so nothing wrong */
		lua_settop(L, top);
		return;
	}
	lua_pushliteral(L, "lua-pool.version");
	if (lua_pcall(L, 1, 1, 0) != LUA_OK)
		luaL_error(L, "lua-pool: lua-pool.core is of version %s (%s), but its Lua files are older, or not there: %s", LP_VERSION,
			own_path(), lua_tostring(L, -1) ? lua_tostring(L, -1) : "?");
	if (lua_istable(L, -1)) {
		lua_getfield(L, -1, "VERSION");
		if (lua_tostring(L, -1) && strcmp(lua_tostring(L, -1), LP_VERSION) == 0) {
			lua_settop(L, top);
			return;
		}
		lua_getfield(L, -2, "check");
		lua_newtable(L);
		lua_pushliteral(L, LP_VERSION);
		lua_setfield(L, -2, "VERSION");
		lua_pushstring(L, own_path());
		lua_setfield(L, -2, "PATH");
		lua_call(L, 1, 0); /* it knows where it is, and raises */
	}
	luaL_error(L, "lua-pool: lua-pool.core is of version %s (%s), but lua-pool.version is of another", LP_VERSION, own_path());
}

__attribute__((constructor)) static void core_open(void)
{
	lp_open_core = luaopen_pool_core;
}

__attribute__((visibility("default"))) int luaopen_pool_core(lua_State *L)
{
	struct lp_state *s = lp_state_open(L);
	int state = lua_gettop(L);
	if (!s->worker)
		check_version(L);
	if (!s->worker && !s->host) {
		if (s->L)
			return luaL_error(L, "this Lua state is closing: lua-pool cannot be loaded");
		open_host(L, s);
	}
	lua_newtable(L);
	lp_open_light(L);
	lp_open_suspend(L, state);
	lp_open_loop(L, state);
	lp_open_signals(L, state);
	lp_open_future(L, state);
	lp_open_pollfd(L, state);
	lp_open_ends(L, state);
	lp_open_pool(L, state);
	lp_open_event(L, state);
	lp_open_channel(L, state);
	lp_open_counter(L, state);
	lp_open_array(L, state);
	lp_open_dict(L, state);
	lp_open_sync(L, state);
	lp_open_group(L, state);
	lp_open_timer(L, state);
	lp_open_report(L, state);
	lp_open_named(L, state);
	lp_open_worker(L, state);
	lp_open_cancel(L, state);
	lp_open_jit(L, state);
	lp_open_clock(L, state);
	lp_open_misc(L, state);
	lp_open_batch(L, state);
	lp_open_meet(L, state);
	lp_open_fs(L, state);
	lp_open_run(L, state);
	lp_push_classes(L);
	lua_setfield(L, -2, "classes");
	lua_pushliteral(L, LP_VERSION);
	lua_setfield(L, -2, "VERSION");
	lua_pushstring(L, own_path());
	lua_setfield(L, -2, "PATH");
	return 1;
}
