/* sched: who runs, who sleeps, who wakes whom: see pool.h for the invariants, which this file keeps. No Lua here. */
#include "sched/pool.h"

#include "sched/worker.h"

enum { SPIN_NS = 30000 };        /* one searcher, before it parks; none where `nice` is set */
enum { RETRY_NS = 100000000 };   /* after a thread could not be started */
enum { MANY_TOMBSTONES = 256 };

static unsigned cpus;

__attribute__((constructor)) static void sched_open(void)
{
	cpus = lp_cpu_count();
}

/* ---- waking ---- */

/* Under the lock: takes the worker that parked last (its caches are warm) off the idle list. */
static struct lp_worker *take_idle(struct lp_pool *p)
{
	lp_assert_held(&p->lock); /* I4 */
	lp_assert((p->idle_count == 0) == lp_list_empty(&p->idle));
	struct lp_link *l = lp_list_take_first(&p->idle);
	if (!l)
		return NULL;
	p->idle_count--;
	return lp_entry(l, struct lp_worker, idle_link);
}

/* Under the lock: hands a permit to a worker that waits and can run what it waits for. NULL: there is none. */
static struct lp_parker *call_helper(struct lp_pool *p)
{
	struct lp_link *l = p->helpers.next;
	if (l == &p->helpers)
		return NULL;
	/* A thread that neither waits nor works is about to park, and looks at the queue after that. */
	bool all_wait = atomic_load(&p->active) <= p->lost && atomic_load(&p->waiting) + p->leaving >= p->threads;
	if (lp_entry(l, struct lp_worker, helper_link)->late && !all_wait)
		return NULL;
	struct lp_worker *w = lp_entry(l, struct lp_worker, helper_link);
	lp_list_remove(l);
	atomic_fetch_add(&p->active, 1);
	atomic_store_explicit(&w->exec.called, true, memory_order_release);
	return atomic_load(&w->parker);
}

void lp_pool_offer(struct lp_pool *p, struct lp_worker *w, bool late)
{
	lp_lock(&p->lock);
	w->late = late;
	if (late)
		lp_list_append(&p->helpers, &w->helper_link);
	else
		lp_list_prepend(&p->helpers, &w->helper_link);
	lp_unlock(&p->lock);
}

bool lp_pool_withdraw(struct lp_pool *p, struct lp_worker *w)
{
	lp_lock(&p->lock);
	bool called = !lp_linked(&w->helper_link);
	if (!called)
		lp_list_remove(&w->helper_link);
	lp_unlock(&p->lock);
	if (called)
		atomic_store(&w->exec.called, false);
	return called;
}

static bool start_thread(struct lp_pool *p)
{
	lp_pool_reap(p); /* threads that left after idle_timeout: until joined they keep their stacks */
	struct lp_worker *w = lp_worker_new(p, true);
	if (w) {
		lp_lock(&p->lock);
		w->place = ++p->places;
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
	if ((p->stopping && !p->late) || p->threads - p->leaving >= p->opt.max_threads || (p->no_thread_until && lp_now() < p->no_thread_until)) {
		struct lp_parker *helper = call_helper(p);
		lp_unlock(&p->lock);
		if (helper)
			lp_unpark(helper);
		return helper != NULL;
	}
	p->threads++;
	atomic_store(&p->searching, 1);
	atomic_fetch_add(&p->active, 1);
	if (p->late)
		lp_event_reset(&p->ended);
	lp_unlock(&p->lock);
	if (start_thread(p))
		return true;
	lp_lock(&p->lock);
	struct lp_parker *helper = call_helper(p);
	lp_unlock(&p->lock);
	if (helper)
		lp_unpark(helper);
	return helper != NULL;
}

void lp_pool_report(struct lp_pool *p, struct lp_task *t)
{
	lp_lock(&p->lock);
	p->late = p->stopping;
	lp_unlock(&p->lock);
	lp_queue_push(&p->queue, t);
	bool served = atomic_load(&p->limit) && lp_pool_kick(p);
	lp_lock(&p->lock);
	bool nobody = p->threads == 0;
	lp_unlock(&p->lock);
	if (!served && nobody)
		lp_worker_serve(p, NULL);
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
	lp_queue_push(&p->queue, t->grouped ? lp_retain(t) : lp_retain_unshared(t));
	if (atomic_load_explicit(&p->limit, memory_order_relaxed) == 0)
		return LP_RUN_INLINE;
	if (lp_pool_kick(p))
		return LP_SUBMITTED;
	lp_lock(&p->lock);
	bool nobody = p->threads == 0;
	lp_unlock(&p->lock);
	if (!nobody)
		lp_pool_stuck(p); /* they may all have been waiting before there was anything to do */
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
	/* A pool that stands back does not spin: others need the core. */
	if (!t && searching && cpus > 1 && p->opt.nice <= 0) {
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
	lp_assert_held(&p->lock);
	lp_assert(p->idle_count <= p->threads);
	return p->draining && p->idle_count == p->threads && p->in_use == 0 && lp_queue_count(&p->queue) == 0;
}

/* Sends the parked ones home, one lock hold each: waking is a system call (I5). */
void lp_pool_dismiss(struct lp_pool *p)
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
		lp_pool_dismiss(p);
}

/* Under the lock: it will look at no queue again. */
static void leaves_now(struct lp_pool *p, struct lp_worker *w)
{
	w->leaves = true;
	p->leaving++;
}

enum lp_parked lp_pool_park(struct lp_pool *p, struct lp_worker *w)
{
	lp_lock(&p->lock);
	if (p->stopping || p->threads > p->opt.max_threads) { /* too many: one that was stuck has come back */
		leaves_now(p, w);
		bool late = p->late;
		lp_unlock(&p->lock);
		if (atomic_exchange(&w->counted, false)) {
			atomic_fetch_sub(&p->active, 1);
			if (!lp_pool_kick(p) && late)
				lp_worker_serve(p, NULL); /* a late report came, and there is no other thread for it */
		}
		return LP_LEAVES;
	}
	w->woken = false;
	lp_list_prepend(&p->idle, &w->idle_link); /* last in, first out */
	p->idle_count++;
	w->resizes = p->resizes;
	lp_unlock(&p->lock);
	if (atomic_exchange(&w->counted, false))
		atomic_fetch_sub(&p->active, 1);
	lp_pool_kick(p); /* I2: maybe it wakes ourselves */
	lp_pool_settle(p);

	lp_time idle = p->opt.idle_timeout == LP_FOREVER ? 5 * LP_SECOND : p->opt.idle_timeout;
	lp_time leave_at = lp_now() + idle;
	for (;;) {
		lp_lock(&p->lock);
		bool taken = !lp_linked(&w->idle_link);
		/* Asked anew each time: a resize, and each thread that leaves, change the answer; those on their way out count no more. */
		bool stays = p->opt.idle_timeout == LP_FOREVER && p->threads - p->leaving <= atomic_load(&p->limit);
		lp_time until = stays ? LP_FOREVER : leave_at;
		bool leaves = !taken && (p->stopping || (until != LP_FOREVER && lp_now() >= until));
		bool looks = !taken && !leaves && w->look_again != LP_FOREVER && lp_now() >= w->look_again;
		if (leaves || looks) {
			lp_list_remove(&w->idle_link);
			p->idle_count--;
		}
		bool woken = w->woken;
		if (leaves || (taken && !woken))
			leaves_now(p, w);
		lp_unlock(&p->lock);
		if (taken && woken) {
			atomic_store(&w->counted, true);
			return LP_WORKS;
		}
		if (taken || leaves)
			return LP_LEAVES;
		if (looks)
			return LP_LOOKS;
		lp_park(atomic_load(&w->parker), w->look_again < until ? w->look_again : until);
	}
}

void lp_pool_worker_exits(struct lp_pool *p, struct lp_worker *w)
{
	lp_lock(&p->lock);
	lp_counts_add(&p->totals, &w->counts);
	lp_list_remove(&w->link);
	if (!w->detaches)
		lp_list_append(&p->exited, &w->link);
	p->threads--;
	p->leaving -= w->leaves;
	bool last = p->draining && p->stopping && p->threads == 0;
	lp_unlock(&p->lock);
	if (last)
		lp_event_set(&p->ended);
	else
		lp_pool_settle(p);
	/* Somebody joins us, unless the pool was left alone: whoever unlinks the worker owns it. */
	lp_lock(&p->lock);
	bool alone = w->detaches || (p->unattended && lp_linked(&w->link));
	if (alone && !w->detaches)
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
