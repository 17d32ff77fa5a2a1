/* wait: wait-any, its wakers' side, and the detection of rings. See wait.h for the states. */
#include "wait/wait.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "wait/cancel.h"
#include "wait/inbox.h"

void lp_actor_init(struct lp_actor *a)
{
	atomic_init(&a->exec, NULL);
	atomic_init(&a->cancel, 0);
	a->outer = NULL;
	a->shield = 0;
	a->hold = 0;
	a->is_task = false;
	atomic_init(&a->handed, 0);
	a->told = 0;
	a->touching = false;
	a->deadline = LP_FOREVER;
	lp_list_init(&a->held);
}

/* ---- wakers ---- */

bool lp_claim(struct lp_node *n)
{
	_Atomic uint32_t *state = &n->wait->state;
	if (lp_linked(&n->link))
		lp_list_remove(&n->link);
	for (;;) {
		uint32_t s = LP_WAITING;
		if (atomic_compare_exchange_weak_explicit(state, &s, LP_BUSY, memory_order_acquire, memory_order_acquire))
			return true;
		if (s != LP_WAITING && s != LP_BUSY)
			return false;
		if (s == LP_BUSY) /* another waker delivers, or gives up a claim of both */
			lp_relax();
	}
}

static void add_wake(struct lp_wakes *w, uintptr_t whom)
{
	if (w->n == sizeof w->whom / sizeof *w->whom) {
		lp_check_permit(true);
		lp_wake_all(w);
		lp_check_permit(false);
	}
	w->whom[w->n++] = whom;
}

/* A coroutine's wait. The record may be gone as soon as FIRED is seen, so it is in the list before. Only the
 * first that comes into an empty list has to be announced. */
static void fire_suspended(struct lp_node *n, struct lp_wakes *w)
{
	struct lp_later *later = lp_entry(n->wait, struct lp_later, wait);
	struct lp_inbox *inbox = later->inbox;
	bool first = w && lp_inbox_push(later);
	atomic_store_explicit(&n->wait->state, LP_FIRED + n->index, memory_order_release);
	if (first)
		add_wake(w, (uintptr_t)inbox | 1);
}

void lp_fire(struct lp_node *n, struct lp_wakes *w)
{
	/* The parker outlives the wait, which may be gone as soon as FIRED is seen. */
	struct lp_parker *p = n->wait->parker;
	lp_assert(atomic_load(&n->wait->state) == LP_BUSY && !lp_linked(&n->link)); /* claimed by us */
	if (!p) {
		fire_suspended(n, w);
		return;
	}
	atomic_store_explicit(&n->wait->state, LP_FIRED + n->index, memory_order_release);
	if (w)
		add_wake(w, (uintptr_t)p);
}

void lp_wake_all(struct lp_wakes *w)
{
	for (unsigned i = 0; i < w->n; i++)
		if (w->whom[i] & 1)
			lp_inbox_announce((struct lp_inbox *)(w->whom[i] & ~(uintptr_t)1));
		else
			lp_unpark((struct lp_parker *)w->whom[i]);
	w->n = 0;
}

enum lp_claimed lp_claim_both(struct lp_node *mine, struct lp_node *theirs)
{
	if (mine->wait == theirs->wait) /* one select on both ends: it cannot meet itself */
		return LP_THEIRS_OVER;
	for (;;) {
		uint32_t s = LP_WAITING;
		if (!atomic_compare_exchange_strong_explicit(&mine->wait->state, &s, LP_BUSY, memory_order_acquire,
			    memory_order_acquire)) {
			if (s == LP_BUSY) {
				lp_relax();
				continue;
			}
			return LP_MINE_OVER;
		}
		for (;;) {
			s = LP_WAITING;
			if (atomic_compare_exchange_strong_explicit(&theirs->wait->state, &s, LP_BUSY,
				    memory_order_acquire, memory_order_acquire)) {
				lp_list_remove(&theirs->link);
				if (lp_linked(&mine->link))
					lp_list_remove(&mine->link);
				return LP_CLAIMED;
			}
			if (s != LP_BUSY) {
				atomic_store_explicit(&mine->wait->state, LP_WAITING, memory_order_release);
				lp_list_remove(&theirs->link);
				return LP_THEIRS_OVER;
			}
			/* Two that are busy with each other: the lower address steps back. */
			if (mine->wait < theirs->wait)
				break;
			lp_relax();
		}
		atomic_store_explicit(&mine->wait->state, LP_WAITING, memory_order_release);
		lp_relax();
	}
}

/* ---- rings ---- */

static lp_mutex graph = LP_MUTEX_INIT(LP_RANK_GRAPH);
static struct lp_link in_graph = {&in_graph, &in_graph}; /* [graph] */
static uint64_t searches;                                /* [graph] */

/* A forked child: those who waited are threads of the parent. */
static void forget_waits(void)
{
	while (!lp_list_empty(&in_graph))
		lp_entry(lp_list_take_first(&in_graph), struct lp_exec, in_graph)->waits_on = NULL;
}

__attribute__((constructor)) static void graph_open(void)
{
	lp_fork_guard(&graph, LP_RANK_GRAPH);
	lp_fork_child(LP_RANK_GRAPH, forget_waits);
}

void lp_graph_lock(void)
{
	lp_lock(&graph);
}

void lp_graph_unlock(void)
{
	lp_unlock(&graph);
}

const char *lp_class_short_name(const struct lp_class *cls)
{
	const char *dot = strrchr(cls->name, '.');
	return dot ? dot + 1 : cls->name;
}

const char *lp_deadlock_text(void)
{
	struct lp_parker *p = lp_parker_self(); /* it is there: a wait has been tried */
	return p ? p->text : "";
}

__attribute__((format(printf, 2, 3))) static void say(size_t *at, const char *format, ...)
{
	struct lp_parker *p = lp_parker_self();
	if (!p)
		return;
	va_list args;
	va_start(args, format);
	int n = vsnprintf(p->text + *at, sizeof p->text - *at, format, args);
	va_end(args);
	if (n > 0)
		*at += (size_t)n < sizeof p->text - *at ? (size_t)n : sizeof p->text - *at - 1;
}

/* Does its wait end by itself: it was asked to end, or is cleaning up, which takes the grace at most? Under the
 * graph lock, while e is in the graph: it cannot change its actor, nor that its shield, meanwhile. */
static bool leaves(struct lp_exec *e)
{
	return lp_cancel_word(e->actor) && !e->actor->shield && !e->actor->hold;
}

struct lp_exec *lp_exec_cover(struct lp_exec *e, struct lp_exec *top)
{
	struct lp_exec *thread = e->host ? e->host : e;
	lp_lock(&graph);
	struct lp_exec *before = thread->on_top;
	thread->on_top = top;
	lp_unlock(&graph);
	return before;
}

/* Under the graph lock: who has to act so that e can. */
static struct lp_exec *topmost(struct lp_exec *e)
{
	for (struct lp_exec *thread; e; e = thread->on_top) {
		thread = e->host ? e->host : e;
		if (!thread->on_top)
			break;
	}
	return e;
}

void lp_holders(struct lp_obj *o, lp_visit_exec *visit, void *data)
{
	lp_assert_held(&graph);
	struct lp_exec *e;
	if (o->cls->holders)
		o->cls->holders(o, visit, data);
	else if (o->cls->holder && (e = o->cls->holder(o)))
		visit(e, data);
}

struct lp_exec *lp_graph_next(struct lp_exec *e)
{
	lp_assert_held(&graph);
	struct lp_link *next = e ? e->in_graph.next : in_graph.next;
	return next == &in_graph ? NULL : lp_entry(next, struct lp_exec, in_graph);
}

/* search: for a way from what e waits for back to e. Where several have to act for one (a group's members), all of them
 * have to, so one way is enough. */
struct search {
	struct lp_exec *e;
	bool blocks;                         /* its thread: so it also waits for that thread's light threads */
	uint64_t number;
	struct lp_exec *from;                /* whose object's holders are visited */
	struct lp_exec *found, **found_end;  /* those whose objects are still to be looked at */
	struct lp_exec *closes;              /* holds what `from` waits for: e, or a light thread of its thread */
};

static void visit(struct lp_exec *next, void *data)
{
	struct search *s = data;
	next = topmost(next);
	if (!next || s->closes)
		return;
	if (next == s->e || (s->blocks && lp_exec_same_thread(next, s->e))) {
		s->closes = next;
		return;
	}
	/* Or it was given the object and has not yet woken up to say that it no longer waits. */
	if (!next->waits_on || next->waits_on == s->from->waits_on || next->search == s->number || leaves(next))
		return;
	next->search = s->number;
	next->via = s->from;
	next->next_found = NULL;
	*s->found_end = next;
	s->found_end = &next->next_found;
}

/* Follows who waits for whom. Both ends are under one lock, so of the waits that form a ring the last one to come here
 * sees all the others. */
static bool closes_ring(struct search *s)
{
	lp_assert_held(&graph);
	s->from = s->e;
	s->found_end = &s->found;
	for (;;) {
		lp_holders(s->from->waits_on, visit, s);
		if (s->closes)
			return true;
		if (!s->found)
			return false;
		s->from = s->found;
		if (!(s->found = s->from->next_found))
			s->found_end = &s->found;
	}
}

enum { RING_SHOWN = 7 };

/* The ring is there: says so. Nobody on it has moved: the place of one that waits in the graph stays. */
static void describe_ring(struct search *s)
{
	size_t at = 0, n = 0;
	struct lp_exec *ring[RING_SHOWN] = {NULL}; /* from e on, the first ones */
	for (struct lp_exec *x = s->from; x != s->e; x = x->via)
		n++;
	size_t i = n + 1;
	for (struct lp_exec *x = s->from; i-- > 0; x = x->via)
		if (i < RING_SHOWN)
			ring[i] = x;
	for (i = 0; i <= n; i++) {
		struct lp_obj *o = ring[i]->waits_on;
		const char *name = lp_class_short_name(o->cls);
		say(&at, "%s %p, %s ", name, (void *)o, strcmp(name, "future") == 0 ? "whose task" :
			strcmp(name, "group") == 0 ? "one of whose tasks" : "whose owner");
		if (i == n || i + 1 == RING_SHOWN)
			break;
		if (ring[i + 1]->place.source)
			say(&at, "waits at %s:%d for ", ring[i + 1]->place.source, ring[i + 1]->place.line);
		else
			say(&at, "waits for ");
	}
	if (i < n)
		say(&at, "waits for ... this task");
	else if (s->closes == s->e)
		say(&at, "is this task");
	else
		say(&at, "is a coroutine of this Lua state, which could not run meanwhile");
}

static void leave_graph(struct lp_exec *e)
{
	lp_lock(&graph);
	e->waits_on = NULL;
	if (lp_linked(&e->in_graph))
		lp_list_remove(&e->in_graph);
	lp_unlock(&graph);
}

static bool enter_graph(struct lp_exec *e, struct lp_obj *o, bool blocks)
{
	lp_lock(&graph);
	struct search s = {.e = e, .blocks = blocks, .number = ++searches};
	e->waits_on = o;
	lp_list_append(&in_graph, &e->in_graph);
	bool ring = closes_ring(&s);
	if (ring) {
		describe_ring(&s);
		e->waits_on = NULL;
		lp_list_remove(&e->in_graph);
	}
	lp_unlock(&graph);
	return !ring;
}

/* ---- waiters ---- */

/* About to sleep: where and for what, for whoever asks for a report. */
static void falls_asleep(struct lp_exec *e, struct lp_waiting *w)
{
	if (e->asleep) /* in another wait */
		return;
	e->place.source = NULL; /* nobody looks at it while we are not asleep */
	if (e->note)
		e->note(e);
	lp_lock(&e->place_lock);
	e->nodes = w->nodes;
	e->nnodes = w->n;
	e->wait = w->wait;
	e->asleep = true;
	lp_unlock(&e->place_lock);
}

static void wakes_up(struct lp_exec *e, struct lp_waiting *w)
{
	if (e->wait != w->wait) /* only this thread writes these */
		return;
	lp_lock(&e->place_lock);
	e->asleep = false;
	e->nodes = NULL;
	e->wait = NULL;
	lp_unlock(&e->place_lock);
}

/* Ends the wait from our side, unless a waker was first (then it fires within instructions). */
static bool end_self(struct lp_wait *w)
{
	for (;;) {
		uint32_t s = LP_WAITING;
		if (atomic_compare_exchange_strong_explicit(&w->state, &s, LP_SELF, memory_order_acq_rel,
			    memory_order_acquire))
			return true;
		if (s != LP_BUSY)
			return false;
		lp_relax();
	}
}

enum { HOST_LOOKS_NS = 50000000 };

int lp_wait_look(struct lp_exec *e, struct lp_wait *w, lp_time deadline)
{
	for (;;) {
		uint32_t s = atomic_load_explicit(&w->state, memory_order_acquire);
		if (s >= LP_FIRED)
			return (int)(s - LP_FIRED);
		if (s == LP_BUSY) {
			lp_relax();
			continue;
		}
		int why = 0;
		lp_time until = lp_actor_until(e->actor, deadline);
		bool signalled = e->signalled && e->signalled(e); /* may ask the actor to end */
		if (lp_interrupted(e))
			why = LP_CANCELLED;
		else if (signalled)
			why = LP_INTERRUPTED;
		else if (until != LP_FOREVER && lp_now() >= until)
			why = until == deadline ? LP_TIMEOUT : LP_CANCELLED;
		else if (atomic_load_explicit(&e->called, memory_order_acquire))
			why = LP_CALLED;
		if (!why)
			return LP_MUST_WAIT;
		if (end_self(w))
			return why;
	}
}

int lp_wait_give_up(struct lp_wait *w)
{
	if (end_self(w))
		return LP_CANCELLED;
	uint32_t s = atomic_load_explicit(&w->state, memory_order_acquire);
	return s >= LP_FIRED ? (int)(s - LP_FIRED) : LP_CANCELLED;
}

static int sleep_until_fired(struct lp_exec *e, struct lp_wait *w, lp_time deadline)
{
	for (;;) {
		int fired = lp_wait_look(e, w, deadline);
		if (fired != LP_MUST_WAIT)
			return fired;
		/* A handler of the host may run in the instant before we sleep, or on another thread, and wakes
		 * nobody: so a host looks again every now and then. Workers are woken by all that concerns them. */
		lp_time until = lp_actor_until(e->actor, deadline);
		lp_time look = e->signalled ? lp_now() + HOST_LOOKS_NS : LP_FOREVER;
		lp_park(w->parker, look < until ? look : until);
	}
}

int lp_wait_try(struct lp_exec *e, struct lp_node *nodes, int n, lp_time deadline)
{
	if (lp_interrupted(e))
		return LP_CANCELLED;
	for (int i = 0; i < n; i++) {
		nodes[i].link.next = NULL;
		nodes[i].index = (uint32_t)i;
		nodes[i].wait = NULL;
		nodes[i].result = 0;
		if (nodes[i].obj->cls->take(nodes[i].obj, &nodes[i]))
			return i;
	}
	if (deadline <= 0 || (deadline != LP_FOREVER && deadline <= lp_now()))
		return LP_TIMEOUT;
	return LP_MUST_WAIT;
}

int lp_wait_enter(struct lp_exec *e, struct lp_waiting *w, lp_time deadline)
{
	lp_assert_no_lock();
	struct lp_node *nodes = w->nodes;
	w->queued = 0;
	/* A deadline scope of the actor ends the wait as well: that is no dead-lock either. */
	w->in_graph = w->n == 1 && (nodes[0].obj->cls->holder || nodes[0].obj->cls->holders) &&
		lp_actor_until(e->actor, deadline) == LP_FOREVER && !leaves(e) && !e->waits_on;
	falls_asleep(e, w);
	if (w->in_graph && !enter_graph(e, nodes[0].obj, w->wait->parker != NULL)) {
		w->in_graph = false;
		wakes_up(e, w);
		return LP_DEADLOCK;
	}
	while (w->queued < w->n && atomic_load_explicit(&w->wait->state, memory_order_acquire) == LP_WAITING) {
		struct lp_node *node = &nodes[w->queued++];
		node->wait = w->wait;
		node->obj->cls->enqueue(node->obj, node);
	}
	return 0;
}

void lp_wait_leave(struct lp_exec *e, struct lp_waiting *w, int fired)
{
	lp_assert_no_lock();
	lp_assert(atomic_load(&w->wait->state) == LP_SELF || atomic_load(&w->wait->state) >= LP_FIRED);
	if (w->in_graph)
		leave_graph(e);
	wakes_up(e, w);
	/* A fired node was unlinked by its waker, who touches it no more. */
	for (int i = 0; i < w->queued; i++)
		if (i != fired)
			w->nodes[i].obj->cls->dequeue(w->nodes[i].obj, &w->nodes[i]);
}

void lp_wait_forget(struct lp_exec *e, struct lp_waiting *w)
{
	wakes_up(e, w);
}

int lp_wait_any(struct lp_exec *e, struct lp_node *nodes, int n, lp_time deadline)
{
	lp_assert_no_lock();
	int fired = lp_wait_try(e, nodes, n, deadline);
	if (fired != LP_MUST_WAIT)
		return fired;
	struct lp_wait wait = {.parker = lp_parker_self()};
	if (!wait.parker)
		return LP_NOMEM;
	struct lp_waiting w = {.wait = &wait, .nodes = nodes, .n = n};
	if (lp_wait_enter(e, &w, deadline) == LP_DEADLOCK)
		return LP_DEADLOCK;
	if (atomic_load_explicit(&wait.state, memory_order_acquire) >= LP_FIRED) {
		fired = (int)(atomic_load_explicit(&wait.state, memory_order_relaxed) - LP_FIRED);
	} else {
		e->deadline = deadline;
		/* A mere sleep (no object) ends by itself: it keeps its permit. */
		if (e->block && n > 0)
			e->block(e);
		fired = sleep_until_fired(e, &wait, deadline);
		if (e->unblock && n > 0)
			e->unblock(e);
	}
	lp_wait_leave(e, &w, fired);
	return fired;
}
