/* blocking: system calls that may block, on behalf of a Lua function.
 *
 *     lp_block_begin(L, s);                   a cancellation point; may raise
 *     ... get hold of things ...
 *     while ((r = read(...)) < 0 && errno == EINTR && !lp_block_over(s))
 *             ;                               restarts only while nothing was asked
 *     ... give them back ...
 *     if (stopped) return lp_block_raise(L, s);
 *
 * A worker's thread gets our signal for as long as its task has something to be told, so no system call
 * that a signal can end outlasts a cancellation (stop.h). */
#ifndef LP_BLOCKING_H
#define LP_BLOCKING_H

#include <poll.h>

#include "vm/state.h"

/* Raises what was asked of the actor: CANCELLED, TIMEOUT, a Ctrl-C; or that the state is closing. */
void lp_block_begin(lua_State *L, struct lp_state *s);
/* Is there something to be told? Any number of times, in the middle of anything: no Lua, no locks. */
bool lp_block_over(struct lp_state *s);
/* Raises it. */
int lp_block_raise(lua_State *L, struct lp_state *s);

/* poll(2) until one of the descriptors is ready: how many are; LP_TIMEOUT: deadline; LP_CANCELLED: there
 * is something to be told (lp_block_raise). `yields`: the permit is given up meanwhile, for waits that
 * another task may end. Other failures of poll count as ready: the read or write that follows tells. */
int lp_block_poll(struct lp_state *s, struct pollfd *fds, int n, lp_time deadline, bool yields);
int lp_block_poll_one(struct lp_state *s, int fd, short events, lp_time deadline, bool yields);

/* The permit of a worker, around a system call that waits for others. */
void lp_block_yield(struct lp_state *s);
void lp_block_resume(struct lp_state *s);

/* Pushes nil, "path: No such file or directory", errno; returns 3. */
int lp_push_errno(lua_State *L, const char *path, size_t len, int err);

#endif
