/* counter: a number that many threads change at once, each change as a whole. 64 bits, wraps around. No
 * lock, nothing to wait for. */
#ifndef LP_COUNTER_H
#define LP_COUNTER_H

#include "wait/obj.h"

struct lp_counter {
	struct lp_obj obj;
	_Atomic int64_t value;
};

extern const struct lp_class lp_counter_class;

struct lp_counter *lp_counter_new(int64_t value); /* count 1; NULL: out of memory */

#endif
