/* lib_sync: what the Lua classes of locks share. */
#ifndef LP_LIB_SYNC_H
#define LP_LIB_SYNC_H

#include "values/own.h"
#include "vm/suspend.h"

/* The one who waits and owns: the running task, or this Lua state. Raises while the state closes. */
struct lp_actor *lp_sync_actor(lua_State *L, struct lp_state *s);

/* lp_wait_then; the usual case, nothing to wait for, in a few instructions. */
int lp_lock_then(lua_State *L, struct lp_state *s, struct lp_node *n, lp_time deadline, lp_then then);

/* For what has to be finished here and now, on the C stack: blocks the thread also under an event loop. */
static inline int lp_sync_wait(lua_State *L, struct lp_state *s, struct lp_node *n, lp_time deadline)
{
	lp_sync_actor(L, s);
	return lp_wait_blocking(L, s, n, 1, deadline, false);
}
#define lp_sync_raise lp_wait_raise

/* scope: obj:with(fn, ...): `enter` with the object at index 1 waits for it (as lp_wait_then does, without end; it may
 * raise, and leaves the stack as it was), then fn(...) protected, then `leave`, then fn's results or its error.
 * No Lua instruction lies in between on Lua 5.4, so nothing that stops a task from outside can fall there. */
struct lp_scope {
	int (*enter)(lua_State *L, lp_then then);
	void (*entered)(struct lp_node *n);       /* it was consumed; may be NULL */
	void (*failed)(struct lp_node *n);        /* it was not; may be NULL */
	void (*leave)(lua_State *L, bool failed); /* raises only if !failed */
	bool gives;                               /* fn gets the object as its first argument: what was opened, not a lock */
};
/* Pushes the method. `scope` is static; the functions find the state as usual. */
void lp_push_with(lua_State *L, int state, const struct lp_scope *scope);
/* Adds the method to the class. */
void lp_set_with(lua_State *L, int state, const struct lp_class *cls, const char *name, const struct lp_scope *scope);

/* guard: for `local g <close> = m:guard()`. Its end gives back what it was made for if that is still held.
 * Pushes an empty one, to be filled when the lock is taken. */
struct lp_guard {
	struct lp_own own;
	struct lp_obj *obj;       /* counted; NULL: empty or released */
	struct lp_actor *actor;   /* who took it: only compared */
	uint32_t serial;          /* of the taking */
	bool (*give_back)(struct lp_guard *g, struct lp_exec *e); /* false: it is not held any more */
};
struct lp_guard *lp_push_guard(lua_State *L);
#if LP_LUAJIT
/* obj:with(fn, ...) for what the end of a task does not give back by itself: by the class's method `guard`, whose guard does. Lua code
 * lies between the taking and the protected call here, where a task can be stopped. */
void lp_set_with_by_guard(lua_State *L, int state, const struct lp_class *cls);
#endif

void lp_open_mutex(lua_State *L, int state);
void lp_open_rwlock(lua_State *L, int state);
void lp_open_once(lua_State *L, int state);
void lp_open_guard(lua_State *L, int state);

#endif
