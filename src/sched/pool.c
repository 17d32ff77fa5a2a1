/* pool: a pool as a whole: its birth and end, resizing, cancelling all of it, what is wrong with it. Who runs, sleeps and is
 * woken is in sched.c. No Lua here. */
#include "sched/pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wait/cancel.h"
#include "sched/sweep.h"
#include "sched/worker.h"

static lp_mutex pools_lock = LP_MUTEX_INIT(LP_RANK_POOLS);
static struct lp_link pools = {&pools, &pools}; /* [pools_lock] */

/* ---- birth and death ---- */

static void forget_threads(struct lp_pool *p)
{
	lp_queue_init(&p->queue);
	lp_semaphore_init(&p->room, &lp_semaphore_class, p->opt.queue_limit);
	atomic_init(&p->active, 0);
	atomic_init(&p->waiting, 0);
	atomic_init(&p->searching, 0);
	atomic_init(&p->tombstones, 0);
	lp_lock_init(&p->lock, LP_RANK_POOL);
	lp_list_init(&p->idle);
	lp_list_init(&p->workers);
	lp_list_init(&p->exited);
	lp_list_init(&p->inliners);
	lp_list_init(&p->serving);
	lp_list_init(&p->helpers);
	p->threads = p->idle_count = p->leaving = p->in_use = p->apart = 0;
	atomic_init(&p->lost, 0);
	atomic_init(&p->hopeless, false);
	p->no_thread_until = 0;
	lp_event_init(&p->ended, &lp_event_class);
	lp_obj_set_part(&p->room.obj);
	lp_obj_set_part(&p->ended.obj);
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
	lp_fork_guard(&pools_lock, LP_RANK_POOLS);
	lp_fork_child(LP_RANK_POOLS, renew_pools);
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

struct lp_pool *lp_pool_after(struct lp_pool *p)
{
	struct lp_pool *next = NULL;
	lp_lock(&pools_lock);
	for (struct lp_link *l = p ? p->link.next : pools.next; l != &pools && !next; l = l->next) {
		struct lp_pool *q = lp_entry(l, struct lp_pool, link);
		/* One whose count is 0 waits for our lock to leave the list: not to be revived. */
		uint32_t refs = atomic_load(&q->obj.refs);
		while (refs && !atomic_compare_exchange_weak(&q->obj.refs, &refs, refs + 1))
			;
		if (refs)
			next = q;
	}
	lp_unlock(&pools_lock);
	lp_release(p);
	return next;
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

/* ---- closing, resizing ---- */

void lp_pool_leave(struct lp_pool *p)
{
	lp_lock(&p->lock);
	p->unattended = true;
	lp_unlock(&p->lock);
}

void lp_pool_abandon(struct lp_pool *p)
{
	lp_pool_leave(p);
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
	lp_pool_dismiss(p);
}

/* Under the lock: one that parked before the newest resize. */
static struct lp_worker *next_to_look(struct lp_pool *p)
{
	for (struct lp_link *l = p->idle.next; l != &p->idle; l = l->next) {
		struct lp_worker *w = lp_entry(l, struct lp_worker, idle_link);
		if (w->resizes != p->resizes) {
			w->resizes = p->resizes;
			return w;
		}
	}
	return NULL;
}

void lp_pool_resize(struct lp_pool *p, unsigned workers)
{
	lp_lock(&p->lock);
	atomic_store(&p->limit, workers);
	if (p->opt.max_threads < workers)
		p->opt.max_threads = workers;
	p->resizes++;
	lp_unlock(&p->lock);
	/* Parked threads look again whether they are surplus now; one lock hold each, since waking is a system call (I5). */
	struct lp_parker *parker;
	do {
		lp_lock(&p->lock);
		struct lp_worker *w = next_to_look(p);
		parker = w ? atomic_load(&w->parker) : NULL; /* w may be gone once we unlock */
		lp_unlock(&p->lock);
		if (parker)
			lp_unpark(parker);
	} while (parker);
	while (lp_queue_count(&p->queue) && !atomic_load(&p->searching) && atomic_load(&p->active) < workers)
		if (!lp_pool_kick(p))
			break;
}

void lp_pool_each_worker(struct lp_pool *p, void (*f)(struct lp_worker *w, void *data), void *data)
{
	lp_lock(&p->lock);
	for (struct lp_link *l = p->workers.next; l != &p->workers; l = l->next)
		f(lp_entry(l, struct lp_worker, link), data);
	for (struct lp_link *l = p->serving.next; l != &p->serving; l = l->next)
		f(lp_entry(l, struct lp_worker, link), data);
	lp_unlock(&p->lock);
}

/* ---- cancelling all ---- */

static void no_member_follows(struct lp_task *t)
{
	if (t->grouped && !lp_task_ended(t)) /* what its group holds back shall not come after it */
		lp_token_mark(t->parent);
}

static bool is_task(struct lp_task *t)
{
	return !t->lost; /* else it waits for its report */
}

/* Submitted before the newest sweep: what is started since, as by a clean-up, goes on. */
static bool is_swept(struct lp_worker *w, struct lp_actor *a, void *data)
{
	(void)data;
	struct lp_task *t = lp_entry(a, struct lp_task, actor);
	return lp_cancel_word(a) == 0 && t->sweeps != atomic_load(&w->pool->sweeps);
}

void lp_pool_cancel_all(struct lp_pool *p)
{
	atomic_fetch_add(&p->sweeps, 1); /* before we look: a task that was taken and is not on a worker's stack yet sees it */
	struct lp_task *queued = lp_queue_take_all(&p->queue, is_task);
	for (struct lp_task *t = queued; t; t = t->next)
		no_member_follows(t);
	lp_pool_stop_taken(p, queued);
	struct lp_sweep s;
	lp_sweep_begin(&s, p, is_swept, NULL);
	for (struct lp_task *t; (t = lp_sweep_next(&s)); lp_release(t)) {
		no_member_follows(t);
		lp_task_request_cancel(t);
	}
	lp_pool_kick(p);
	lp_pool_settle(p);
}

bool lp_pool_full(struct lp_pool *p)
{
	lp_lock(&p->lock);
	bool full = p->threads - p->leaving >= p->opt.max_threads || (p->no_thread_until && lp_now() < p->no_thread_until);
	lp_unlock(&p->lock);
	return full;
}

/* ---- what is wrong with the pool ---- */

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
