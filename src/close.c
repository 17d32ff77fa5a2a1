/* close: see close.h. */
#include "close.h"

#include <stdio.h>
#include <stdlib.h>

#include "cancel.h"
#include "mutex.h"
#include "worker.h"

enum { MAX_POOLS = 4096, MAX_HOSTS = 1024, ROUND = 64 };
#define STUCK_AFTER LP_SECOND /* how long a cancelled task may take to end before it is given up */

static lp_mutex default_lock;
static struct lp_pool *default_pool; /* [default_lock] counted */
static _Atomic uint32_t exit_generation;     /* the process that registered the exit handler */

static void forget_default(void)
{
	/* A forked child: the parent's default pool was renewed and goes on as ours; what is started in it from
	 * now on has an end as well. */
	exit_generation = lp_generation;
}

__attribute__((constructor)) static void close_open(void)
{
	lp_fork_guard(&default_lock);
	lp_fork_child(forget_default);
}

struct lp_pool *lp_default_pool(void)
{
	lp_lock(&default_lock);
	struct lp_pool *p = default_pool ? lp_retain(default_pool) : NULL;
	lp_unlock(&default_lock);
	return p;
}

struct lp_pool *lp_set_default_pool(struct lp_pool *p)
{
	lp_lock(&default_lock);
	if (!default_pool)
		default_pool = lp_retain(p);
	p = lp_retain(default_pool);
	lp_unlock(&default_lock);
	return p;
}

static void drop_default(void)
{
	lp_lock(&default_lock);
	struct lp_pool *p = default_pool;
	default_pool = NULL;
	lp_unlock(&default_lock);
	lp_release(p);
}

/* ---- the running tasks of a host ---- */

struct round {
	struct lp_host *host;
	bool lasting;                 /* those as well */
	bool unasked;                 /* only those that were not asked to end yet */
	struct lp_task *tasks[ROUND]; /* retained */
	unsigned n;
};

static void collect(struct lp_worker *w, void *data)
{
	struct round *r = data;
	if (lp_worker_below(w))
		return;
	lp_lock(&w->lock); /* pins the tasks on its stack; the pool's lock comes before it */
	for (struct lp_actor *a = w->exec.actor; a; a = a->outer) {
		struct lp_task *t = a->is_task ? lp_entry(a, struct lp_task, actor) : NULL;
		if (t && t->host == r->host && (r->lasting || !t->lasting) && !(r->unasked && lp_cancel_word(a)) &&
			!atomic_load(&w->leaving) && r->n < ROUND)
			r->tasks[r->n++] = lp_retain(t);
	}
	lp_unlock(&w->lock);
}

static bool wait_for(struct lp_exec *e, struct lp_obj *o, lp_time deadline)
{
	struct lp_node node = {.obj = o};
	return lp_wait_any(e, &node, 1, deadline) >= 0;
}

/* Cancels what runs for the host in this pool and waits for it; false: something did not end. */
static bool end_tasks(struct lp_pool *p, struct lp_host *h, bool lasting, struct lp_exec *e, lp_time deadline)
{
	for (;;) {
		struct round r = {.host = h, .lasting = lasting};
		lp_pool_each_worker(p, collect, &r);
		bool ended = true;
		for (unsigned i = 0; i < r.n; i++)
			lp_task_request_cancel(r.tasks[i]);
		for (unsigned i = 0; i < r.n; i++) {
			ended = wait_for(e, &r.tasks[i]->obj, deadline) && ended;
			lp_task_observe(r.tasks[i]);
			lp_release(r.tasks[i]);
		}
		if (r.n == 0 || !ended)
			return ended;
	}
}

static void stop_pool(struct lp_pool *p, struct lp_exec *e, lp_time deadline)
{
	lp_pool_stop(p);
	lp_lock(&p->lock);
	bool any = p->threads > 0;
	lp_unlock(&p->lock);
	if (any && !wait_for(e, &p->ended.obj, deadline)) {
		lp_lock(&p->lock);
		unsigned left = p->threads;
		lp_unlock(&p->lock);
		if (left)
			fprintf(stderr, "lua-pool: %u thread%s of pool '%s' did not end and %s abandoned\n", left,
				left == 1 ? "" : "s", p->opt.name, left == 1 ? "is" : "are");
	}
	if (!lp_this_worker())
		lp_pool_reap(p);
	lp_worker_close_inliners(p);
}

static void close_host(struct lp_host *h, struct lp_exec *e, struct lp_pool **pools, unsigned n)
{
	if (atomic_exchange(&h->closing, true) && !atomic_load(&h->left))
		return;
	lp_time longest = 0;
	for (unsigned i = 0; i < n; i++)
		if (pools[i]->opt.exit_timeout > longest)
			longest = pools[i]->opt.exit_timeout;
	lp_time now = lp_now();
	lp_time detached_until = longest >= LP_FOREVER - now ? LP_FOREVER : now + longest;
	for (unsigned i = 0; i < n; i++)
		end_tasks(pools[i], h, false, e, now + STUCK_AFTER);
	if (atomic_load(&h->detached) && !wait_for(e, &h->quiet.obj, detached_until))
		fprintf(stderr, "lua-pool: %u detached tasks did not finish in time\n", atomic_load(&h->detached));
	/* What these have started and left behind ends now, and they themselves if they are late. */
	atomic_store(&h->over, true);
	now = lp_now();
	for (unsigned i = 0; i < n; i++)
		end_tasks(pools[i], h, true, e, now + STUCK_AFTER);
}

static void close_hosts(struct lp_host **hosts, unsigned nhosts, bool all)
{
	struct lp_pool **pools = calloc(MAX_POOLS, sizeof *pools);
	if (!pools)
		return;
	unsigned n = lp_pool_all(pools, MAX_POOLS);
	/* Not the host's own exec: this may be the exit of a worker's thread, or of another one. */
	struct lp_actor actor;
	lp_actor_init(&actor);
	struct lp_exec e = {.actor = &actor};
	for (unsigned i = 0; i < nhosts; i++)
		close_host(hosts[i], &e, pools, n);
	if (all) {
		for (unsigned i = 0; i < n; i++)
			stop_pool(pools[i], &e, lp_now() + STUCK_AFTER);
		drop_default();
	}
	for (unsigned i = 0; i < n; i++)
		lp_release(pools[i]);
	free(pools);
	lp_graph_lock(); /* nobody looks at e any more */
	lp_graph_unlock();
}

void lp_host_close(struct lp_host *h)
{
	lp_host_stand_still();
	bool fresh = !atomic_load(&h->closing);
	lp_host_forget_lights(h);
	lp_host_forget(h);
	lp_held_release(&h->actor); /* its code has ended: nobody else would unlock it */
	if (fresh && h->obj.generation == lp_generation)
		close_hosts(&h, 1, lp_host_count() == 0);
}

/* ---- a state under an event loop ---- */

static _Atomic bool left_any;

static void cancel_tasks(struct lp_pool *p, struct lp_host *h)
{
	struct round r;
	do {
		r = (struct round){.host = h, .unasked = true};
		lp_pool_each_worker(p, collect, &r);
		for (unsigned i = 0; i < r.n; i++) {
			lp_task_request_cancel(r.tasks[i]);
			lp_task_observe(r.tasks[i]);
			lp_release(r.tasks[i]);
		}
	} while (r.n == ROUND);
}

static void leave_pool(struct lp_pool *p)
{
	lp_pool_leave(p);
	lp_pool_stop(p);
	lp_pool_reap(p);
}

void lp_host_leave(struct lp_host *h)
{
	lp_host_stand_still();
	lp_held_release(&h->actor);
	if (h->obj.generation != lp_generation || atomic_exchange(&h->closing, true)) {
		lp_host_forget(h);
		return;
	}
	struct lp_pool **pools = calloc(MAX_POOLS, sizeof *pools);
	unsigned n = pools ? lp_pool_all(pools, MAX_POOLS) : 0;
	for (unsigned i = 0; i < n; i++)
		cancel_tasks(pools[i], h);
	atomic_store(&left_any, true);
	atomic_store(&h->left, true);
	lp_host_forget_if_quiet(h);
	bool last = lp_host_count() == 0;
	for (unsigned i = 0; i < n; i++) {
		if (last)
			leave_pool(pools[i]);
		lp_release(pools[i]);
	}
	free(pools);
	if (last)
		drop_default();
}

static void at_exit(void)
{
	if (exit_generation != lp_generation)
		return; /* a fork that went past our handlers (vfork, clone): the threads are the parent's */
	static struct lp_host *hosts[MAX_HOSTS];
	unsigned n = lp_host_all(hosts, MAX_HOSTS);
	if (lp_this_worker())
		lp_worker_leaves(lp_this_worker());
	if (n || atomic_load(&left_any))
		close_hosts(hosts, n, true);
	fflush(stdout);
}

void lp_close_at_exit(void)
{
	static _Atomic bool registered;
	exit_generation = lp_generation;
	if (!atomic_exchange(&registered, true))
		atexit(at_exit);
}
