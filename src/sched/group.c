/* group: see group.h.
 *
 * Counts: a member holds the group through its parent, so what the group holds of members must end: the
 * lists of pending and held ones are empty when no member is left, and the member that failed is kept without
 * the count that it has of the group, which is given back when it is kept. A group that nobody else holds is
 * destroyed, then: it takes that count again and lets go of the member (which is what may report a failure
 * that nobody has seen), and goes with it. */
#include "sched/group.h"

#include <string.h>

#include "wait/cancel.h"
#include "sched/stop.h"
#include "sched/worker.h"

/* ---- members that may be run by who awaits them ---- */

/* Under the lock. Out of memory: t will be run by the pool alone. */
static void note_pending(struct lp_group *g, struct lp_task *t)
{
	lp_assert_held(&g->lock);
	if (g->end == g->capacity && g->first > g->capacity / 2) {
		memmove(g->pending, g->pending + g->first, (g->end - g->first) * sizeof *g->pending);
		g->end -= g->first;
		g->first = 0;
	} else if (g->end == g->capacity) {
		uint32_t capacity = g->capacity ? 2 * g->capacity : 16;
		struct lp_task **p = lp_realloc(g->pending, capacity * sizeof *p);
		if (!p)
			return;
		g->pending = p;
		g->capacity = capacity;
	}
	g->pending[g->end++] = lp_retain(t);
}

/* Under the lock: the oldest that is noted, if it has begun (its count is the caller's) or if any will do. */
static struct lp_task *take_noted(struct lp_group *g, bool begun)
{
	lp_assert_held(&g->lock);
	if (g->first == g->end || (begun && lp_task_state(g->pending[g->first]) == LP_PENDING))
		return NULL;
	struct lp_task *t = g->pending[g->first++];
	if (g->first == g->end)
		g->first = g->end = 0;
	return t;
}

struct lp_task *lp_group_next_pending(struct lp_group *g)
{
	for (;;) {
		lp_lock(&g->lock);
		struct lp_task *t = take_noted(g, false);
		lp_unlock(&g->lock);
		if (!t || lp_task_state(t) == LP_PENDING)
			return t;
		lp_release(t);
	}
}

void lp_group_put_back(struct lp_group *g, struct lp_task *t)
{
	lp_lock(&g->lock);
	if (g->first > 0 && g->first < g->end)
		g->pending[--g->first] = lp_retain(t);
	else if (lp_group_left(g) > 0) /* else nothing would take it out again */
		note_pending(g, t);
	lp_unlock(&g->lock);
}

/* ---- the limit ---- */

static void hold(struct lp_group *g, struct lp_task *t)
{
	lp_assert_held(&g->lock);
	atomic_store(&t->place, LP_HELD);
	t->next = NULL;
	*g->held_end = lp_retain(t);
	g->held_end = &t->next;
	g->nheld++;
}

/* Under the lock: the first of those that are held back, and its count. */
static struct lp_task *take_held(struct lp_group *g)
{
	lp_assert_held(&g->lock);
	lp_assert((g->nheld == 0) == (g->held == NULL));
	struct lp_task *t = g->held;
	if (!t)
		return NULL;
	if (!(g->held = t->next))
		g->held_end = &g->held;
	g->nheld--;
	return t;
}

/* One at a time, and not on top of itself: a member that cannot be submitted leaves, which comes back here. */
static void release_held(struct lp_group *g)
{
	lp_lock(&g->lock);
	if (!g->releasing) {
		g->releasing = true;
		while (g->held && g->out < g->limit) {
			struct lp_task *t = take_held(g);
			bool goes = atomic_load(&t->place) == LP_HELD; /* else it was cancelled meanwhile */
			if (goes) {
				atomic_store(&t->place, LP_QUEUED);
				g->out++;
				note_pending(g, t);
			}
			lp_unlock(&g->lock);
			if (goes) {
				enum lp_submitted how = lp_group_over(g) ? LP_CLOSED_POOL : lp_pool_submit(g->pool, t, true);
				if (how == LP_CLOSED_POOL)
					lp_task_stop_pending(t);
				else if (how == LP_RUN_INLINE && !lp_on_monitor()) /* it has no stack for Lua, and no time */
					lp_worker_serve_here(g->pool);
			}
			lp_release(t);
			lp_lock(&g->lock);
		}
		g->releasing = false;
	}
	lp_unlock(&g->lock);
}

/* ---- coming and going ---- */

bool lp_group_join(struct lp_group *g, struct lp_task *t)
{
	lp_lock(&g->lock);
	atomic_store_explicit(&g->left, g->left + 1, memory_order_relaxed);
	/* None goes before those that are held back: there may be room that has not been given to them yet. */
	bool out = !g->limit || (g->out < g->limit && !g->held);
	if (out) {
		g->out++;
		note_pending(g, t);
	} else {
		hold(g, t);
	}
	/* Members begin in the order in which they came, but for a few: two old ones per new one keep up. */
	struct lp_task *old = take_noted(g, true), *older = old ? take_noted(g, true) : NULL;
	lp_unlock(&g->lock);
	lp_release(old);
	lp_release(older);
	return out;
}

static void wake_waiters(struct lp_group *g, struct lp_wakes *w)
{
	lp_assert_held(&g->lock);
	while (!lp_list_empty(&g->waiters)) {
		struct lp_node *n = lp_entry(g->waiters.next, struct lp_node, link);
		if (lp_claim(n))
			lp_fire(n, w);
	}
}

void lp_group_leave(struct lp_group *g, struct lp_task *t, enum lp_task_state how)
{
	struct lp_wakes wakes = LP_WAKES_INIT;
	struct lp_task **noted = NULL;
	uint32_t first = 0, end = 0;
	bool failed = how == LP_FAILED;
	lp_retain(g); /* beyond the last member */
	lp_lock(&g->lock);
	if ((failed = failed && !g->failed)) {
		g->failed = lp_retain(t);
		atomic_fetch_sub(&g->token.obj.refs, 1); /* not the last: ours is there */
		lp_token_mark(&g->token); /* before anybody can see that all have ended */
	}
	if (atomic_load(&t->place) == LP_QUEUED)
		g->out--;
	else
		atomic_store(&t->place, LP_HELD_STOPPED);
	atomic_store_explicit(&g->left, g->left - 1, memory_order_release);
	if (g->left == 0) {
		wake_waiters(g, &wakes);
		noted = g->pending;
		first = g->first;
		end = g->end;
		g->pending = NULL;
		g->first = g->end = g->capacity = 0;
	}
	bool more = g->held != NULL;
	lp_unlock(&g->lock);
	lp_wake_all(&wakes);
	for (uint32_t i = first; i < end; i++)
		lp_release(noted[i]);
	lp_free(noted);
	if (failed)
		lp_group_cancel(g);
	else if (more)
		release_held(g);
	lp_release(g);
}

static void member_ended(struct lp_task *t, enum lp_task_state how)
{
	lp_group_leave((struct lp_group *)t->parent, t, how);
}

__attribute__((constructor)) static void group_open(void)
{
	lp_task_member_ended = member_ended;
}

void lp_group_cancel(struct lp_group *g)
{
	lp_token_mark(&g->token);
	/* The held ones are in no queue that the walk could find. */
	for (;;) {
		lp_lock(&g->lock);
		struct lp_task *t = take_held(g);
		if (t)
			atomic_store(&t->place, LP_HELD_STOPPED);
		lp_unlock(&g->lock);
		if (!t)
			break;
		if (lp_task_stop_pending(t))
			atomic_fetch_add(&g->pool->totals.cancelled, 1);
		lp_release(t);
	}
	lp_token_request_cancel(&g->token);
}

struct lp_task *lp_group_failed(struct lp_group *g)
{
	lp_lock(&g->lock);
	struct lp_task *t = g->failed ? lp_retain(g->failed) : NULL;
	lp_unlock(&g->lock);
	return t;
}

/* ---- waiting ---- */

static bool group_take(struct lp_obj *o, struct lp_node *n)
{
	(void)n;
	return lp_group_left((struct lp_group *)o) == 0;
}

static void group_enqueue(struct lp_obj *o, struct lp_node *n)
{
	struct lp_group *g = (struct lp_group *)o;
	lp_lock(&g->lock);
	if (lp_group_left(g))
		lp_list_append(&g->waiters, &n->link);
	else if (lp_claim(n))
		lp_fire(n, NULL);
	lp_unlock(&g->lock);
}

static void group_dequeue(struct lp_obj *o, struct lp_node *n)
{
	struct lp_group *g = (struct lp_group *)o;
	lp_lock(&g->lock);
	if (lp_linked(&n->link))
		lp_list_remove(&n->link);
	lp_unlock(&g->lock);
}

/* All members have to end: those who wait are who may be in a ring. One of a cancelled group ends by itself, once it is told. */
static void group_holders(struct lp_obj *o, lp_visit_exec *visit, void *data)
{
	struct lp_group *g = (struct lp_group *)o;
	for (struct lp_exec *e = NULL; (e = lp_graph_next(e));)
		for (struct lp_actor *a = e->actor; a; a = a->outer) {
			if (!a->is_task || lp_entry(a, struct lp_task, actor)->parent != &g->token)
				continue;
			if (!lp_group_over(g) || lp_cancel_word(a))
				visit(e, data);
			break;
		}
}

/* ---- life ---- */

static void group_destroy(struct lp_obj *o)
{
	struct lp_group *g = (struct lp_group *)o;
	struct lp_task *t = g->failed;
	if (t && o->generation != lp_generation)
		return; /* a child process: what the parent's threads were doing to them is not known */
	if (t) {
		g->failed = NULL;
		atomic_store(&o->refs, 1); /* the member's, given back when it was kept */
		lp_release(t);
		return;
	}
	lp_free(g->pending);
	lp_release(g->token.parent);
	lp_release(g->pool);
	lp_free(g);
}

const struct lp_class lp_group_class = {
	.name = "lua-pool.group",
	.destroy = group_destroy,
	.take = group_take,
	.enqueue = group_enqueue,
	.dequeue = group_dequeue,
	.holders = group_holders,
};

struct lp_group *lp_group_new(struct lp_pool *p, struct lp_token *parent, uint32_t limit, bool ids)
{
	struct lp_group *g = lp_alloc(sizeof *g);
	if (!g)
		return NULL;
	memset(g, 0, sizeof *g);
	lp_token_init(&g->token, &lp_group_class, parent);
	g->token.of_group = true;
	lp_lock_init(&g->lock, LP_RANK_GROUP);
	g->pool = lp_retain(p);
	g->limit = limit;
	g->ids = ids;
	g->held_end = &g->held;
	lp_list_init(&g->waiters);
	return g;
}
