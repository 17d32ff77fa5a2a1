/* lib_rwlock: pool.rwlock() for Lua. */
#include "handle.h"
#include "lib_sync.h"
#include "rwlock.h"

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

/* Enters; NULL: the deadline came first. */
static struct lp_rwhold *lock(lua_State *L, bool writes, lp_time deadline, bool *abandoned)
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
	int answer = lp_sync_wait(L, s, &n, deadline);
	if (answer < 0) {
		lp_free(h);
		if (answer != LP_TIMEOUT)
			lp_sync_raise(L, s, &n, answer);
		return NULL;
	}
	lp_rwlock_entered(h);
	*abandoned = n.result;
	return h;
}

static int push_locked(lua_State *L, bool abandoned)
{
	lua_pushboolean(L, 1);
	if (!abandoned)
		return 1;
	lua_pushliteral(L, "abandoned");
	return 2;
}

static int lock_within(lua_State *L, bool writes)
{
	bool abandoned;
	check_rwlock(L);
	return lock(L, writes, lp_check_timeout(L, 2), &abandoned) ? push_locked(L, abandoned) : lp_push_timeout(L);
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

static int lock_now(lua_State *L, bool writes)
{
	bool abandoned;
	if (lock(L, writes, 0, &abandoned))
		return push_locked(L, abandoned);
	lua_pushnil(L);
	lua_pushliteral(L, "locked");
	return 2;
}

/* rwlock:try_read_lock(), try_write_lock() -> true / true, "abandoned" / nil, "locked". */
static int rwlock_try_read_lock(lua_State *L)
{
	return lock_now(L, false);
}

static int rwlock_try_write_lock(lua_State *L)
{
	return lock_now(L, true);
}

/* rwlock:unlock(): ends this task's reading or writing. */
static int rwlock_unlock(lua_State *L)
{
	struct lp_rwlock *rw = check_rwlock(L);
	struct lp_rwhold *h = lp_rwlock_find(rw, lp_sync_actor(L, lp_state(L)));
	if (!h)
		return luaL_error(L, "this task has not locked the rwlock: only who locked it can unlock it");
	lp_rwlock_unlock(h);
	return 0;
}

static bool give_back(struct lp_guard *g, struct lp_exec *e)
{
	/* Only actors that this thread runs have lists that it may look at. */
	for (struct lp_actor *a = e ? e->actor : NULL; a; a = a->outer) {
		struct lp_rwhold *h = a == g->actor ? lp_rwlock_find((struct lp_rwlock *)g->obj, a) : NULL;
		if (h && h->serial == g->serial) {
			lp_rwlock_unlock(h);
			return true;
		}
	}
	return false;
}

static int guard(lua_State *L, bool writes)
{
	bool abandoned;
	struct lp_rwlock *rw = check_rwlock(L);
	lp_time deadline = lp_check_timeout(L, 2);
	struct lp_guard *g = lp_push_guard(L);
	struct lp_rwhold *h = lock(L, writes, deadline, &abandoned);
	if (!h)
		return lp_push_timeout(L);
	*g = (struct lp_guard){.obj = lp_retain(rw), .actor = h->actor, .serial = h->serial, .give_back = give_back};
	if (!abandoned)
		return 1;
	lua_pushliteral(L, "abandoned");
	return 2;
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

static void enter_reading(lua_State *L)
{
	bool abandoned;
	lock(L, false, LP_FOREVER, &abandoned);
}

static void enter_writing(lua_State *L)
{
	bool abandoned;
	lock(L, true, LP_FOREVER, &abandoned);
}

static void with_leave(lua_State *L, bool failed)
{
	struct lp_rwhold *h = lp_rwlock_find(check_rwlock(L), lp_state(L)->exec->actor);
	if (h)
		lp_rwlock_unlock(h);
	else if (!failed)
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
	struct lp_handle *h = lua_touserdata(L, 1);
	struct lp_rwlock *rw = (struct lp_rwlock *)h->obj;
	h->obj = NULL;
	if (rw && rw->obj.generation == lp_generation)
		lp_rwlock_handle_gone(rw, lp_state(L)->exec);
	lp_release(rw);
	return 0;
}

void lp_open_rwlock(lua_State *L, int state)
{
	static const luaL_Reg methods[] = {{"read_lock", rwlock_read_lock}, {"write_lock", rwlock_write_lock},
		{"try_read_lock", rwlock_try_read_lock}, {"try_write_lock", rwlock_try_write_lock},
		{"unlock", rwlock_unlock}, {"read_guard", rwlock_read_guard}, {"write_guard", rwlock_write_guard}, {NULL, NULL}};
	static const luaL_Reg meta[] = {{"__tostring", rwlock_tostring}, {"__gc", rwlock_gc}, {NULL, NULL}};
	static const luaL_Reg functions[] = {{"rwlock", rwlock_new}, {NULL, NULL}};
	static const struct lp_scope reading = {enter_reading, with_leave}, writing = {enter_writing, with_leave};
	lua_pushvalue(L, state);
	lp_handle_class(L, &lp_rwlock_class, methods, meta, 1);
	lp_set_with(L, state, &lp_rwlock_class, "with_read", &reading);
	lp_set_with(L, state, &lp_rwlock_class, "with_write", &writing);
	lua_pushvalue(L, state);
	luaL_setfuncs(L, functions, 1);
}
