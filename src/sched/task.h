/* task: one call and its result, in one recycled slot.
 *
 * A slot holds the message with the function and its arguments, later the one with the results, the
 * actor (cancellation, what it holds), and its place in a run queue. It is counted: one for its
 * futures together with messages that carry one, one for the queue and then the worker.
 *
 *     PENDING --> RUNNING --> DONE | FAILED | CANCELLED         (the runner)
 *        +------------------------------------> CANCELLED      (whoever cancels it: it never starts)
 *
 * One that does not react may be given up while its code still runs (abandon.h): then it has ended for everybody but
 * its runner.
 *
 * Only the CAS from PENDING decides who runs or ends it. An entry that is no longer PENDING when a
 * worker takes it from the queue is a tombstone: its count is released, nothing else. */
#ifndef LP_TASK_H
#define LP_TASK_H

#include "wait/msg.h"
#include "wait/wait.h"

struct lp_pool;
struct lp_host;

enum lp_task_state {
	LP_PENDING,
	LP_RUNNING,
	LP_DONE,
	LP_FAILED,
	LP_STOPPED, /* ended cancelled */
	LP_STATE_MASK = 7,
	/* flags beside the state in the same word */
	LP_HAS_WAITERS = 8,  /* somebody is linked in `waiters`: the end must take the lock */
	LP_OBSERVED = 16,    /* somebody was told how it ended */
	LP_HEARD = 32,       /* one of `waiters` hears of the end (ends.h) */
	LP_ABANDONED = 64,   /* it was given up while it ran: msg and report are the runner's (abandon.h) */
	LP_LEFT = 128,       /* and its runner has come back and done with it since */
};

/* token: what children of a task hold of it. The chain of parents is what "cancelling is downward"
 * walks; a task that ends by itself cuts the chain, so that no chain of the dead grows.
 *
 *  T1  A canceller marks the token, then looks at who runs (sweep.h) and at the queues. A task that starts is first on its
 *      worker's stack, then looks at its ancestors: one of the two sees the other.
 *  T2  Whoever asks a task marks the token that the task had at that moment; whoever makes a token for one that was asked
 *      marks it; the runner, about to be told, drops it. So a token is either marked or belongs to nobody who was asked.
 *  T3  A task that ends cancelled without having been asked (it heard it from a child first), or whose ancestor was
 *      cancelled meanwhile, asks itself before it ends: what it has started must not be missed because the chain is cut.
 *  T4  What the clean-up starts has a token of its own, beyond which nobody looks for marks: it is not of the request. */
struct lp_token {
	struct lp_obj obj;
	lp_mutex lock;
	_Atomic bool held;         /* its task is in a shield: what cancels the task, or above, does not come down through it */
	bool of_group;             /* [I] part of an lp_group: its parent is never cut off */
	bool border;               /* [I] whoever looks for a mark does not go on to its parent */
	_Atomic bool cancelled;    /* marked: its task was cancelled, children must not start */
	struct lp_token *parent;   /* [lock] counted; NULL once the task has ended */
	_Atomic uint64_t clean;    /* when lp_token_marks was this, it was not condemned */
};

/* How many marks there have been in this process, also such as became visible by the end of a shield. */
extern _Atomic uint64_t lp_token_marks;

/* Where a pending task is. A member of a group may be held back by the group's limit. */
enum { LP_QUEUED, LP_HELD, LP_HELD_STOPPED };

struct lp_task {
	struct lp_obj obj;
	_Atomic uint32_t state;      /* enum lp_task_state and flags */
	lp_mutex lock;
	struct lp_link waiters;      /* [lock] nodes of those who wait for the end */
	struct lp_task *next;        /* [queue] */
	struct lp_actor actor;
	struct lp_pool *pool;        /* [I] counted: where it runs */
	struct lp_host *host;        /* [I] counted: the state on whose behalf it runs */
	struct lp_token *parent;     /* [I] counted; NULL: submitted outside tasks */
	struct lp_token *token;      /* [lock, written by the runner] its children's parent; NULL: it has none */
	struct lp_slots *owner;      /* [I] where the slot returns to */
	const char *source;          /* [I] where async was called: chunk name (never freed) */
	int line;                    /* [I] 0: unknown */
	uint32_t sweeps;             /* [I] those of its pool when it was submitted: each later one is for this task too */
	bool detached;               /* [I] pool.go */
	bool lasting;                /* [I] detached, or started by one that lasts: may outlive its host's code */
	bool grouped;                /* [I] a member of a group, which is its parent */
	bool wants_id;               /* [I] the worker's id is its first argument */
	_Atomic uint8_t place;       /* written under the group's lock */
	_Atomic bool has_room;       /* it took a place under the pool's queue_limit */
	bool late;                   /* [monitor] its deadline has passed: it is being watched */
	bool lost;                   /* failed and given up by all its futures: queued again to be reported */
	union {
		lp_time submitted;   /* [I until it begins] of a task that is timed (a sample); 0: not timed */
		_Atomic uint64_t ended; /* lp_ticks(), before the end can be seen (of one that never began: right after) */
	};
	lp_time limit;               /* [runner] the end of its own time (task_timeout, or what who runs it in his place has left);
	                              * a scope's deadline in the actor is an earlier one */
	struct lp_obj *code;         /* [runner] the function's code, taken from the call: given back with the slot, by whose
	                              * thread it was counted; NULL: none */
	char *report;                /* of a failed task: message, traceback, where async was called; or NULL */
	struct lp_msg msg;           /* the call; from the moment it ended, results or error and traceback */
	unsigned char buffer[112];   /* msg's inline buffer */
};

extern const struct lp_class lp_task_class;

/* A fresh PENDING task with count 1 and an empty message; NULL: out of memory. */
struct lp_task *lp_task_new(void);

static inline enum lp_task_state lp_task_state(struct lp_task *t)
{
	return atomic_load_explicit(&t->state, memory_order_acquire) & LP_STATE_MASK;
}

static inline bool lp_task_ended(struct lp_task *t)
{
	return lp_task_state(t) >= LP_DONE;
}

static inline bool lp_task_abandoned(struct lp_task *t)
{
	return atomic_load_explicit(&t->state, memory_order_acquire) & LP_ABANDONED;
}

/* PENDING -> RUNNING; false: somebody else ended or runs it. */
bool lp_task_begin(struct lp_task *t);
/* PENDING -> STOPPED; wakes those who wait. False: it was not pending any more. */
bool lp_task_stop_pending(struct lp_task *t);
/* RUNNING -> one of the ends; wakes those who wait. The message is complete before. */
void lp_task_end(struct lp_task *t, enum lp_task_state how);
/* RUNNING -> one of the ends, ABANDONED, by another than the runner, who pins it on its worker's stack; lp_task_announce
 * follows without locks. False: it had ended. */
bool lp_task_abandon(struct lp_task *t, enum lp_task_state how);
/* Wakes those who wait for one that has ended, and tells its group. */
void lp_task_announce(struct lp_task *t, enum lp_task_state how);
/* Somebody was told how it ended: no report of a lost failure. */
void lp_task_observe(struct lp_task *t);
/* A member of a group has ended. Set by the group layer; called right after the end, on any thread. */
extern void (*lp_task_member_ended)(struct lp_task *t, enum lp_task_state how);
/* What becomes of a failed task that nobody can observe any more: takes over the last count.
 * Set by the pool layer; called on any thread. */
extern void (*lp_task_lost)(struct lp_task *t);

/* ---- nodes that hear of the end without waiting for it: ends.h ---- */
enum { LP_NODE_END = 16 }; /* such a node's op */
/* Links it. False: it has ended already. */
bool lp_task_hear(struct lp_task *t, struct lp_node *n);
/* True: it was linked, and is no longer. */
bool lp_task_forget(struct lp_task *t, struct lp_node *n);
/* Set by that layer. The task is about to end (under its lock); it has ended, and the node is out of its list. */
extern void (*lp_task_end_announced)(struct lp_node *n);
extern void (*lp_task_end_told)(struct lp_node *n);

/* ---- tokens ---- */
/* The token of a running task, made on first use; NULL: out of memory. Runner only. Marked if t was asked to end and has
 * not been told yet: what it starts now must not run. */
struct lp_token *lp_task_token(struct lp_task *t);
/* The token if there is one, retained, or NULL. Anybody. */
struct lp_token *lp_task_token_ref(struct lp_task *t);
/* Asks t to end and marks its token, which it answers retained if there is one. False: it was asked before. */
bool lp_task_ask(struct lp_task *t, struct lp_token **token);
/* Runner: t is being told. What it starts from here on is part of its clean-up: not of that token. */
void lp_task_drop_token(struct lp_task *t);
/* Its task has ended: cuts it off its parent's, so that no chain of the dead grows. */
void lp_token_end(struct lp_token *k);
/* Runner: its outermost shield begins, or has ended; then what came meanwhile goes down to what it has started. */
void lp_task_hold_token(struct lp_task *t, bool hold);
/* Does t descend from the task of this token, through parents that have not ended? Without any lock. */
bool lp_task_descends(struct lp_task *t, struct lp_token *of);
/* A token with count 1; the parent may be NULL. */
void lp_token_init(struct lp_token *k, const struct lp_class *cls, struct lp_token *parent);
/* Its task or group was cancelled. Whoever marks looks afterwards for those that are to be told (stop.h). */
void lp_token_mark(struct lp_token *k);
/* Is it marked, and lets its mark through? */
static inline bool lp_token_stops(struct lp_token *k)
{
	return atomic_load(&k->cancelled) && !atomic_load(&k->held);
}
/* The same, or is it a group's that a cancelled task has made? A glance, which takes no lock and no count. */
static inline bool lp_token_cancelled(struct lp_token *k)
{
	return lp_token_stops(k) || (k->of_group && k->parent && lp_token_stops(k->parent));
}
/* Is it or any of its ancestors marked, with nothing between that holds it back? Without any lock. */
bool lp_token_condemned(struct lp_token *k);
/* Was any ancestor of t cancelled? Also when the request has not come down to it yet. Then it must not start. Without any
 * lock; costs nothing while nobody cancels anything. */
static inline bool lp_task_condemned(struct lp_task *t)
{
	struct lp_token *k = t->parent;
	return k && (lp_token_stops(k) || (atomic_load_explicit(&k->clean, memory_order_relaxed) !=
		atomic_load(&lp_token_marks) && lp_token_condemned(k)));
}
/* The glance at its parent, for those who hold a lock. */
static inline bool lp_task_orphaned(struct lp_task *t)
{
	return t->parent && lp_token_cancelled(t->parent);
}

/* ---- slots.c ---- */
/* Memory for a task, of which only `owner` is set; NULL: out of memory. */
struct lp_task *lp_slot_take(void);
void lp_slot_return(struct lp_task *t); /* on any thread */

/* A future is 40 bytes to Lua's collector, whatever its slot and its result take. So who ends a task says what its large result
 * takes, a slot that had to be allocated says so too, and the thread that made the future asks now and then what it has not
 * told its collector yet. */
enum { LP_UNTOLD = 65536 /* less is not worth a step */ };
void lp_slot_holds(struct lp_task *t, size_t bytes);
size_t lp_slots_untold(void); /* of this thread; it counts as told then */

#endif
