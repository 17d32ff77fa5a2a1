/* lib_sync: pool.condition, pool.semaphore and pool.barrier for Lua; opens the other locks and pool.select too. */
#include <stdio.h>

#include "lib/lib_sync.h"
#include "sync/barrier.h"
#include "sync/condition.h"
#include "values/handle.h"
#include "sync/semaphore.h"
#include "vm/suspend.h"
#include "sched/worker.h"

/* ---- condition ---- */

/* pool.condition() -> condition. */
static int condition_new(lua_State *L)
{
	struct lp_handle *h = lp_handle_new(L, &lp_condition_class);
	struct lp_condition *c = lp_condition_new();
	if (!c)
		return luaL_error(L, "not enough memory");
	h->obj = &c->obj;
	return 1;
}

/* The stack of both: condition, mutex, timeout, the struct lp_condition_wait; then the answer of the first wait, and its
 * error if that is LP_RAISED. */
static int relocked(lua_State *L, struct lp_state *s, struct lp_node *again, int locked)
{
	if (locked < 0)
		return lp_wait_raise(L, s, again, locked);
	struct lp_condition_wait *cw = lua_touserdata(L, 4);
	lp_mtx_entered(cw->m, cw->actor);
	int answer = (int)lua_tointeger(L, 5);
	lua_settop(L, 6);
	if (answer < 0 && answer != LP_AGAIN) /* awake for no reason, as conditions may be */
		return lp_wait_failed(L, s, &(struct lp_node){.obj = lp_toobj(L, 1)}, answer);
	lua_pushboolean(L, 1);
	if (!again->result)
		return 1;
	lua_pushliteral(L, "abandoned");
	return 2;
}

/* Takes the mutex again whatever is asked of us meanwhile: what was asked stays and is told afterwards. */
static int signalled(lua_State *L, struct lp_state *s, struct lp_node *n, int answer)
{
	struct lp_condition_wait *cw = n->value;
	if (!cw->released)
		return lp_wait_failed(L, s, n, answer);
	lua_pushinteger(L, answer);
	lua_insert(L, 5);
	lua_settop(L, 6);
	struct lp_node again = {.obj = &cw->m->obj, .value = cw->actor};
	return lp_wait_shielded_then(L, s, &again, LP_FOREVER, relocked);
}

/* condition:wait(mutex [, timeout]) -> true / true, "abandoned" / nil, "timeout". The caller owns the
 * mutex: it is unlocked while this waits and locked again whenever this returns or raises (but for a
 * dead-lock in locking it again). Blocks; a cancellation point. */
static int condition_wait(lua_State *L)
{
	struct lp_condition *c = lp_check(L, 1, &lp_condition_class);
	struct lp_mtx *m = lp_check(L, 2, &lp_mtx_class);
	lp_time deadline = lp_check_timeout(L, 3);
	struct lp_state *s = lp_state(L);
	struct lp_actor *a = lp_sync_actor(L, s);
	if (!lp_mtx_owned(m, a))
		luaL_argerror(L, 2, "the mutex is not locked by this task: lock it before waiting for the condition");
	lua_settop(L, 3);
	struct lp_condition_wait *cw = lua_newuserdatauv(L, sizeof *cw, 0);
	*cw = (struct lp_condition_wait){.m = m, .actor = a};
	struct lp_node n = {.obj = &c->obj, .value = cw};
	return lp_wait_once_then(L, s, &n, deadline, signalled);
}

static int wake(lua_State *L, bool all)
{
	struct lp_condition *c = lp_check(L, 1, &lp_condition_class);
	lua_pushinteger(L, (lua_Integer)lp_condition_signal(c, all));
	return 1;
}

/* condition:signal(), broadcast() -> how many were woken: the longest wait, or all. Never block; whoever
 * changes what the mutex guards should own it. */
static int condition_signal(lua_State *L)
{
	return wake(L, false);
}

static int condition_broadcast(lua_State *L)
{
	return wake(L, true);
}

static int condition_tostring(lua_State *L)
{
	struct lp_condition *c = lp_check(L, 1, &lp_condition_class);
	int waiting = 0;
	lp_lock(&c->lock);
	for (struct lp_link *l = c->waiters.next; l != &c->waiters; l = l->next)
		waiting++;
	lp_unlock(&c->lock);
	lua_pushfstring(L, "lua-pool.condition: %p (%d waiting)", (void *)c, waiting);
	return 1;
}

/* ---- semaphore ---- */

/* A number of permits; absent: `least`... only where the caller says so. */
static uint32_t check_permits(lua_State *L, int index, lua_Integer least)
{
	return (uint32_t)lp_check_int(L, index, least, (lua_Integer)UINT32_MAX);
}

/* pool.semaphore(n) -> semaphore with n permits. */
static int semaphore_new(lua_State *L)
{
	uint32_t n = check_permits(L, 1, 0);
	struct lp_handle *h = lp_handle_new(L, &lp_semaphore_class);
	struct lp_semaphore *sem = lp_semaphore_new(n);
	if (!sem)
		return luaL_error(L, "not enough memory");
	h->obj = &sem->obj;
	return 1;
}

/* semaphore:acquire([timeout]) -> true / nil, "timeout". Blocks; a cancellation point. */
static int semaphore_acquire(lua_State *L)
{
	struct lp_semaphore *sem = lp_check(L, 1, &lp_semaphore_class);
	struct lp_node n = {.obj = &sem->obj};
	return lp_wait_then(L, lp_state(L), &n, lp_check_timeout(L, 2), lp_then_true);
}

static int try_acquired(lua_State *L, struct lp_state *s, struct lp_node *n, int answer)
{
	if (answer != LP_TIMEOUT)
		return lp_then_true(L, s, n, answer);
	lua_pushnil(L);
	lua_pushliteral(L, "empty");
	return 2;
}

/* semaphore:try_acquire() -> true / nil, "empty". */
static int semaphore_try_acquire(lua_State *L)
{
	struct lp_semaphore *sem = lp_check(L, 1, &lp_semaphore_class);
	struct lp_state *s = lp_state(L);
	struct lp_node n = {.obj = &sem->obj};
	lp_sync_actor(L, s);
	return lp_lock_then(L, s, &n, 0, try_acquired);
}

/* semaphore:release([n]): anybody may; n is 1 if absent. */
static int semaphore_release(lua_State *L)
{
	struct lp_semaphore *sem = lp_check(L, 1, &lp_semaphore_class);
	uint32_t n = lua_isnoneornil(L, 2) ? 1 : check_permits(L, 2, 1);
	if (!lp_semaphore_release(sem, n))
		return luaL_error(L, "a semaphore holds at most 4294967295 permits");
	return 0;
}

static bool give_back(struct lp_guard *g, struct lp_exec *e)
{
	(void)e; /* a permit belongs to nobody */
	return lp_semaphore_release((struct lp_semaphore *)g->obj, 1);
}

/* The guard is on top of the stack. */
static int guard_done(lua_State *L, struct lp_state *s, struct lp_node *n, int answer)
{
	if (answer < 0)
		return lp_wait_failed(L, s, n, answer);
	struct lp_guard *g = lua_touserdata(L, -1);
	*g = (struct lp_guard){.own = g->own, .obj = lp_retain(n->obj), .give_back = give_back};
	return 1;
}

/* semaphore:guard([timeout]) -> guard / nil, "timeout": takes a permit; the guard gives it back. Blocks; a cancellation point. */
static int semaphore_guard(lua_State *L)
{
	struct lp_semaphore *sem = lp_check(L, 1, &lp_semaphore_class);
	lp_time deadline = lp_check_timeout(L, 2);
	struct lp_node n = {.obj = &sem->obj};
	lp_push_guard(L);
	return lp_wait_then(L, lp_state(L), &n, deadline, guard_done);
}

#if !LP_LUAJIT
static int with_enter(lua_State *L, lp_then entered)
{
	struct lp_semaphore *sem = lp_check(L, 1, &lp_semaphore_class);
	struct lp_node n = {.obj = &sem->obj};
	return lp_wait_then(L, lp_state(L), &n, LP_FOREVER, entered);
}

static void with_leave(lua_State *L, bool failed)
{
	if (!lp_semaphore_release(lp_check(L, 1, &lp_semaphore_class), 1) && !failed)
		luaL_error(L, "a semaphore holds at most 4294967295 permits");
}
#endif

/* semaphore:value() -> how many permits are there at this moment. */
static int semaphore_value(lua_State *L)
{
	struct lp_semaphore *sem = lp_check(L, 1, &lp_semaphore_class);
	lua_pushinteger(L, (lua_Integer)lp_semaphore_count(sem));
	return 1;
}

static int semaphore_tostring(lua_State *L)
{
	struct lp_semaphore *sem = lp_check(L, 1, &lp_semaphore_class);
	char text[64];
	unsigned waiting = 0;
	lp_lock(&sem->lock);
	for (struct lp_link *l = sem->waiters.next; l != &sem->waiters; l = l->next)
		waiting++;
	lp_unlock(&sem->lock);
	snprintf(text, sizeof text, "%u permits, %u waiting", (unsigned)lp_semaphore_count(sem), waiting);
	lua_pushfstring(L, "lua-pool.semaphore: %p (%s)", (void *)sem, text);
	return 1;
}

/* ---- barrier ---- */

/* pool.barrier(n) -> barrier for n. */
static int barrier_new(lua_State *L)
{
	uint32_t n = (uint32_t)lp_check_int(L, 1, 1, 1000000000);
	struct lp_handle *h = lp_handle_new(L, &lp_barrier_class);
	struct lp_barrier *b = lp_barrier_new(n);
	if (!b)
		return luaL_error(L, "not enough memory");
	h->obj = &b->obj;
	return 1;
}

static int barrier_done(lua_State *L, struct lp_state *s, struct lp_node *n, int answer)
{
	if (n->result == 0)
		return lp_wait_failed(L, s, n, answer);
	lua_pushinteger(L, n->result);
	return 1;
}

/* barrier:wait([timeout]) -> 1 ... n, in the order of coming: n is the one that came last / nil, "timeout":
 * it has not come, the barrier still needs n. Blocks; a cancellation point. */
static int barrier_wait(lua_State *L)
{
	struct lp_barrier *b = lp_check(L, 1, &lp_barrier_class);
	struct lp_node n = {.obj = &b->obj};
	return lp_wait_then(L, lp_state(L), &n, lp_check_timeout(L, 2), barrier_done);
}

static int barrier_tostring(lua_State *L)
{
	struct lp_barrier *b = lp_check(L, 1, &lp_barrier_class);
	lua_pushfstring(L, "lua-pool.barrier: %p (%d of %d are here)", (void *)b, (int)atomic_load(&b->here), (int)b->size);
	return 1;
}

/* ---- opening ---- */

void lp_open_sync(lua_State *L, int state)
{
	static const char *const waits[] = {"wait", NULL}, *const acquires[] = {"acquire", "guard", NULL};
	static const luaL_Reg condition[] = {{"wait", condition_wait}, {"signal", condition_signal},
		{"broadcast", condition_broadcast}, {NULL, NULL}};
	static const luaL_Reg semaphore[] = {{"acquire", semaphore_acquire}, {"try_acquire", semaphore_try_acquire},
		{"release", semaphore_release}, {"guard", semaphore_guard}, {"value", semaphore_value}, {NULL, NULL}};
	static const luaL_Reg barrier[] = {{"wait", barrier_wait}, {NULL, NULL}};
	static const luaL_Reg meta[][2] = {{{"__tostring", condition_tostring}, {NULL, NULL}},
		{{"__tostring", semaphore_tostring}, {NULL, NULL}}, {{"__tostring", barrier_tostring}, {NULL, NULL}}};
	static const luaL_Reg functions[] = {{"condition", condition_new}, {"semaphore", semaphore_new},
		{"barrier", barrier_new}, {NULL, NULL}};
	lua_pushvalue(L, state);
	lp_handle_class(L, &lp_condition_class, condition, meta[0], 1);
	lua_pushvalue(L, state);
	lp_handle_class(L, &lp_semaphore_class, semaphore, meta[1], 1);
	lua_pushvalue(L, state);
	lp_handle_class(L, &lp_barrier_class, barrier, meta[2], 1);
	lp_blocking_methods(L, state, &lp_condition_class, waits);
	lp_blocking_methods(L, state, &lp_barrier_class, waits);
	lp_blocking_methods(L, state, &lp_semaphore_class, acquires);
	lua_pushvalue(L, state);
	luaL_setfuncs(L, functions, 1);
	lp_open_guard(L, state);
#if LP_LUAJIT
	lp_set_with_by_guard(L, state, &lp_semaphore_class);
#else
	static const struct lp_scope permit = {with_enter, NULL, NULL, with_leave, false};
	lp_set_with(L, state, &lp_semaphore_class, "with", &permit);
#endif
	lp_open_mutex(L, state);
	lp_open_rwlock(L, state);
	lp_open_once(L, state);
	lp_open_select(L, state);
}
