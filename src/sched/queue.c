/* queue: see queue.h. */
#include "sched/queue.h"

void lp_queue_init(struct lp_queue *q)
{
	atomic_init(&q->in, NULL);
	atomic_init(&q->count, 0);
	lp_lock_init(&q->out_lock, LP_RANK_QUEUE);
	q->out = NULL;
}

void lp_queue_push(struct lp_queue *q, struct lp_task *t)
{
	atomic_fetch_add(&q->count, 1);
	struct lp_task *last = atomic_load_explicit(&q->in, memory_order_relaxed);
	do
		t->next = last;
	while (!atomic_compare_exchange_weak(&q->in, &last, t));
}

/* Under out's lock: all that was pushed, oldest first. Nobody else pops single entries, so there is no ABA. */
static struct lp_task *take_in(struct lp_queue *q)
{
	lp_assert_held(&q->out_lock);
	struct lp_task *t = atomic_exchange(&q->in, NULL), *first = NULL;
	while (t) {
		struct lp_task *older = t->next;
		t->next = first;
		first = t;
		t = older;
	}
	return first;
}

/* Under out's lock: everything is in `out` then. */
static void gather(struct lp_queue *q)
{
	lp_assert_held(&q->out_lock);
	struct lp_task **tail = &q->out;
	while (*tail)
		tail = &(*tail)->next;
	*tail = take_in(q);
}

struct lp_task *lp_queue_take(struct lp_queue *q)
{
	if (lp_queue_count(q) == 0)
		return NULL;
	lp_lock(&q->out_lock);
	if (!q->out)
		q->out = take_in(q);
	struct lp_task *t = q->out;
	if (t) {
		q->out = t->next;
		atomic_fetch_sub(&q->count, 1);
	}
	lp_unlock(&q->out_lock);
	return t;
}

static inline __attribute__((always_inline)) struct lp_task *take_all(struct lp_queue *q, bool (*wants)(struct lp_task *t))
{
	struct lp_task *taken = NULL, **end = &taken;
	uint32_t n = 0;
	lp_lock(&q->out_lock);
	gather(q);
	for (struct lp_task **at = &q->out; *at;) {
		struct lp_task *t = *at;
		if (!wants(t)) {
			at = &t->next;
			continue;
		}
		*at = t->next;
		t->next = NULL;
		*end = t;
		end = &t->next;
		n++;
	}
	atomic_fetch_sub(&q->count, n);
	lp_unlock(&q->out_lock);
	return taken;
}

struct lp_task *lp_queue_take_all(struct lp_queue *q, bool (*wants)(struct lp_task *t))
{
	return take_all(q, wants);
}

static bool is_tombstone(struct lp_task *t)
{
	return lp_task_state(t) != LP_PENDING && !t->lost; /* lost: it waits for its report */
}

struct lp_task *lp_queue_prune(struct lp_queue *q)
{
	return take_all(q, is_tombstone);
}
