/* obj: a counted object that may be shared between Lua states and threads.
 *
 * The marshaller, the handles and wait-any know nothing else: a channel, a future, a file are
 * all an lp_obj with a class. The last release destroys, on whatever thread it happens. */
#ifndef LP_OBJ_H
#define LP_OBJ_H

#include "base/os.h"

struct lp_obj;
struct lp_node; /* wait.h */
struct lp_exec; /* wait.h */
typedef void lp_visit_exec(struct lp_exec *e, void *data);

struct lp_class {
	const char *name;                   /* "lua-pool.event": __name of its handles */
	void (*destroy)(struct lp_obj *o);  /* the count is 0: frees it */

	/* The waitable part; NULL in a class that cannot be waited for. `take` consumes without
	 * waiting and says whether it could. `enqueue` does the same if it can *claim* the node
	 * (lp_claim, then lp_fire), else it links the node. `dequeue` unlinks it if it is linked.
	 * All three take the object's own lock. */
	bool (*take)(struct lp_obj *o, struct lp_node *n);
	void (*enqueue)(struct lp_obj *o, struct lp_node *n);
	void (*dequeue)(struct lp_obj *o, struct lp_node *n);

	/* The wait that n belonged to was given up by the collector (suspend.h). Consumed: gives back what n has
	 * received; else frees what n carries. Clears both in n. NULL: there is nothing of the kind: what a wait gets
	 * is there for others as well (cancel.h: in hand). */
	void (*discard)(struct lp_obj *o, struct lp_node *n, bool consumed);

	/* Who has to act before o becomes ready, if that is known: dead-lock detection. Called
	 * under the graph lock (wait.c); must take no lock but its own. NULL: nobody in particular. */
	struct lp_exec *(*holder)(struct lp_obj *o);
	/* The same where several have to: calls visit for each (that is known and waits itself). NULL: `holder` says all. */
	void (*holders)(struct lp_obj *o, lp_visit_exec *visit, void *data);

	/* NULL, or: a message is made that names o. Answers a new count of what travels in its stead (o itself,
	 * usually), or NULL and why it cannot. The message may be thrown away unread. Must not call Lua. */
	struct lp_obj *(*sent)(struct lp_obj *o, const char **why);
	/* NULL, or: a message that named o was opened and a handle of o made. */
	void (*received)(struct lp_obj *o);
	/* NULL, or: does o hold of what the system has few just now (holdings.h)? On any thread. */
	bool (*holds)(struct lp_obj *o);
	bool forks; /* usable in a forked child, as a copy of its own: it depends on no other thread */
};

struct lp_obj {
	const struct lp_class *cls;  /* [I] */
	_Atomic uint32_t refs;       /* [A] */
	uint32_t generation;         /* [I] lp_generation at birth */
};

static inline void lp_obj_init(struct lp_obj *o, const struct lp_class *cls)
{
	o->cls = cls;
	o->generation = lp_generation;
	atomic_init(&o->refs, 1);
}

/* An object that is a part of another (the semaphore of a queue's room): never counted, never a handle. */
#define LP_PART (UINT32_MAX / 2)
static inline void lp_obj_set_part(struct lp_obj *o)
{
	atomic_init(&o->refs, LP_PART);
}

static inline bool lp_obj_is_part(struct lp_obj *o)
{
	return atomic_load_explicit(&o->refs, memory_order_relaxed) >= LP_PART;
}

static inline void *lp_retain(void *obj)
{
	struct lp_obj *o = obj;
	lp_assert(atomic_load_explicit(&o->refs, memory_order_relaxed)); /* one that is being destroyed is not revived */
	atomic_fetch_add_explicit(&o->refs, 1, memory_order_relaxed);
	return obj;
}

/* The same while no other thread can know of it. */
static inline void *lp_retain_unshared(void *obj)
{
	struct lp_obj *o = obj;
	uint32_t refs = atomic_load_explicit(&o->refs, memory_order_relaxed);
	atomic_store_explicit(&o->refs, refs + 1, memory_order_relaxed);
	return obj;
}

static inline void lp_release(void *obj)
{
	struct lp_obj *o = obj;
	lp_assert(!o || atomic_load_explicit(&o->refs, memory_order_relaxed));
	if (o && atomic_fetch_sub_explicit(&o->refs, 1, memory_order_acq_rel) == 1)
		o->cls->destroy(o);
}

#endif
