/* inline: tasks that run where somebody waits for them: in a worker that awaits a descendant of its task, and, when a pool
 * has no threads, on the thread that calls async. */
#include "worker.h"

#include <string.h>

#include "cancel.h"

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
	if (atomic_load_explicit(&t->place, memory_order_relaxed) != LP_QUEUED)
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
	lp_hand_over(&me->actor, false); /* this is a wait */
	lp_count(&w->counts.inlined);
	lp_pool_leave_room(w->pool, t);
	lp_pool_cancelled_entry(w->pool); /* its place in the queue is a tombstone now */
	lp_worker_run(w, co, t);
	give_coroutine(L, w, co);
	return true;
}

/* ---- workers without a thread ---- */

bool lp_worker_below(struct lp_worker *w)
{
	return !w->has_thread && pthread_equal(w->thread, pthread_self());
}

/* Ctrl-C while the host's thread waits in a task: the task ends, and the host's hook runs when async returns. */
static bool caller_signalled(struct lp_exec *e)
{
	struct lp_worker *w = lp_entry(e, struct lp_worker, exec);
	if (w->caller->signalled(w->caller) && e->actor->is_task)
		lp_task_request_cancel(lp_entry(e->actor, struct lp_task, actor));
	return false;
}

/* Of tasks that serve tasks the lowest was called by the host. */
static void note_caller(struct lp_worker *w, struct lp_exec *caller)
{
	if (caller && caller->worker)
		caller = caller->worker->caller;
	w->caller = caller && caller->signalled ? caller : NULL;
	w->exec.signalled = w->caller ? caller_signalled : NULL;
}

static struct lp_worker *take_inliner(struct lp_pool *p)
{
	lp_lock(&p->lock);
	struct lp_link *l = lp_list_take_first(&p->inliners);
	p->in_use++;
	lp_unlock(&p->lock);
	struct lp_worker *w = l ? lp_entry(l, struct lp_worker, link) : lp_worker_new(p, false);
	if (!w)
		return NULL;
	atomic_store(&w->parker, lp_parker_self());
	w->thread = pthread_self();
	note_caller(w, NULL);
	lp_lock(&p->lock);
	lp_list_append(&p->serving, &w->link); /* whoever cancels finds it from here on */
	lp_unlock(&p->lock);
	return w;
}

static void give_inliner(struct lp_pool *p, struct lp_worker *w)
{
	lp_lock(&p->lock);
	p->in_use--;
	if (w) { /* no list leads to an inliner that does not serve: the pool adds up what it counted now */
		lp_list_remove(&w->link);
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

static _Thread_local struct lp_pool *serving; /* by the innermost lp_worker_serve of this thread */

void lp_worker_serve_here(struct lp_pool *p)
{
	if (serving != p)
		lp_worker_serve(p, NULL);
}

void lp_worker_serve(struct lp_pool *p, struct lp_exec *caller)
{
	struct lp_worker *w = take_inliner(p);
	/* A task that waits for a lock of its own submitter would wait for ever: dead-lock detection can see it. */
	struct lp_exec *before = w && caller ? lp_exec_cover(caller, &w->exec) : NULL;
	if (w)
		note_caller(w, caller);
	if (caller && caller->worker)
		lp_flush_signal(caller->worker); /* meant for the caller: not for a system call of these tasks */
	struct lp_task *t;
	struct lp_pool *outer = serving;
	serving = p;
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
			lp_worker_take(w, t);
		}
	}
	serving = outer;
	if (w && caller)
		lp_exec_cover(caller, before);
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

bool lp_worker_say(struct lp_pool *p, const char *text)
{
	struct lp_worker *w = take_inliner(p);
	struct lp_msg *error = NULL;
	char *why = NULL;
	bool told = w && (w->L || (!atomic_load(&p->broken) && lp_vm_open(w, &error, &why))) && lp_run_text(w, text);
	if (error) {
		lp_msg_clear(error);
		lp_free(error);
	}
	lp_free(why);
	give_inliner(p, w);
	return told;
}
