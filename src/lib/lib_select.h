/* lib_select: what pool.select can wait for (lib_select_kinds.c), and the waiting itself (lib_select.c).
 *
 * An item of the list is an object, for which its class has one usual way to be waited for, or a table
 * {object, "method", arguments...}: what the method of this name would wait for. */
#ifndef LP_LIB_SELECT_H
#define LP_LIB_SELECT_H

#include "vm/suspend.h"

struct lp_kind {
	const struct lp_class *cls;
	const char *method;
	bool usual; /* the object alone means this method */
	/* The node has its object, counted. Sets its op and value; `t` is the item's table, 0: the object alone.
	 * Whatever it raises, `drop` comes later. NULL: there is nothing to set. */
	void (*begin)(lua_State *L, struct lp_state *s, struct lp_node *n, int t, int item);
	/* The node was consumed: pushes its results and answers how many, or raises; `drop` comes later. */
	int (*results)(lua_State *L, struct lp_state *s, struct lp_node *n);
	/* Frees what the node has, but for the count of the object. NULL: nothing. */
	void (*drop)(struct lp_node *n);
};

/* The kind of an item: `method` may be NULL. NULL: it cannot be waited for in this way. */
const struct lp_kind *lp_kind_of(const struct lp_class *cls, const char *method);
/* What is possible, in words. */
#define LP_KINDS_TEXT "future, group, channel, event, timer, semaphore, mutex, {channel, \"send\", values...}, " \
	"{rwlock, \"read_lock\"}, {rwlock, \"write_lock\"} or {dict, \"wait\", key}"

#endif
