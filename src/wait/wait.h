/* wait: wait for the first of several objects, until a deadline.
 *
 * A wait is a struct on the waiter's stack with one node per object. Its state word decides who
 * ends it, exactly once:
 *
 *     WAITING --claim--> BUSY --fire--> FIRED + index      (by an object's waker, under that
 *        |                                                  object's lock)
 *        +---------------------------> SELF                 (by the waiter: timeout, cancelled)
 *
 * BUSY lasts a few instructions: between claim and fire the waker stores what the node is to
 * receive, so that nothing is given to a waiter that has already left, and the waiter never sees
 * half a delivery. A waker unlinks the node that it fires; the waiter unlinks the others.
 * Wakers collect whom to wake and do it after they have unlocked.
 *
 * An object's lock is a leaf; the graph lock (dead-lock detection) is taken by waiters with no lock held: lock.h. */
#ifndef LP_WAIT_H
#define LP_WAIT_H

#include "base/list.h"
#include "wait/obj.h"

enum { LP_WAITING = 0, LP_BUSY = 1, LP_SELF = 2, LP_FIRED = 3 };

struct lp_wait {
	_Atomic uint32_t state;
	struct lp_parker *parker; /* [I] the thread to wake; NULL: a suspended coroutine, see inbox.h */
};

struct lp_node {
	struct lp_link link;     /* [object's lock] in the object's queue */
	struct lp_wait *wait;    /* [I] set by lp_wait_any */
	struct lp_obj *obj;      /* [I] set by the caller, who holds a count */
	uint32_t index;          /* [I] set by lp_wait_any */
	int op;                  /* [I] set by the caller: what to do with obj (the class says) */
	int result;              /* set before firing: the class says */
	void *value;             /* in or out, the class says; set before firing */
};

/* In op, set by the caller, of interest to channels: nothing else is waited for, there is no time limit, and no other
 * code runs in the Lua state meanwhile. */
enum { LP_NODE_ALONE = 2 };

/* What lp_wait_any answers when no object was consumed. */
enum {
	LP_TIMEOUT = -1,
	LP_CANCELLED = -2,
	LP_DEADLOCK = -3,
	LP_INTERRUPTED = -4,
	LP_NOMEM = -5,
	LP_CLOSING = -6,  /* the Lua state is closing (state.h) */
	LP_RAISED = -7,   /* a Lua error is on the stack (suspend.h) */
	LP_AGAIN = -8,    /* a signal handler of the host has run, and did not raise (state.h) */
	LP_MUST_WAIT = -9, /* only of the parts below: not yet */
	LP_CALLED = -10   /* it may run itself what it waits for: nobody else can (pool.h); ends in lp_wait_blocking */
};

/* actor: whoever runs, waits, owns locks and can be cancelled: a task, or a Lua state of the host. */
struct lp_actor {
	struct lp_exec *_Atomic exec;  /* [A] who runs it; NULL while nobody does */
	struct lp_actor *outer;        /* [exec] the one it runs on top of (inlining) */
	_Atomic uint32_t cancel;       /* [A] cancel.h; 0: nothing was asked */
	uint32_t shield;               /* [exec] depth of shields; a worker writes it and the next two under its lock */
	uint16_t hold;                 /* [exec] not 0: for a moment not even deadlines are told (the borders of scopes) */
	bool is_task;                  /* [I] part of an lp_task; else a host, or the opening of a state */
	uint8_t told;                  /* [exec] of its deadline; a worker writes it under its lock: cancel.h */
	volatile bool touching;        /* [exec, its signal handler] `held` is being changed (mutex.h) */
	_Atomic uint32_t handed;       /* [exec, its signal handler] cancel.h: how many points its code may still pass */
	lp_time deadline;              /* [exec] the earliest of its deadline scopes since the innermost shield began */
	struct lp_link held;           /* [exec] mutexes that its end must release (lp_held) */
};
void lp_actor_init(struct lp_actor *a);
static inline struct lp_exec *lp_actor_exec(struct lp_actor *a)
{
	return atomic_load_explicit(&a->exec, memory_order_acquire);
}

/* Where in the Lua code: a chunk's name (never freed) and a line; NULL: not known. */
struct lp_place {
	const char *source;
	int line;
};

/* exec: a thread of execution as waiting sees it: a worker thread, or a Lua state of the host. */
struct lp_exec {
	struct lp_actor *actor;              /* [exec] the innermost actor; never NULL while waiting */
	void (*block)(struct lp_exec *e);    /* [I] about to sleep for another task: give up the permit */
	void (*unblock)(struct lp_exec *e);  /* [I] awake again; never waits */
	bool (*signalled)(struct lp_exec *e);/* [exec] a Ctrl-C wants to raise in the host; may be NULL */
	_Atomic bool called;                 /* LP_CALLED shall end the wait */
	lp_time deadline;                    /* [exec] of the wait that is about to sleep */
	struct lp_obj *waits_on;             /* [graph] untimed wait for one object; only its own thread changes it */
	struct lp_link in_graph;             /* [graph] linked while there is one */
	struct lp_exec *via, *next_found;    /* [graph] of a search for rings: who waits for it; those still to be looked at */
	uint64_t search;                     /* [graph] the last search that came here */
	struct lp_exec *host;                /* [I] of a light thread: the Lua state's own; else NULL */
	const void *coroutine;               /* [I] of a light thread: which, for people */
	struct lp_link light;                /* [host's lights_lock] of a light thread: among the others of its state */
	struct lp_link suspended;            /* [exec] of a host: the waits that suspended a coroutine (suspend.c) */
	struct lp_exec *on_top;              /* [graph] runs on this very thread, which goes on when that is done; or NULL */

	/* What the report of who waits for whom tells: filled only by a wait that really sleeps. */
	struct lp_worker *worker;            /* [I] whose it is; NULL: a host's */
	void (*note)(struct lp_exec *e);     /* [exec] sets `place` from these two; NULL: the place is not known */
	void *code, *state;                  /* [exec] the coroutine that waits, and its Lua state's record */
	lp_mutex place_lock;                 /* a leaf */
	bool asleep;                         /* [place_lock] the rest holds */
	struct lp_wait *wait;                /* [place_lock] which wait this is about; WAITING, or over already */
	struct lp_place place;               /* [exec] where it waits; others may read it while asleep (place_lock) or waits_on (graph) */
	struct lp_node *nodes;               /* [place_lock] what for; their objects live as long as it sleeps */
	int nnodes;                          /* [place_lock] 0: a mere sleep */
};

/* Light threads of one Lua state and the state itself: run by one thread of the system, which may touch what
 * any of them holds. */
static inline bool lp_exec_same_thread(const struct lp_exec *a, const struct lp_exec *b)
{
	return a && b && (a->host ? a->host : a) == (b->host ? b->host : b);
}

/* From here on `top` runs on the thread of e, which cannot go on before it has ended (NULL: it can). Answers what was
 * there. */
struct lp_exec *lp_exec_cover(struct lp_exec *e, struct lp_exec *top);

/* Waits until one of nodes[0..n-1] was consumed, and returns its index, or one of the negative
 * answers. deadline <= now polls. Each node's obj, op and value are set by the caller. Fair to
 * the order given: the first ready one wins. Is a cancellation point: an undelivered request
 * answers LP_CANCELLED before anything is consumed. An untimed wait for one object that closes a
 * ring of holders answers LP_DEADLOCK. `block` is only called when the thread really sleeps. */
int lp_wait_any(struct lp_exec *e, struct lp_node *nodes, int n, lp_time deadline);

/* ---- the parts of it, for a wait that suspends a coroutine (suspend.c) ---- */
/* Consumes what is ready. Else LP_TIMEOUT (it only polls), LP_CANCELLED, or LP_MUST_WAIT. */
int lp_wait_try(struct lp_exec *e, struct lp_node *nodes, int n, lp_time deadline);
/* Queues the nodes, whose place must not change until lp_wait_leave. LP_DEADLOCK: nothing was queued.
 * An exec may have several waits at a time (a coroutine was killed in one and is used again; an adapter's own code waits):
 * the report and the graph know the first of them until it has left. */
struct lp_waiting {
	struct lp_wait *wait;
	struct lp_node *nodes;
	int n, queued;
	bool in_graph;
};
int lp_wait_enter(struct lp_exec *e, struct lp_waiting *w, lp_time deadline);
/* Is it over? The index that was fired, LP_TIMEOUT, LP_CANCELLED, LP_INTERRUPTED, or LP_MUST_WAIT. */
int lp_wait_look(struct lp_exec *e, struct lp_wait *w, lp_time deadline);
/* Ends it from outside, if nobody has fired it: LP_CANCELLED, else the index. */
int lp_wait_give_up(struct lp_wait *w);
/* Takes back the nodes but the one that was fired. */
void lp_wait_leave(struct lp_exec *e, struct lp_waiting *w, int fired);
/* Instead, in a forked child, of a wait of its parent's, in whose lists the nodes are. */
void lp_wait_forget(struct lp_exec *e, struct lp_waiting *w);

/* One object: the usual case. */
static inline int lp_wait_one(struct lp_exec *e, struct lp_node *node, lp_time deadline)
{
	return lp_wait_any(e, node, 1, deadline);
}

/* ---- for wakers: under the object's lock ---- */
/* A handful of threads to wake once the lock is released. When it is full the earliest are woken
 * at once: right, only slower. */
struct lp_inbox;
struct lp_wakes {
	unsigned n;
	uintptr_t whom[15]; /* a parker, or an inbox with the lowest bit set: neither is ever freed */
};
#define LP_WAKES_INIT {0}
/* True: the node is ours to fill and fire. Unlinks it in either case. */
bool lp_claim(struct lp_node *n);
void lp_fire(struct lp_node *n, struct lp_wakes *w);
void lp_wake_all(struct lp_wakes *w); /* after unlocking */

/* Rendezvous: claims both or neither, without holding one while waiting for the other. `mine` is
 * being enqueued by this thread; `theirs` is linked. Answers whose wait was over already.
 * (Tie-break by address, so two selects that claim each other cannot wait for each other.) */
enum lp_claimed { LP_CLAIMED, LP_MINE_OVER, LP_THEIRS_OVER };
enum lp_claimed lp_claim_both(struct lp_node *mine, struct lp_node *theirs);
/* The same for a node that is not part of a running wait (a try_ call): `mine` may be NULL. */

/* ---- dead-lock detection ---- */
/* Held while an exec may be looked at through an object that it holds; an exec takes it once
 * before its memory goes. */
void lp_graph_lock(void);
void lp_graph_unlock(void);
/* Under it: calls visit for each who has to act before o becomes ready, as far as that is known. */
void lp_holders(struct lp_obj *o, lp_visit_exec *visit, void *data);
/* Under it: the next of those whose untimed wait is in the graph, none of whom changes its actors; NULL: the first. */
struct lp_exec *lp_graph_next(struct lp_exec *e);
/* After LP_DEADLOCK, on the same thread: the ring in words, with places. */
const char *lp_deadlock_text(void);
/* "lua-pool.mutex" -> "mutex" */
const char *lp_class_short_name(const struct lp_class *cls);

#endif
