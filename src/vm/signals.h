/* signals: what ends running code from outside, as Lua sees it: pool.CANCELLED, pool.TIMEOUT, Ctrl-C.
 *
 * A task's own cancellation travels as a value of its own that is == CANCELLED but not the same object
 * (likewise TIMEOUT): so the protected calls of a worker can tell it, which they must not catch, from the
 * CANCELLED of another task that was awaited, which is an ordinary error. */
#ifndef LP_SIGNALS_H
#define LP_SIGNALS_H

#include "vm/state.h"

/* Immortal objects, so that their handles are == in every state. */
extern struct lp_obj lp_cancelled_value, lp_timeout_value;

/* Is this the error with which the actor itself was told to stop? */
bool lp_is_own_stop(lua_State *L, int index, struct lp_actor *a);
/* The same for whatever runs in this Lua state now. For C functions that run code of the user protected, and must let
 * that through. Raises on memory. */
bool lp_ends_actor(lua_State *L, int index);

/* Raises what interrupts the current actor; counts as delivered. */
int lp_raise_interrupt(lua_State *L, struct lp_state *s);
/* A host's wait begins: remembers its debug hook, and whom a signal handler's hook has to wake. */
void lp_host_begin_wait(struct lp_state *s);
/* A signal handler of the host has set a hook meanwhile: lets it run. It may raise, as that of the `lua` program
 * does ("interrupted!"); or it returns, and the wait goes on. */
void lp_run_host_hook(lua_State *L, struct lp_state *s);

/* lua_pcall with one result, in a message handler: what our hook raises in it arrives here (LuaJIT loses it otherwise). */
int lp_pcall_in_handler(lua_State *L, struct lp_worker *w, int nargs);

/* In our signal handler: if the worker's actor has to be told, the running Lua code gets a hook that does. */
void lp_arm_hook(struct lp_worker *w);
/* Takes ours off L, if L has it, and puts back the one that it displaced. */
void lp_disarm_hook(struct lp_worker *w, lua_State *L);

void lp_open_signals(lua_State *L, int state);

#endif
