/* condition: waits until somebody says that what a mutex guards has changed.
 *
 * Waiting gives the mutex up in the instant in which the waiter is queued, so no signal in between is lost:
 * the signaller either still waits for the mutex, or finds the waiter. Taking the mutex again is the
 * waiter's own business, after the wait. */
#ifndef LP_CONDITION_H
#define LP_CONDITION_H

#include "sync/mutex.h"

struct lp_condition {
	struct lp_obj obj;
	lp_mutex lock;
	struct lp_link waiters; /* [lock] nodes, the longest wait first */
};

extern const struct lp_class lp_condition_class;

/* A node's value. Only in a wait for this node alone. */
struct lp_condition_wait {
	struct lp_mtx *m;       /* owned by actor, which waits */
	struct lp_actor *actor;
	bool released;          /* out: m was given up */
};

struct lp_condition *lp_condition_new(void); /* count 1; NULL: out of memory */
/* Wakes the longest wait, or all. How many. */
unsigned lp_condition_signal(struct lp_condition *c, bool all);

#endif
