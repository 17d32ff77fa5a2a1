/* queue: see queue.h. */
#include "queue.h"

void lp_queue_init(struct lp_queue *q)
{
	atomic_init(&q->in_lock.word, 0);
	atomic_init(&q->out_lock.word, 0);
	atomic_init(&q->count, 0);
	q->in_first = q->in_last = q->out = NULL;
}

void lp_queue_push(struct lp_queue *q, struct lp_task *t)
{
	t->next = NULL;
	lp_lock(&q->in_lock);
	if (q->in_first)
		q->in_last->next = t;
	else
		q->in_first = t;
	q->in_last = t;
	atomic_fetch_add(&q->count, 1);
	lp_unlock(&q->in_lock);
}

struct lp_task *lp_queue_take(struct lp_queue *q)
{
	if (lp_queue_count(q) == 0)
		return NULL;
	lp_lock(&q->out_lock);
	if (!q->out) {
		lp_lock(&q->in_lock);
		q->out = q->in_first;
		q->in_first = q->in_last = NULL;
		lp_unlock(&q->in_lock);
	}
	struct lp_task *t = q->out;
	if (t) {
		q->out = t->next;
		atomic_fetch_sub(&q->count, 1);
	}
	lp_unlock(&q->out_lock);
	return t;
}

void lp_queue_each(struct lp_queue *q, void (*f)(struct lp_task *t, void *data), void *data)
{
	lp_lock(&q->out_lock);
	lp_lock(&q->in_lock);
	for (struct lp_task *t = q->out, *next; t; t = next) {
		next = t->next;
		f(t, data);
	}
	for (struct lp_task *t = q->in_first, *next; t; t = next) {
		next = t->next;
		f(t, data);
	}
	lp_unlock(&q->in_lock);
	lp_unlock(&q->out_lock);
}

struct lp_task *lp_queue_prune(struct lp_queue *q)
{
	struct lp_task *dead = NULL, **tail = &q->out;
	uint32_t n = 0;
	lp_lock(&q->out_lock);
	lp_lock(&q->in_lock);
	while (*tail)
		tail = &(*tail)->next;
	*tail = q->in_first;
	q->in_first = q->in_last = NULL;
	lp_unlock(&q->in_lock);
	for (struct lp_task **at = &q->out; *at;) {
		struct lp_task *t = *at;
		if (lp_task_state(t) == LP_PENDING || t->lost) { /* lost: it waits for its report */
			at = &t->next;
			continue;
		}
		*at = t->next;
		t->next = dead;
		dead = t;
		n++;
	}
	atomic_fetch_sub(&q->count, n);
	lp_unlock(&q->out_lock);
	return dead;
}
