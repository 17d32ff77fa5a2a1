/* lib_rwlock: pool.rwlock() for Lua. */
#include "values/handle.h"
#include "lib/lib_sync.h"
#include "sync/rwlock.h"

static struct lp_rwlock *check_rwlock(lua_State *L)
{
	return lp_check(L, 1, &lp_rwlock_class);
}

/* pool.rwlock() -> rwlock, not locked. */
static int rwlock_new(lua_State *L)
{
	struct lp_handle *h = lp_handle_new(L, &lp_rwlock_class);
	struct lp_rwlock *rw = lp_rwlock_new();
	if (!rw)
		return luaL_error(L, "not enough memory");
	h->obj = &rw->obj;
	return 1;
}

/* Locks the rwlock at index 1. The record that the node carries is `done`'s. */
static int lock(lua_State *L, bool writes, lp_time deadline, lp_then done)
{
	struct lp_rwlock *rw = check_rwlock(L);
	struct lp_state *s = lp_state(L);
	struct lp_actor *a = lp_sync_actor(L, s);
	struct lp_rwhold *h = lp_rwlock_find(rw, a);
	if (h)
		luaL_error(L, "this task has locked the rwlock for %s already: it must unlock it before it can lock it again%s",
			h->writes ? "writing" : "reading", writes && !h->writes ? " (a reader cannot become a writer)" : "");
	if (!(h = lp_rwhold_new(rw, a, writes)))
		luaL_error(L, "not enough memory");
	struct lp_node n = {.obj = &rw->obj, .value = h};
	return lp_lock_then(L, s, &n, deadline, done);
}

static int lock_failed(lua_State *L, struct lp_state *s, struct lp_node *n, int answer)
{
	lp_free(n->value);
	return lp_wait_failed(L, s, n, answer);
}

static int lock_done(lua_State *L, struct lp_state *s, struct lp_node *n, int answer)
{
	if (answer < 0)
		return lock_failed(L, s, n, answer);
	lp_rwlock_entered(n->value);
	lua_pushboolean(L, 1);
	if (!n->result)
		return 1;
	lua_pushliteral(L, "abandoned");
	return 2;
}

static int lock_within(lua_State *L, bool writes)
{
	check_rwlock(L);
	return lock(L, writes, lp_check_timeout(L, 2), lock_done);
}

/* rwlock:read_lock([timeout]), write_lock([timeout]) -> true / true, "abandoned" / nil, "timeout". Block;
 * cancellation points. Abandoned: the last writer ended inside. */
static int rwlock_read_lock(lua_State *L)
{
	return lock_within(L, false);
}

static int rwlock_write_lock(lua_State *L)
{
	return lock_within(L, true);
}

static int try_done(lua_State *L, struct lp_state *s, struct lp_node *n, int answer)
{
	if (answer != LP_TIMEOUT)
		return lock_done(L, s, n, answer);
	lp_free(n->value);
	lua_pushnil(L);
	lua_pushliteral(L, "locked");
	return 2;
}

/* rwlock:try_read_lock(), try_write_lock() -> true / true, "abandoned" / nil, "locked". */
static int rwlock_try_read_lock(lua_State *L)
{
	return lock(L, false, 0, try_done);
}

static int rwlock_try_write_lock(lua_State *L)
{
	return lock(L, true, 0, try_done);
}

/* rwlock:unlock(): ends this task's reading or writing. */
static int rwlock_unlock(lua_State *L)
{
	struct lp_rwlock *rw = check_rwlock(L);
	if (!lp_rwlock_leave(rw, lp_sync_actor(L, lp_state(L))))
		return luaL_error(L, "this task has not locked the rwlock: only who locked it can unlock it");
	return 0;
}

static bool give_back(struct lp_guard *g, struct lp_exec *e)
{
	struct lp_rwhold *h = lp_rwlock_held((struct lp_rwlock *)g->obj, g->actor, g->serial, e);
	if (h)
		lp_rwlock_unlock(h);
	return h != NULL;
}

/* The guard is on top of the stack. */
static int guard_done(lua_State *L, struct lp_state *s, struct lp_node *n, int answer)
{
	if (answer < 0)
		return lock_failed(L, s, n, answer);
	struct lp_guard *g = lua_touserdata(L, -1);
	struct lp_rwhold *h = n->value;
	lp_rwlock_entered(h);
	*g = (struct lp_guard){.own = g->own, .obj = lp_retain(n->obj), .actor = h->actor, .serial = h->serial,
		.give_back = give_back};
	if (!n->result)
		return 1;
	lua_pushliteral(L, "abandoned");
	return 2;
}

static int guard(lua_State *L, bool writes)
{
	check_rwlock(L);
	lp_time deadline = lp_check_timeout(L, 2);
	lp_push_guard(L);
	return lock(L, writes, deadline, guard_done);
}

/* rwlock:read_guard([timeout]), write_guard([timeout]) -> guard / guard, "abandoned" / nil, "timeout". */
static int rwlock_read_guard(lua_State *L)
{
	return guard(L, false);
}

static int rwlock_write_guard(lua_State *L)
{
	return guard(L, true);
}

static int enter_reading(lua_State *L, lp_then entered)
{
	return lock(L, false, LP_FOREVER, entered);
}

static int enter_writing(lua_State *L, lp_then entered)
{
	return lock(L, true, LP_FOREVER, entered);
}

static void with_entered(struct lp_node *n)
{
	lp_rwlock_entered(n->value);
}

static void with_failed(struct lp_node *n)
{
	lp_free(n->value);
}

static void with_leave(lua_State *L, bool failed)
{
	if (!lp_rwlock_leave(check_rwlock(L), lp_state(L)->exec->actor) && !failed)
		luaL_error(L, "the function given to rwlock:with_read or with_write has unlocked the rwlock itself");
}

static int rwlock_tostring(lua_State *L)
{
	struct lp_rwlock *rw = check_rwlock(L);
	struct lp_rwcounts c = lp_rwlock_counts(rw);
	lua_pushfstring(L, "lua-pool.rwlock: %p (", (void *)rw);
	if (c.writer)
		lua_pushliteral(L, "locked for writing");
	else
		lua_pushfstring(L, "%d reading", (int)c.readers);
	lua_pushfstring(L, ", %d waiting%s)", (int)c.waiting, c.abandoned ? ", abandoned" : "");
	lua_concat(L, 3);
	return 1;
}

static int rwlock_gc(lua_State *L)
{
	struct lp_rwlock *rw = lp_test(L, 1, &lp_rwlock_class);
	if (!rw)
		return 0;
	lp_handle_end(L, 1);
	if (rw->obj.generation == lp_generation)
		lp_rwlock_handle_gone(rw, lp_state(L)->exec);
	lp_release(rw);
	return 0;
}

void lp_open_rwlock(lua_State *L, int state)
{
	static const luaL_Reg methods[] = {{"read_lock", rwlock_read_lock}, {"write_lock", rwlock_write_lock},
		{"try_read_lock", rwlock_try_read_lock}, {"try_write_lock", rwlock_try_write_lock},
		{"unlock", rwlock_unlock}, {"read_guard", rwlock_read_guard}, {"write_guard", rwlock_write_guard}, {NULL, NULL}};
	static const char *const blocking[] = {"read_lock", "write_lock", "read_guard", "write_guard", NULL};
	static const luaL_Reg meta[] = {{"__tostring", rwlock_tostring}, {"__gc", rwlock_gc}, {NULL, NULL}};
	static const luaL_Reg functions[] = {{"rwlock", rwlock_new}, {NULL, NULL}};
	static const struct lp_scope reading = {enter_reading, with_entered, with_failed, with_leave, false},
		writing = {enter_writing, with_entered, with_failed, with_leave, false};
	lua_pushvalue(L, state);
	lp_handle_class(L, &lp_rwlock_class, methods, meta, 1);
	lp_blocking_methods(L, state, &lp_rwlock_class, blocking);
	lp_set_with(L, state, &lp_rwlock_class, "with_read", &reading);
	lp_set_with(L, state, &lp_rwlock_class, "with_write", &writing);
	lua_pushvalue(L, state);
	luaL_setfuncs(L, functions, 1);
}
