/* counter: see counter.h. */
#include "sync/counter.h"

static void counter_destroy(struct lp_obj *o)
{
	lp_free(o);
}

const struct lp_class lp_counter_class = {.name = "lua-pool.counter", .destroy = counter_destroy};

struct lp_counter *lp_counter_new(int64_t value)
{
	struct lp_counter *c = lp_alloc(sizeof *c);
	if (!c)
		return NULL;
	lp_obj_init(&c->obj, &lp_counter_class);
	atomic_init(&c->value, value);
	return c;
}
