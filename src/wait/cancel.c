/* cancel: the request word of an actor. See cancel.h. */
#include "wait/cancel.h"

bool lp_cancel_ask(struct lp_actor *a)
{
	uint32_t c = atomic_load(&a->cancel);
	do
		if (c)
			return false;
	while (!atomic_compare_exchange_weak(&a->cancel, &c, LP_CANCEL_ASKED));
	return true;
}

void lp_cancel_deliver(struct lp_actor *a)
{
	uint32_t c = atomic_load(&a->cancel), to;
	do
		to = c & LP_CANCEL_FINAL ? c : (c & ~(uint32_t)LP_CANCEL_ASKED) | LP_CANCEL_DELIVERED;
	while (!atomic_compare_exchange_weak(&a->cancel, &c, to));
}

void lp_cancel_finally(struct lp_actor *a)
{
	atomic_fetch_or(&a->cancel, LP_CANCEL_FINAL | LP_CANCEL_ASKED);
}

enum lp_interrupt lp_actor_interrupt(struct lp_actor *a)
{
	if (a->hold)
		return LP_NOTHING;
	if (!a->shield && (lp_cancel_word(a) & LP_CANCEL_ASKED))
		return LP_STOP;
	return a->deadline != LP_FOREVER && lp_now() >= a->deadline ? LP_TIME_UP : LP_NOTHING;
}
