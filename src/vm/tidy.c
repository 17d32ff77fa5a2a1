/* tidy: a worker's look at what its tasks have opened and left (holdings.h). What that holds is given back soon after a task's
 * end, and not when the collector happens to come round. */
#include "wait/cancel.h"
#include "vm/holdings.h"
#include "sched/worker.h"

enum {
	FEW = 16, MANY = 256, /* left ones that are too many: of a small state, of any */
	SHARE = 10            /* after tasks, collections take no more than this part of the time */
};

/* Is there something better to do? */
static bool wanted(void *pool)
{
	struct lp_pool *p = pool;
	return lp_queue_count(&p->queue) && atomic_load(&p->active) <= atomic_load(&p->limit);
}

/* What finalisers do is nobody's task. */
static bool collect(struct lp_worker *w, bool stops)
{
	struct lp_actor actor;
	lp_time began = lp_now();
	lp_actor_init(&actor);
	lp_worker_push(w, &actor);
	bool whole = lp_collect_whole(w->L, stops ? wanted : NULL, w->pool);
	w->running = NULL;
	lp_worker_pop(w);
	lp_time now = lp_now();
	w->state->tidy_after = now + SHARE * (now - began);
	if (whole)
		w->state->held = 0; /* what has survived is kept on purpose */
	return whole;
}

void lp_worker_tidy(struct lp_worker *w)
{
	struct lp_state *s = w->state;
	unsigned shared, own;
	if (w->renew || (w->has_thread && !lp_queue_count(&w->pool->queue)))
		return; /* nothing; or it is about to sleep */
	if (!(own = lp_holdings_left(w->L, s, &shared)))
		return;
	unsigned many = FEW + (unsigned)lua_gc(w->L, LUA_GCCOUNT, 0) / 128;
	if (own >= (many < MANY ? many : MANY) || lp_now() >= s->tidy_after || lp_holdings_short())
		collect(w, false);
}

bool lp_worker_tidy_idle(struct lp_worker *w)
{
	struct lp_state *s = w->L ? w->state : NULL;
	unsigned shared;
	w->look_again = LP_FOREVER;
	if (!s || !lua_gc(w->L, LUA_GCISRUNNING, 0))
		return false;
	unsigned own = lp_holdings_left(w->L, s, &shared);
	if (!own && !shared)
		return false;
	if (!own && lp_now() < s->tidy_after) { /* others have it too: at once only if that is not every time */
		w->look_again = s->tidy_after;
		return false;
	}
	return !collect(w, true) && wanted(w->pool);
}
