/* barrier: n have to come before any of them goes on; then it is closed again for the next n.
 *
 * Whoever leaves before that (a timeout) has not come. But once the last one has come all n have passed,
 * even one whose time was up in that very instant: its node's result says so, whatever its wait answered. */
#ifndef LP_BARRIER_H
#define LP_BARRIER_H

#include "wait/wait.h"

struct lp_barrier {
	struct lp_obj obj;
	lp_mutex lock;
	uint32_t size;          /* [I] at least 1 */
	_Atomic uint32_t here;  /* written under lock: nodes in waiters */
	struct lp_link waiters; /* [lock] nodes in the order in which they came */
};

extern const struct lp_class lp_barrier_class;

struct lp_barrier *lp_barrier_new(uint32_t size); /* count 1; NULL: out of memory */
/* A node's result after lp_wait_any, whatever that answered: 1 ... size in the order of coming, the last
 * one being `size`; 0: it has not passed. Only in a wait for this node alone. */

#endif
