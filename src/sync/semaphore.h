/* semaphore: a number of permits. Whoever takes one of them goes on, whoever finds none waits.
 *
 * First come, first served: a release hands its permits to those who wait, and only what nobody
 * waits for is counted. So while someone waits the count is 0, and nobody who comes later (a
 * try_acquire, say) can pass by. A permit given to a waiter that left in the same instant goes to the
 * next one: none is lost. */
#ifndef LP_SEMAPHORE_H
#define LP_SEMAPHORE_H

#include "wait/wait.h"

struct lp_semaphore {
	struct lp_obj obj;
	lp_mutex lock;
	_Atomic uint32_t count;  /* written under lock; may be read without. > 0: waiters is empty */
	struct lp_link waiters;  /* [lock] nodes, the longest wait first */
};

extern const struct lp_class lp_semaphore_class;

/* Waiting is lp_wait_any with a node of this object: consumed means one permit is the caller's. */
void lp_semaphore_init(struct lp_semaphore *s, const struct lp_class *cls, uint32_t count); /* part of a larger object */
struct lp_semaphore *lp_semaphore_new(uint32_t count); /* count 1; NULL: out of memory */
bool lp_semaphore_try_acquire(struct lp_semaphore *s);
/* Adds n permits; never waits. False: there would be more than UINT32_MAX, and nothing was done. */
bool lp_semaphore_release(struct lp_semaphore *s, uint32_t n);

/* How many could be had at this moment. */
static inline uint32_t lp_semaphore_count(struct lp_semaphore *s)
{
	return atomic_load_explicit(&s->count, memory_order_relaxed);
}

/* For a class that embeds a semaphore as its first member: its wait operations. */
bool lp_semaphore_take(struct lp_obj *o, struct lp_node *n);
void lp_semaphore_enqueue(struct lp_obj *o, struct lp_node *n);
void lp_semaphore_dequeue(struct lp_obj *o, struct lp_node *n);
void lp_semaphore_discard(struct lp_obj *o, struct lp_node *n, bool consumed);

#endif
