/* lib: what the lib_*.c files share beyond state.h. */
#ifndef LP_LIB_H
#define LP_LIB_H

#include "state.h"
#include "worker.h"

extern bool lp_spinning; /* more than one core: a short spin may be answered by another */

/* Waits for a task's end, running it here if that is right. False: the deadline came first. */
bool lp_future_wait(lua_State *L, struct lp_state *s, struct lp_task *t, lp_time deadline);

/* The pool handle's object: when its last handle goes, the pool drains in the background. */
struct lp_pool_ref {
	struct lp_obj obj;
	struct lp_pool *pool; /* [I] counted */
	bool shared;          /* [I] not the owner: its end does not drain the pool (the default pool) */
};
extern const struct lp_class lp_pool_ref_class;

#endif
