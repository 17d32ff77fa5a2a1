/* lib_mutex: pool.mutex() for Lua. */
#include "values/handle.h"
#include "lib/lib_sync.h"
#include "sync/mutex.h"

static struct lp_mtx *check_mutex(lua_State *L)
{
	return lp_check(L, 1, &lp_mtx_class);
}

/* pool.mutex() -> mutex, not locked. */
static int mutex_new(lua_State *L)
{
	struct lp_handle *h = lp_handle_new(L, &lp_mtx_class);
	struct lp_mtx *m = lp_mtx_new();
	if (!m)
		return luaL_error(L, "not enough memory");
	h->obj = &m->obj;
	return 1;
}

/* Locks the mutex at index 1. */
static int lock(lua_State *L, lp_time deadline, lp_then done)
{
	struct lp_mtx *m = check_mutex(L);
	struct lp_state *s = lp_state(L);
	struct lp_actor *a = lp_sync_actor(L, s);
	if (lp_mtx_owned(m, a))
		luaL_error(L, "this task has locked the mutex already: it must unlock it before it can lock it again");
	struct lp_node n = {.obj = &m->obj, .value = a};
	return lp_lock_then(L, s, &n, deadline, done);
}

static int push_locked(lua_State *L, struct lp_node *n)
{
	lp_mtx_entered((struct lp_mtx *)n->obj, n->value);
	lua_pushboolean(L, 1);
	if (!n->result)
		return 1;
	lua_pushliteral(L, "abandoned");
	return 2;
}

static int lock_done(lua_State *L, struct lp_state *s, struct lp_node *n, int answer)
{
	return answer < 0 ? lp_wait_failed(L, s, n, answer) : push_locked(L, n);
}

/* mutex:lock([timeout]) -> true / true, "abandoned" / nil, "timeout". Blocks; a cancellation point. Abandoned:
 * its last owner ended without unlocking, so what it guards may be half changed. */
static int mutex_lock(lua_State *L)
{
	check_mutex(L);
	return lock(L, lp_check_timeout(L, 2), lock_done);
}

static int try_lock_done(lua_State *L, struct lp_state *s, struct lp_node *n, int answer)
{
	if (answer != LP_TIMEOUT)
		return lock_done(L, s, n, answer);
	lua_pushnil(L);
	lua_pushliteral(L, "locked");
	return 2;
}

/* mutex:try_lock() -> true / true, "abandoned" / nil, "locked". Never waits. */
static int mutex_try_lock(lua_State *L)
{
	return lock(L, 0, try_lock_done);
}

/* mutex:unlock(). Only its owner may. */
static int mutex_unlock(lua_State *L)
{
	struct lp_mtx *m = check_mutex(L);
	struct lp_actor *a = lp_sync_actor(L, lp_state(L));
	if (!lp_mtx_unlock(m, a))
		return luaL_error(L, lp_mtx_owned(m, NULL) ? "this mutex is not locked"
			: "this mutex was locked by another task: only its owner can unlock it");
	return 0;
}

static int mutex_is_locked(lua_State *L)
{
	lua_pushboolean(L, !lp_mtx_owned(check_mutex(L), NULL));
	return 1;
}

static bool give_back(struct lp_guard *g, struct lp_exec *e)
{
	struct lp_mtx *m = (struct lp_mtx *)g->obj;
	/* The owner and the serial agree: it is the taking that the guard was made for, so the actor lives. */
	if (!lp_mtx_owned(m, g->actor) || atomic_load_explicit(&m->serial, memory_order_relaxed) != g->serial)
		return false;
	if (!lp_exec_same_thread(lp_actor_exec(g->actor), e))
		return false;
	return lp_mtx_unlock(m, g->actor);
}

/* The guard is on top of the stack. */
static int guard_done(lua_State *L, struct lp_state *s, struct lp_node *n, int answer)
{
	if (answer < 0)
		return lp_wait_failed(L, s, n, answer);
	struct lp_guard *g = lua_touserdata(L, -1);
	struct lp_mtx *m = (struct lp_mtx *)n->obj;
	lp_mtx_entered(m, n->value);
	*g = (struct lp_guard){.own = g->own, .obj = lp_retain(m), .actor = n->value, .serial = m->serial, .give_back = give_back};
	if (!n->result)
		return 1;
	lua_pushliteral(L, "abandoned");
	return 2;
}

/* mutex:guard([timeout]) -> guard / guard, "abandoned" / nil, "timeout": locks; the guard unlocks. */
static int mutex_guard(lua_State *L)
{
	check_mutex(L);
	lp_time deadline = lp_check_timeout(L, 2);
	lp_push_guard(L);
	return lock(L, deadline, guard_done);
}

static int with_enter(lua_State *L, lp_then entered)
{
	return lock(L, LP_FOREVER, entered);
}

static void with_entered(struct lp_node *n)
{
	lp_mtx_entered((struct lp_mtx *)n->obj, n->value);
}

static void with_leave(lua_State *L, bool failed)
{
	struct lp_mtx *m = check_mutex(L);
	struct lp_actor *a = lp_state(L)->exec->actor;
	if (!lp_mtx_unlock(m, a) && !failed)
		luaL_error(L, "the function given to mutex:with has unlocked the mutex itself");
}

static int mutex_tostring(lua_State *L)
{
	struct lp_mtx *m = check_mutex(L);
	unsigned waiting = 0;
	lp_lock(&m->lock);
	bool locked = !lp_mtx_owned(m, NULL), abandoned = m->abandoned;
	for (struct lp_link *l = m->waiters.next; l != &m->waiters; l = l->next)
		waiting++;
	lp_unlock(&m->lock);
	if (waiting)
		lua_pushfstring(L, "lua-pool.mutex: %p (locked, %d waiting)", (void *)m, (int)waiting);
	else
		lua_pushfstring(L, "lua-pool.mutex: %p (%s)", (void *)m,
			locked ? "locked" : abandoned ? "not locked, abandoned" : "not locked");
	return 1;
}

static int mutex_gc(lua_State *L)
{
	struct lp_mtx *m = lp_test(L, 1, &lp_mtx_class);
	if (!m)
		return 0;
	lp_handle_end(L, 1);
	if (m->obj.generation == lp_generation)
		lp_mtx_handle_gone(m, lp_state(L)->exec);
	lp_release(m);
	return 0;
}

void lp_open_mutex(lua_State *L, int state)
{
	static const luaL_Reg methods[] = {{"lock", mutex_lock}, {"try_lock", mutex_try_lock},
		{"unlock", mutex_unlock}, {"guard", mutex_guard}, {"is_locked", mutex_is_locked}, {NULL, NULL}};
	static const char *const blocking[] = {"lock", "guard", NULL};
	static const luaL_Reg meta[] = {{"__tostring", mutex_tostring}, {"__gc", mutex_gc}, {NULL, NULL}};
	static const luaL_Reg functions[] = {{"mutex", mutex_new}, {NULL, NULL}};
	static const struct lp_scope scope = {with_enter, with_entered, NULL, with_leave, false};
	lua_pushvalue(L, state);
	lp_handle_class(L, &lp_mtx_class, methods, meta, 1);
	lp_blocking_methods(L, state, &lp_mtx_class, blocking);
	lp_set_with(L, state, &lp_mtx_class, "with", &scope);
	lua_pushvalue(L, state);
	luaL_setfuncs(L, functions, 1);
}
