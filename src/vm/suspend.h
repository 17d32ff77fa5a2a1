/* suspend: how a C function of ours waits: by blocking its thread, or, under an event loop, by suspending the
 * coroutine that called it.
 *
 * A function that waits ends with `return lp_wait_then(L, s, &node, deadline, done)`. What is ready is consumed
 * and `done` called at once; else the thread sleeps and `done` is called after that; else, when an event loop runs
 * the caller, the call is left in the middle, the loop goes on, and `done` is called when the wait is over. In all
 * three cases `done` finds the Lua stack as lp_wait_then found it, and nothing else of its function: no
 * local variable, on LuaJIT no upvalue but the state. What it needs is in the node, or on the stack.
 *
 * The nodes belong to `done`, whatever the answer: what a node carries (a message to be sent) is freed or kept
 * there, and nowhere else. If the coroutine is never resumed, the collector ends the wait: lp_class.discard.
 *
 * Suspending needs Lua code that yields below us. Lua 5.4 has lua_callk for that. LuaJIT has nothing alike, so there
 * the function returns a mark, and a Lua function around it (lp_blocking) does the yielding and calls back. */
#ifndef LP_SUSPEND_H
#define LP_SUSPEND_H

#include "vm/state.h"

/* answer: an index, LP_TIMEOUT, or another negative one, for which it ends with lp_wait_failed. */
typedef int (*lp_then)(lua_State *L, struct lp_state *s, struct lp_node *nodes, int answer);

/* node NULL: waits for nothing but the deadline. The node is copied. */
int lp_wait_then(lua_State *L, struct lp_state *s, struct lp_node *node, lp_time deadline, lp_then then);
/* The nodes lie in a userdata that is on the stack. */
int lp_wait_any_then(lua_State *L, struct lp_state *s, struct lp_node *nodes, int n, lp_time deadline, lp_then then);
/* For a wait that takes effect before it is over (it gives up a mutex): LP_AGAIN when it ended for no reason. */
int lp_wait_once_then(lua_State *L, struct lp_state *s, struct lp_node *node, lp_time deadline, lp_then then);
/* Neither a request nor a deadline scope nor Ctrl-C ends it. */
int lp_wait_shielded_then(lua_State *L, struct lp_state *s, struct lp_node *node, lp_time deadline, lp_then then);

/* The usual `then`: true / nil, "timeout". */
int lp_then_true(lua_State *L, struct lp_state *s, struct lp_node *nodes, int answer);
/* nil, "timeout", or the error that the answer means. */
int lp_wait_failed(lua_State *L, struct lp_state *s, const struct lp_node *nodes, int answer);

/* LuaJIT: the function on top of the stack, which ends as above, becomes one that can yield. Lua 5.4: nothing. Each
 * C function that calls lp_wait_then has to be wrapped; lp_blocking_fields does it for fields of the table at t. */
void lp_blocking(lua_State *L, int state);
void lp_blocking_fields(lua_State *L, int state, int t, const char *const *names);
/* The same for methods of a class, after lp_handle_class. */
struct lp_class;
void lp_blocking_methods(lua_State *L, int state, const struct lp_class *cls, const char *const *names);

/* ---- light.c, lib_loop.c ---- */
/* What lua-pool/loop.lua gives: see there. Registry keys. */
extern const char lp_loop_ask, lp_loop_suspend, lp_loop_life, lp_loop_sweep;
/* The state's inbox; raises on memory. */
struct lp_inbox *lp_state_inbox(lua_State *L, struct lp_state *s);
/* The coroutine that called is suspended: nothing anchors it for us any more. */
void lp_leave_coroutine(lua_State *L, struct lp_state *s);
/* Of the waits of e, a light thread: gives up those in which its coroutine co will not come back. NULL: it was collected. */
void lp_give_up_gone(lua_State *L, struct lp_exec *e, lua_State *co);
/* What the light thread of e has left, locks and scopes: its coroutine is gone. */
void lp_light_clear(struct lp_exec *e);
/* Has the coroutine co ended? */
bool lp_is_dead(lua_State *L, lua_State *co);
/* Of all light threads of the state, those that can be told to be gone: for a report. Raises nothing. */
void lp_sweep_lights(lua_State *L, struct lp_state *s);
/* Is o held by a light thread of this state whose coroutine has ended? Then it is given back, as abandoned. */
bool lp_bury(lua_State *L, struct lp_state *s, struct lp_obj *o);
/* The coroutine on top of the stack becomes its light thread, a userdata, or nil if it has none. */
void lp_push_light(lua_State *L);
/* Before the caller, if it is a light thread, gets a lock or a scope: notes for which job of its coroutine. */
void lp_light_note(lua_State *L, struct lp_state *s);

#endif
