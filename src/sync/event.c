/* event: see event.h. */
#include "sync/event.h"

static bool event_take(struct lp_obj *o, struct lp_node *n)
{
	(void)n;
	return lp_event_is_set((struct lp_event *)o);
}

static void event_enqueue(struct lp_obj *o, struct lp_node *n)
{
	struct lp_event *e = (struct lp_event *)o;
	lp_lock(&e->lock);
	if (!lp_event_is_set(e))
		lp_list_append(&e->waiters, &n->link);
	else if (lp_claim(n)) /* else another object of the same wait was first */
		lp_fire(n, NULL);
	lp_unlock(&e->lock);
}

static void event_dequeue(struct lp_obj *o, struct lp_node *n)
{
	struct lp_event *e = (struct lp_event *)o;
	lp_lock(&e->lock);
	if (lp_linked(&n->link))
		lp_list_remove(&n->link);
	lp_unlock(&e->lock);
}

static void event_destroy(struct lp_obj *o)
{
	lp_free(o);
}

const struct lp_class lp_event_class = {
	.name = "lua-pool.event",
	.destroy = event_destroy,
	.take = event_take,
	.enqueue = event_enqueue,
	.dequeue = event_dequeue,
};

void lp_event_init(struct lp_event *e, const struct lp_class *cls)
{
	lp_obj_init(&e->obj, cls);
	lp_lock_init(&e->lock, LP_RANK_EVENT);
	atomic_init(&e->set, false);
	lp_list_init(&e->waiters);
}

struct lp_event *lp_event_new(void)
{
	struct lp_event *e = lp_alloc(sizeof *e);
	if (e)
		lp_event_init(e, &lp_event_class);
	return e;
}

void lp_event_set(struct lp_event *e)
{
	struct lp_wakes wakes = LP_WAKES_INIT;
	lp_lock(&e->lock);
	atomic_store_explicit(&e->set, true, memory_order_release);
	while (!lp_list_empty(&e->waiters)) {
		struct lp_node *n = lp_entry(e->waiters.next, struct lp_node, link);
		if (lp_claim(n))
			lp_fire(n, &wakes);
	}
	lp_unlock(&e->lock);
	lp_wake_all(&wakes);
}

void lp_event_reset(struct lp_event *e)
{
	lp_lock(&e->lock);
	atomic_store_explicit(&e->set, false, memory_order_release);
	lp_unlock(&e->lock);
}
