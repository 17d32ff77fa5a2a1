/* rwlock: see rwlock.h. */
#include "sync/rwlock.h"

/* ---- under the lock ---- */

static bool writer_inside(struct lp_rwlock *rw)
{
	return !lp_list_empty(&rw->inside) && lp_entry(rw->inside.next, struct lp_rwhold, inside)->writes;
}

static bool may_enter(struct lp_rwlock *rw, struct lp_rwhold *h)
{
	return h->writes ? lp_list_empty(&rw->inside) : !writer_inside(rw);
}

static void enter(struct lp_rwlock *rw, struct lp_node *n)
{
	lp_assert_held(&rw->lock);
	lp_assert(may_enter(rw, n->value));
	struct lp_rwhold *h = n->value;
	n->result = rw->abandoned;
	h->serial = ++rw->serial;
	if (h->writes)
		rw->abandoned = false;
	lp_list_append(&rw->inside, &h->inside);
}

/* Those who wait in front and may enter now. */
static void admit(struct lp_rwlock *rw, struct lp_wakes *w)
{
	lp_assert_held(&rw->lock);
	while (!lp_list_empty(&rw->waiters)) {
		struct lp_node *n = lp_entry(rw->waiters.next, struct lp_node, link);
		if (!may_enter(rw, n->value))
			return;
		if (!lp_claim(n)) /* it left in the meantime */
			continue;
		enter(rw, n);
		lp_fire(n, w);
	}
}

/* ---- records ---- */

/* Lets the one out whose record is off its actor's list already. */
static void leave(struct lp_rwhold *h, bool abandoned)
{
	struct lp_rwlock *rw = (struct lp_rwlock *)h->hold.obj;
	struct lp_wakes wakes = LP_WAKES_INIT;
	lp_lock(&rw->lock);
	lp_list_remove(&h->inside);
	if (abandoned && h->writes)
		rw->abandoned = true;
	admit(rw, &wakes);
	lp_unlock(&rw->lock);
	lp_wake_all(&wakes);
	lp_free(h);
	lp_release(rw);
}

static void abandon(struct lp_hold *h)
{
	leave(lp_entry(h, struct lp_rwhold, hold), true);
}

/* In a signal handler. */
static bool seize(struct lp_hold *hold)
{
	struct lp_rwhold *h = lp_entry(hold, struct lp_rwhold, hold);
	struct lp_rwlock *rw = (struct lp_rwlock *)hold->obj;
	if (!lp_trylock(&rw->lock))
		return false;
	h->actor = &lp_limbo;
	lp_unlock(&rw->lock);
	return true;
}

struct lp_rwhold *lp_rwhold_new(struct lp_rwlock *rw, struct lp_actor *a, bool writes)
{
	struct lp_rwhold *h = lp_alloc(sizeof *h);
	if (h)
		*h = (struct lp_rwhold){.hold = {.obj = &rw->obj, .abandon = abandon, .seize = seize}, .actor = a, .writes = writes};
	return h;
}

void lp_rwlock_entered(struct lp_rwhold *h)
{
	struct lp_actor *a = h->actor;
	lp_retain(h->hold.obj);
	lp_held_touch(a);
	lp_list_append(&a->held, &h->hold.link);
	lp_held_let_go(a);
}

static struct lp_rwhold *find(struct lp_rwlock *rw, struct lp_actor *a)
{
	for (struct lp_link *l = a->held.prev; l != &a->held; l = l->prev) {
		struct lp_hold *h = lp_entry(l, struct lp_hold, link);
		if (h->obj == &rw->obj)
			return lp_entry(h, struct lp_rwhold, hold);
	}
	return NULL;
}

struct lp_rwhold *lp_rwlock_find(struct lp_rwlock *rw, struct lp_actor *a)
{
	lp_held_touch(a);
	struct lp_rwhold *h = find(rw, a);
	lp_held_let_go(a);
	return h;
}

bool lp_rwlock_leave(struct lp_rwlock *rw, struct lp_actor *a)
{
	lp_held_touch(a);
	struct lp_rwhold *h = find(rw, a);
	if (h)
		lp_rwlock_unlock(h);
	else
		lp_held_let_go(a);
	return h != NULL;
}

struct lp_rwhold *lp_rwlock_held(struct lp_rwlock *rw, struct lp_actor *a, uint32_t serial, struct lp_exec *e)
{
	struct lp_rwhold *found = NULL;
	lp_lock(&rw->lock);
	for (struct lp_link *l = rw->inside.next; l != &rw->inside && !found; l = l->next) {
		struct lp_rwhold *h = lp_entry(l, struct lp_rwhold, inside);
		/* The actor of one that is inside lives, and only its own thread lets it out. */
		if (h->actor == a && h->serial == serial && lp_exec_same_thread(lp_actor_exec(a), e))
			found = h;
	}
	if (found)
		lp_held_touch(a); /* nobody seizes it while we have the lock */
	lp_unlock(&rw->lock);
	return found;
}

void lp_rwlock_unlock(struct lp_rwhold *h)
{
	struct lp_actor *a = h->actor;
	lp_held_touch(a);
	lp_list_remove(&h->hold.link);
	lp_held_let_go(a);
	leave(h, false);
}

void lp_rwlock_handle_gone(struct lp_rwlock *rw, struct lp_exec *e)
{
	if (atomic_load(&rw->obj.refs) != 2)
		return;
	/* One other count: if it is a hold's, nobody else knows the lock. */
	struct lp_rwhold *h = NULL;
	lp_lock(&rw->lock);
	if (!lp_list_empty(&rw->inside))
		h = lp_entry(rw->inside.next, struct lp_rwhold, inside);
	/* `inside` is entered before the count is taken: a count that is not the hold's has a waker's
	 * handle behind it, which still uses the lock. */
	bool ours = h && lp_exec_same_thread(lp_actor_exec(h->actor), e) && lp_linked(&h->hold.link);
	if (ours)
		lp_held_touch(h->actor);
	lp_unlock(&rw->lock);
	if (ours)
		lp_rwlock_unlock(h);
}

/* ---- waiting ---- */

static bool rwlock_take(struct lp_obj *o, struct lp_node *n)
{
	struct lp_rwlock *rw = (struct lp_rwlock *)o;
	lp_lock(&rw->lock);
	bool taken = lp_list_empty(&rw->waiters) && may_enter(rw, n->value);
	if (taken)
		enter(rw, n);
	lp_unlock(&rw->lock);
	return taken;
}

static void rwlock_enqueue(struct lp_obj *o, struct lp_node *n)
{
	struct lp_rwlock *rw = (struct lp_rwlock *)o;
	lp_lock(&rw->lock);
	if (!lp_list_empty(&rw->waiters) || !may_enter(rw, n->value)) {
		lp_list_append(&rw->waiters, &n->link);
	} else if (lp_claim(n)) { /* else another object of the same wait was first */
		enter(rw, n);
		lp_fire(n, NULL);
	}
	lp_unlock(&rw->lock);
}

static void rwlock_dequeue(struct lp_obj *o, struct lp_node *n)
{
	struct lp_rwlock *rw = (struct lp_rwlock *)o;
	struct lp_wakes wakes = LP_WAKES_INIT;
	lp_lock(&rw->lock);
	if (lp_linked(&n->link)) {
		lp_list_remove(&n->link);
		admit(rw, &wakes); /* a writer that gives up lets the readers behind it in */
	}
	lp_unlock(&rw->lock);
	lp_wake_all(&wakes);
}

static void rwlock_discard(struct lp_obj *o, struct lp_node *n, bool consumed)
{
	(void)o;
	if (consumed) {
		lp_rwlock_entered(n->value);
		lp_rwlock_unlock(n->value);
	} else {
		lp_free(n->value);
	}
	n->value = NULL;
}

/* One reader alone or the writer. */
static struct lp_exec *rwlock_holder(struct lp_obj *o)
{
	struct lp_rwlock *rw = (struct lp_rwlock *)o;
	struct lp_exec *e = NULL;
	lp_lock(&rw->lock);
	if (!lp_list_empty(&rw->inside) && rw->inside.next == rw->inside.prev)
		e = lp_actor_exec(lp_entry(rw->inside.next, struct lp_rwhold, inside)->actor);
	lp_unlock(&rw->lock);
	return e;
}

/* All who are inside have to leave. */
static void rwlock_holders(struct lp_obj *o, lp_visit_exec *visit, void *data)
{
	struct lp_rwlock *rw = (struct lp_rwlock *)o;
	lp_lock(&rw->lock);
	for (struct lp_link *l = rw->inside.next; l != &rw->inside; l = l->next) {
		struct lp_exec *e = lp_actor_exec(lp_entry(l, struct lp_rwhold, inside)->actor);
		if (e)
			visit(e, data);
	}
	lp_unlock(&rw->lock);
}

/* ---- life ---- */

static void rwlock_destroy(struct lp_obj *o)
{
	lp_free(o);
}

const struct lp_class lp_rwlock_class = {
	.name = "lua-pool.rwlock",
	.destroy = rwlock_destroy,
	.take = rwlock_take,
	.enqueue = rwlock_enqueue,
	.dequeue = rwlock_dequeue,
	.discard = rwlock_discard,
	.holder = rwlock_holder,
	.holders = rwlock_holders,
};

struct lp_rwlock *lp_rwlock_new(void)
{
	struct lp_rwlock *rw = lp_alloc(sizeof *rw);
	if (!rw)
		return NULL;
	lp_obj_init(&rw->obj, &lp_rwlock_class);
	lp_lock_init(&rw->lock, LP_RANK_RWLOCK);
	lp_list_init(&rw->inside);
	lp_list_init(&rw->waiters);
	rw->abandoned = false;
	rw->serial = 0;
	return rw;
}

struct lp_rwcounts lp_rwlock_counts(struct lp_rwlock *rw)
{
	struct lp_rwcounts c = {0};
	lp_lock(&rw->lock);
	c.writer = writer_inside(rw);
	c.abandoned = rw->abandoned;
	for (struct lp_link *l = rw->inside.next; l != &rw->inside && !c.writer; l = l->next)
		c.readers++;
	for (struct lp_link *l = rw->waiters.next; l != &rw->waiters; l = l->next)
		c.waiting++;
	lp_unlock(&rw->lock);
	return c;
}
