/* worker: birth and death, the stack of actors, the thread. What it does all day is in duty.c. */
#define _GNU_SOURCE
#include "sched/worker.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/account.h"
#include "sched/ids.h"
#include "sync/mutex.h"

/* ---- waiting gives the permit up ---- */

static void worker_block(struct lp_exec *e)
{
	struct lp_worker *w = lp_entry(e, struct lp_worker, exec);
	if (!atomic_load(&w->counted))
		return;
	bool late;
	if ((w->offers = lp_worker_may_help(w, &late)))
		lp_pool_offer(w->pool, w, late);
	if (!atomic_exchange(&w->counted, false))
		return; /* the monitor took it, at this very moment: A4 */
	w->waiting = true;
	atomic_fetch_sub(&w->pool->active, 1);
	atomic_fetch_add(&w->pool->waiting, 1);
	if (!lp_pool_kick(w->pool))
		lp_pool_stuck(w->pool);
}

static void worker_unblock(struct lp_exec *e)
{
	struct lp_worker *w = lp_entry(e, struct lp_worker, exec);
	bool called = w->offers && lp_pool_withdraw(w->pool, w); /* then it was handed a permit */
	w->offers = false;
	bool has = atomic_load(&w->apart) || atomic_exchange(&w->counted, true); /* I3: never waits for a permit */
	if (!has && !called) {
		atomic_fetch_add(&w->pool->active, 1);
	} else if (has && called) { /* one too many */
		atomic_fetch_sub(&w->pool->active, 1);
		lp_pool_kick(w->pool);
	}
	if (w->waiting)
		atomic_fetch_sub(&w->pool->waiting, 1);
	w->waiting = false;
}

/* ---- birth and death ---- */

struct lp_worker *lp_worker_new(struct lp_pool *p, bool has_thread)
{
	struct lp_worker *w = lp_alloc(sizeof *w);
	if (!w)
		return NULL;
	memset(w, 0, sizeof *w);
	w->id = lp_id_take();
	w->own_id = w->id;
	if (!w->id && has_thread) {
		lp_free(w);
		return NULL;
	}
	w->pool = lp_retain(p);
	w->has_thread = has_thread;
	w->exec.worker = w;
	lp_lock_init(&w->lock, LP_RANK_WORKER);
	lp_lock_init(&w->exec.place_lock, LP_RANK_PLACE);
	w->finish_ref = w->report_ref = LUA_NOREF;
	w->look_again = LP_FOREVER;
	if (has_thread) {
		w->exec.block = worker_block;
		w->exec.unblock = worker_unblock;
		w->woken = true; /* it starts with a permit and the searching token */
		atomic_store(&w->counted, true);
	}
	return w;
}

void lp_worker_free(struct lp_worker *w)
{
	/* Whoever looks at our exec through a task that we ran does it under the graph lock. */
	lp_graph_lock();
	lp_graph_unlock();
	if (w->own_id)
		lp_id_give(w->own_id);
	lp_account_release(w->account);
	lp_release(w->pool);
	lp_free(w);
}

/* ---- the stack of tasks ---- */

struct lp_task *lp_current_task(struct lp_state *s)
{
	struct lp_actor *a = s->worker ? s->exec->actor : NULL;
	return a && a->is_task ? lp_entry(a, struct lp_task, actor) : NULL;
}

void lp_worker_push(struct lp_worker *w, struct lp_actor *a)
{
	lp_lock(&w->lock);
	a->outer = w->exec.actor;
	w->exec.actor = a;
	lp_unlock(&w->lock);
	atomic_store_explicit(&a->exec, &w->exec, memory_order_release);
}

void lp_worker_pop(struct lp_worker *w)
{
	struct lp_actor *a = w->exec.actor;
	lp_held_release(a); /* what it left locked is marked as abandoned */
	atomic_store_explicit(&a->exec, NULL, memory_order_release);
	lp_lock(&w->lock);
	w->exec.actor = a->outer;
	lp_unlock(&w->lock);
	lp_flush_signal(w); /* sent under the lock for the task that has left: nobody else shall see it */
}

void lp_worker_set_scope(struct lp_worker *w, const struct lp_limits *to)
{
	struct lp_actor *a = w->exec.actor;
	bool begins = to->shield && !a->shield, ends = !to->shield && a->shield;
	lp_lock(&w->lock);
	lp_limits_set(a, to);
	lp_unlock(&w->lock);
	lp_flush_signal(w);
	if (a->is_task && (begins || ends))
		lp_task_hold_token(lp_entry(a, struct lp_task, actor), begins);
}

/* ---- the thread ---- */

static _Thread_local struct lp_worker *this_worker;

struct lp_worker *lp_this_worker(void)
{
	return this_worker;
}

/* Nobody shall wait for it. Its outcome is not looked at any more, but for those who wait already. */
static void end_left_task(struct lp_task *t)
{
	if (!lp_task_stop_pending(t)) {
		if (lp_task_ended(t))
			return;
		lp_task_end(t, LP_STOPPED);
	}
	if (t->detached)
		lp_host_detached_end(t->host);
}

void lp_worker_leaves(struct lp_worker *w)
{
	if (atomic_exchange(&w->leaving, true))
		return;
	lp_lock(&w->pool->lock);
	if (w->has_thread && !w->stuck)
		w->pool->threads--;
	lp_unlock(&w->pool->lock); /* from here on none of its tasks is given up */
	for (struct lp_actor *a = w->exec.actor; a; a = a->outer)
		if (a->is_task)
			end_left_task(lp_entry(a, struct lp_task, actor));
	if (w->in_hand)
		end_left_task(w->in_hand);
	if (atomic_exchange(&w->counted, false)) { /* others go on with what may finish */
		atomic_fetch_sub(&w->pool->active, 1);
		lp_pool_kick(w->pool);
	}
}

void lp_workers_leave(void)
{
	if (this_worker)
		lp_worker_leaves(this_worker);
	for (struct lp_pool *p = NULL; (p = lp_pool_after(p));) {
		struct lp_worker *w;
		do { /* one that serves on this thread stays in the list: it is this thread that would take it out */
			w = NULL;
			lp_lock(&p->lock);
			for (struct lp_link *l = p->serving.next; l != &p->serving && !w; l = l->next) {
				struct lp_worker *i = lp_entry(l, struct lp_worker, link);
				if (lp_worker_below(i) && !atomic_load(&i->leaving))
					w = i;
			}
			lp_unlock(&p->lock);
			if (w)
				lp_worker_leaves(w);
		} while (w);
	}
}

static void *thread_main(void *arg)
{
	struct lp_worker *w = arg;
	lp_parker_adopt(atomic_load(&w->parker));
	this_worker = w;
	lp_install_handler();
	struct lp_pool *p = w->pool;
	char name[16];
	snprintf(name, sizeof name, "%.10s-%u", p->opt.name[0] ? p->opt.name : "lua-pool", w->id);
	lp_thread_name(name);
	lp_thread_nice(p->opt.nice);
	lp_worker_loop(w);
	lp_vm_close(w);
	lp_pool_worker_exits(p, w);
	return NULL;
}

int lp_worker_start(struct lp_worker *w)
{
	struct lp_parker *p = lp_parker_new();
	if (!p)
		return ENOMEM;
	atomic_store(&w->parker, p);
	size_t stack = w->pool->opt.stack_size;
	/* LuaJIT crashes where it lacks C stack, and a task on top of another needs as much again. */
	if (LP_LUAJIT && stack && stack < LP_TASK_STACK + LP_LEAST_STACK)
		stack = LP_TASK_STACK + LP_LEAST_STACK;
	int err = lp_thread_start(&w->thread, thread_main, w, stack);
	if (err)
		lp_parker_give(p);
	return err;
}

/* ---- failures that nobody saw ---- */

/* A failed task that all its futures have given up: it is reported once, in a worker if on_error is a
 * function. Runs on whatever thread released it last: often a finaliser of the host. */
static void report_lost(struct lp_task *t)
{
	struct lp_pool *p = t->pool;
	if (!p->opt.silent && p->opt.reports && !atomic_load(&p->broken)) {
		t->lost = true;
		lp_pool_report(p, t);
		return;
	}
	if (!p->opt.silent)
		lp_report_stderr(t);
	lp_release(t);
}

/* A task has forked: in the child its thread is no worker any more. */
static void forget_thread(void)
{
	this_worker = NULL;
}

__attribute__((constructor)) static void worker_open(void)
{
	lp_fork_child(LP_RANK_IDS, forget_thread);
	lp_task_lost = report_lost;
}
