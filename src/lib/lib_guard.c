/* lib_guard: what locks share in Lua: waiting that cleans up before it raises, obj:with(fn), and guards. */
#include <string.h>

#include "wait/cancel.h"
#include "values/handle.h"
#include "lib/lib_sync.h"
#include "vm/suspend.h"
#include "sched/worker.h"

/* ---- waiting ---- */

struct lp_actor *lp_sync_actor(lua_State *L, struct lp_state *s)
{
	if (!s->exec || (!s->worker && !s->host))
		luaL_error(L, "this Lua state is closing: nothing can be waited for");
	lp_light_note(L, s); /* it may get a lock */
	return s->exec->actor;
}

int lp_lock_then(lua_State *L, struct lp_state *s, struct lp_node *n, lp_time deadline, lp_then then)
{
	struct lp_actor *a = s->exec->actor;
	bool hands = lp_may_hand_over(a);
	if (!lp_interrupted(s->exec) && n->obj->cls->take(n->obj, n)) {
		lp_hand_over(a, hands);
		return then(L, s, n, 0);
	}
	return lp_wait_then(L, s, n, deadline, then);
}

/* ---- with ---- */

static const struct lp_scope *scope_of(lua_State *L)
{
	return lua_touserdata(L, lua_upvalueindex(2));
}

static void check_callable(lua_State *L)
{
	if (lua_isfunction(L, 2))
		return;
	if (!luaL_getmetafield(L, 2, "__call"))
		luaL_argerror(L, 2, lua_pushfstring(L, "function expected, got %s", luaL_typename(L, 2)));
	lua_pop(L, 1);
}

static int with_failed(lua_State *L, struct lp_state *s, const struct lp_scope *scope, struct lp_node *n, int answer)
{
	if (scope->failed)
		scope->failed(n);
	return lp_wait_failed(L, s, n, answer);
}

#if !LP_LUAJIT
/* The stack: the object, results or error. */
static int with_end(lua_State *L, int status, lua_KContext unused)
{
	(void)unused;
	struct lp_state *s = lp_state(L);
	bool failed = status != LUA_OK && status != LUA_YIELD;
	if (s->worker)
		s->worker->running = L;
	scope_of(L)->leave(L, failed);
	return failed ? lua_error(L) : lua_gettop(L) - 1;
}

static int with_entered(lua_State *L, struct lp_state *s, struct lp_node *n, int answer)
{
	const struct lp_scope *scope = scope_of(L);
	if (answer < 0)
		return with_failed(L, s, scope, n, answer);
	if (scope->entered)
		scope->entered(n);
	int status = lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, 0, with_end);
	return with_end(L, status, 0);
}

static int with(lua_State *L)
{
	luaL_checkany(L, 1);
	check_callable(L);
	if (scope_of(L)->gives) {
		luaL_checkstack(L, 1, "too many arguments");
		lua_pushvalue(L, 1);
		lua_insert(L, 3);
	}
	return scope_of(L)->enter(L, with_entered);
}

void lp_push_with(lua_State *L, int state, const struct lp_scope *scope)
{
	lua_pushvalue(L, state);
	lua_pushlightuserdata(L, (void *)scope);
	lua_pushcclosure(L, with, 2);
}
#else
/* The scope lies on the stack: the upvalues are not there once this was suspended. */
static int with_entered(lua_State *L, struct lp_state *s, struct lp_node *n, int answer)
{
	const struct lp_scope *scope = lua_touserdata(L, answer == LP_RAISED ? -2 : -1);
	if (answer < 0)
		return with_failed(L, s, scope, n, answer);
	if (scope->entered)
		scope->entered(n);
	return 0;
}

static int with_begin(lua_State *L)
{
	luaL_checkany(L, 1);
	check_callable(L);
	lua_pushlightuserdata(L, (void *)scope_of(L));
	return scope_of(L)->enter(L, with_entered);
}

/* (object, ok, results or error) */
static int with_end(lua_State *L)
{
	bool failed = !lua_toboolean(L, 2);
	scope_of(L)->leave(L, failed);
	if (!failed)
		return lua_gettop(L) - 2;
	lua_settop(L, 3);
	return lua_error(L);
}

/* A pcall from C cannot be yielded across here. The pcall of this moment is the standard one: the core is
 * opened before a worker replaces it. */
void lp_push_with(lua_State *L, int state, const struct lp_scope *scope)
{
	static const char text[] = "local pcall, enter, leave = ... "
		"return function(self, fn, ...) enter(self, fn) return leave(self, pcall(fn, ...)) end";
	static const char giving[] = "local pcall, enter, leave = ... "
		"return function(self, fn, ...) enter(self, fn) return leave(self, pcall(fn, self, ...)) end";
	const char *code = scope->gives ? giving : text;
	if (luaL_loadbuffer(L, code, strlen(code), LP_CHUNK) != 0)
		lua_error(L);
	lua_getglobal(L, "pcall");
	for (int i = 0; i < 2; i++) {
		lua_pushvalue(L, state);
		lua_pushlightuserdata(L, (void *)scope);
		lua_pushcclosure(L, i ? with_end : with_begin, 2);
		if (!i)
			lp_blocking(L, state);
	}
	lua_call(L, 3, 1);
}
#endif

void lp_set_with(lua_State *L, int state, const struct lp_class *cls, const char *name, const struct lp_scope *scope)
{
	lua_rawgetp(L, LUA_REGISTRYINDEX, cls);
	lua_getfield(L, -1, "__index");
	lp_push_with(L, state, scope);
	lua_setfield(L, -2, name);
	lua_pop(L, 2);
}

/* ---- guards ---- */

static const char guard_key;

struct lp_guard *lp_push_guard(lua_State *L)
{
	struct lp_guard *g = lua_newuserdatauv(L, sizeof *g, 0);
	*g = (struct lp_guard){0};
	lp_own_set(g, &guard_key);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &guard_key);
	lua_setmetatable(L, -2);
	return g;
}

static struct lp_guard *check_guard(lua_State *L)
{
	struct lp_guard *g = lp_own_test(L, 1, sizeof *g, &guard_key);
	if (!g)
		luaL_argerror(L, 1, lua_pushfstring(L, "guard expected, got %s", luaL_typename(L, 1)));
	return g;
}

/* guard:release() -> true, or false if it was released before. Also at the end of its scope, and when it is
 * collected: a task can be stopped between the call of guard() and the mark of its variable. */
static int guard_release(lua_State *L)
{
	struct lp_guard *g = check_guard(L);
	struct lp_obj *o = g->obj;
	bool held = o && o->generation == lp_generation && g->give_back(g, lp_state(L)->exec);
	g->obj = NULL;
	lp_release(o);
	lua_pushboolean(L, held);
	return 1;
}

static int guard_close(lua_State *L)
{
	guard_release(L);
	return 0;
}

static int guard_tostring(lua_State *L)
{
	struct lp_guard *g = check_guard(L);
	lua_pushfstring(L, "lua-pool.guard: %p (%s)", (void *)g, g->obj ? g->obj->cls->name : "released");
	return 1;
}

#if LP_LUAJIT
/* (guard, ok, results or error) */
static int guarded_end(lua_State *L)
{
	bool failed = !lua_toboolean(L, 2);
	guard_release(L);
	lua_pop(L, 1);
	if (!failed)
		return lua_gettop(L) - 2;
	lua_settop(L, 3);
	return lua_error(L);
}

/* (object, fn) */
static int guarded_check(lua_State *L)
{
	luaL_checkany(L, 1);
	check_callable(L);
	return 0;
}

void lp_set_with_by_guard(lua_State *L, int state, const struct lp_class *cls)
{
	static const char text[] = "local pcall, check, guard, leave = ... "
		"return function(self, fn, ...) check(self, fn) local g = guard(self) return leave(g, pcall(fn, ...)) end";
	lua_rawgetp(L, LUA_REGISTRYINDEX, cls);
	lua_getfield(L, -1, "__index");
	if (luaL_loadbuffer(L, text, sizeof text - 1, LP_CHUNK) != 0)
		lua_error(L);
	lua_getglobal(L, "pcall");
	lua_pushcfunction(L, guarded_check);
	lua_getfield(L, -4, "guard");
	lua_pushvalue(L, state);
	lua_pushcclosure(L, guarded_end, 1);
	lua_call(L, 4, 1);
	lua_setfield(L, -2, "with");
	lua_pop(L, 2);
}
#endif

void lp_open_guard(lua_State *L, int state)
{
	static const luaL_Reg meta[] = {{"__gc", guard_close}, {"__close", guard_close},
		{"__tostring", guard_tostring}, {"release", guard_release}, {NULL, NULL}};
	lua_newtable(L);
	lua_pushvalue(L, state);
	luaL_setfuncs(L, meta, 1);
	lua_pushvalue(L, -1);
	lua_setfield(L, -2, "__index");
	lua_pushliteral(L, "lua-pool.guard");
	lua_setfield(L, -2, "__name");
	lp_own_protect(L, "lua-pool.guard");
	lua_rawsetp(L, LUA_REGISTRYINDEX, &guard_key);
}
