/* close: see close.h. */
#include "sched/close.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wait/cancel.h"
#include "sync/mutex.h"
#include "sched/sweep.h"

#define STUCK_AFTER LP_SECOND /* how long a cancelled task may take to end before it is given up */
#define LEAVES_WITHIN (LP_SECOND / 10) /* and a thread that has no task any more */

static lp_mutex default_lock = LP_MUTEX_INIT(LP_RANK_DEFAULT_POOL);
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
	lp_fork_guard(&default_lock, LP_RANK_DEFAULT_POOL);
	lp_fork_child(LP_RANK_DEFAULT_POOL, forget_default);
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

/* ---- the end of hosts ---- */

/* One end, of one host or of all that have not closed: a second for what has to end at once, and `exit_timeout` for what may
 * finish, both for everything together, however many hosts, pools and threads there are. */
struct end {
	struct lp_exec exec;  /* who waits: not the host's own, as this may be the exit of a worker's thread or of another one */
	struct lp_actor actor;
	uint64_t number;      /* a host says of which end it is part */
	lp_time late;         /* who may finish has until then */
	lp_time last;         /* a second after the newest request */
	bool lasting;         /* of is_ending: those as well; */
	bool unasked;         /* ... only those that were not asked yet; */
	bool shielded;        /* ... only those in a shield */
};

static lp_time in(lp_time now, lp_time duration)
{
	return duration >= LP_FOREVER - now ? LP_FOREVER : now + duration;
}

static void begin_end(struct end *d)
{
	static _Atomic uint64_t ends;
	memset(d, 0, sizeof *d);
	d->number = atomic_fetch_add(&ends, 1) + 1;
	lp_actor_init(&d->actor);
	d->exec.actor = &d->actor;
	lp_lock_init(&d->exec.place_lock, LP_RANK_PLACE);
	lp_time now = lp_now(), longest = 0;
	for (struct lp_pool *p = NULL; (p = lp_pool_after(p));)
		if (p->opt.exit_timeout > longest)
			longest = p->opt.exit_timeout;
	d->late = in(now, longest);
	d->last = in(now, STUCK_AFTER);
}

static void forget_end(struct end *d)
{
	(void)d;
	lp_graph_lock(); /* nobody looks at its exec any more */
	lp_graph_unlock();
}

static bool is_ending(struct lp_worker *w, struct lp_actor *a, void *data)
{
	const struct end *d = data;
	struct lp_task *t = lp_entry(a, struct lp_task, actor);
	return !lp_worker_below(w) && t->host && atomic_load(&t->host->ender) == d->number && (d->lasting || !t->lasting) &&
		!(d->unasked && lp_cancel_word(a)) && (!d->shielded || a->shield);
}

static bool wait_for(struct end *d, struct lp_obj *o, lp_time deadline)
{
	struct lp_node node = {.obj = o};
	return lp_wait_any(&d->exec, &node, 1, deadline) >= 0;
}

/* Asks what runs for the hosts. True: there was something. */
static bool ask_tasks(struct end *d, bool lasting)
{
	bool any = false;
	struct lp_sweep s;
	d->lasting = lasting;
	d->unasked = true;
	d->shielded = false;
	lp_sweep_begin(&s, NULL, is_ending, d);
	for (struct lp_task *t; (t = lp_sweep_next(&s)); lp_release(t)) {
		lp_task_request_cancel(t);
		lp_task_observe(t);
		any = true;
	}
	return any;
}

static void wait_for_tasks(struct end *d, bool shielded, lp_time deadline)
{
	struct lp_sweep s;
	d->lasting = true;
	d->unasked = false;
	d->shielded = shielded;
	lp_sweep_begin(&s, NULL, is_ending, d);
	for (struct lp_task *t; (t = lp_sweep_next(&s)); lp_release(t)) {
		wait_for(d, &t->obj, deadline);
		lp_task_observe(t);
	}
}

/* False: it has closed, or another thread closes it. */
static bool take_host(struct end *d, struct lp_host *h)
{
	if (atomic_exchange(&h->closing, true) && !atomic_load(&h->left))
		return false;
	atomic_store(&h->ender, d->number);
	return true;
}

static void wait_for_detached(struct end *d, struct lp_host *h)
{
	if (atomic_load(&h->ender) == d->number && atomic_load(&h->detached) && !wait_for(d, &h->quiet.obj, d->late))
		fprintf(stderr, "lua-pool: %u detached tasks did not finish in time\n", atomic_load(&h->detached));
	/* What these have started and left behind ends now, and they themselves if they are late. */
	if (atomic_load(&h->ender) == d->number)
		atomic_store(&h->over, true);
}

/* ---- the end of the pools ---- */

static void stop_pools(void)
{
	for (struct lp_pool *p = NULL; (p = lp_pool_after(p));)
		lp_pool_stop(p);
}

/* Under the pool's lock: its threads that are still inside a task which was given up. */
static void count_stuck(struct lp_worker *w, void *n)
{
	*(unsigned *)n += w->stuck;
}

static void wait_for_pool(struct end *d, struct lp_pool *p)
{
	unsigned left = 0;
	lp_lock(&p->lock);
	bool any = p->threads > 0;
	lp_unlock(&p->lock);
	if (any && !wait_for(d, &p->ended.obj, d->last)) {
		lp_lock(&p->lock);
		left = p->threads;
		lp_unlock(&p->lock);
	}
	lp_pool_each_worker(p, count_stuck, &left);
	if (left)
		fprintf(stderr, "lua-pool: %u thread%s of pool '%s' did not end and %s abandoned\n", left,
			left == 1 ? "" : "s", p->opt.name, left == 1 ? "is" : "are");
	if (!lp_this_worker())
		lp_pool_reap(p);
	lp_worker_close_inliners(p);
}

static void wait_for_all_detached(struct end *d, struct lp_host *only)
{
	if (only)
		wait_for_detached(d, only);
	for (struct lp_host *h = NULL; !only && (h = lp_host_after(h));)
		wait_for_detached(d, h);
}

/* Whose last task has ended just now still has to leave. */
static void let_leave(struct end *d)
{
	lp_time soonest = lp_now() + LEAVES_WITHIN;
	if (d->last < soonest)
		d->last = soonest;
}

/* only: one host, whose end may have come to its tasks already (lp_host_end); NULL: all. last: the pools end with them. */
static void close_hosts(struct lp_host *only, bool last)
{
	struct end d;
	begin_end(&d);
	bool fresh = !only || take_host(&d, only);
	for (struct lp_host *h = NULL; !only && (h = lp_host_after(h));)
		take_host(&d, h);
	if (fresh) {
		ask_tasks(&d, false);
		wait_for_all_detached(&d, only);
	}
	if (last)
		stop_pools();
	if (!fresh)
		d.last = only->last;
	else if (ask_tasks(&d, true) || last)
		d.last = in(lp_now(), STUCK_AFTER);
	wait_for_tasks(&d, false, d.last);
	wait_for_tasks(&d, true, d.late);
	if (only)
		only->last = d.last;
	if (last) {
		let_leave(&d);
		for (struct lp_pool *p = NULL; (p = lp_pool_after(p));)
			wait_for_pool(&d, p);
		drop_default();
	}
	forget_end(&d);
}

void lp_host_close(struct lp_host *h)
{
	lp_host_stand_still();
	lp_host_forget_lights(h);
	lp_host_forget(h);
	lp_held_release(&h->actor); /* its code has ended: nobody else would unlock it */
	bool again = h->closed || atomic_load(&h->left);
	h->closed = true;
	if (!again && h->obj.generation == lp_generation)
		close_hosts(h, lp_host_count() == 0);
}

void lp_host_end(struct lp_host *h)
{
	lp_host_stand_still();
	if (!atomic_load(&h->closing) && h->obj.generation == lp_generation)
		close_hosts(h, false);
}

void lp_host_end_pool(struct lp_host *h, struct lp_pool *p)
{
	lp_pool_drain(p);
	lp_host_end(h);
	struct end d;
	begin_end(&d);
	d.last = h->last;
	let_leave(&d);
	if (wait_for(&d, &p->ended.obj, d.last)) {
		lp_pool_reap(p);
		lp_worker_close_inliners(p);
	}
	forget_end(&d);
}

/* ---- a state under an event loop ---- */

static _Atomic bool left_any;

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
	struct end d;
	begin_end(&d);
	atomic_store(&h->ender, d.number);
	ask_tasks(&d, false);
	forget_end(&d);
	atomic_store(&left_any, true);
	atomic_store(&h->left, true);
	lp_host_forget_if_quiet(h);
	if (lp_host_count() == 0) {
		for (struct lp_pool *p = NULL; (p = lp_pool_after(p));)
			leave_pool(p);
		drop_default();
	}
}

static void at_exit(void)
{
	if (exit_generation != lp_generation)
		return; /* a fork that went past our handlers (vfork, clone): the threads are the parent's */
	lp_workers_leave();
	struct lp_host *any = lp_host_after(NULL);
	if (any || atomic_load(&left_any))
		close_hosts(NULL, true);
	lp_release(any);
	fflush(stdout);
}

void lp_close_at_exit(void)
{
	static _Atomic bool registered;
	exit_generation = lp_generation;
	if (!atomic_exchange(&registered, true))
		atexit(at_exit);
}
