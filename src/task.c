/* task: see task.h. Slots are recycled per thread: taking and returning one on the same thread costs
 * no lock and no malloc; one that is released on another thread goes back over a lock-free stack.
 * (glibc's free of another thread's memory takes 65 ns and more, and bounces the arena.) */
#include "task.h"

#include <string.h>

#include "cancel.h"

void (*lp_task_lost)(struct lp_task *t);

/* ---- slots ---- */

enum { KEEP = 4096 }; /* slots kept per thread: 1.3 MB at the most, a burst of 4,000 without malloc */

struct lp_slots {
	struct lp_task *local;             /* [thread] linked by next */
	unsigned count;                    /* [thread] */
	_Atomic(struct lp_task *) remote;  /* returned by other threads */
	_Atomic uint32_t refs;             /* one for the thread, one per slot that is out */
};

static _Thread_local struct lp_slots *my_slots;
static pthread_key_t slots_key;

static void free_list(struct lp_task *t)
{
	while (t) {
		struct lp_task *next = t->next;
		lp_free(t);
		t = next;
	}
}

/* Slots that are out keep the record alive; whoever brings the last one back frees it. */
static void slots_release(struct lp_slots *s)
{
	if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
		return;
	free_list(atomic_exchange(&s->remote, NULL));
	lp_free(s);
}

static void slots_thread_ends(void *slots)
{
	struct lp_slots *s = slots;
	my_slots = NULL;
	free_list(s->local);
	s->local = NULL;
	s->count = KEEP; /* nothing is kept from now on */
	slots_release(s);
}

__attribute__((constructor)) static void slots_open(void)
{
	pthread_key_create(&slots_key, slots_thread_ends);
}

static struct lp_slots *slots_self(void)
{
	if (!my_slots && (my_slots = lp_alloc(sizeof *my_slots))) {
		memset(my_slots, 0, sizeof *my_slots);
		atomic_init(&my_slots->refs, 1);
		pthread_setspecific(slots_key, my_slots);
	}
	return my_slots;
}

static struct lp_task *slot_take(void)
{
	struct lp_slots *s = slots_self();
	if (!s)
		return NULL;
	struct lp_task *t = s->local;
	if (!t && atomic_load_explicit(&s->remote, memory_order_relaxed)) {
		t = s->local = atomic_exchange_explicit(&s->remote, NULL, memory_order_acquire);
		for (struct lp_task *i = t; i; i = i->next)
			s->count++;
	}
	if (t) {
		s->local = t->next;
		s->count--;
	} else {
		if (!(t = lp_alloc(sizeof *t)))
			return NULL;
		t->owner = s;
	}
	atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	return t;
}

static void slot_return(struct lp_task *t)
{
	struct lp_slots *s = t->owner;
	if (s == my_slots) {
		if (s->count < KEEP) {
			t->next = s->local;
			s->local = t;
			s->count++;
		} else {
			lp_free(t);
		}
	} else {
		struct lp_task *head = atomic_load_explicit(&s->remote, memory_order_relaxed);
		do
			t->next = head;
		while (!atomic_compare_exchange_weak_explicit(&s->remote, &head, t, memory_order_release,
			memory_order_relaxed));
	}
	slots_release(s);
}

/* ---- tokens ---- */

static void token_destroy(struct lp_obj *o)
{
	struct lp_token *k = (struct lp_token *)o;
	lp_release(k->parent);
	lp_free(k);
}

static const struct lp_class token_class = {.name = "lua-pool.token", .destroy = token_destroy};

static void token_end(struct lp_token *k)
{
	lp_lock(&k->lock);
	struct lp_token *parent = k->parent;
	k->parent = NULL;
	lp_unlock(&k->lock);
	lp_release(parent);
}

struct lp_token *lp_task_token(struct lp_task *t)
{
	struct lp_token *k = t->token;
	if (k || !(k = lp_alloc(sizeof *k)))
		return k;
	lp_obj_init(&k->obj, &token_class);
	atomic_init(&k->lock.word, 0);
	atomic_init(&k->cancelled, false);
	k->parent = t->parent ? lp_retain(t->parent) : NULL;
	lp_lock(&t->lock);
	t->token = k;
	lp_unlock(&t->lock);
	/* The canceller asks, then looks for a token to mark; we show it, then look whether we were asked. */
	if (lp_cancel_word(&t->actor) & LP_CANCEL_ASKED)
		atomic_store(&k->cancelled, true);
	return k;
}

struct lp_token *lp_task_token_ref(struct lp_task *t)
{
	lp_lock(&t->lock);
	struct lp_token *k = t->token ? lp_retain(t->token) : NULL;
	lp_unlock(&t->lock);
	return k;
}

void lp_task_drop_token(struct lp_task *t)
{
	struct lp_token *k = t->token;
	if (!k)
		return;
	lp_lock(&t->lock);
	t->token = NULL;
	lp_unlock(&t->lock);
	token_end(k);
	lp_release(k);
}

static struct lp_token *token_parent(struct lp_token *k)
{
	lp_lock(&k->lock);
	struct lp_token *parent = k->parent ? lp_retain(k->parent) : NULL;
	lp_unlock(&k->lock);
	return parent;
}

bool lp_task_descends(struct lp_task *t, struct lp_token *of)
{
	if (t->parent == of || !t->parent || !of)
		return t->parent && t->parent == of;
	struct lp_token *k = lp_retain(t->parent);
	while (k && k != of) {
		struct lp_token *up = token_parent(k);
		lp_release(k);
		k = up;
	}
	lp_release(k);
	return k != NULL;
}

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
	lp_release(t->token);
	lp_release(t->parent);
	lp_release(t->host);
	lp_release(t->pool);
	slot_return(t);
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
	struct lp_task *t = slot_take();
	if (!t)
		return NULL;
	lp_obj_init(&t->obj, &lp_task_class);
	atomic_init(&t->state, LP_PENDING);
	atomic_init(&t->lock.word, 0);
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
	t->detached = t->lasting = t->lost = false;
	atomic_init(&t->has_room, false);
	t->submitted = 0;
	t->report = NULL;
	return t;
}

static void wake_waiters(struct lp_task *t)
{
	struct lp_wakes wakes = LP_WAKES_INIT;
	lp_lock(&t->lock);
	while (!lp_list_empty(&t->waiters)) {
		struct lp_node *n = lp_entry(t->waiters.next, struct lp_node, link);
		if (lp_claim(n))
			lp_fire(n, &wakes);
	}
	lp_unlock(&t->lock);
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
	if (s & LP_HAS_WAITERS)
		wake_waiters(t);
	return true;
}

void lp_task_end(struct lp_task *t, enum lp_task_state how)
{
	if (t->token)
		token_end(t->token);
	uint32_t s = atomic_fetch_add_explicit(&t->state, (uint32_t)how - LP_RUNNING, memory_order_acq_rel);
	if (s & LP_HAS_WAITERS)
		wake_waiters(t);
}

void lp_task_observe(struct lp_task *t)
{
	if (!(atomic_load_explicit(&t->state, memory_order_relaxed) & LP_OBSERVED))
		atomic_fetch_or_explicit(&t->state, LP_OBSERVED, memory_order_relaxed);
}
