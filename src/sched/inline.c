/* inline: tasks that run where somebody waits for them: in a worker that awaits a descendant of its task, and, when a pool
 * has no threads, on the thread that calls async. */
#include "sched/worker.h"

#include <string.h>

#include "wait/cancel.h"
#include "sched/ends.h"
#include "sched/group.h"
#include "values/handle.h"

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
		if (lua_gettop(co)) /* a task leaves nothing on it; asking is cheaper than setting */
			lua_settop(co, 0);
		w->spare = co;
		return;
	}
	if (!lua_checkstack(L, 1)) /* then it stays with the state */
		return;
	lua_pushnil(L);
	lua_rawsetp(L, LUA_REGISTRYINDEX, co);
}

/* ---- whom a worker runs in the place of a task that waits for it ----
 *
 * While the child runs, the waiter cannot go on, whatever else happens. So it is done
 *  - in a wait that needs the end of this very child and of no other: the wait for one, for the last that is left, for all
 *    of a group, which cancels them when one fails; or else when no thread can be had for it (LP_CALLED);
 *  - for descendants of the waiter, which end with it when it is cancelled; for others only as the last resort;
 *  - under a time limit only for descendants, which are stopped when the time is up: that of the waiter's task freely, since
 *    it ends then itself; that of a wait or a scope, after which the waiter would go on and its child as well, only when it
 *    would never begin otherwise. */

enum { LEAST_TIME = LP_SECOND / 10 }; /* a shorter wait only looks: it would stop what it lets begin */

static bool can_begin(struct lp_worker *w, struct lp_task *t)
{
	return t->pool == w->pool && lp_task_state(t) == LP_PENDING &&
		atomic_load_explicit(&t->place, memory_order_relaxed) == LP_QUEUED;
}

/* LuaJIT's compiled loops cannot be stopped. */
static bool can_be_stopped(struct lp_worker *w)
{
	return !LP_LUAJIT || w->pool->opt.jit_checked;
}

/* *limit: when it has to be stopped. */
static bool is_needed(struct lp_worker *w, struct lp_task *me, struct lp_task *t, lp_time *limit)
{
	*limit = lp_actor_until(&me->actor, LP_FOREVER);
	if (*limit != LP_FOREVER && (*limit != me->limit || !can_be_stopped(w)))
		return false;
	return can_begin(w, t) && lp_task_descends(t, me->token);
}

/* The same when nobody else can run it. */
static bool is_last_resort(struct lp_worker *w, struct lp_task *me, struct lp_task *t, lp_time deadline, lp_time *limit)
{
	if (!can_begin(w, t))
		return false;
	*limit = lp_actor_until(&me->actor, deadline);
	if (*limit == LP_FOREVER || lp_task_descends(t, me->token))
		return *limit == LP_FOREVER || *limit == me->limit || *limit - lp_now() >= LEAST_TIME;
	bool own = *limit == me->limit; /* it is not for others that our time is up: they have a limit of their own */
	*limit = LP_FOREVER;
	return own;
}

static bool room_for_another(void)
{
	return lp_stack_left() >= LP_TASK_STACK;
}

/* True: it has ended. */
static inline __attribute__((always_inline)) bool run_here(lua_State *L, struct lp_worker *w, struct lp_task *t, lp_time limit)
{
	if (!w->spare && !lua_checkstack(L, 4))
		return false;
	lua_State *co = take_coroutine(L, w); /* may raise (memory): nothing has begun */
	if (!lp_task_begin(t)) {
		give_coroutine(L, w, co);
		return lp_task_ended(t);
	}
	lp_hand_over(w->exec.actor, false); /* this is a wait */
	lp_count(&w->counts.inlined);
	lp_pool_leave_room(w->pool, t);
	lp_pool_cancelled_entry(w->pool); /* its place in the queue is a tombstone now */
	lp_worker_run(w, co, t, limit);
	give_coroutine(L, w, co);
	return true;
}

bool lp_worker_inline(lua_State *L, struct lp_state *s, struct lp_task *t)
{
	struct lp_worker *w = s->worker;
	struct lp_task *me = lp_current_task(s);
	lp_time limit;
	if (!me || !room_for_another())
		return false;
	/* One without a thread is never called. */
	if (!is_needed(w, me, t, &limit) &&
		(w->has_thread || !lp_pool_full(w->pool) || !is_last_resort(w, me, t, LP_FOREVER, &limit)))
		return false;
	return run_here(L, w, t, limit);
}

/* What the node waits for that could be begun here; its count is the caller's. */
static struct lp_task *find_resort(struct lp_worker *w, struct lp_task *me, struct lp_node *n, lp_time deadline, lp_time *limit)
{
	struct lp_task *t = NULL;
	if (n->obj->cls == &lp_task_class)
		t = lp_retain(n->obj);
	else if (n->obj->cls == &lp_ends_class && (t = lp_ends_pending((struct lp_ends *)n->obj)))
		lp_retain(t);
	else if (n->obj->cls == &lp_group_class)
		t = lp_group_next_pending((struct lp_group *)n->obj);
	if (!t || is_last_resort(w, me, t, deadline, limit))
		return t;
	if (n->obj->cls == &lp_group_class)
		lp_group_put_back((struct lp_group *)n->obj, t);
	lp_release(t);
	return NULL;
}

bool lp_worker_may_help(struct lp_worker *w, bool *late)
{
	struct lp_exec *e = &w->exec;
	struct lp_task *me = e->actor && e->actor->is_task ? lp_entry(e->actor, struct lp_task, actor) : NULL, *t = NULL;
	if (!me || !e->asleep || !room_for_another())
		return false;
	lp_time limit;
	for (int i = 0; i < e->nnodes && !t; i++) {
		t = find_resort(w, me, &e->nodes[i], e->deadline, &limit);
		if (t && e->nodes[i].obj->cls == &lp_group_class)
			lp_group_put_back((struct lp_group *)e->nodes[i].obj, t);
	}
	if (!t)
		return false;
	/* Another of several may end before that one, if anybody runs it; and what runs here is stopped when the time is up. */
	struct lp_obj *o = e->nodes[0].obj;
	bool one = e->nnodes == 1 && (o->cls != &lp_ends_class || lp_ends_last((struct lp_ends *)o) == t);
	limit = lp_actor_until(&me->actor, e->deadline);
	*late = !one || (limit != LP_FOREVER && limit != me->limit);
	lp_release(t);
	return true;
}

struct help {
	struct lp_state *s;
	struct lp_node *nodes;
	int n;
	lp_time deadline;
	bool over;
};

static int help(lua_State *L)
{
	struct help *h = lua_touserdata(L, 1);
	struct lp_worker *w = h->s->worker;
	struct lp_task *me = lp_current_task(h->s), *t = NULL;
	struct lp_handle *anchor = lp_handle_new(L, &lp_task_class);
	lp_time limit = LP_FOREVER;
	for (int i = 0; i < h->n && !t; i++)
		t = find_resort(w, me, &h->nodes[i], h->deadline, &limit);
	if (!t)
		return 0; /* somebody was faster */
	anchor->obj = &t->obj;
	/* It was stopped because our time is up: that is what there is to say, not how it ended. */
	h->over = run_here(L, w, t, limit) && limit == h->deadline && limit != LP_FOREVER &&
		lp_task_state(t) == LP_FAILED && lp_now() >= limit;
	return 0;
}

bool lp_worker_help(lua_State *L, struct lp_state *s, struct lp_node *nodes, int n, lp_time deadline, bool *over)
{
	struct help h = {s, nodes, n, deadline, false};
	if (!lua_checkstack(L, 3)) {
		*over = false;
		return true;
	}
	lua_pushcfunction(L, help);
	lua_pushlightuserdata(L, &h);
	bool ok = lua_pcall(L, 1, 0, 0) == LUA_OK;
	*over = h.over;
	return ok;
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

/* Tasks of pools without threads, one on top of the other, each with a Lua state of its own: before the stack is used up,
 * or, as far as that goes, the memory. */
enum { MOST_NESTED = 1000 };
static _Thread_local unsigned nested;

bool lp_worker_too_deep(void)
{
	size_t left = lp_stack_left(); /* 0: not known */
	return nested >= MOST_NESTED || (left && left < LP_TASK_STACK);
}

static struct lp_worker *take_inliner(struct lp_pool *p)
{
	lp_lock(&p->lock);
	struct lp_link *l = lp_list_take_first(&p->inliners);
	p->in_use++;
	lp_unlock(&p->lock);
	struct lp_worker *w = l ? lp_entry(l, struct lp_worker, link) : lp_worker_too_deep() ? NULL : lp_worker_new(p, false);
	if (!w)
		return NULL;
	atomic_store(&w->parker, lp_parker_self());
	w->thread = pthread_self();
	if (!w->own_id)
		w->id = lp_this_worker() ? lp_this_worker()->id : 0;
	note_caller(w, NULL);
	lp_lock(&p->lock);
	w->place = ++p->places;
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
	nested++;
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
	nested--;
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
