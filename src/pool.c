/* pool: see pool.h for the invariants; this file keeps them. No Lua here. */
#include "pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker.h"

enum { SPIN_NS = 30000 };        /* one searcher, before it parks */
enum { RETRY_NS = 100000000 };   /* after a thread could not be started */
enum { MANY_TOMBSTONES = 256 };

static lp_mutex pools_lock;
static struct lp_link pools = {&pools, &pools}; /* [pools_lock] */
static unsigned cpus;

/* ---- birth and death ---- */

static void forget_threads(struct lp_pool *p)
{
	lp_queue_init(&p->queue);
	lp_semaphore_init(&p->room, &lp_semaphore_class, p->opt.queue_limit);
	atomic_init(&p->active, 0);
	atomic_init(&p->searching, 0);
	atomic_init(&p->tombstones, 0);
	atomic_init(&p->lock.word, 0);
	lp_list_init(&p->idle);
	lp_list_init(&p->workers);
	lp_list_init(&p->exited);
	lp_list_init(&p->inliners);
	p->threads = p->idle_count = p->in_use = 0;
	p->no_thread_until = 0;
	lp_event_init(&p->ended, &lp_event_class);
}

/* In a forked child every pool starts afresh: its threads are not here, and what they held (the
 * queue's tasks, their states) is given up rather than freed in an unknown condition. */
static void renew_pools(void)
{
	for (struct lp_link *l = pools.next; l != &pools; l = l->next) {
		struct lp_pool *p = lp_entry(l, struct lp_pool, link);
		forget_threads(p);
		p->obj.generation = lp_generation;
	}
}

__attribute__((constructor)) static void pools_open(void)
{
	lp_fork_guard(&pools_lock);
	lp_fork_child(renew_pools);
	cpus = lp_cpu_count();
}

static void pool_destroy(struct lp_obj *o)
{
	struct lp_pool *p = (struct lp_pool *)o;
	lp_lock(&pools_lock);
	lp_list_remove(&p->link);
	lp_unlock(&pools_lock);
	lp_msg_clear(&p->setup);
	if (p->init_error) {
		lp_msg_clear(p->init_error);
		lp_free(p->init_error);
		lp_free(p->init_report);
	}
	lp_free(p);
}

const struct lp_class lp_pool_class = {.name = "lua-pool.scheduler", .destroy = pool_destroy};

struct lp_pool *lp_pool_new(const struct lp_pool_options *opt, struct lp_msg *setup)
{
	struct lp_pool *p = lp_fault() ? NULL : aligned_alloc(64, (sizeof *p + 63) / 64 * 64);
	if (!p)
		return NULL;
	memset(p, 0, sizeof *p);
	lp_obj_init(&p->obj, &lp_pool_class);
	p->opt = *opt;
	atomic_init(&p->limit, opt->workers);
	lp_msg_init(&p->setup, NULL, 0);
	if (!lp_msg_move(&p->setup, setup)) {
		lp_free(p);
		return NULL;
	}
	forget_threads(p);
	lp_lock(&pools_lock);
	lp_list_append(&pools, &p->link);
	lp_unlock(&pools_lock);
	return p;
}

unsigned lp_pool_all(struct lp_pool **out, unsigned max)
{
	unsigned n = 0;
	lp_lock(&pools_lock);
	for (struct lp_link *l = pools.next; l != &pools && n < max; l = l->next) {
		struct lp_pool *p = lp_entry(l, struct lp_pool, link);
		uint32_t refs = atomic_load(&p->obj.refs);
		while (refs && !atomic_compare_exchange_weak(&p->obj.refs, &refs, refs + 1))
			;
		if (refs)
			out[n++] = p;
	}
	lp_unlock(&pools_lock);
	return n;
}

/* ---- waking ---- */

/* Under the lock: takes the worker that parked last (its caches are warm) off the idle list. */
static struct lp_worker *take_idle(struct lp_pool *p)
{
	struct lp_link *l = lp_list_take_first(&p->idle);
	if (!l)
		return NULL;
	p->idle_count--;
	return lp_entry(l, struct lp_worker, idle_link);
}

static bool start_thread(struct lp_pool *p)
{
	lp_pool_reap(p); /* threads that left after idle_timeout: until joined they keep their stacks */
	struct lp_worker *w = lp_worker_new(p, true);
	if (w) {
		lp_lock(&p->lock);
		lp_list_append(&p->workers, &w->link);
		lp_unlock(&p->lock);
		if (lp_worker_start(w) == 0)
			return true;
		lp_lock(&p->lock);
		lp_list_remove(&w->link);
		lp_unlock(&p->lock);
		lp_worker_free(w);
	}
	lp_lock(&p->lock);
	p->threads--;
	p->no_thread_until = lp_now() + RETRY_NS;
	lp_unlock(&p->lock);
	atomic_fetch_sub(&p->active, 1);
	atomic_store(&p->searching, 0); /* I2: the caller looks at the queue again */
	return false;
}

bool lp_pool_kick(struct lp_pool *p)
{
	if (lp_queue_count(&p->queue) == 0 || atomic_load(&p->searching) || atomic_load(&p->active) >= atomic_load(&p->limit))
		return true;
	lp_lock(&p->lock);
	if (atomic_load(&p->searching) || atomic_load(&p->active) >= atomic_load(&p->limit)) {
		lp_unlock(&p->lock);
		return true;
	}
	struct lp_worker *w = take_idle(p);
	if (w) {
		w->woken = true;
		struct lp_parker *parker = atomic_load(&w->parker); /* w may be gone once we unlock */
		atomic_store(&p->searching, 1);
		atomic_fetch_add(&p->active, 1);
		lp_unlock(&p->lock);
		lp_unpark(parker);
		return true;
	}
	if (p->stopping || p->threads >= p->opt.max_threads || (p->no_thread_until && lp_now() < p->no_thread_until)) {
		lp_unlock(&p->lock);
		return false;
	}
	p->threads++;
	atomic_store(&p->searching, 1);
	atomic_fetch_add(&p->active, 1);
	lp_unlock(&p->lock);
	return start_thread(p);
}

/* ---- submitting ---- */

enum lp_submitted lp_pool_submit(struct lp_pool *p, struct lp_task *t, bool own)
{
	if (atomic_load_explicit(&p->closed, memory_order_relaxed)) {
		lp_lock(&p->lock);
		bool refused = p->stopping || !own;
		lp_unlock(&p->lock);
		if (refused)
			return LP_CLOSED_POOL;
	}
	lp_queue_push(&p->queue, lp_retain(t));
	if (atomic_load_explicit(&p->limit, memory_order_relaxed) == 0)
		return LP_RUN_INLINE;
	if (lp_pool_kick(p))
		return LP_SUBMITTED;
	lp_lock(&p->lock);
	bool nobody = p->threads == 0;
	lp_unlock(&p->lock);
	return nobody ? LP_RUN_INLINE : LP_SUBMITTED;
}

void lp_pool_leave_room(struct lp_pool *p, struct lp_task *t)
{
	if (atomic_load_explicit(&t->has_room, memory_order_relaxed) && atomic_exchange(&t->has_room, false))
		lp_semaphore_release(&p->room, 1);
}

void lp_pool_cancelled_entry(struct lp_pool *p)
{
	int32_t n = atomic_fetch_add(&p->tombstones, 1) + 1;
	if (n < MANY_TOMBSTONES || (uint32_t)n < lp_queue_count(&p->queue) / 2)
		return;
	for (struct lp_task *t = lp_queue_prune(&p->queue), *next; t; t = next) {
		next = t->next;
		lp_pool_took_tombstone(p);
		lp_pool_leave_room(p, t);
		lp_release(t);
	}
}

void lp_pool_took_tombstone(struct lp_pool *p)
{
	atomic_fetch_sub_explicit(&p->tombstones, 1, memory_order_relaxed);
}

unsigned lp_pool_queued(struct lp_pool *p)
{
	int64_t n = (int64_t)lp_queue_count(&p->queue) - atomic_load(&p->tombstones);
	return n > 0 ? (unsigned)n : 0;
}

/* ---- taking and parking: worker threads ---- */

struct lp_task *lp_pool_next(struct lp_pool *p, bool searching)
{
	struct lp_task *t = lp_queue_take(&p->queue);
	if (!t && searching && cpus > 1) {
		lp_time until = lp_now() + SPIN_NS;
		do {
			for (int i = 0; i < 64; i++) {
				if (atomic_load_explicit(&p->queue.count, memory_order_relaxed))
					break;
				lp_relax();
			}
			t = lp_queue_take(&p->queue);
		} while (!t && lp_now() < until);
	}
	if (!t)
		return NULL;
	if (searching) {
		atomic_store(&p->searching, 0);
		lp_pool_kick(p); /* the search goes on with another, if there is more to find */
	}
	lp_pool_leave_room(p, t);
	return t;
}

/* Under the lock: nothing runs, nothing is queued, nothing will come. Then all may go. */
static bool drained(struct lp_pool *p)
{
	return p->draining && p->idle_count == p->threads && p->in_use == 0 && lp_queue_count(&p->queue) == 0;
}

/* Sends the parked ones home, one lock hold each: waking is a system call (I5). */
static void dismiss_idle(struct lp_pool *p)
{
	for (;;) {
		lp_lock(&p->lock);
		struct lp_worker *w = take_idle(p);
		struct lp_parker *parker = w ? atomic_load(&w->parker) : NULL;
		bool none = p->threads == 0 && p->draining;
		lp_unlock(&p->lock);
		if (!w) {
			if (none)
				lp_event_set(&p->ended);
			return;
		}
		lp_unpark(parker);
	}
}

void lp_pool_settle(struct lp_pool *p)
{
	lp_lock(&p->lock);
	bool now = drained(p);
	if (now)
		p->stopping = true;
	lp_unlock(&p->lock);
	if (now)
		dismiss_idle(p);
}

bool lp_pool_park(struct lp_pool *p, struct lp_worker *w)
{
	lp_lock(&p->lock);
	if (p->stopping) {
		lp_unlock(&p->lock);
		if (w->counted) {
			w->counted = false;
			atomic_fetch_sub(&p->active, 1);
			lp_pool_kick(p);
		}
		return false;
	}
	w->woken = false;
	lp_list_prepend(&p->idle, &w->idle_link); /* last in, first out */
	p->idle_count++;
	bool stays = p->opt.idle_timeout == LP_FOREVER && p->threads <= atomic_load(&p->limit);
	lp_unlock(&p->lock);
	if (w->counted) {
		w->counted = false;
		atomic_fetch_sub(&p->active, 1);
	}
	lp_pool_kick(p); /* I2: maybe it wakes ourselves */
	lp_pool_settle(p);

	lp_time idle = p->opt.idle_timeout == LP_FOREVER ? 5 * LP_SECOND : p->opt.idle_timeout;
	lp_time until = stays ? LP_FOREVER : lp_now() + idle;
	for (;;) {
		lp_lock(&p->lock);
		bool taken = !lp_linked(&w->idle_link), leaves = false;
		if (!taken && (p->stopping || (until != LP_FOREVER && lp_now() >= until))) {
			lp_list_remove(&w->idle_link);
			p->idle_count--;
			leaves = true;
		}
		bool woken = w->woken;
		lp_unlock(&p->lock);
		if (taken && woken)
			return w->counted = true;
		if (taken || leaves)
			return false;
		lp_park(atomic_load(&w->parker), until);
	}
}

void lp_counts_add(struct lp_counts *to, struct lp_counts *from)
{
	atomic_fetch_add(&to->done, atomic_load(&from->done));
	atomic_fetch_add(&to->failed, atomic_load(&from->failed));
	atomic_fetch_add(&to->cancelled, atomic_load(&from->cancelled));
	atomic_fetch_add(&to->inlined, atomic_load(&from->inlined));
	for (int i = 0; i < 32; i++) {
		atomic_fetch_add(&to->wait[i], atomic_load(&from->wait[i]));
		atomic_fetch_add(&to->run[i], atomic_load(&from->run[i]));
	}
}

void lp_pool_worker_exits(struct lp_pool *p, struct lp_worker *w)
{
	lp_lock(&p->lock);
	lp_counts_add(&p->totals, &w->counts);
	lp_list_remove(&w->link);
	lp_list_append(&p->exited, &w->link);
	p->threads--;
	bool last = p->draining && p->stopping && p->threads == 0;
	lp_unlock(&p->lock);
	if (last)
		lp_event_set(&p->ended);
	else
		lp_pool_settle(p);
	/* Somebody joins us, unless the pool was left alone: whoever unlinks the worker owns it. */
	lp_lock(&p->lock);
	bool alone = p->unattended && lp_linked(&w->link);
	if (alone)
		lp_list_remove(&w->link);
	lp_unlock(&p->lock);
	if (alone) {
		lp_thread_detach(pthread_self());
		lp_worker_free(w);
	}
}

void lp_pool_reap(struct lp_pool *p)
{
	for (;;) {
		lp_lock(&p->lock);
		struct lp_link *l = lp_list_take_first(&p->exited);
		lp_unlock(&p->lock);
		if (!l)
			return;
		struct lp_worker *w = lp_entry(l, struct lp_worker, link);
		lp_thread_join(w->thread); /* it has left the pool: what it still does is to return */
		lp_worker_free(w);
	}
}

/* ---- closing, resizing ---- */

void lp_pool_abandon(struct lp_pool *p)
{
	lp_lock(&p->lock);
	p->unattended = true;
	lp_unlock(&p->lock);
	lp_pool_drain(p);
	lp_pool_reap(p);
}

void lp_pool_drain(struct lp_pool *p)
{
	lp_lock(&p->lock);
	p->draining = true;
	atomic_store(&p->closed, true);
	lp_unlock(&p->lock);
	lp_pool_settle(p);
}

void lp_pool_stop(struct lp_pool *p)
{
	lp_lock(&p->lock);
	p->draining = p->stopping = true;
	atomic_store(&p->closed, true);
	lp_unlock(&p->lock);
	dismiss_idle(p);
}

void lp_pool_resize(struct lp_pool *p, unsigned workers)
{
	lp_lock(&p->lock);
	atomic_store(&p->limit, workers);
	if (p->opt.max_threads < workers)
		p->opt.max_threads = workers;
	/* Parked threads look again whether they are surplus now. */
	for (struct lp_link *l = p->idle.next; l != &p->idle; l = l->next)
		lp_unpark(atomic_load(&lp_entry(l, struct lp_worker, idle_link)->parker));
	lp_unlock(&p->lock);
	while (lp_queue_count(&p->queue) && !atomic_load(&p->searching) && atomic_load(&p->active) < workers)
		if (!lp_pool_kick(p))
			break;
}

void lp_pool_each_worker(struct lp_pool *p, void (*f)(struct lp_worker *w, void *data), void *data)
{
	lp_lock(&p->lock);
	for (struct lp_link *l = p->workers.next; l != &p->workers; l = l->next)
		f(lp_entry(l, struct lp_worker, link), data);
	lp_unlock(&p->lock);
}

/* ---- cancelling all ---- */

void lp_pool_cancel_queued(struct lp_pool *p)
{
	struct lp_task *reports = NULL;
	for (struct lp_task *t; (t = lp_queue_take(&p->queue));) {
		lp_pool_leave_room(p, t);
		if (t->lost) {
			t->next = reports;
			reports = t;
			continue;
		}
		lp_task_request_cancel(t);
		lp_pool_took_tombstone(p); /* it was one, or is one since */
		lp_release(t);
	}
	for (struct lp_task *next; reports; reports = next) {
		next = reports->next;
		lp_queue_push(&p->queue, reports);
	}
	lp_pool_kick(p);
	lp_pool_settle(p);
}

struct running {
	struct lp_task *tasks[64];
	unsigned n;
};

static void collect_running(struct lp_worker *w, void *data)
{
	struct running *r = data;
	lp_lock(&w->lock);
	for (struct lp_actor *a = w->exec.actor; a; a = a->outer)
		if (a->is_task && r->n < sizeof r->tasks / sizeof *r->tasks && !atomic_load(&a->cancel))
			r->tasks[r->n++] = lp_retain(lp_entry(a, struct lp_task, actor));
	lp_unlock(&w->lock);
}

void lp_pool_cancel_running(struct lp_pool *p)
{
	struct running r;
	do {
		r.n = 0;
		lp_pool_each_worker(p, collect_running, &r);
		for (unsigned i = 0; i < r.n; i++) {
			lp_task_request_cancel(r.tasks[i]);
			lp_release(r.tasks[i]);
		}
	} while (r.n);
}

bool lp_pool_capped(struct lp_pool *p)
{
	lp_lock(&p->lock);
	bool capped = p->threads >= p->opt.max_threads || (p->no_thread_until && lp_now() < p->no_thread_until);
	lp_unlock(&p->lock);
	return capped && p->opt.max_threads > atomic_load(&p->limit);
}

/* ---- what is wrong with the pool ---- */

bool lp_msg_copy(struct lp_msg *to, const struct lp_msg *from)
{
	uint32_t index;
	if (!lp_msg_room(to, from->len))
		return false;
	for (uint32_t i = 0; i < from->nobjs; i++)
		if (!lp_msg_add_obj(to, from->objs[i], &index)) {
			lp_msg_clear(to);
			return false;
		}
	if (from->len)
		memcpy(to->data, from->data, from->len);
	to->len = from->len;
	to->nvalues = from->nvalues;
	return true;
}

bool lp_pool_break(struct lp_pool *p, struct lp_msg *error, char *report)
{
	lp_lock(&p->lock);
	bool first = !p->init_error;
	if (first) {
		p->init_error = error;
		p->init_report = report;
	}
	lp_unlock(&p->lock);
	atomic_store(&p->broken, true);
	return first;
}

void lp_pool_stuck(struct lp_pool *p)
{
	if (atomic_load(&p->active) || lp_pool_queued(p) == 0)
		return;
	lp_lock(&p->lock);
	bool say = !p->stuck_said && p->threads > 0 && !p->opt.silent;
	p->stuck_said = true;
	unsigned threads = p->threads;
	lp_unlock(&p->lock);
	if (say)
		fprintf(stderr, "lua-pool: all %u threads of pool '%s' wait for others while %u tasks are queued: raise max_threads, "
			"or start what they wait for first\n", threads, p->opt.name, lp_pool_queued(p));
}
