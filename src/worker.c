/* worker: the thread's loop, the stack of tasks that a worker runs, inlining, inliners. */
#define _GNU_SOURCE
#include "worker.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cancel.h"
#include "mutex.h"

/* ---- ids: small integers, unique among living workers ---- */

static lp_mutex ids_lock;
static uint64_t ids[LP_MAX_WORKERS / 64]; /* [ids_lock] bit set: taken */

static void renew_ids(void)
{
	memset(ids, 0, sizeof ids);
}

__attribute__((constructor)) static void ids_open(void)
{
	lp_fork_guard(&ids_lock);
	lp_fork_child(renew_ids);
}

static unsigned take_id(void)
{
	unsigned id = 0;
	lp_lock(&ids_lock);
	for (unsigned i = 0; i < LP_MAX_WORKERS / 64 && !id; i++) {
		if (ids[i] == UINT64_MAX)
			continue;
		unsigned bit = (unsigned)__builtin_ctzll(~ids[i]);
		ids[i] |= 1ull << bit;
		id = i * 64 + bit + 1;
	}
	lp_unlock(&ids_lock);
	return id;
}

static void give_id(unsigned id)
{
	lp_lock(&ids_lock);
	ids[(id - 1) / 64] &= ~(1ull << (id - 1) % 64);
	lp_unlock(&ids_lock);
}

/* ---- waiting gives the permit up ---- */

static void worker_block(struct lp_exec *e)
{
	struct lp_worker *w = lp_entry(e, struct lp_worker, exec);
	if (!w->counted)
		return;
	w->counted = false;
	atomic_fetch_sub(&w->pool->active, 1);
	if (!lp_pool_kick(w->pool))
		lp_pool_stuck(w->pool);
}

static void worker_unblock(struct lp_exec *e)
{
	struct lp_worker *w = lp_entry(e, struct lp_worker, exec);
	if (w->counted)
		return;
	w->counted = true; /* I3: never waits for a permit */
	atomic_fetch_add(&w->pool->active, 1);
}

/* ---- birth and death ---- */

struct lp_worker *lp_worker_new(struct lp_pool *p, bool has_thread)
{
	struct lp_worker *w = lp_alloc(sizeof *w);
	if (!w)
		return NULL;
	memset(w, 0, sizeof *w);
	if (!(w->id = take_id())) {
		lp_free(w);
		return NULL;
	}
	w->pool = lp_retain(p);
	w->has_thread = has_thread;
	w->finish_ref = w->report_ref = LUA_NOREF;
	if (has_thread) {
		w->exec.block = worker_block;
		w->exec.unblock = worker_unblock;
		w->woken = w->counted = true; /* it starts with a permit and the searching token */
	}
	return w;
}

void lp_worker_free(struct lp_worker *w)
{
	/* Whoever looks at our exec through a task that we ran does it under the graph lock. */
	lp_graph_lock();
	lp_graph_unlock();
	give_id(w->id);
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
	atomic_store_explicit(&a->exec, NULL, memory_order_release);
	lp_lock(&w->lock);
	w->exec.actor = a->outer;
	lp_unlock(&w->lock);
	lp_flush_signal(w); /* sent under the lock for the task that has left: nobody else shall see it */
}

void lp_worker_set_scope(struct lp_worker *w, uint32_t shield, lp_time deadline)
{
	lp_lock(&w->lock);
	w->exec.actor->shield = shield;
	w->exec.actor->deadline = deadline;
	lp_unlock(&w->lock);
	lp_flush_signal(w);
}

static void count(_Atomic uint64_t *n)
{
	/* One writer: no need for a locked instruction. */
	atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + 1, memory_order_relaxed);
}

/* Runs a task that we have begun and takes it to its end. */
static void run(struct lp_worker *w, lua_State *L, struct lp_task *t)
{
	lp_time timeout = w->pool->opt.task_timeout;
	if (timeout != LP_FOREVER) {
		t->actor.deadline = lp_now() + timeout;
		lp_monitor_deadline(t->actor.deadline);
	}
	lp_worker_push(w, &t->actor);
	enum lp_task_state how = LP_STOPPED;
	/* The order is the other half of cancelling a tree: the canceller marks the token, then looks
	 * through the workers; we are on the stack, then look at the mark. */
	if (!lp_task_orphaned(t) && (!t->host || !atomic_load(t->lasting ? &t->host->over : &t->host->closing)))
		how = lp_run_task(w, L, t);
	else
		lp_msg_clear(&t->msg);
	lp_held_release(&t->actor); /* what it left locked is marked as abandoned */
	lp_worker_pop(w);
	if (lp_cancel_word(&t->actor) || t->actor.deadline != LP_FOREVER)
		lua_sethook(L, NULL, 0, 0);
	count(how == LP_DONE ? &w->counts.done : how == LP_FAILED ? &w->counts.failed : &w->counts.cancelled);
	if (how == LP_FAILED && t->detached && !w->pool->opt.silent) {
		lp_task_observe(t);
		lp_run_report(w, t);
	}
	struct lp_host *h = t->detached ? t->host : NULL;
	lp_task_end(t, how);
	if (h)
		lp_host_detached_end(h);
}

/* What the queue gave: a task, a tombstone, or a failed task that wants its report. */
static void take_on(struct lp_worker *w, struct lp_task *t)
{
	if (lp_task_begin(t))
		run(w, w->L, t);
	else if (t->lost)
		lp_run_report(w, t);
	else
		lp_pool_took_tombstone(w->pool);
	lp_release(t);
}

static void renew_if_needed(struct lp_worker *w)
{
	if (!w->renew)
		return;
	w->renew = false;
	lp_vm_close(w);
}

static void keep_reason(struct lp_task *t, const char *text)
{
	size_t size = text ? strlen(text) + 1 : 0;
	if (size && (t->report = lp_alloc(size)))
		memcpy(t->report, text, size);
}

/* Opens the state if it is not; when that fails, the task (if it can be begun) fails with the reason. */
static bool ready_for(struct lp_worker *w, struct lp_task *t)
{
	if (w->L)
		return true;
	struct lp_pool *p = w->pool;
	struct lp_msg *error = NULL;
	char *text = NULL;
	if (!atomic_load(&p->broken) && lp_vm_open(w, &error, &text))
		return true;
	if (error && !lp_pool_break(p, error, text)) {
		lp_msg_clear(error);
		lp_free(error);
		lp_free(text);
	}
	if (lp_task_begin(t)) {
		lp_msg_clear(&t->msg);
		if (atomic_load(&p->broken)) {
			lp_msg_copy(&t->msg, p->init_error);
			keep_reason(t, p->init_report);
		}
		count(&w->counts.failed);
		struct lp_host *h = t->detached ? t->host : NULL;
		lp_task_end(t, LP_FAILED);
		if (h)
			lp_host_detached_end(h);
	} else if (t->lost) {
		lp_report_stderr(t); /* there is no state for on_error */
	} else {
		lp_pool_took_tombstone(p);
	}
	lp_release(t);
	return false;
}

/* ---- the thread ---- */

/* More permits are out than there should be (I3, or a resize): ours is one too many. */
static bool over_limit(struct lp_pool *p)
{
	return atomic_load_explicit(&p->active, memory_order_relaxed) >
		atomic_load_explicit(&p->limit, memory_order_relaxed);
}

static void *worker_thread(struct lp_worker *w)
{
	struct lp_pool *p = w->pool;
	char name[16];
	snprintf(name, sizeof name, "%.10s-%u", p->opt.name[0] ? p->opt.name : "lua-pool", w->id);
	lp_thread_name(name);
	bool searching = true;
	do {
		for (;;) {
			struct lp_task *t = NULL;
			if (!over_limit(p))
				t = lp_pool_next(p, searching);
			if (t) {
				searching = false;
				if (ready_for(w, t))
					take_on(w, t);
				renew_if_needed(w);
				continue;
			}
			if (searching) {
				atomic_store(&p->searching, 0); /* park looks at the queue again: I2 */
				searching = false;
				break;
			}
			uint32_t nobody = 0;
			if (over_limit(p) || !atomic_compare_exchange_strong(&p->searching, &nobody, 1))
				break;
			searching = true;
		}
	} while ((searching = lp_pool_park(p, w)));
	lp_vm_close(w);
	lp_pool_worker_exits(p, w);
	return NULL;
}

static _Thread_local struct lp_worker *this_worker;

struct lp_worker *lp_this_worker(void)
{
	return this_worker;
}

void lp_worker_leaves(struct lp_worker *w)
{
	if (atomic_exchange(&w->leaving, true))
		return;
	lp_lock(&w->pool->lock);
	w->pool->threads--;
	lp_unlock(&w->pool->lock);
	for (struct lp_actor *a = w->exec.actor; a; a = a->outer) {
		struct lp_task *t = a->is_task ? lp_entry(a, struct lp_task, actor) : NULL;
		if (!t)
			continue;
		if (t->detached)
			lp_host_detached_end(t->host);
		lp_task_end(t, LP_STOPPED); /* for those who wait for it already */
	}
}

static void *thread_main(void *arg)
{
	struct lp_worker *w = arg;
	lp_parker_adopt(atomic_load(&w->parker));
	this_worker = w;
	lp_install_handler();
	return worker_thread(w);
}

int lp_worker_start(struct lp_worker *w)
{
	struct lp_parker *p = lp_parker_new();
	if (!p)
		return ENOMEM;
	atomic_store(&w->parker, p);
	int err = lp_thread_start(&w->thread, thread_main, w, w->pool->opt.stack_size);
	if (err)
		lp_parker_give(p);
	return err;
}

/* ---- inlining ---- */

static lua_State *take_coroutine(lua_State *L, struct lp_worker *w)
{
	lua_State *co = w->spare;
	w->spare = NULL;
	if (!co) {
		co = lua_newthread(L);
		lua_rawsetp(L, LUA_REGISTRYINDEX, co);
	}
	return co;
}

/* Keeps one coroutine that ended well; another is let go. */
static void give_coroutine(lua_State *L, struct lp_worker *w, lua_State *co)
{
	if (!w->spare && lua_status(co) == LUA_OK) {
		lua_settop(co, 0);
		w->spare = co;
		return;
	}
	lua_pushnil(L);
	lua_rawsetp(L, LUA_REGISTRYINDEX, co);
}

bool lp_worker_inline(lua_State *L, struct lp_state *s, struct lp_task *t, bool any)
{
	struct lp_worker *w = s->worker;
	struct lp_task *me = lp_current_task(s);
	if (!me || me->actor.deadline != LP_FOREVER || t->pool != w->pool || lp_task_state(t) != LP_PENDING || lp_stack_left() < LP_TASK_STACK)
		return false;
	if (!any && !lp_task_descends(t, me->token))
		return false;
	if (!lua_checkstack(L, 4))
		return false;
	lua_State *co = take_coroutine(L, w); /* may raise (memory): nothing has begun */
	if (!lp_task_begin(t)) {
		give_coroutine(L, w, co);
		return lp_task_ended(t);
	}
	count(&w->counts.inlined);
	lp_pool_leave_room(w->pool, t);
	lp_pool_cancelled_entry(w->pool); /* its place in the queue is a tombstone now */
	run(w, co, t);
	give_coroutine(L, w, co);
	return true;
}

/* ---- inliners ---- */

static struct lp_worker *take_inliner(struct lp_pool *p)
{
	lp_lock(&p->lock);
	struct lp_link *l = lp_list_take_first(&p->inliners);
	p->in_use++;
	lp_unlock(&p->lock);
	struct lp_worker *w = l ? lp_entry(l, struct lp_worker, link) : lp_worker_new(p, false);
	if (w)
		atomic_store(&w->parker, lp_parker_self());
	return w;
}

static void give_inliner(struct lp_pool *p, struct lp_worker *w)
{
	lp_lock(&p->lock);
	p->in_use--;
	if (w) { /* no list leads to an inliner: the pool adds up what it counted now */
		lp_counts_add(&p->totals, &w->counts);
		memset(&w->counts, 0, sizeof w->counts);
	}
	bool keep = w && !p->draining;
	if (keep)
		lp_list_append(&p->inliners, &w->link);
	lp_unlock(&p->lock);
	if (w && !keep) {
		lp_vm_close(w);
		lp_worker_free(w);
	}
	lp_pool_settle(p);
}

void lp_worker_serve(struct lp_pool *p)
{
	struct lp_worker *w = take_inliner(p);
	struct lp_task *t;
	while ((t = lp_pool_next(p, false))) {
		if (!w) {
			if (lp_task_begin(t)) {
				struct lp_host *h = t->detached ? t->host : NULL;
				lp_msg_clear(&t->msg); /* an empty one stands for "not enough memory" */
				lp_task_end(t, LP_FAILED);
				if (h)
					lp_host_detached_end(h);
			} else if (t->lost) {
				lp_report_stderr(t);
			} else {
				lp_pool_took_tombstone(p);
			}
			lp_release(t);
		} else {
			if (ready_for(w, t))
				take_on(w, t);
			renew_if_needed(w);
		}
	}
	give_inliner(p, w);
}

void lp_worker_close_inliners(struct lp_pool *p)
{
	for (;;) {
		lp_lock(&p->lock);
		struct lp_link *l = lp_list_take_first(&p->inliners);
		lp_unlock(&p->lock);
		if (!l)
			return;
		struct lp_worker *w = lp_entry(l, struct lp_worker, link);
		lp_vm_close(w);
		lp_worker_free(w);
	}
}

/* A failed task that all its futures have given up: it is reported once, in a worker if on_error is a
 * function. Runs on whatever thread released it last: often a finaliser of the host. */
static void report_lost(struct lp_task *t)
{
	struct lp_pool *p = t->pool;
	if (!p->opt.silent && p->opt.reports && !atomic_load(&p->closed) && !atomic_load(&p->broken)) {
		t->lost = true;
		lp_queue_push(&p->queue, t);
		if (atomic_load(&p->limit) == 0)
			lp_worker_serve(p);
		else
			lp_pool_kick(p);
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
	lp_fork_child(forget_thread);
	lp_task_lost = report_lost;
}
