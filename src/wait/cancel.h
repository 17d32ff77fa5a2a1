/* cancel: what was asked of an actor, and whether its code has to end for it.
 *
 * The word of an actor, which only these transitions change:
 *
 *     0 --ask--> ASKED --deliver--> DELIVERED --grace over--> DELIVERED | FINAL | ASKED
 *
 * ASKED means that the running code is to be told at its next point. Delivery takes it away, so that
 * the clean-up runs undisturbed; with FINAL it stays: raised at every point from then on. A shield
 * holds delivery back and changes nothing; it holds the actor's token as well (lp_token.held), so that the
 * request does not come down to what its task has started either. The word belongs to the actor, not to the
 * thread: the next task on a worker has its own.
 *
 * A deadline scope is the same with the clock as the one who asks: once it has passed, the code is to
 * be told at its next point. The first delivery moves it by the grace (told = LP_TOLD), the second leaves it where it is,
 * in the past: from then on at every point (LP_TOLD_FINALLY). A shield puts the deadlines away that were set
 * before it; those that are set inside it count. */
#ifndef LP_CANCEL_H
#define LP_CANCEL_H

#include "wait/wait.h"

enum {
	LP_CANCEL_ASKED = 1,
	LP_CANCEL_DELIVERED = 2,
	LP_CANCEL_FINAL = 4,
};

/* Now and a duration, which may be endless: still a deadline. */
static inline lp_time lp_deadline_after(lp_time duration)
{
	lp_time now = lp_now();
	return duration >= LP_FOREVER - now ? LP_FOREVER - 1 : now + duration;
}

enum { LP_UNTOLD_YET, LP_TOLD, LP_TOLD_FINALLY }; /* actor.told */

/* A wait of this actor with this deadline ends at: the earlier of it and the actor's own. */
static inline lp_time lp_actor_until(const struct lp_actor *a, lp_time deadline)
{
	return a->hold || a->deadline > deadline ? deadline : a->deadline;
}

static inline uint32_t lp_cancel_word(struct lp_actor *a)
{
	return atomic_load(&a->cancel);
}

/* True if it was not asked before. Its thread still has to be poked. */
bool lp_cancel_ask(struct lp_actor *a);
/* The running code is about to be told. */
void lp_cancel_deliver(struct lp_actor *a);
/* The grace is over. */
void lp_cancel_finally(struct lp_actor *a);

/* In hand: what a call has taken (a message, a permit, a turn) belongs to nobody but the code that it is returned to,
 * so the code must come to do something with it. A call either raises and has taken nothing, or it returns what it took,
 * and then its code is not told at the very next points but some later: it may pass LP_IN_HAND calls and lines, return
 * from its coroutine or its task (which then ends with its result), and send, where that needs no waiting. Any other call
 * that waits tells it. This is counted in points and not in time, so that no machine is too slow for it. There is none of
 * it for a call that began when the request was there already (in a shield), and it ends when a signal of ours cuts a system
 * call short: then what that one answered must not be seen. */
enum { LP_IN_HAND = 100 };

/* As a call begins: will it hand over what it takes? */
static inline bool lp_may_hand_over(struct lp_actor *a)
{
	return !(atomic_load_explicit(&a->cancel, memory_order_relaxed) & LP_CANCEL_ASKED);
}

/* It has taken something, or has begun to do what cannot be undone. `may`: the answer of then. */
static inline void lp_hand_over(struct lp_actor *a, bool may)
{
	atomic_store_explicit(&a->handed, may ? LP_IN_HAND : 0, memory_order_relaxed);
}

/* May it send what it has, and does that leave points to do something with the answer? */
static inline bool lp_may_send(struct lp_actor *a)
{
	return atomic_load_explicit(&a->handed, memory_order_relaxed) > LP_IN_HAND / 2;
}

static inline bool lp_in_hand(struct lp_actor *a)
{
	return atomic_load_explicit(&a->handed, memory_order_relaxed) != 0;
}

/* A point of the running code: true if it is to be passed this time. */
static inline bool lp_pass_point(struct lp_actor *a)
{
	uint32_t left = atomic_load_explicit(&a->handed, memory_order_relaxed);
	if (left)
		atomic_store_explicit(&a->handed, left - 1, memory_order_relaxed);
	return left != 0;
}

/* Was it told, and has its grace for the clean-up? */
static inline bool lp_actor_in_grace(struct lp_actor *a)
{
	uint32_t c = lp_cancel_word(a);
	return ((c & LP_CANCEL_DELIVERED) && !(c & LP_CANCEL_FINAL)) || (a->told == LP_TOLD && lp_now() < a->deadline);
}

/* Is there something to tell the actor's code: a request, or a deadline that has passed? Only on the
 * thread that runs it; async-signal-safe. */
enum lp_interrupt { LP_NOTHING, LP_STOP, LP_TIME_UP };
enum lp_interrupt lp_actor_interrupt(struct lp_actor *a);

/* Is there for the exec's innermost actor? Usually nothing was asked and there is no deadline. */
static inline bool lp_interrupted(struct lp_exec *e)
{
	struct lp_actor *a = e->actor;
	return a && (lp_cancel_word(a) || a->deadline != LP_FOREVER) && lp_actor_interrupt(a) != LP_NOTHING;
}

#endif
