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
 * be told at its next point; delivery moves it by the grace. A shield puts the deadlines away that were set
 * before it; those that are set inside it count. */
#ifndef LP_CANCEL_H
#define LP_CANCEL_H

#include "wait.h"

enum {
	LP_CANCEL_ASKED = 1,
	LP_CANCEL_DELIVERED = 2,
	LP_CANCEL_FINAL = 4,
};

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

/* Is there something to tell the actor's code: a request, or a deadline that has passed? Only on the
 * thread that runs it; async-signal-safe. */
enum lp_interrupt { LP_NOTHING, LP_STOP, LP_TIME_UP };
enum lp_interrupt lp_actor_interrupt(struct lp_actor *a);

#endif
