/* sweep: see sweep.h. */
#include "sched/sweep.h"

void lp_sweep_begin(struct lp_sweep *s, struct lp_pool *only, lp_sweep_wants *wants, void *data)
{
	s->pool = only ? lp_retain(only) : lp_pool_after(NULL);
	s->all = !only;
	s->over = !s->pool;
	s->serving = false;
	s->place = 0;
	s->depth = UINT32_MAX;
	s->wants = wants;
	s->data = data;
	s->n = s->next = 0;
}

/* Under the worker's lock. False: there is no room for more. */
static bool look_at_stack(struct lp_sweep *s, struct lp_worker *w)
{
	unsigned depth = 0;
	for (struct lp_actor *a = w->exec.actor; a; a = a->outer)
		depth++;
	for (struct lp_actor *a = w->exec.actor; a; a = a->outer, depth--) {
		if (depth >= s->depth)
			continue;
		if (a->is_task && (!s->wants || s->wants(w, a, s->data)))
			s->found[s->n++] = lp_retain(lp_entry(a, struct lp_task, actor));
		s->depth = depth;
		if (s->n == LP_SWEEP_ROUND)
			return false;
	}
	return true;
}

/* Under the pool's lock. The workers of a list are in the order of their places. */
static bool look_at_list(struct lp_sweep *s, struct lp_link *workers)
{
	for (struct lp_link *l = workers->next; l != workers; l = l->next) {
		struct lp_worker *w = lp_entry(l, struct lp_worker, link);
		if (w->place < s->place)
			continue;
		if (w->place > s->place)
			s->depth = UINT32_MAX;
		s->place = w->place;
		lp_lock(&w->lock);
		/* Whose task has called os.exit does not come back: its tasks have ended, though they are on its stack. */
		bool more = atomic_load(&w->leaving) || look_at_stack(s, w);
		lp_unlock(&w->lock);
		if (!more)
			return false;
	}
	return true;
}

/* True: there is no more in this pool. */
static bool look_at_pool(struct lp_sweep *s)
{
	struct lp_pool *p = s->pool;
	lp_lock(&p->lock);
	bool done = s->serving || look_at_list(s, &p->workers);
	if (done && !s->serving) {
		s->serving = true;
		s->place = 0;
	}
	done = done && look_at_list(s, &p->serving);
	lp_unlock(&p->lock);
	return done;
}

struct lp_task *lp_sweep_next(struct lp_sweep *s)
{
	while (s->next == s->n) {
		if (s->over)
			return NULL;
		s->next = s->n = 0;
		if (!look_at_pool(s))
			continue;
		if (s->all) {
			s->pool = lp_pool_after(s->pool);
		} else {
			lp_release(s->pool);
			s->pool = NULL;
		}
		s->over = !s->pool;
		s->serving = false;
		s->place = 0;
	}
	return s->found[s->next++];
}
