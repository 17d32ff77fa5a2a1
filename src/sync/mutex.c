/* mutex: see mutex.h. */
#include "sync/mutex.h"

void lp_held_release(struct lp_actor *a)
{
	while (!lp_list_empty(&a->held)) {
		lp_held_touch(a);
		struct lp_link *l = lp_list_take_first(&a->held);
		lp_held_let_go(a);
		struct lp_hold *h = l ? lp_entry(l, struct lp_hold, link) : NULL; /* NULL: seized at this moment */
		if (h)
			h->abandon(h);
	}
}

struct lp_actor lp_limbo;

void lp_held_seize(struct lp_actor *a, _Atomic(struct lp_link *) *to)
{
	while (!a->touching && !lp_list_empty(&a->held)) {
		struct lp_link *l = a->held.next;
		struct lp_hold *h = lp_entry(l, struct lp_hold, link);
		if (!h->seize(h))
			return;
		lp_list_remove(l);
		l->next = atomic_load(to);
		while (!atomic_compare_exchange_weak(to, &l->next, l))
			;
	}
}

void lp_seized_release(struct lp_link *list)
{
	while (list) {
		struct lp_hold *h = lp_entry(list, struct lp_hold, link);
		list = list->next;
		h->link.next = NULL;
		h->abandon(h);
	}
}

static struct lp_actor *owner_of(struct lp_mtx *m)
{
	return atomic_load_explicit(&m->owner, memory_order_relaxed);
}

/* Under the lock: it is a's now. */
static void give(struct lp_mtx *m, struct lp_actor *a, struct lp_node *n)
{
	lp_assert_held(&m->lock);
	lp_assert(!owner_of(m) && a);
	atomic_store_explicit(&m->owner, a, memory_order_relaxed);
	atomic_store_explicit(&m->serial, m->serial + 1, memory_order_relaxed);
	n->result = m->abandoned;
	m->abandoned = false;
}

static void hand_over(struct lp_mtx *m, bool abandoned)
{
	struct lp_wakes wakes = LP_WAKES_INIT;
	lp_lock(&m->lock);
	atomic_store_explicit(&m->owner, NULL, memory_order_relaxed);
	m->abandoned |= abandoned;
	while (!lp_list_empty(&m->waiters)) {
		struct lp_node *n = lp_entry(m->waiters.next, struct lp_node, link);
		if (!lp_claim(n)) /* it left in the meantime */
			continue;
		give(m, n->value, n);
		lp_fire(n, &wakes);
		break;
	}
	lp_unlock(&m->lock);
	lp_wake_all(&wakes);
}

static void abandon(struct lp_hold *h)
{
	struct lp_mtx *m = lp_entry(h, struct lp_mtx, hold);
	hand_over(m, true);
	lp_release(m);
}

/* In a signal handler. */
static bool seize(struct lp_hold *h)
{
	struct lp_mtx *m = lp_entry(h, struct lp_mtx, hold);
	if (!lp_trylock(&m->lock))
		return false;
	atomic_store_explicit(&m->owner, &lp_limbo, memory_order_relaxed);
	lp_unlock(&m->lock);
	return true;
}

void lp_mtx_entered(struct lp_mtx *m, struct lp_actor *a)
{
	lp_retain(m);
	lp_held_touch(a);
	lp_list_append(&a->held, &m->hold.link);
	lp_held_let_go(a);
}

bool lp_mtx_unlock(struct lp_mtx *m, struct lp_actor *a)
{
	lp_held_touch(a);
	bool owned = owner_of(m) == a;
	if (owned)
		lp_list_remove(&m->hold.link); /* before it can become another's */
	lp_held_let_go(a);
	if (!owned)
		return false;
	hand_over(m, false);
	lp_release(m);
	return true;
}

void lp_mtx_handle_gone(struct lp_mtx *m, struct lp_exec *e)
{
	/* Two counts, this one and the hold's: nobody else can lock, unlock or send it. */
	struct lp_actor *a = owner_of(m);
	if (a && atomic_load(&m->obj.refs) == 2 && lp_exec_same_thread(lp_mtx_holder(&m->obj), e))
		lp_mtx_unlock(m, a);
}

/* ---- waiting ---- */

bool lp_mtx_take(struct lp_obj *o, struct lp_node *n)
{
	struct lp_mtx *m = (struct lp_mtx *)o;
	lp_lock(&m->lock);
	bool was_free = !owner_of(m);
	if (was_free)
		give(m, n->value, n);
	lp_unlock(&m->lock);
	return was_free;
}

void lp_mtx_enqueue(struct lp_obj *o, struct lp_node *n)
{
	struct lp_mtx *m = (struct lp_mtx *)o;
	lp_lock(&m->lock);
	if (owner_of(m)) {
		lp_list_append(&m->waiters, &n->link);
	} else if (lp_claim(n)) { /* else another object of the same wait was first */
		give(m, n->value, n);
		lp_fire(n, NULL);
	}
	lp_unlock(&m->lock);
}

void lp_mtx_dequeue(struct lp_obj *o, struct lp_node *n)
{
	struct lp_mtx *m = (struct lp_mtx *)o;
	lp_lock(&m->lock);
	if (lp_linked(&n->link))
		lp_list_remove(&n->link);
	lp_unlock(&m->lock);
}

void lp_mtx_discard(struct lp_obj *o, struct lp_node *n, bool consumed)
{
	struct lp_mtx *m = (struct lp_mtx *)o;
	if (!consumed)
		return;
	lp_mtx_entered(m, n->value);
	lp_mtx_unlock(m, n->value);
}

/* The owner cannot end while we hold the lock: it would have to take it to give the mutex back. */
struct lp_exec *lp_mtx_holder(struct lp_obj *o)
{
	struct lp_mtx *m = (struct lp_mtx *)o;
	lp_lock(&m->lock);
	struct lp_actor *a = owner_of(m);
	struct lp_exec *e = a ? lp_actor_exec(a) : NULL;
	lp_unlock(&m->lock);
	return e;
}

/* ---- life ---- */

static void mtx_destroy(struct lp_obj *o)
{
	lp_free(o);
}

const struct lp_class lp_mtx_class = {
	.name = "lua-pool.mutex",
	.destroy = mtx_destroy,
	.take = lp_mtx_take,
	.enqueue = lp_mtx_enqueue,
	.dequeue = lp_mtx_dequeue,
	.discard = lp_mtx_discard,
	.holder = lp_mtx_holder,
};

void lp_mtx_init(struct lp_mtx *m, const struct lp_class *cls)
{
	lp_obj_init(&m->obj, cls);
	lp_lock_init(&m->lock, LP_RANK_MUTEX);
	atomic_init(&m->owner, NULL);
	atomic_init(&m->serial, 0);
	m->abandoned = false;
	lp_list_init(&m->waiters);
	m->hold = (struct lp_hold){.obj = &m->obj, .abandon = abandon, .seize = seize};
}

struct lp_mtx *lp_mtx_new(void)
{
	struct lp_mtx *m = lp_alloc(sizeof *m);
	if (m)
		lp_mtx_init(m, &lp_mtx_class);
	return m;
}
