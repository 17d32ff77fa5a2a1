/* duty: what a worker does with a task that it was given, and how its thread asks for the next. */
#include "sched/worker.h"

#include <string.h>

#include "sched/abandon.h"
#include "wait/cancel.h"
#include "vm/signals.h"
#include "values/values.h"

/* It ends cancelled, but was not asked itself yet: it heard it from a child first, or is not on the stack any more for who
 * looks for it. Or it ends by itself while the request is on its way down to it. What it has started is reached from here. */
static void pass_down(struct lp_task *t, enum lp_task_state how)
{
	if (t->token && lp_cancel_word(&t->actor) == 0 && (how == LP_STOPPED || lp_task_condemned(t)))
		lp_task_request_cancel(t);
}

/* Of a task that is timed: one more in the bucket of 2^i <= nanoseconds < 2^(i+1). */
static void count_time(_Atomic uint64_t buckets[32], lp_time duration)
{
	int log2 = duration > 1 ? 63 - __builtin_clzll((unsigned long long)duration) : 0;
	lp_count(&buckets[log2 < 31 ? log2 : 31]);
}

void lp_worker_run(struct lp_worker *w, lua_State *L, struct lp_task *t, lp_time limit)
{
	lp_time timeout = w->pool->opt.task_timeout;
	if (timeout != LP_FOREVER || limit != LP_FOREVER) {
		lp_time own = timeout == LP_FOREVER ? LP_FOREVER : lp_now() + timeout;
		t->limit = t->actor.deadline = own < limit ? own : limit;
	}
	lp_time began = t->submitted ? lp_now() : 0;
	if (began)
		count_time(w->counts.wait, began - t->submitted);
	lp_worker_push(w, &t->actor);
	if (t->limit != LP_FOREVER) /* the monitor looks at stacks only: it is on one by now */
		w->unwatched = !lp_monitor_deadline(t->limit) && timeout != LP_FOREVER && w->has_thread;
	enum lp_task_state how = LP_STOPPED;
	if (!lp_task_doomed(t)) /* else it was cancelled between the queue and here, where nobody could find it */
		how = lp_run_task(w, L, t);
	else
		lp_msg_clear(&t->msg);
	lp_worker_pop(w);
	if (lp_task_abandoned(t)) { /* nobody can give it up any more, now that it is off the stack */
		lp_abandon_came_back(w, L, t);
		return;
	}
	if (lp_cancel_word(&t->actor) || t->actor.deadline != LP_FOREVER)
		lp_disarm_hook(w, L);
	if (began)
		count_time(w->counts.run, lp_now() - began);
	lp_count(how == LP_DONE ? &w->counts.done : how == LP_FAILED ? &w->counts.failed : &w->counts.cancelled);
	if (how == LP_FAILED && t->detached && !w->pool->opt.silent) {
		lp_task_observe(t);
		w->in_hand = t;
		lp_run_report(w, t);
		w->in_hand = NULL;
	}
	struct lp_host *h = t->detached ? t->host : NULL;
	size_t result = t->msg.len;
	pass_down(t, how);
	lp_task_end(t, how);
	if (h)
		lp_host_detached_end(h);
	if (L == w->L) {
		lp_collect(L, result);
		if (__builtin_expect(w->state->held, 0)) /* only at the end of an outermost task: the state is open */
			lp_worker_tidy(w);
	}
}

/* What the queue gave: a task, a tombstone, or a failed task that wants its report. */
static void take_on(struct lp_worker *w, struct lp_task *t)
{
	if (lp_task_begin(t))
		lp_worker_run(w, w->L, t, LP_FOREVER);
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
	w->in_hand = t;
	bool open = !atomic_load(&p->broken) && lp_vm_open(w, &error, &text);
	w->in_hand = NULL;
	if (open)
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
		lp_count(&w->counts.failed);
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

void lp_worker_take(struct lp_worker *w, struct lp_task *t)
{
	if (ready_for(w, t))
		take_on(w, t);
	renew_if_needed(w);
}

/* ---- the loop ---- */

/* More permits are out than there should be (I3, or a resize): ours is one too many. */
static bool over_limit(struct lp_pool *p)
{
	return atomic_load_explicit(&p->active, memory_order_relaxed) >
		atomic_load_explicit(&p->limit, memory_order_relaxed);
}

/* Until there is nothing to do; gives the token away. */
static void work(struct lp_worker *w, bool searching)
{
	struct lp_pool *p = w->pool;
	for (;;) {
		struct lp_task *t = NULL;
		if (!over_limit(p))
			t = lp_pool_next(p, searching);
		if (t) {
			searching = false;
			lp_worker_take(w, t);
			continue;
		}
		if (searching) {
			atomic_store(&p->searching, 0); /* park looks at the queue again: I2 */
			return;
		}
		uint32_t nobody = 0;
		if (over_limit(p) || !atomic_compare_exchange_strong(&p->searching, &nobody, 1))
			return;
		searching = true;
	}
}

void lp_worker_loop(struct lp_worker *w)
{
	struct lp_pool *p = w->pool;
	bool searching = true;
	enum lp_parked parked;
	do {
		do {
			work(w, searching);
			searching = false;
		} while (w->L && __builtin_expect(w->state->held, 0) && lp_worker_tidy_idle(w)); /* with the permit, without the token: I2 holds, park looks at the queue again */
		while ((parked = lp_pool_park(p, w)) == LP_LOOKS)
			lp_worker_tidy_idle(w);
		searching = true;
	} while (parked == LP_WORKS);
}
