/* holdings: what handles of a Lua state hold of that the system has few: descriptors, processes, folders that are to be
 * removed.
 *
 * Lua's collector counts bytes, and a handle has forty of them. So a worker lists the handles that its tasks made, and looks
 * through the list when a task has ended and before it sleeps: if any still holds something, a task has left it, and
 * the worker collects. What survives is kept on purpose, and forgotten. The collector hears of each new one as of a few
 * KiB; and who finds no descriptor left collects and tries again. */
#ifndef LP_HOLDINGS_H
#define LP_HOLDINGS_H

#include "vm/state.h"

/* The handle at index, or the FILE of Lua's own, has just come to hold something. May raise (memory; on LuaJIT what a
 * finaliser raises): then it is garbage that is not on the list. */
void lp_hold(lua_State *L, struct lp_state *s, int index);
/* The same for one that came in a message: if others have it as well they hold it, not this state. */
void lp_hold_received(lua_State *L, int index);

/* How many of the handles on the list still hold something that nobody else has, and (*shared) something that others have
 * too. Whoever has collected then sets s->held to 0. */
unsigned lp_holdings_left(lua_State *L, struct lp_state *s, unsigned *shared);
/* Was a descriptor missing in this process, less than a second ago? */
bool lp_holdings_short(void);

/* A whole collection: what was garbage before is gone. `stop`, if not NULL, is asked now and then whether to stop half way.
 * False: stopped, by it or by the program (collectgarbage "stop"). Finalisers run in it; raises nothing. */
typedef bool lp_stop_test(void *data);
bool lp_collect_whole(lua_State *L, lp_stop_test *stop, void *data);

/* A system call of the C function that runs (it has called lp_block_begin) answered err. True: there was no descriptor, and
 * it is to be tried again: this state's were collected, or others may have been meanwhile. *tries: 0 at first. Runs
 * finalisers, raises nothing. */
bool lp_hold_less(struct lp_state *s, int err, int *tries);
/* The same for a call in L, once. */
bool lp_hold_less_in(lua_State *L, struct lp_state *s, int err);

#endif
