/* worker: a Lua state that runs tasks, usually on a thread of its own.
 *
 * A worker without a thread ("inliner") runs tasks on the thread that calls async: for pools with
 * workers = 0, and when no thread can be had.
 *
 * `lock` guards the stack of actors (a task, and those that it runs inlined on top of it). Holding it
 * pins them: whoever wants to signal the thread because of a task does it under this lock, so that the
 * task cannot end meanwhile. */
#ifndef LP_WORKER_H
#define LP_WORKER_H

#include "values/compat.h"
#include "sched/pool.h"
#include "vm/state.h"
#include "sched/stop.h"

/* C stack that must be left for a task that starts on top of another: Lua 5.4's 200 C levels, each a string.gsub, take
 * 400 KB; LuaJIT's 6,500 levels, which nothing but its Lua stack bounds, take 2 MB, with the guards of lib_jit.c (tried). */
enum { LP_TASK_STACK = (LP_LUAJIT ? 2560 : 640) * 1024, LP_LEAST_STACK = 256 * 1024 };
/* Of one pool, as its options say (lua-pool/options.lua). */
enum { LP_MOST_WORKERS = 1024 };

/* run.c: pushing a C function makes one on LuaJIT, which may raise; so they are made when the state opens. */
enum lp_run_function { LP_RUN_HANDLER, LP_RUN_BODY, LP_RUN_ERROR, LP_RUN_REPORT, LP_RUN_TEXT, LP_RUN_COROUTINE, LP_RUN_FUNCTIONS };

struct lp_worker {
	struct lp_exec exec;         /* actor: the top of the stack [lock, written by the worker] */
	lp_mutex lock;
	struct lp_pool *pool;        /* [I] counted */
	lua_State *L;                /* [worker] NULL: not open */
	struct lp_state *state;      /* [worker] of L */
	struct lp_parker *_Atomic parker; /* of the thread */
	lp_thread thread;            /* of an inliner: the one that it serves on */
	bool has_thread;             /* [I] false: inliner */
	uint32_t resizes;            /* [pool lock] those that it knew of when it parked, or was woken for since */
	bool woken;                  /* [pool lock] was handed a permit and the searching token */
	_Atomic bool counted;        /* it holds a permit: written by the worker, and while it is stuck by whoever sees that */
	_Atomic bool apart;          /* stuck, and its permit is another's: written under the pool's lock (abandon.h) */
	bool stuck;                  /* [pool lock] it runs a task that was given up: nobody waits for it */
	bool detaches;               /* [worker] it came back when its pool was at its end: it frees itself */
	_Atomic(struct lp_link *) seized; /* what its given-up tasks held, to be handed over (mutex.h) */
	unsigned id;                 /* [I] unique among those of other threads. Of an inliner for which none was left: that of the
	                              * worker whose thread it serves on, or 0 on a host's */
	unsigned own_id;             /* [I] what was taken for it; 0: none */
	int finish_ref, report_ref;  /* [worker] registry references; LUA_NOREF */
	int functions[LP_RUN_FUNCTIONS]; /* [worker] LuaJIT: registry references of the C functions that run.c calls protected */
	void *told;                  /* [worker] what on_error is being told of */
	lua_State *spare;            /* [worker] a coroutine ready for the next inlined task; anchored */
	lua_State *volatile running; /* [worker] the coroutine that runs a task's Lua code now; read by our signal handler */
	bool warns;                  /* [worker] warn "@on" */
	char warning[500];           /* [worker] the pieces of a warning that has not ended */
	bool catching;               /* [worker] lp_pcall_in_handler is active */
	_Atomic bool signalled;      /* our signal was sent: it may be pending (lp_flush_signal) */
	struct lp_kept_hook {        /* [worker, its signal handler] the debug hook that ours displaced, and where */
		lua_State *L;        /* only compared */
		lua_Hook hook;
		int mask, count;
	} kept;
	struct lp_exec *caller;      /* [worker] of an inliner: who called async, if it is one of the host's; else NULL */
	struct lp_host *acting;      /* [worker] while on_error runs: on whose behalf; else NULL */
	bool unwatched;              /* [worker] nobody would see to the task_timeout of the task that begins */
	struct lp_task *in_hand;     /* [worker] a task that is not on the stack while user's code runs because of it: init, on_error */
	_Atomic bool leaving;        /* its task called os.exit: the thread does not come back */
	lp_time look_again;          /* [worker] parked until then, to look at what tasks have left; LP_FOREVER */
	bool renew;                  /* [worker] memory ran out: a new state after the outermost task */
	size_t memory;               /* [worker] bytes in use by L */
	struct lp_account *account;  /* [worker] ready for the next task of a pool with a memory_limit; NULL */
	char *nest;                  /* [worker] LuaJIT: where lua_newstate allocates (vm.c); NULL on Lua 5.4 */
	size_t nest_used;
	bool nesting;                /* [worker] lua_newstate runs */
	struct lp_counts counts;
	struct lp_link link;         /* [pool lock] workers / exited / inliners / serving */
	uint64_t place;              /* [pool lock] the order of `workers` and of `serving` */
	struct lp_link idle_link;    /* [pool lock] */
	struct lp_link helper_link;  /* [pool lock] linked: it waits, and may be called */
	bool leaves;                 /* [pool lock] counted in the pool's `leaving` */
	bool waiting;                /* [worker] counted in the pool's `waiting` */
	bool offers;                 /* [worker] that was done, and has not been taken back */
	bool late;                   /* [pool lock] it is called only when all others wait */
};

/* ---- pool.c asks ---- */
struct lp_worker *lp_worker_new(struct lp_pool *p, bool has_thread); /* NULL: memory ran out, or ids for a thread */
int lp_worker_start(struct lp_worker *w);                            /* 0 or errno */
void lp_worker_free(struct lp_worker *w);                            /* its thread has ended */

/* ---- lib_*.c ask; inline.c has what runs tasks on their own thread ---- */
/* The task that runs on this exec now; NULL on a host's. */
struct lp_task *lp_current_task(struct lp_state *s);
/* No thread serves the queue (LP_RUN_INLINE): runs what is in it, here and now, in an inliner. */
void lp_worker_serve(struct lp_pool *p, struct lp_exec *caller); /* caller: who has to wait for that, if known */
/* The same for one who may itself be called by a task that this thread runs in this way: then that goes on. */
void lp_worker_serve_here(struct lp_pool *p);
/* Are so many on top of each other on this thread that there shall be no further one? */
bool lp_worker_too_deep(void);
void lp_worker_close_inliners(struct lp_pool *p);
/* Tells the pool's on_error, in a worker without a thread, on this one, when all the others wait. False: it cannot. */
bool lp_worker_say(struct lp_pool *p, const char *text);
/* In a worker that is about to wait for t, and for nothing else, without a timeout: runs it here if it is pending, a
 * descendant of the current task, and the C stack has room. True: it has ended. May raise. */
bool lp_worker_inline(lua_State *L, struct lp_state *s, struct lp_task *t);
/* Before its thread sleeps: may it run here what its exec waits for, if nobody else can? *late: rather not. */
bool lp_worker_may_help(struct lp_worker *w, bool *late);
/* It was called (LP_CALLED): runs one of these. Protected. False: an error is on the stack. *over: the wait's time is up. */
bool lp_worker_help(lua_State *L, struct lp_state *s, struct lp_node *nodes, int n, lp_time deadline, bool *over);

/* This worker's thread ends the process, or stands still because another does: nobody shall wait for
 * it or for its tasks. */
void lp_worker_leaves(struct lp_worker *w);
/* The same for all whose tasks this thread runs: it is in exit(). */
void lp_workers_leave(void);

/* Is it an inliner that serves on this very thread? Then waiting for its tasks would be waiting for oneself. */
bool lp_worker_below(struct lp_worker *w);

/* Is its end wanted, though nobody may have asked the task itself yet: was an ancestor cancelled, or all tasks of its pool,
 * or does its host close? Whoever wants that leaves his mark (on a token, the pool, the host), then looks at who runs (sweep.h): a
 * task that starts is on its worker's stack, then asks this. Without any lock. */
static inline bool lp_task_doomed(struct lp_task *t)
{
	struct lp_host *h = t->host;
	return lp_task_condemned(t) || t->sweeps != atomic_load(&t->pool->sweeps) ||
		(h && atomic_load(t->lasting ? &h->over : &h->closing));
}

/* The worker whose thread this is; NULL on the host's threads. */
struct lp_worker *lp_this_worker(void);
/* The stack of actors: a task, or what is nobody's task (the setup of a state, finish, on_error). An actor that
 * leaves gives back what it holds. */
void lp_worker_push(struct lp_worker *w, struct lp_actor *a);
void lp_worker_pop(struct lp_worker *w);
/* What of the innermost actor a scope changes: whoever pokes looks at it under the lock. */
struct lp_limits {
	lp_time deadline;
	uint32_t shield;
	uint16_t hold;
	uint8_t told;
};
static inline struct lp_limits lp_limits_of(const struct lp_actor *a)
{
	return (struct lp_limits){.deadline = a->deadline, .shield = a->shield, .hold = a->hold, .told = a->told};
}
static inline void lp_limits_set(struct lp_actor *a, const struct lp_limits *to)
{
	a->deadline = to->deadline;
	a->shield = to->shield;
	a->hold = to->hold;
	a->told = to->told;
}
void lp_worker_set_scope(struct lp_worker *w, const struct lp_limits *to);

/* ---- duty.c ---- */
void lp_worker_loop(struct lp_worker *w); /* the thread: until the pool has no use for it */
/* What the queue gave: a task, a tombstone, or a failed task that wants its report. Takes over its count. */
void lp_worker_take(struct lp_worker *w, struct lp_task *t);
/* Runs a task that we have begun in this state or coroutine, and takes it to its end. It is stopped at the limit. */
void lp_worker_run(struct lp_worker *w, lua_State *L, struct lp_task *t, lp_time limit);

static inline void lp_count(_Atomic uint64_t *n)
{
	/* One writer: no need for a locked instruction. */
	atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + 1, memory_order_relaxed);
}

/* ---- tidy.c ---- */
/* A task has ended, and none is left on the stack: collects if it has left much that the system has few of, or if that was not
 * done just now. */
void lp_worker_tidy(struct lp_worker *w);
/* The worker is about to sleep: collects if anything was left. True: stopped half way, as there is a task to run. */
bool lp_worker_tidy_idle(struct lp_worker *w);

/* ---- run.c ---- */
void lp_run_open(lua_State *L, struct lp_worker *w); /* a state opens; may raise. Nothing else of run.c does. */
/* Runs a task that lp_task_begin has given us; L is the worker's state or a fresh coroutine of it. */
enum lp_task_state lp_run_task(struct lp_worker *w, lua_State *L, struct lp_task *t);
void lp_run_report(struct lp_worker *w, struct lp_task *t); /* on_error for a failed task, in this worker */
void lp_report_stderr(struct lp_task *t);
/* Registry: a function that is called with the results of a task that cannot be sent; what it answers is sent instead, if
 * anything (lua-pool/batch.lua). */
extern const char lp_unsendable_key;
/* The error, which is all of the stack, becomes what a task would have failed with: with a hint, and such that it can be sent. */
void lp_explain_error(lua_State *L);
bool lp_run_text(struct lp_worker *w, const char *text); /* on_error(text, text); false: there is none */

/* ---- vm.c: the lua_State of a worker ---- */
/* Opens it and runs the pool's setup. False: *error and its *text (both the caller's, may be NULL) tell why. */
bool lp_vm_open(struct lp_worker *w, struct lp_msg **error, char **text);
void lp_vm_close(struct lp_worker *w);

/* luaopen_pool_core, which is in a layer above: what `require "lua-pool.core"` calls in a worker. */
extern lua_CFunction lp_open_core;

#endif
