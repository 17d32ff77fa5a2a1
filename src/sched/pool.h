/* pool: the scheduler. Which threads there are, who sleeps, who wakes whom.
 *
 * A *permit* is the right to search for work or to run it; `active` counts those that are out. A
 * parked thread has none, and one that waits for another task has given its permit up.
 * `searching` is a token of which there is one: its owner looks for work (or is on its way to), so
 * nobody else needs to be woken.
 *
 * Invariants
 *  I1  A task in the queue is seen by somebody: a searcher is on its way, or every permit is out and
 *      each owner looks into the queue before it parks; or no thread can be had, and those that wait
 *      take the queue's tasks over themselves (await), or a submitter runs it (no thread at all).
 *  I2  Whoever gives up a permit or the searching token reads the queue's count afterwards; whoever
 *      puts a task into the queue reads both afterwards. All four are sequentially consistent, so one
 *      of the two sees the other (Dekker): a wake-up cannot get lost between them.
 *  I3  Being woken out of a wait never waits for a permit: `active` may pass `workers` for a while; a
 *      thread over the limit parks when its task ends.
 *  I4  A parked thread leaves the idle list only under the pool's lock: by whoever wakes it (who hands
 *      it a permit and the token), or by itself (idle_timeout).
 *  I6  A thread that waits for tasks that have not begun, and may run one of them in its own place, is a *helper* while it
 *      sleeps. When there is work and a permit for it, but no thread can be had, a helper is called: it gets the permit,
 *      and runs what it waits for. It is listed before it gives its own permit up, so by I2 either it sees the queue, or who
 *      queues sees it. One that was called and found nothing to run is not listed again: what it waits for has begun.
 *      A late one, which waits for the first of several or under a time limit, is called only when all others wait: those
 *      who do not will look at the queue, and what they leave to it is known to be what nobody else can begin.
 *  I5  Code that runs under the pool's lock makes no system call and calls no Lua. */
#ifndef LP_POOL_H
#define LP_POOL_H

#include "sync/event.h"
#include "sched/host.h"
#include "sched/queue.h"
#include "sync/semaphore.h"

struct lp_worker;

struct lp_pool_options {
	unsigned workers;        /* tasks at once; 0: inside async */
	unsigned max_threads;    /* >= workers */
	unsigned queue_limit;    /* 0: none */
	size_t stack_size;       /* bytes; 0: the system's */
	int nice;                /* steps that the threads stand back for the CPU; 0: none */
	size_t memory_limit;     /* bytes per worker state; 0: none */
	lp_time idle_timeout;    /* duration after which an idle thread leaves; LP_FOREVER: threads up to `workers` stay */
	lp_time cancel_grace;    /* durations */
	lp_time exit_timeout;
	lp_time task_timeout;    /* LP_FOREVER: none */
	bool jit_checked;        /* LuaJIT: compiler off in workers */
	bool silent;             /* on_error = false */
	bool reports;            /* on_error is a function: run in a worker */
	char name[16];
};

/* Counters that each worker keeps alone and the pool adds up. */
struct lp_counts {
	_Atomic uint64_t done, failed, cancelled, inlined;
	_Atomic uint64_t wait[32], run[32]; /* sampled tasks by log2 of nanoseconds */
};

struct lp_pool {
	struct lp_obj obj;
	struct lp_pool_options opt;      /* [I] but max_threads: [lock] (resize); `limit` is what workers is now */
	struct lp_msg setup;             /* [I] prelude and its options: decoded in every worker state */
	struct lp_queue queue;
	struct lp_semaphore room;        /* queue_limit: what is left of it */

	_Alignas(64) _Atomic uint32_t active;
	_Atomic uint32_t waiting;        /* threads that have given their permits up; between two steps in neither count */
	_Atomic uint32_t searching;
	_Atomic uint32_t limit;          /* permits: opt.workers, after resize */
	_Atomic int32_t tombstones;      /* entries of the queue that wait no more; for moments less */

	lp_mutex lock;
	struct lp_link idle;             /* [lock] workers, the last parked first */
	struct lp_link workers;          /* [lock] every worker whose thread lives */
	struct lp_link exited;           /* [lock] threads to join */
	struct lp_link inliners;         /* [lock] workers without a thread, not in use */
	struct lp_link serving;          /* [lock] those in use */
	struct lp_link helpers;          /* [lock] workers that wait (I6): `late` ones last */
	uint32_t resizes;                /* [lock] how many there were */
	uint64_t places;                 /* [lock] how often a worker was put into one of those lists */
	unsigned threads, idle_count;    /* [lock] */
	unsigned leaving;                /* [lock] of the threads: they will look at no queue again */
	unsigned in_use;                 /* [lock] how many serve; also while one could not be made */
	lp_time no_thread_until;         /* [lock] a thread could not be started: not again before */
	unsigned apart;                  /* [lock] stuck threads that others stand in for: not in `threads`, no permit */
	_Atomic unsigned lost;           /* written under lock: those for whom nobody does: not in `threads`, but with their permit */
	_Atomic bool hopeless;           /* all permits are lost: nothing will run before a call comes back */
	_Atomic uint64_t abandoned;      /* tasks that were given up */
	bool draining;                   /* [lock] no submissions from outside */
	bool stopping;                   /* [lock] threads end as soon as they have no task */
	bool late;                       /* [lock] a failure was to be reported after that: what is queued now is reports, for which
	                                  * threads are started all the same */
	_Atomic bool closed;             /* draining, for a quick look */
	_Atomic uint32_t sweeps;         /* how often all tasks were cancelled */
	struct lp_msg *init_error;       /* [lock, once] encoded error of `init`; then tasks fail with it */
	char *init_report;               /* [lock, once] its text; may be NULL */
	_Atomic bool broken;             /* init_error is set */
	bool unattended;                 /* [lock] nobody will join its threads: they free themselves */
	bool stuck_said;                 /* [lock] the report of a stuck pool was given */
	struct lp_event ended;           /* set when draining and the last thread has gone; reset when one comes for a late report */
	struct lp_counts totals;         /* [lock] of workers that are gone */
	struct lp_link link;             /* [pools lock] all pools of the process */
};

extern const struct lp_class lp_pool_class;

/* A pool without threads; setup is moved in. NULL: out of memory. */
struct lp_pool *lp_pool_new(const struct lp_pool_options *opt, struct lp_msg *setup);

/* Puts a task in (its host, parent, message, sweeps set; pool set to p) and sees to it that somebody runs it.
 * Takes its own count. `own`: the caller is a task of this pool. */
enum lp_submitted {
	LP_SUBMITTED,
	LP_CLOSED_POOL,   /* not taken */
	LP_RUN_INLINE,    /* not taken: no thread can be had, the caller runs it (lp_worker_run_inline) */
};
enum lp_submitted lp_pool_submit(struct lp_pool *p, struct lp_task *t, bool own);

/* The handshake of I2 for whoever gave something up: wakes or starts a thread if one is needed.
 * False: one is needed and cannot be had. */
bool lp_pool_kick(struct lp_pool *p);

/* Queues t, which has failed and is lost: on_error is to be told. Also after the end: then a thread comes back for it. */
void lp_pool_report(struct lp_pool *p, struct lp_task *t);

void lp_pool_drain(struct lp_pool *p);                 /* no submissions from outside any more */
void lp_pool_stop(struct lp_pool *p);                  /* threads end after the task they run */
void lp_pool_reap(struct lp_pool *p);                  /* joins the threads that have left */
void lp_pool_leave(struct lp_pool *p);                 /* nobody will reap: threads that end see to themselves */
void lp_pool_abandon(struct lp_pool *p);               /* drains with nobody to wait for it */
void lp_pool_cancel_all(struct lp_pool *p);            /* what is queued, what runs, and what is between the two */
void lp_counts_add(struct lp_counts *to, struct lp_counts *from);
bool lp_pool_full(struct lp_pool *p);                  /* no further thread can be had */
void lp_pool_stuck(struct lp_pool *p);                 /* all wait, work is queued: says so once (report.c) */
bool lp_pool_break(struct lp_pool *p, struct lp_msg *error, char *report); /* `init` failed: takes over both, or false */
void lp_pool_settle(struct lp_pool *p);                /* ends a draining pool that has nothing left to do */
void lp_pool_resize(struct lp_pool *p, unsigned workers);
/* It waits no more (taken, inlined, cancelled): its place under queue_limit is free again. */
void lp_pool_leave_room(struct lp_pool *p, struct lp_task *t);
void lp_pool_took_tombstone(struct lp_pool *p);        /* an entry that could not be begun left the queue */
unsigned lp_pool_queued(struct lp_pool *p);            /* tasks that wait */
void lp_pool_cancelled_entry(struct lp_pool *p);       /* one more tombstone: prune when they are many */
/* Calls f for each worker (threads and inliners in use), retained by the pool's lock. */
void lp_pool_each_worker(struct lp_pool *p, void (*f)(struct lp_worker *w, void *data), void *data);
/* The pool after p (NULL: the first), retained; gives p's count back. NULL: there are no more. A pool that is made
 * meanwhile is the last. */
struct lp_pool *lp_pool_after(struct lp_pool *p);

/* ---- sched.c: for worker.c and pool.c ---- */
/* The worker has no task: gives its permit up if it has one, and parks until it is handed a permit and the token, or has to
 * end, or w->look_again has come (then it has neither permit nor token, and parks again). */
enum lp_parked { LP_LEAVES, LP_WORKS, LP_LOOKS };
enum lp_parked lp_pool_park(struct lp_pool *p, struct lp_worker *w);
/* From here to lp_pool_withdraw the worker may be called (I6). `late`: only when all others wait. */
void lp_pool_offer(struct lp_pool *p, struct lp_worker *w, bool late);
bool lp_pool_withdraw(struct lp_pool *p, struct lp_worker *w); /* true: it was called, and has a permit */
/* Takes the next task; with the token held, spins for a while first (not in a pool with `nice`). Gives the token away when it
 * found one; keeps it when not. */
struct lp_task *lp_pool_next(struct lp_pool *p, bool searching);
/* The last thing that a worker's thread does: w may be gone when it returns. */
void lp_pool_worker_exits(struct lp_pool *p, struct lp_worker *w);
void lp_pool_dismiss(struct lp_pool *p);               /* stopping: sends the parked ones home */

#endif
