/* mutex: a lock of Lua programs, which belongs to an actor: a task, or a Lua state of the host. (The bare
 * lock of os.h, lp_mutex, knows no owner: hence the name lp_mtx here.)
 *
 * First come, first served: an unlock hands the mutex over to the longest wait. Every actor lists what it
 * holds (lp_hold); its end releases all of that, and whoever gets such a mutex next is told that it was
 * abandoned. The list is touched only by the thread that runs the actor, which is why a taker does so
 * itself once it is awake (lp_mtx_entered). What is held has a count, so it is never destroyed meanwhile.
 *
 * The locks of a task that was given up (abandon.h) are taken away while its thread is stuck. That is done on this very
 * thread as well, by its signal handler, which can interrupt any instruction: so whoever touches the list says so
 * (actor.touching), and a handler that comes then, or finds the lock of the object taken, leaves it to the next one. What
 * was taken away belongs to nobody who could unlock it (limbo) until another thread hands it over. */
#ifndef LP_MUTEX_H
#define LP_MUTEX_H

#include "wait/wait.h"

/* hold: one thing that an actor has to give back. */
struct lp_hold {
	struct lp_link link;                  /* [the actor's thread] in actor->held */
	struct lp_obj *obj;                   /* counted while linked */
	void (*abandon)(struct lp_hold *h);   /* unlinked already; gives the count back too */
	bool (*seize)(struct lp_hold *h);     /* its owner loses it, if the object's lock is free; in a signal handler */
};

/* Releases everything that the actor holds, with the mark. When it ends, on its thread. */
void lp_held_release(struct lp_actor *a);

/* In the signal handler of a's thread: moves what a holds onto a list, linked by link.next. Who takes the list away calls
 * lp_seized_release. */
void lp_held_seize(struct lp_actor *a, _Atomic(struct lp_link *) *to);
void lp_seized_release(struct lp_link *list);
extern struct lp_actor lp_limbo; /* owns what was seized */

/* Around each change or walk of a->held, by its thread. */
static inline void lp_held_touch(struct lp_actor *a)
{
	a->touching = true;
	atomic_signal_fence(memory_order_seq_cst);
}
static inline void lp_held_let_go(struct lp_actor *a)
{
	atomic_signal_fence(memory_order_seq_cst);
	a->touching = false;
}

struct lp_mtx {
	struct lp_obj obj;
	lp_mutex lock;
	struct lp_actor *_Atomic owner;  /* written under lock; whether it is oneself may be asked without */
	_Atomic uint32_t serial;         /* written under lock; grows with each taking */
	bool abandoned;                  /* [lock] the last owner ended without unlocking */
	struct lp_link waiters;          /* [lock] nodes, the longest wait first */
	struct lp_hold hold;             /* [the owner's thread] */
};

extern const struct lp_class lp_mtx_class;

struct lp_mtx *lp_mtx_new(void); /* count 1; NULL: out of memory */
void lp_mtx_init(struct lp_mtx *m, const struct lp_class *cls); /* part of a larger object */

/* Taking is waiting for a node with value = the actor. Consumed: the mutex is its own, result says whether
 * it was abandoned, and lp_mtx_entered must follow at once, on the actor's thread. */
void lp_mtx_entered(struct lp_mtx *m, struct lp_actor *a);
/* On the thread of a. False: a does not own it, and nothing was done. */
bool lp_mtx_unlock(struct lp_mtx *m, struct lp_actor *a);

static inline bool lp_mtx_owned(struct lp_mtx *m, struct lp_actor *a)
{
	return atomic_load_explicit(&m->owner, memory_order_relaxed) == a;
}

/* A Lua state's handle of m goes. If only the owner's hold would be left, and the owner is run by e, whose
 * thread calls this, the mutex is unlocked: nobody can see it any more. The caller releases. */
void lp_mtx_handle_gone(struct lp_mtx *m, struct lp_exec *e);

/* For a class that embeds one as its first member: its wait operations. */
bool lp_mtx_take(struct lp_obj *o, struct lp_node *n);
void lp_mtx_enqueue(struct lp_obj *o, struct lp_node *n);
void lp_mtx_dequeue(struct lp_obj *o, struct lp_node *n);
void lp_mtx_discard(struct lp_obj *o, struct lp_node *n, bool consumed);
struct lp_exec *lp_mtx_holder(struct lp_obj *o);

#endif
