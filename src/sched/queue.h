/* queue: the tasks that wait to run, first in, first out, without a bound.
 *
 * Submitters push onto `in`, a lock-free stack; takers empty `out` under its lock, and when that runs dry take
 * all of `in` at once and turn it round. So a submitter waits for nobody, and touches one cache line of the
 * queue, the one that a searcher looks at.
 *
 * `count` is what the scheduler's handshake reads. It grows before the task is in, so it never tells less than there
 * is, and counts tombstones too; for moments it tells of one that is still on its way. Both operations of a push are
 * sequentially consistent and come before whatever the submitter reads next. */
#ifndef LP_QUEUE_H
#define LP_QUEUE_H

#include "sched/task.h"

struct lp_queue {
	_Alignas(64) _Atomic(struct lp_task *) in; /* the last pushed first, linked by next */
	_Atomic uint32_t count;
	_Alignas(64) lp_mutex out_lock;
	struct lp_task *out;                       /* [out_lock] */
};

void lp_queue_init(struct lp_queue *q);
void lp_queue_push(struct lp_queue *q, struct lp_task *t);  /* takes over one count of t */
struct lp_task *lp_queue_take(struct lp_queue *q);          /* NULL: empty; the count is the caller's */
/* Takes out every entry that `wants` says yes to, of those that are in when it begins, which is called under out's lock: it
 * looks at memory only. Returns a list linked by `next`, oldest first, of those whose counts are the caller's. */
struct lp_task *lp_queue_take_all(struct lp_queue *q, bool (*wants)(struct lp_task *t));
/* The same for the tombstones. */
struct lp_task *lp_queue_prune(struct lp_queue *q);

static inline uint32_t lp_queue_count(struct lp_queue *q)
{
	return atomic_load(&q->count);
}

#endif
