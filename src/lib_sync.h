/* lib_sync: what the Lua classes of locks share. */
#ifndef LP_LIB_SYNC_H
#define LP_LIB_SYNC_H

#include "state.h"

/* The one who waits and owns: the running task, or this Lua state. Raises while the state closes. */
struct lp_actor *lp_sync_actor(lua_State *L, struct lp_state *s);

/* lp_wait_one without raising, for a caller who has to clean up first; then lp_sync_raise with a negative
 * answer other than LP_TIMEOUT, and with the stack as this left it. The usual case, nothing to wait for, in a
 * few instructions. */
int lp_sync_wait(lua_State *L, struct lp_state *s, struct lp_node *n, lp_time deadline);
/* The same for what cannot simply be waited for again: answers LP_AGAIN when a signal handler of the host has run
 * meanwhile and did not raise. */
enum { LP_AGAIN = -16 };
int lp_sync_once(lua_State *L, struct lp_state *s, struct lp_node *n, lp_time deadline);
int lp_sync_raise(lua_State *L, struct lp_state *s, struct lp_node *n, int answer);

/* scope: obj:with(fn, ...): `enter` with the object at index 1 (may raise, leaves the stack as it was), then
 * fn(...) protected, then `leave`, then fn's results or its error. No Lua instruction lies in between
 * on Lua 5.4, so nothing that stops a task from outside can fall there. */
struct lp_scope {
	void (*enter)(lua_State *L);
	void (*leave)(lua_State *L, bool failed); /* raises only if !failed */
};
/* Pushes the method. `scope` is static; the functions find the state as usual. */
void lp_push_with(lua_State *L, int state, const struct lp_scope *scope);
/* Adds the method to the class. */
void lp_set_with(lua_State *L, int state, const struct lp_class *cls, const char *name, const struct lp_scope *scope);

/* guard: for `local g <close> = m:guard()`. Its end gives back what it was made for if that is still held.
 * Pushes an empty one, to be filled when the lock is taken. */
struct lp_guard {
	struct lp_obj *obj;       /* counted; NULL: empty or released */
	struct lp_actor *actor;   /* who took it: only compared */
	uint32_t serial;          /* of the taking */
	bool (*give_back)(struct lp_guard *g, struct lp_exec *e); /* false: it is not held any more */
};
struct lp_guard *lp_push_guard(lua_State *L);

void lp_open_mutex(lua_State *L, int state);
void lp_open_rwlock(lua_State *L, int state);
void lp_open_once(lua_State *L, int state);
void lp_open_guard(lua_State *L, int state);

#endif
