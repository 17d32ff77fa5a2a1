/* task: see task.h. The task as an object to wait for, and its life. */
#include "sched/task.h"

void (*lp_task_lost)(struct lp_task *t);
void (*lp_task_member_ended)(struct lp_task *t, enum lp_task_state how);
void (*lp_task_end_announced)(struct lp_node *n);
void (*lp_task_end_told)(struct lp_node *n);

/* ---- the task as an object to wait for ---- */

static bool task_take(struct lp_obj *o, struct lp_node *n)
{
	(void)n;
	return lp_task_ended((struct lp_task *)o);
}

static void task_enqueue(struct lp_obj *o, struct lp_node *n)
{
	struct lp_task *t = (struct lp_task *)o;
	lp_lock(&t->lock);
	/* Either the end sees the flag and comes for the lock, or we see the end. */
	uint32_t s = atomic_fetch_or_explicit(&t->state, LP_HAS_WAITERS, memory_order_acq_rel);
	if ((s & LP_STATE_MASK) < LP_DONE)
		lp_list_append(&t->waiters, &n->link);
	else if (lp_claim(n))
		lp_fire(n, NULL);
	lp_unlock(&t->lock);
}

static void task_dequeue(struct lp_obj *o, struct lp_node *n)
{
	struct lp_task *t = (struct lp_task *)o;
	lp_lock(&t->lock);
	if (lp_linked(&n->link))
		lp_list_remove(&n->link);
	lp_unlock(&t->lock);
}

static struct lp_exec *task_holder(struct lp_obj *o)
{
	return lp_actor_exec(&((struct lp_task *)o)->actor);
}

static void task_destroy(struct lp_obj *o)
{
	struct lp_task *t = (struct lp_task *)o;
	uint32_t s = atomic_load_explicit(&t->state, memory_order_relaxed);
	if ((s & LP_STATE_MASK) == LP_FAILED && !(s & LP_OBSERVED) && lp_task_lost &&
		o->generation == lp_generation) {
		atomic_store(&t->state, s | LP_OBSERVED);
		atomic_store(&o->refs, 1);
		lp_task_lost(t); /* comes back here once it was reported */
		return;
	}
	lp_msg_clear(&t->msg);
	lp_free(t->report);
	lp_release(t->code);
	lp_release(t->token);
	lp_release(t->parent);
	lp_release(t->host);
	lp_release(t->pool);
	lp_slot_return(t);
}

const struct lp_class lp_task_class = {
	.name = "lua-pool.future",
	.destroy = task_destroy,
	.take = task_take,
	.enqueue = task_enqueue,
	.dequeue = task_dequeue,
	.holder = task_holder,
};

/* ---- its life ---- */

struct lp_task *lp_task_new(void)
{
	struct lp_task *t = lp_slot_take();
	if (!t)
		return NULL;
	lp_obj_init(&t->obj, &lp_task_class);
	atomic_init(&t->state, LP_PENDING);
	lp_lock_init(&t->lock, LP_RANK_TASK);
	lp_list_init(&t->waiters);
	lp_actor_init(&t->actor);
	t->actor.is_task = true;
	lp_msg_init(&t->msg, t->buffer, sizeof t->buffer);
	t->next = NULL;
	t->pool = NULL;
	t->host = NULL;
	t->parent = NULL;
	t->token = NULL;
	t->source = NULL;
	t->line = 0;
	t->sweeps = 0;
	t->detached = t->lasting = t->late = t->lost = t->grouped = t->wants_id = false;
	atomic_init(&t->place, LP_QUEUED);
	atomic_init(&t->has_room, false);
	t->submitted = 0;
	t->limit = LP_FOREVER;
	t->code = NULL;
	t->report = NULL;
	return t;
}

bool lp_task_hear(struct lp_task *t, struct lp_node *n)
{
	lp_lock(&t->lock);
	bool runs = (atomic_fetch_or_explicit(&t->state, LP_HAS_WAITERS | LP_HEARD, memory_order_acq_rel) &
		LP_STATE_MASK) < LP_DONE;
	if (runs)
		lp_list_append(&t->waiters, &n->link);
	lp_unlock(&t->lock);
	return runs;
}

bool lp_task_forget(struct lp_task *t, struct lp_node *n)
{
	lp_lock(&t->lock);
	bool linked = lp_linked(&n->link);
	if (linked)
		lp_list_remove(&n->link);
	lp_unlock(&t->lock);
	return linked;
}

/* To those who want to know in which order tasks end: before anybody can see that this one has. */
static void announce_end(struct lp_task *t)
{
	lp_lock(&t->lock);
	for (struct lp_link *l = t->waiters.next; l != &t->waiters; l = l->next)
		if (lp_entry(l, struct lp_node, link)->op == LP_NODE_END)
			lp_task_end_announced(lp_entry(l, struct lp_node, link));
	lp_unlock(&t->lock);
}

static void wake_waiters(struct lp_task *t)
{
	struct lp_wakes wakes = LP_WAKES_INIT;
	struct lp_node *hears;
	do {
		hears = NULL;
		lp_lock(&t->lock);
		while (!hears && !lp_list_empty(&t->waiters)) {
			struct lp_node *n = lp_entry(t->waiters.next, struct lp_node, link);
			if (n->op == LP_NODE_END) {
				lp_list_remove(&n->link);
				hears = n;
			} else if (lp_claim(n)) {
				lp_fire(n, &wakes);
			}
		}
		lp_unlock(&t->lock);
		if (hears)
			lp_task_end_told(hears);
	} while (hears);
	lp_wake_all(&wakes);
}

bool lp_task_begin(struct lp_task *t)
{
	uint32_t s = atomic_load_explicit(&t->state, memory_order_relaxed);
	do
		if ((s & LP_STATE_MASK) != LP_PENDING)
			return false;
	while (!atomic_compare_exchange_weak(&t->state, &s, s + LP_RUNNING));
	return true;
}

bool lp_task_stop_pending(struct lp_task *t)
{
	uint32_t s = atomic_load_explicit(&t->state, memory_order_relaxed);
	do
		if ((s & LP_STATE_MASK) != LP_PENDING)
			return false;
	while (!atomic_compare_exchange_weak(&t->state, &s, s + LP_STOPPED));
	atomic_store_explicit(&t->ended, lp_ticks(), memory_order_relaxed);
	if (s & LP_HAS_WAITERS)
		wake_waiters(t);
	if (t->grouped)
		lp_task_member_ended(t, LP_STOPPED);
	return true;
}

void lp_task_end(struct lp_task *t, enum lp_task_state how)
{
	lp_assert_no_lock();
	lp_assert(lp_task_state(t) == LP_RUNNING && how >= LP_DONE); /* ended once, by who runs it */
	if (t->token)
		lp_token_end(t->token);
	if (t->msg.data != t->msg.inlined)
		lp_slot_holds(t, t->msg.cap);
	if (atomic_load_explicit(&t->state, memory_order_relaxed) & LP_HEARD)
		announce_end(t);
	atomic_store_explicit(&t->ended, lp_ticks(), memory_order_relaxed);
	uint32_t s = atomic_fetch_add_explicit(&t->state, (uint32_t)how - LP_RUNNING, memory_order_acq_rel);
	if (s & LP_HAS_WAITERS)
		wake_waiters(t);
	if (t->grouped)
		lp_task_member_ended(t, how);
}

bool lp_task_abandon(struct lp_task *t, enum lp_task_state how)
{
	uint32_t s = atomic_load(&t->state);
	if ((s & LP_STATE_MASK) != LP_RUNNING)
		return false;
	if (s & LP_HEARD)
		announce_end(t);
	atomic_store_explicit(&t->ended, lp_ticks(), memory_order_relaxed);
	/* It cannot end meanwhile, but somebody may begin to wait for it. */
	while (!atomic_compare_exchange_weak(&t->state, &s, (s + (uint32_t)how - LP_RUNNING) | LP_ABANDONED | LP_OBSERVED))
		;
	return true;
}

void lp_task_announce(struct lp_task *t, enum lp_task_state how)
{
	wake_waiters(t);
	if (t->grouped)
		lp_task_member_ended(t, how);
}

void lp_task_observe(struct lp_task *t)
{
	if (!(atomic_load_explicit(&t->state, memory_order_relaxed) & LP_OBSERVED))
		atomic_fetch_or_explicit(&t->state, LP_OBSERVED, memory_order_relaxed);
}
