/* condition: see condition.h. */
#include "sync/condition.h"

static bool condition_take(struct lp_obj *o, struct lp_node *n)
{
	(void)o, (void)n;
	return false; /* a signal is for those who wait when it comes */
}

static void condition_enqueue(struct lp_obj *o, struct lp_node *n)
{
	struct lp_condition *c = (struct lp_condition *)o;
	struct lp_condition_wait *cw = n->value;
	lp_lock(&c->lock);
	lp_list_append(&c->waiters, &n->link);
	lp_unlock(&c->lock);
	cw->released = true;
	lp_mtx_unlock(cw->m, cw->actor);
}

static void condition_dequeue(struct lp_obj *o, struct lp_node *n)
{
	struct lp_condition *c = (struct lp_condition *)o;
	lp_lock(&c->lock);
	if (lp_linked(&n->link))
		lp_list_remove(&n->link);
	lp_unlock(&c->lock);
}

/* A signal that nobody listens to any more is the next one's. */
static void condition_discard(struct lp_obj *o, struct lp_node *n, bool consumed)
{
	n->value = NULL;
	if (consumed)
		lp_condition_signal((struct lp_condition *)o, false);
}

static void condition_destroy(struct lp_obj *o)
{
	lp_free(o);
}

const struct lp_class lp_condition_class = {
	.name = "lua-pool.condition",
	.destroy = condition_destroy,
	.take = condition_take,
	.enqueue = condition_enqueue,
	.dequeue = condition_dequeue,
	.discard = condition_discard,
};

struct lp_condition *lp_condition_new(void)
{
	struct lp_condition *c = lp_alloc(sizeof *c);
	if (!c)
		return NULL;
	lp_obj_init(&c->obj, &lp_condition_class);
	lp_lock_init(&c->lock, LP_RANK_CONDITION);
	lp_list_init(&c->waiters);
	return c;
}

unsigned lp_condition_signal(struct lp_condition *c, bool all)
{
	struct lp_wakes wakes = LP_WAKES_INIT;
	unsigned n = 0;
	lp_lock(&c->lock);
	while ((all || n == 0) && !lp_list_empty(&c->waiters)) {
		struct lp_node *node = lp_entry(c->waiters.next, struct lp_node, link);
		if (!lp_claim(node)) /* timed out or cancelled: the signal is for the next one */
			continue;
		lp_fire(node, &wakes);
		n++;
	}
	lp_unlock(&c->lock);
	lp_wake_all(&wakes);
	return n;
}
