/* rwlock: many readers or one writer, each of them an actor, as the owner of a mutex is.
 *
 * First come, first served, neighbouring readers together: a reader that comes after a waiting writer waits
 * behind it, so neither starves. Each who is inside has a record (lp_rwhold) in its actor's list, so
 * the end of a task lets it out. Whoever comes in after a writer that ended inside is told "abandoned",
 * until a writer has been in, which can repair what it finds. */
#ifndef LP_RWLOCK_H
#define LP_RWLOCK_H

#include "sync/mutex.h"

struct lp_rwhold {
	struct lp_hold hold;
	struct lp_link inside;    /* [lock] in rwlock.inside */
	struct lp_actor *actor;   /* [lock, written by its thread's signal handler] limbo: it was seized */
	bool writes;              /* [I] */
	uint32_t serial;          /* set before it is entered: tells it from a later one at its address */
};

struct lp_rwlock {
	struct lp_obj obj;
	lp_mutex lock;
	struct lp_link inside;    /* [lock] records: any number that read, or one that writes */
	struct lp_link waiters;   /* [lock] nodes, the longest wait first */
	bool abandoned;           /* [lock] the last writer ended inside */
	uint32_t serial;          /* [lock] */
};

extern const struct lp_class lp_rwlock_class;

struct lp_rwlock *lp_rwlock_new(void); /* count 1; NULL: out of memory */

/* A record for a node's value; NULL: out of memory. When the node was consumed lp_rwlock_entered must
 * follow at once, on the actor's thread; else the caller frees it. node.result: it was abandoned. */
struct lp_rwhold *lp_rwhold_new(struct lp_rwlock *rw, struct lp_actor *a, bool writes);
void lp_rwlock_entered(struct lp_rwhold *h);
/* a's record; NULL: it is not inside. On the actor's thread. */
struct lp_rwhold *lp_rwlock_find(struct lp_rwlock *rw, struct lp_actor *a);
/* The record of this taking, if e runs on the thread of its actor (which may be gone: it is only compared); then the
 * actor's list is touched (lp_held_touch), and lp_rwlock_unlock has to follow. */
struct lp_rwhold *lp_rwlock_held(struct lp_rwlock *rw, struct lp_actor *a, uint32_t serial, struct lp_exec *e);
/* On the actor's thread; frees the record. */
void lp_rwlock_unlock(struct lp_rwhold *h);
/* The same for a's record; false: it is not inside. */
bool lp_rwlock_leave(struct lp_rwlock *rw, struct lp_actor *a);
/* As lp_mtx_handle_gone. */
void lp_rwlock_handle_gone(struct lp_rwlock *rw, struct lp_exec *e);

struct lp_rwcounts {
	unsigned readers, waiting;
	bool writer, abandoned;
};
struct lp_rwcounts lp_rwlock_counts(struct lp_rwlock *rw);

#endif
