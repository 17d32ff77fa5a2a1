/* ends: hears of the ends of several tasks, in the order in which they end: what all, any and as_completed wait for.
 *
 * One node per task lies in that task's list from the begin to its end, so hearing of an end costs the same however many
 * others there are. Each end takes two steps: the task *announces* it, which gives it its place in the order, before
 * anybody can see that the task has ended, and *tells* it after that. So whoever was let go by the end of one task ends
 * behind it, even if the thread of the first is held up between the two. What is given to those who wait is the first in
 * the order, once it was told.
 *
 * A node in a list counts the object, for whoever takes it out. The lock of the object may be taken under a task's. */
#ifndef LP_ENDS_H
#define LP_ENDS_H

#include "sched/task.h"

struct lp_ends {
	struct lp_obj obj;
	lp_mutex lock;
	uint32_t n;               /* [I] tasks */
	uint32_t placed;          /* [lock] of these, in `order` */
	uint32_t given;           /* [lock] of these, taken */
	uint32_t left;            /* [lock] tasks that have not told their end */
	uint32_t looked;          /* [owner] no task before this one is pending: lp_ends_pending */
	bool closed;              /* [lock] */
	struct lp_link waiters;   /* [lock] nodes of those who wait for the next end */
	uint32_t *order;          /* [lock] their indices as they ended: behind the nodes */
	struct lp_end {
		struct lp_node node;  /* obj: the task, counted; op: LP_NODE_END; value: the lp_ends */
		bool placed, told;    /* [lock] */
	} ends[];
};

extern const struct lp_class lp_ends_class;

/* A result of its node that stands for no task: all have been given. Others are indices from 0. */
enum { LP_NO_END = -1 };

/* For n tasks, which are set by lp_ends_set. NULL: out of memory. */
struct lp_ends *lp_ends_new(uint32_t n);
static inline void lp_ends_set(struct lp_ends *e, uint32_t i, struct lp_task *t)
{
	e->ends[i].node.obj = lp_retain(t);
}
/* All are set: those that have ended come in their order, and the others will be heard. False: out of
 * memory, nothing has begun. */
bool lp_ends_begin(struct lp_ends *e);
/* Nobody will take any more: lets go of the tasks. By its last owner, before his count goes. */
void lp_ends_close(struct lp_ends *e);

/* The one task whose end has not been told, if it is the only one and nothing else is to be taken; else NULL. */
struct lp_task *lp_ends_last(struct lp_ends *e);
/* A task that has not begun, or NULL: then there will never be one. By one thread alone. */
struct lp_task *lp_ends_pending(struct lp_ends *e);
/* How many have not ended, and one of them (retained, or NULL): for the report. */
uint32_t lp_ends_left(struct lp_ends *e, struct lp_task **one);

#endif
