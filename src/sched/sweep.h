/* sweep: a walk over everything that runs: in one pool, or in all of the process. The one way to find running tasks:
 * cancelling, closing, deadlines go through it.
 *
 * It finds every task that is on a worker's stack when the walk begins and is still there when the walk comes by, each at
 * most once, however many there are: it holds a few at a time and goes on from the place where it was. So it ends,
 * whatever is done with what it finds. A task that comes onto a stack later may be missed: whoever wants to reach those too
 * leaves a mark first, at which a task looks when it starts (task.h, T1). */
#ifndef LP_SWEEP_H
#define LP_SWEEP_H

#include "sched/worker.h"

/* Is it one of those that are looked for? Called under the worker's lock, which pins the actor and its task: looks at their
 * memory only, takes no lock and no count. NULL: all. */
typedef bool lp_sweep_wants(struct lp_worker *w, struct lp_actor *a, void *data);

enum { LP_SWEEP_ROUND = 32 };

struct lp_sweep {
	struct lp_pool *pool;         /* counted; where it is */
	bool all, over;               /* goes on with the next pool; there is none */
	bool serving;                 /* it is among the workers without a thread, which come last */
	uint64_t place;               /* goes on with this worker, ... */
	unsigned depth;               /* ... below this depth of its stack; 0: with the next worker */
	lp_sweep_wants *wants;
	void *data;
	struct lp_task *found[LP_SWEEP_ROUND]; /* counted: next .. n-1 */
	unsigned n, next;
};

/* only: one pool; NULL: all pools. */
void lp_sweep_begin(struct lp_sweep *s, struct lp_pool *only, lp_sweep_wants *wants, void *data);
/* The next one; its count is the caller's. NULL: there are no more, and the sweep holds nothing. Without any lock. */
struct lp_task *lp_sweep_next(struct lp_sweep *s);

#endif
