/* barrier: see barrier.h. */
#include "sync/barrier.h"

static uint32_t here(struct lp_barrier *b)
{
	return atomic_load_explicit(&b->here, memory_order_relaxed);
}

static void set_here(struct lp_barrier *b, uint32_t n)
{
	atomic_store_explicit(&b->here, n, memory_order_relaxed);
}

/* The last one has come. */
static void open_barrier(struct lp_barrier *b, struct lp_wakes *w)
{
	int index = 0;
	while (!lp_list_empty(&b->waiters)) {
		struct lp_node *n = lp_entry(b->waiters.next, struct lp_node, link);
		n->result = ++index; /* read by its waiter after it was fired, or after its dequeue */
		if (lp_claim(n))
			lp_fire(n, w);
	}
	set_here(b, 0);
}

static bool barrier_take(struct lp_obj *o, struct lp_node *n)
{
	struct lp_barrier *b = (struct lp_barrier *)o;
	struct lp_wakes wakes = LP_WAKES_INIT;
	lp_lock(&b->lock);
	bool last = here(b) + 1 == b->size;
	if (last) {
		n->result = (int)b->size;
		open_barrier(b, &wakes);
	}
	lp_unlock(&b->lock);
	lp_wake_all(&wakes);
	return last;
}

static void barrier_enqueue(struct lp_obj *o, struct lp_node *n)
{
	struct lp_barrier *b = (struct lp_barrier *)o;
	struct lp_wakes wakes = LP_WAKES_INIT;
	lp_lock(&b->lock);
	if (here(b) + 1 < b->size) {
		lp_list_append(&b->waiters, &n->link);
		set_here(b, here(b) + 1);
	} else if (lp_claim(n)) {
		n->result = (int)b->size;
		lp_fire(n, NULL); /* ours first: nobody is claimed while another is held */
		open_barrier(b, &wakes);
	}
	lp_unlock(&b->lock);
	lp_wake_all(&wakes);
}

static void barrier_dequeue(struct lp_obj *o, struct lp_node *n)
{
	struct lp_barrier *b = (struct lp_barrier *)o;
	lp_lock(&b->lock);
	if (lp_linked(&n->link)) {
		lp_list_remove(&n->link);
		set_here(b, here(b) - 1);
	}
	lp_unlock(&b->lock);
}

static void barrier_destroy(struct lp_obj *o)
{
	lp_free(o);
}

/* All have passed, which cannot be taken back. (That there is a `discard` says that each wait gets something of its own.) */
static void barrier_discard(struct lp_obj *o, struct lp_node *n, bool consumed)
{
	(void)o, (void)n, (void)consumed;
}

const struct lp_class lp_barrier_class = {
	.name = "lua-pool.barrier",
	.destroy = barrier_destroy,
	.take = barrier_take,
	.enqueue = barrier_enqueue,
	.dequeue = barrier_dequeue,
	.discard = barrier_discard,
};

struct lp_barrier *lp_barrier_new(uint32_t size)
{
	struct lp_barrier *b = lp_alloc(sizeof *b);
	if (!b)
		return NULL;
	lp_obj_init(&b->obj, &lp_barrier_class);
	lp_lock_init(&b->lock, LP_RANK_BARRIER);
	b->size = size;
	atomic_init(&b->here, 0);
	lp_list_init(&b->waiters);
	return b;
}
