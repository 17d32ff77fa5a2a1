/* report: see report.h. */
#include "sched/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/words.h"
#include "sync/channel.h"
#include "sched/ends.h"
#include "sched/group.h"
#include "sched/host.h"

enum { FEW_LINES = 64 }; /* at first: as long as they do not suffice we look again, with room for twice as many */

/* ---- looking ---- */

static struct lp_report_line *add(struct lp_report *r)
{
	if (r->n == r->capacity) {
		r->cut = true;
		return NULL;
	}
	struct lp_report_line *line = &r->lines[r->n++];
	memset(line, 0, sizeof *line);
	return line;
}

/* What e sleeps for, if it does. Its nodes are its stack, so only under its lock. */
static void look_at_wait(struct lp_exec *e, struct lp_report_line *line)
{
	lp_lock(&e->place_lock);
	if (e->asleep) {
		line->what = e->nnodes ? LP_WAITS : LP_SLEEPS;
		line->over = atomic_load(&e->wait->state) != LP_WAITING;
		line->place = e->place;
		line->nobjs = e->nnodes;
		for (int i = 0; i < e->nnodes && i < LP_REPORT_OBJECTS; i++) {
			struct lp_obj *o = e->nodes[i].obj;
			line->classes[i] = o->cls;
			line->objs[i] = lp_obj_is_part(o) ? NULL : lp_retain(o);
			line->ops[i] = e->nodes[i].op;
		}
	}
	lp_unlock(&e->place_lock);
}

struct look {
	struct lp_report *report;
	struct lp_pool *pool;
};

static void look_at_worker(struct lp_worker *w, void *data)
{
	struct look *look = data;
	lp_lock(&w->lock);
	struct lp_actor *top = w->exec.actor;
	for (struct lp_actor *a = top; a; a = a->outer) {
		struct lp_report_line *line = add(look->report);
		if (!line)
			break;
		line->who.pool = lp_retain(look->pool);
		line->who.worker = w->id;
		line->who.task = a->is_task ? lp_retain(lp_entry(a, struct lp_task, actor)) : NULL;
		line->what = a == top ? LP_RUNS : LP_CARRIES;
		if (a == top && w->stuck)
			line->what = LP_STUCK;
		else if (a == top)
			look->report->threads += w->has_thread;
		if (a == top)
			look_at_wait(&w->exec, line);
	}
	lp_unlock(&w->lock);
}

static void look_at_pool(struct lp_report *r, struct lp_pool *p)
{
	struct look look = {r, p};
	lp_pool_each_worker(p, look_at_worker, &look);
}

/* Its coroutines that an event loop has suspended. */
static void look_at_lights(struct lp_report *r, struct lp_host *h)
{
	lp_lock(&h->lights_lock);
	for (struct lp_link *l = h->lights.next; l != &h->lights; l = l->next) {
		struct lp_exec *e = lp_entry(l, struct lp_exec, light);
		struct lp_report_line *line = add(r);
		if (!line)
			break;
		line->who.coroutine = e->coroutine;
		look_at_wait(e, line);
		if (line->what == LP_RUNS)
			r->n--;
	}
	lp_unlock(&h->lights_lock);
}

static void look_at_host(struct lp_report *r, struct lp_host *h)
{
	struct lp_report_line *line = add(r);
	if (line)
		look_at_wait(&h->exec, line);
	look_at_lights(r, h);
}

/* Who holds the first object: its holder's memory is safe under the graph lock. */
static void look_at_holder(struct lp_report_line *line)
{
	struct lp_obj *o = line->objs[0];
	if (line->nobjs != 1 || !o || !o->cls->holder || o->generation != lp_generation)
		return;
	lp_graph_lock();
	struct lp_exec *e = o->cls->holder(o);
	if (e) {
		line->held = true;
		line->holder.coroutine = e->coroutine;
		struct lp_worker *w = e->worker;
		if (w) {
			lp_lock(&w->lock);
			struct lp_actor *a = e->actor;
			line->holder.pool = lp_retain(w->pool);
			line->holder.worker = w->id;
			line->holder.task = a && a->is_task ? lp_retain(lp_entry(a, struct lp_task, actor)) : NULL;
			lp_unlock(&w->lock);
		}
	}
	lp_graph_unlock();
}

static void forget(struct lp_who *who)
{
	lp_release(who->task);
	lp_release(who->pool);
}

void lp_report_free(struct lp_report *r)
{
	if (!r)
		return;
	for (unsigned i = 0; i < r->n; i++) {
		struct lp_report_line *line = &r->lines[i];
		forget(&line->who);
		forget(&line->holder);
		for (int k = 0; k < LP_REPORT_OBJECTS; k++) {
			struct lp_obj *o = line->objs[k];
			if (o && o->cls == &lp_channel_class && o->generation == lp_generation)
				lp_channel_handle_gone((struct lp_channel *)o); /* it may have been given up meanwhile */
			else
				lp_release(o);
		}
	}
	lp_free(r);
}

static struct lp_report *look(struct lp_pool *only, unsigned capacity)
{
	struct lp_report *r = lp_alloc(sizeof *r + capacity * sizeof *r->lines);
	if (!r)
		return NULL;
	*r = (struct lp_report){.capacity = capacity};
	if (only) {
		look_at_pool(r, only);
		return r;
	}
	for (struct lp_host *h = NULL; (h = lp_host_after(h));)
		look_at_host(r, h);
	for (struct lp_pool *p = NULL; (p = lp_pool_after(p));)
		look_at_pool(r, p);
	return r;
}

struct lp_report *lp_report_new(struct lp_pool *only)
{
	unsigned capacity = FEW_LINES;
	struct lp_report *r = look(only, capacity);
	while (r && r->cut) {
		lp_report_free(r);
		r = look(only, capacity *= 2);
	}
	for (unsigned i = 0; r && i < r->n; i++)
		if (r->lines[i].nobjs)
			look_at_holder(&r->lines[i]);
	return r;
}

/* ---- telling ---- */

static void say_task(struct lp_words *w, struct lp_task *t)
{
	lp_say(w, "%p", (void *)t);
	if (t->line)
		lp_say(w, " (async at %s:%d)", t->source, t->line);
}

static void say_who(struct lp_words *w, const struct lp_who *who)
{
	if (!who->pool) {
		if (who->coroutine)
			lp_say(w, "coroutine %p of ", who->coroutine);
		lp_say(w, "the main state");
		return;
	}
	if (who->task) {
		lp_say(w, "task ");
		say_task(w, who->task);
	} else {
		lp_say(w, "the setup");
	}
	lp_say(w, " on worker %u of pool '%s'", who->worker, who->pool->opt.name);
}

static void say_object(struct lp_words *w, struct lp_obj *o, int op);

static void say_futures(struct lp_words *w, struct lp_ends *e)
{
	struct lp_task *one;
	unsigned left = (unsigned)lp_ends_left(e, &one);
	lp_say(w, ", of which %u have not ended", left);
	if (one) {
		lp_say(w, left > 1 ? ", one of them " : ": ");
		say_object(w, &one->obj, 0);
	}
	lp_release(one);
}

static void say_object(struct lp_words *w, struct lp_obj *o, int op)
{
	static const char *const states[] = {"pending", "running", "done", "failed", "cancelled"};
	lp_say(w, "%s ", lp_class_short_name(o->cls));
	if (o->cls == &lp_task_class) {
		say_task(w, (struct lp_task *)o);
		lp_say(w, ", which is %s", states[lp_task_state((struct lp_task *)o)]);
		return;
	}
	lp_say(w, "%p", (void *)o);
	if (o->cls == &lp_channel_class)
		lp_say(w, op & LP_CHANNEL_SEND ? " to send" : " to receive");
	else if (o->cls == &lp_group_class)
		lp_say(w, ", of which %u tasks are left", (unsigned)lp_group_left((struct lp_group *)o));
	else if (o->cls == &lp_ends_class)
		say_futures(w, (struct lp_ends *)o);
}

void lp_report_object(struct lp_obj *o, int op, char *text, size_t size)
{
	struct lp_words w = {text, size, 0};
	say_object(&w, o, op);
}

void lp_report_words(const struct lp_report_line *line, char *text, size_t size)
{
	struct lp_words w = {text, size, 0};
	say_who(&w, &line->who);
	if (line->what == LP_RUNS) {
		lp_say(&w, " runs");
		return;
	}
	if (line->what == LP_STUCK) {
		lp_say(&w, " was abandoned: it does not react");
		return;
	}
	if (line->what == LP_CARRIES) {
		lp_say(&w, " waits for the task that runs in its stead (above)");
		return;
	}
	lp_say(&w, line->what == LP_SLEEPS ? " sleeps" : " waits");
	if (line->place.source)
		lp_say(&w, " at %s:%d", line->place.source, line->place.line);
	for (int i = 0; i < line->nobjs && i < LP_REPORT_OBJECTS; i++) {
		lp_say(&w, i ? ", or " : " for ");
		if (line->objs[i])
			say_object(&w, line->objs[i], line->ops[i]);
		else
			lp_say(&w, "a place in the queue, or the end of a pool (%s)", lp_class_short_name(line->classes[i]));
	}
	if (line->nobjs > LP_REPORT_OBJECTS)
		lp_say(&w, ", or %d more", line->nobjs - LP_REPORT_OBJECTS);
	if (line->held && line->classes[0] != &lp_task_class) {
		lp_say(&w, ", held by ");
		say_who(&w, &line->holder);
	} else if (line->held && line->holder.pool) {
		lp_say(&w, " on worker %u of pool '%s'", line->holder.worker, line->holder.pool->opt.name);
	}
}

/* ---- the report of a stuck pool ---- */

enum { STUCK_LINES = 32, STUCK_TEXT = 16384 };

/* Does every thread of the pool wait, and has none been woken? One that is between two tasks, or about to go on, will
 * look at the queue, or block again and come back here. */
static bool all_wait(struct lp_report *r, unsigned threads)
{
	bool all = r->threads == threads;
	for (unsigned i = 0; i < r->n; i++)
		if (r->lines[i].what != LP_CARRIES && r->lines[i].what != LP_STUCK && (r->lines[i].what != LP_WAITS || r->lines[i].over))
			all = false;
	return all;
}

static void say_stuck(struct lp_pool *p, struct lp_report *r, unsigned threads)
{
	char *text = lp_alloc(STUCK_TEXT), small[200];
	struct lp_words w = {text ? text : small, text ? STUCK_TEXT : sizeof small, 0};
	lp_say(&w, "all %u threads of pool '%s' wait for others while %u tasks are queued: raise max_threads, or start what they "
		"wait for first", threads, p->opt.name, lp_pool_queued(p));
	for (unsigned i = 0; text && i < r->n && i < STUCK_LINES; i++) {
		char line[512];
		lp_report_words(&r->lines[i], line, sizeof line);
		lp_say(&w, "\n\t%s", line);
	}
	if (text && r->n > STUCK_LINES)
		lp_say(&w, "\n\tand %u more", r->n - STUCK_LINES);
	if (!p->opt.reports || !lp_worker_say(p, w.text))
		fprintf(stderr, "lua-pool: %s\n", w.text);
	lp_free(text);
}

void lp_pool_stuck(struct lp_pool *p)
{
	if (p->opt.silent || atomic_load(&p->active) > atomic_load(&p->lost) || lp_pool_queued(p) == 0)
		return;
	lp_lock(&p->lock);
	bool maybe = !p->stuck_said && p->threads > 0 && p->idle_count == 0;
	unsigned threads = p->threads;
	lp_unlock(&p->lock);
	struct lp_report *r = maybe ? lp_report_new(p) : NULL;
	if (r && all_wait(r, threads)) {
		lp_lock(&p->lock);
		bool first = !p->stuck_said;
		p->stuck_said = true;
		lp_unlock(&p->lock);
		if (first)
			say_stuck(p, r, threads);
	}
	lp_report_free(r);
}
