/* group: tasks that belong together: waited for together, cancelled together.
 *
 * A group is a token: its members have it as their parent, where others have the token of the task that
 * started them. So what reaches a task's descendants reaches the members (and theirs) as well, and cancelling
 * a group is the same walk as cancelling a task. The group's own parent is the token of the task that
 * made it; unlike a task it never ends, so that is never cut off.
 *
 * It counts the members that have not ended and is ready to be waited for while there are none. The first
 * that fails cancels the others and is kept. With a limit, members that may not run yet are held back in
 * the group: they are in no queue, and each member that ends lets the next one go. */
#ifndef LP_GROUP_H
#define LP_GROUP_H

#include "sched/pool.h"
#include "sched/task.h"

struct lp_group {
	struct lp_token token;           /* the members' parent; its obj is the group's */
	lp_mutex lock;
	struct lp_pool *pool;            /* [I] counted: where the members run */
	uint32_t limit;                  /* [I] members in the queue or running at once; 0: any number */
	bool ids;                        /* [I] the worker's id is each member's first argument */
	bool releasing;                  /* [lock] somebody is letting held ones go */
	_Atomic uint32_t left;           /* written under lock: members that have not ended */
	uint32_t out;                    /* [lock] of these, not held back */
	uint32_t nheld;                  /* [lock] entries of `held`, stopped ones too */
	struct lp_task *failed;          /* [lock, once] the first that failed; for its count see group.c */
	struct lp_task *held, **held_end; /* [lock] counted, linked by next; those stopped meanwhile too */
	struct lp_task **pending;        /* [lock] counted: members that may not have begun, oldest first ... */
	uint32_t first, end, capacity;   /* [lock] ... in pending[first .. end-1] */
	struct lp_link waiters;          /* [lock] nodes of those who wait until none is left */
};

extern const struct lp_class lp_group_class;

/* parent: the token of the task that makes it, or NULL. NULL: out of memory. */
struct lp_group *lp_group_new(struct lp_pool *p, struct lp_token *parent, uint32_t limit, bool ids);

/* t (not shared yet, its parent set to the group, `grouped` set) becomes a member. True: the caller submits
 * it; if that is refused, lp_task_stop_pending (false: who awaits the group has begun it). False: it is held back,
 * and the group has taken a count of it. */
bool lp_group_join(struct lp_group *g, struct lp_task *t);
/* A member has ended. Lets held ones go, wakes those who wait; the first failure cancels the group. lp_task_end
 * and lp_task_stop_pending call it. */
void lp_group_leave(struct lp_group *g, struct lp_task *t, enum lp_task_state how);
/* No member starts any more, those that run are told, and their descendants. Does not wait. */
void lp_group_cancel(struct lp_group *g);
/* The longest pending member that is in the pool's queue, for one who awaits the group to run it; the count is the
 * caller's. NULL: there is none. */
struct lp_task *lp_group_next_pending(struct lp_group *g);
/* It has not begun after all. */
void lp_group_put_back(struct lp_group *g, struct lp_task *t);
/* The first member that failed, retained, or NULL. */
struct lp_task *lp_group_failed(struct lp_group *g);

static inline uint32_t lp_group_left(struct lp_group *g)
{
	return atomic_load_explicit(&g->left, memory_order_acquire);
}

/* Cancelled, failed, or made by a task that was cancelled: nothing can start in it. */
static inline bool lp_group_over(struct lp_group *g)
{
	return lp_token_cancelled(&g->token);
}

#endif
