/* close: the end of a host's state, and of the process. */
#ifndef LP_CLOSE_H
#define LP_CLOSE_H

#include "sched/pool.h"

/* The host's tasks end: queued ones are dropped, running ones are cancelled and waited for, detached
 * ones may finish until exit_timeout. When it is the last host of the process, every thread ends too.
 * Blocks, but never for ever. Called twice it does nothing. */
void lp_host_close(struct lp_host *h);
/* The state is closing, and code of its own still runs, as `<close>` variables do in lua_close: ends its tasks as lp_host_close
 * does, which has to come later all the same. Called twice it does nothing. */
void lp_host_end(struct lp_host *h);
/* The same, and closes a pool, as far as it ends in that time. */
void lp_host_end_pool(struct lp_host *h, struct lp_pool *p);
/* The same without waiting, for a state under an event loop, which may serve others: what has not ended then ends
 * beside it, and the end of the process waits as lp_host_close does. */
void lp_host_leave(struct lp_host *h);

/* Once per process: the same for all hosts when exit() runs (os.exit without closing the state). */
void lp_close_at_exit(void);

/* The default pool of the process: counted by this module; NULL: none yet. */
struct lp_pool *lp_default_pool(void);                   /* retained, or NULL */
/* Makes p the default, unless there is one; answers the default, retained. */
struct lp_pool *lp_set_default_pool(struct lp_pool *p);

#endif
