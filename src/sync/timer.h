/* timer: a moment, or a moment every so often, that can be waited for together with other objects.
 *
 * A timer has no thread and costs nothing while nobody waits for it: whoever looks at it compares it with the
 * clock. While somebody waits it lies in a heap of all such timers, and the monitor thread sleeps until the first
 * of them is due and rings it.
 *
 * A timer without an interval is due for everyone, from its moment on, like an event that was set. One with an
 * interval comes due again and again: each time is taken by one wait, and who comes late takes all
 * times that went by at once.
 *
 * One lock guards all timers and the heap. */
#ifndef LP_TIMER_H
#define LP_TIMER_H

#include "wait/wait.h"

struct lp_timer {
	struct lp_obj obj;
	lp_time due;             /* [timers' lock] LP_FOREVER: never */
	lp_time interval;        /* [timers' lock] 0: none */
	bool closed;             /* [timers' lock] */
	uint32_t sets;           /* [timers' lock] how often it was set */
	uint32_t slot;           /* [timers' lock] its place in the heap, from 1; 0: nobody waits */
	struct lp_link waiters;  /* [timers' lock] nodes, the longest wait first */
};

extern const struct lp_class lp_timer_class;

/* Count 1. NULL: out of memory, or the thread that rings them cannot be started. */
struct lp_timer *lp_timer_new(lp_time due, lp_time interval);
/* From now on these; one that was closed is open again. Who waits goes on waiting. */
void lp_timer_set(struct lp_timer *t, lp_time due, lp_time interval);
/* It comes due no more; who waits is told. */
void lp_timer_close(struct lp_timer *t);
void lp_timer_get(struct lp_timer *t, lp_time *due, lp_time *interval, bool *closed, unsigned *waiting);

/* node.result of a node that was consumed: how many times it has come due since it was taken last. */
enum { LP_TIMER_CLOSED = 0 };

/* ---- monitor.c asks ---- */
/* Rings those that are due; when the next one is. */
lp_time lp_timers_ring(lp_time now);
/* Is there any? Then the thread stays. */
bool lp_timers_exist(void);

#endif
