/* queue: the tasks that wait to run, first in, first out, without a bound.
 *
 * Two lists, two locks: submitters append to `in`; takers empty `out`, and when it runs dry take all
 * of `in` at once. So a submitter and a taker hardly ever meet. Order of locks: out before in.
 *
 * `count` is what the scheduler's handshake reads: it grows before push returns, with a sequentially
 * consistent operation, and counts tombstones too. */
#ifndef LP_QUEUE_H
#define LP_QUEUE_H

#include "task.h"

struct lp_queue {
	_Alignas(64) lp_mutex in_lock;
	struct lp_task *in_first, *in_last; /* [in_lock] */
	_Alignas(64) lp_mutex out_lock;
	struct lp_task *out;                /* [out_lock] */
	_Alignas(64) _Atomic uint32_t count;
};

void lp_queue_init(struct lp_queue *q);
void lp_queue_push(struct lp_queue *q, struct lp_task *t);  /* takes over one count of t */
struct lp_task *lp_queue_take(struct lp_queue *q);          /* NULL: empty; the count is the caller's */
/* Calls f for every entry, oldest first, under both locks: f must not take one that it could hold
 * elsewhere together with these, and must not push or take. */
void lp_queue_each(struct lp_queue *q, void (*f)(struct lp_task *t, void *data), void *data);
/* Takes out the tombstones; returns a list linked by `next` of those whose counts are the caller's. */
struct lp_task *lp_queue_prune(struct lp_queue *q);

static inline uint32_t lp_queue_count(struct lp_queue *q)
{
	return atomic_load(&q->count);
}

#endif
