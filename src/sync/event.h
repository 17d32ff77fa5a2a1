/* event: a flag that can be waited for. Set it and everyone who waits goes on, now and later,
 * until it is reset. The smallest waitable object: the model for the others. */
#ifndef LP_EVENT_H
#define LP_EVENT_H

#include "wait/wait.h"

struct lp_event {
	struct lp_obj obj;
	lp_mutex lock;
	_Atomic bool set;         /* written under lock; may be read without */
	struct lp_link waiters;   /* [lock] nodes */
};

extern const struct lp_class lp_event_class;

void lp_event_init(struct lp_event *e, const struct lp_class *cls); /* part of a larger object */
struct lp_event *lp_event_new(void);   /* count 1, unset; NULL: out of memory */
void lp_event_set(struct lp_event *e); /* wakes every waiter */
void lp_event_reset(struct lp_event *e);

static inline bool lp_event_is_set(struct lp_event *e)
{
	return atomic_load_explicit(&e->set, memory_order_acquire);
}

#endif
