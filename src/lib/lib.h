/* lib: what the lib_*.c files share beyond state.h. */
#ifndef LP_LIB_H
#define LP_LIB_H

#include "sched/group.h"
#include "vm/state.h"
#include "sched/worker.h"

extern bool lp_spinning; /* more than one core: a short spin may be answered by another */

/* The pool that a function of the module means: the one that runs this task, or the default. Not
 * retained: a worker holds its pool, and the default pool is kept by this state's registry. */
struct lp_pool *lp_module_pool(lua_State *L, struct lp_state *s);
/* The pool of the handle at this argument. */
struct lp_pool *lp_check_pool(lua_State *L, int index);

/* async and its kin: fn and its arguments are on the stack from `first` to the top; g: the group that it becomes a
 * member of, at index 1, or NULL. May wait for room in the queue: `return lp_submit(...)`, as lp_wait_then. Unseen:
 * as async, but the future is dropped. */
enum lp_submit_mode { LP_ASYNC, LP_TRY, LP_GO, LP_UNSEEN };
int lp_submit(lua_State *L, struct lp_state *s, struct lp_pool *p, struct lp_group *g, int first, enum lp_submit_mode mode);

/* The task that runs here has heard that what it waits for was cancelled. If it is cancelled itself, or an ancestor is and
 * the request has not come down to it yet, it is told so instead: raises. */
void lp_raise_if_doomed(lua_State *L, struct lp_state *s);

/* Its members have ended: pushes true, or raises what one of them raised, or CANCELLED. */
int lp_group_outcome(lua_State *L, struct lp_group *g);

/* install_protected(): replaces pcall and its kin in the globals of a worker (Lua 5.4). */
int lp_install_protected(lua_State *L);

/* The pool handle's object: when its last handle goes, the pool drains in the background. */
struct lp_pool_ref {
	struct lp_obj obj;
	struct lp_pool *pool; /* [I] counted */
	bool shared;          /* [I] not the owner: its end does not drain the pool (the default pool) */
};
extern const struct lp_class lp_pool_ref_class;

/* Pushes the values of a message that the channel gave to who runs this, who owns it: *packet, at which
 * whatever frees it after an error looks. What the end of the task cuts off in Lua code (__pool_decode) is put back, and
 * *packet NULL then. */
struct lp_channel;
struct lp_state;
int lp_channel_open(lua_State *L, struct lp_state *s, struct lp_channel *ch, void **packet);

#endif
