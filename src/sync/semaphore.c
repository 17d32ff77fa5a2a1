/* semaphore: see semaphore.h. */
#include "sync/semaphore.h"

/* Under the lock, which orders everything: no stronger access is needed. */
static uint32_t count_of(struct lp_semaphore *s)
{
	return atomic_load_explicit(&s->count, memory_order_relaxed);
}

static void set_count(struct lp_semaphore *s, uint32_t count)
{
	lp_assert_held(&s->lock);
	atomic_store_explicit(&s->count, count, memory_order_relaxed);
}

bool lp_semaphore_try_acquire(struct lp_semaphore *s)
{
	lp_lock(&s->lock);
	uint32_t count = count_of(s);
	if (count)
		set_count(s, count - 1);
	lp_unlock(&s->lock);
	return count != 0;
}

bool lp_semaphore_release(struct lp_semaphore *s, uint32_t n)
{
	struct lp_wakes wakes = LP_WAKES_INIT;
	lp_lock(&s->lock);
	/* Checked before the first permit is given away: all or nothing. */
	bool fits = n <= UINT32_MAX - count_of(s);
	while (fits && n && !lp_list_empty(&s->waiters)) {
		struct lp_node *node = lp_entry(s->waiters.next, struct lp_node, link);
		if (!lp_claim(node)) /* it left in the meantime */
			continue;
		lp_fire(node, &wakes);
		n--;
	}
	if (fits)
		set_count(s, count_of(s) + n);
	lp_unlock(&s->lock);
	lp_wake_all(&wakes);
	return fits;
}

bool lp_semaphore_take(struct lp_obj *o, struct lp_node *n)
{
	(void)n;
	return lp_semaphore_try_acquire((struct lp_semaphore *)o);
}

void lp_semaphore_enqueue(struct lp_obj *o, struct lp_node *n)
{
	struct lp_semaphore *s = (struct lp_semaphore *)o;
	lp_lock(&s->lock);
	uint32_t count = count_of(s);
	if (!count) {
		lp_list_append(&s->waiters, &n->link);
	} else if (lp_claim(n)) { /* else another object of the same wait was first */
		set_count(s, count - 1);
		lp_fire(n, NULL);
	}
	lp_unlock(&s->lock);
}

void lp_semaphore_dequeue(struct lp_obj *o, struct lp_node *n)
{
	struct lp_semaphore *s = (struct lp_semaphore *)o;
	lp_lock(&s->lock);
	if (lp_linked(&n->link))
		lp_list_remove(&n->link);
	lp_unlock(&s->lock);
}

static void semaphore_destroy(struct lp_obj *o)
{
	lp_free(o);
}

/* A permit that nobody takes any more. */
void lp_semaphore_discard(struct lp_obj *o, struct lp_node *n, bool consumed)
{
	(void)n;
	if (consumed)
		lp_semaphore_release((struct lp_semaphore *)o, 1);
}

const struct lp_class lp_semaphore_class = {
	.name = "lua-pool.semaphore",
	.destroy = semaphore_destroy,
	.take = lp_semaphore_take,
	.enqueue = lp_semaphore_enqueue,
	.dequeue = lp_semaphore_dequeue,
	.discard = lp_semaphore_discard,
};

void lp_semaphore_init(struct lp_semaphore *s, const struct lp_class *cls, uint32_t count)
{
	lp_obj_init(&s->obj, cls);
	lp_lock_init(&s->lock, LP_RANK_SEMAPHORE);
	atomic_init(&s->count, count);
	lp_list_init(&s->waiters);
}

struct lp_semaphore *lp_semaphore_new(uint32_t count)
{
	struct lp_semaphore *s = lp_alloc(sizeof *s);
	if (s)
		lp_semaphore_init(s, &lp_semaphore_class, count);
	return s;
}
