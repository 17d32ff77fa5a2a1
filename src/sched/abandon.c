/* abandon: see abandon.h. */
#include "sched/abandon.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/words.h"
#include "wait/cancel.h"
#include "sync/mutex.h"
#include "vm/signals.h"
#include "values/values_int.h"

static struct lp_task *given_up(struct lp_actor *a)
{
	struct lp_task *t = a && a->is_task ? lp_entry(a, struct lp_task, actor) : NULL;
	return t && lp_task_abandoned(t) ? t : NULL;
}

/* ---- does it stall? ---- */

/* Under the graph lock, which keeps the worker's memory; NULL: none with a thread runs it. */
static struct lp_worker *worker_of(struct lp_task *t)
{
	struct lp_exec *e = lp_actor_exec(&t->actor);
	struct lp_worker *w = e ? lp_entry(e, struct lp_worker, exec) : NULL;
	return w && w->has_thread ? w : NULL;
}

bool lp_task_stalls(struct lp_task *t)
{
	bool stalls = false;
	lp_graph_lock();
	struct lp_worker *w = worker_of(t);
	if (w) {
		lp_lock(&w->lock);
		for (struct lp_actor *a = w->exec.actor; a && !a->shield && !a->hold; a = a->outer) {
			stalls = a == &t->actor;
			if (stalls || lp_actor_in_grace(a))
				break;
		}
		lp_unlock(&w->lock);
	}
	lp_graph_unlock();
	return stalls;
}

bool lp_task_limits(struct lp_task *t, struct lp_limits *to)
{
	lp_graph_lock();
	struct lp_worker *w = worker_of(t);
	if (w) {
		lp_lock(&w->lock);
		*to = lp_limits_of(&t->actor);
		lp_unlock(&w->lock);
	}
	lp_graph_unlock();
	return w != NULL;
}

/* ---- threads that do not count ---- */

/* Under the pool's lock. */
static void weigh(struct lp_pool *p)
{
	unsigned limit = atomic_load(&p->limit);
	atomic_store(&p->hopeless, limit && p->lost >= limit);
}

/* Under the pool's and the worker's lock: A4. */
static void set_apart(struct lp_pool *p, struct lp_worker *w)
{
	if (!given_up(w->exec.actor))
		return;
	if (!w->stuck) {
		w->stuck = true;
		p->threads--;
		p->lost++;
	}
	if (!atomic_load(&w->apart) && p->apart < atomic_load(&p->limit)) {
		atomic_store(&w->apart, true);
		p->lost--;
		p->apart++;
	}
	if (atomic_load(&w->apart) && atomic_exchange(&w->counted, false))
		atomic_fetch_sub(&p->active, 1);
	weigh(p);
}

/* The worker's innermost task was given up, and has left: A6. */
static void rejoin(struct lp_worker *w)
{
	struct lp_pool *p = w->pool;
	bool apart = false;
	lp_lock(&p->lock);
	if (w->stuck && !given_up(w->exec.actor)) {
		w->stuck = false;
		apart = atomic_exchange(&w->apart, false);
		if (apart)
			p->apart--;
		else
			p->lost--;
		p->threads++;
		w->detaches = p->stopping;
		weigh(p);
	}
	lp_unlock(&p->lock);
	if (apart && !atomic_exchange(&w->counted, true))
		atomic_fetch_add(&p->active, 1); /* I3 */
}

void lp_abandon_came_back(struct lp_worker *w, lua_State *L, struct lp_task *t)
{
	lp_disarm_hook(w, L);
	lp_msg_clear(&t->msg);
	if (t->token)
		lp_token_end(t->token);
	lp_seized_release(atomic_exchange(&w->seized, NULL));
	rejoin(w);
	atomic_fetch_or(&t->state, LP_LEFT);
}

void lp_abandon_seize(struct lp_worker *w)
{
	for (struct lp_actor *a = w->exec.actor; a; a = a->outer)
		if (given_up(a))
			lp_held_seize(a, &w->seized);
}

/* ---- in words ---- */

static void say_task(struct lp_words *w, struct lp_task *t, unsigned worker)
{
	lp_say(w, "task %p", (void *)t);
	if (t->line)
		lp_say(w, " (async at %.200s:%d)", t->source, t->line);
	lp_say(w, " on worker %u", worker);
}

void lp_abandon_describe(struct lp_task *t, char *text, size_t size)
{
	struct lp_words w = {text, size, 0};
	lp_say(&w, "the task did not react when its time was up, and was abandoned: it was in a long call into C, or in a loop that "
		"LuaJIT had compiled");
	if (t->line)
		lp_say(&w, "\nasync called at %.200s:%d", t->source, t->line);
}

static void say_stuck(struct lp_worker *w, void *data)
{
	struct lp_words *words = data;
	lp_lock(&w->lock);
	struct lp_task *t = w->stuck ? given_up(w->exec.actor) : NULL;
	if (t) {
		lp_say(words, "\n\t");
		say_task(words, t, w->id);
	}
	lp_unlock(&w->lock);
}

void lp_abandon_why_stuck(struct lp_pool *p, char *text, size_t size)
{
	struct lp_words w = {text, size, 0};
	lp_lock(&p->lock);
	unsigned lost = p->lost, apart = p->apart;
	lp_unlock(&p->lock);
	lp_say(&w, "pool '%s' is stuck: its %u thread%s, and the %u in whose place they came, are in calls that do not come back:",
		p->opt.name, lost, lost == 1 ? "" : "s", apart);
	lp_pool_each_worker(p, say_stuck, &w);
}

/* The error of a task that nobody runs. */
static void keep_text(struct lp_task *t, const char *text)
{
	lp_msg_clear(&t->msg);
	lp_put_string(&t->msg, text, strlen(text)); /* an empty outcome stands for "not enough memory" */
	size_t size = strlen(text) + 1;
	if ((t->report = lp_alloc(size)))
		memcpy(t->report, text, size);
}

/* on_error hears of it like of a failure that nobody saw. The task itself is its runner's, and may still be an entry
 * of the queue: so one that has failed is made for this. */
static void tell(struct lp_task *t, enum lp_task_state how, unsigned worker)
{
	struct lp_pool *p = t->pool;
	char text[LP_ABANDON_TEXT];
	struct lp_words w = {text, sizeof text, 0};
	if (p->opt.silent)
		return;
	say_task(&w, t, worker);
	lp_say(&w, " of pool '%s' does not react, and %s: it is abandoned", p->opt.name,
		how == LP_STOPPED ? "was cancelled" : "its time is up");
	if (atomic_load(&p->hopeless)) {
		lp_say(&w, "; ");
		lp_abandon_why_stuck(p, text + w.at, sizeof text - w.at);
	}
	struct lp_task *news = lp_task_new();
	if (!news) {
		fprintf(stderr, "lua-pool: %s\n", text);
		return;
	}
	keep_text(news, text);
	news->pool = lp_retain(p);
	news->host = lp_retain(t->host);
	news->detached = true;
	atomic_store(&news->state, LP_FAILED | LP_OBSERVED);
	lp_task_lost(news);
}

/* ---- giving up ---- */

struct search {
	struct lp_task *task;
	enum lp_task_state how; /* to give it up as; PENDING: that was done */
	bool done;
	unsigned worker;
	struct lp_link *seized;
};

/* Under the pool's lock. */
static void look_at_worker(struct lp_worker *w, void *data)
{
	struct search *s = data;
	if (s->done || !w->has_thread)
		return;
	lp_lock(&w->lock);
	struct lp_actor *a = w->exec.actor;
	while (a && a != &s->task->actor)
		a = a->outer;
	if (a && !atomic_load(&w->leaving)) {
		s->done = s->how == LP_PENDING || lp_task_abandon(s->task, s->how);
		s->worker = w->id;
	}
	if (s->done) {
		set_apart(w->pool, w);
		s->seized = atomic_exchange(&w->seized, NULL);
	}
	lp_unlock(&w->lock);
}

/* Nothing can run them: they fail, saying why. */
static void fail_queued(struct lp_pool *p)
{
	char text[LP_ABANDON_TEXT];
	lp_abandon_why_stuck(p, text, sizeof text);
	for (struct lp_task *t; atomic_load(&p->hopeless) && (t = lp_queue_take(&p->queue)); lp_release(t)) {
		lp_pool_leave_room(p, t);
		if (t->lost) {
			lp_report_stderr(t);
			continue;
		}
		if (!lp_task_begin(t)) {
			lp_pool_took_tombstone(p);
			continue;
		}
		keep_text(t, text);
		atomic_fetch_add(&p->totals.failed, 1);
		if (t->detached && !p->opt.silent) {
			lp_task_observe(t);
			lp_report_stderr(t);
		}
		struct lp_host *h = t->detached ? t->host : NULL;
		lp_task_end(t, LP_FAILED);
		if (h)
			lp_host_detached_end(h);
	}
}

/* What has become of the pool by a thread that does not count any more. */
static void look_at_pool(struct lp_pool *p)
{
	if (atomic_load(&p->hopeless))
		fail_queued(p);
	lp_pool_kick(p);
	if (!atomic_load(&p->closed))
		return;
	lp_pool_settle(p);
	lp_lock(&p->lock);
	bool stopping = p->stopping;
	lp_unlock(&p->lock);
	if (stopping)
		lp_pool_dismiss(p); /* the stuck one may have been the last */
}

void lp_abandon_look(struct lp_task *t)
{
	struct search s = {.task = t, .how = LP_PENDING};
	lp_pool_each_worker(t->pool, look_at_worker, &s);
	lp_seized_release(s.seized);
	look_at_pool(t->pool);
}

bool lp_task_give_up(struct lp_task *t, enum lp_task_state how)
{
	struct lp_pool *p = t->pool;
	struct search s = {.task = t, .how = how};
	lp_pool_each_worker(p, look_at_worker, &s);
	if (!s.done)
		return false;
	lp_seized_release(s.seized);
	atomic_fetch_add(&p->abandoned, 1);
	atomic_fetch_add(how == LP_STOPPED ? &p->totals.cancelled : &p->totals.failed, 1);
	lp_task_announce(t, how);
	if (t->detached)
		lp_host_detached_end(t->host);
	tell(t, how, s.worker);
	look_at_pool(p);
	return true;
}
