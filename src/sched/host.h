/* host: a Lua state of the host program (a script's main state; each of several in a server).
 *
 * Every task runs on behalf of a host: the one whose code called async, or whose task did. When the
 * host's state closes, its tasks end: those that are queued are dropped, those that run are cancelled,
 * detached ones may finish until exit_timeout. */
#ifndef LP_HOST_H
#define LP_HOST_H

#include "sync/event.h"

struct lp_host {
	struct lp_obj obj;
	struct lp_actor actor;
	struct lp_exec exec;
	void *L;                       /* [I] its lua_State, for `signalled` */
	struct lp_parker *_Atomic parker; /* of the thread that waited for it last */
	void *hook;                    /* [exec] the debug hook when its wait began (Ctrl-C replaces it) */
	int hook_mask, hook_count;     /* [exec] that hook's */
	_Atomic bool closing;          /* its pending tasks are dropped when they come up */
	_Atomic uint32_t detached;     /* pool.go tasks that have not ended */
	bool closed;                   /* [its thread] lp_host_close was called */
	lp_time last;                  /* [its thread] until when its end waits for what has to end at once (close.c) */
	_Atomic uint64_t ender;        /* the number of the end that it is part of (close.c); 0: none */
	_Atomic bool over;             /* closing, and the time for detached tasks is over */
	_Atomic bool left;             /* closed by code that may not wait; the end of the process waits for detached tasks */
	struct lp_event quiet;         /* set while closing and detached == 0 */
	lp_mutex lights_lock;          /* a place_lock may be taken under it */
	struct lp_link lights;         /* [lights_lock] the execs of its light threads, for reports */
	struct lp_link link;           /* [hosts lock] all hosts of the process, */
	uint64_t number;               /* [I] in the order in which they were made */
};

struct lp_host *lp_host_new(void *L);
/* os.exit in a task ends the process on that worker's thread. A host's thread that comes out of a wait
 * meanwhile must not run on: it would see its tasks cancelled, and might end the process with another status. */
void lp_host_exit_begins(void);
void lp_host_stand_still(void);          /* returns at once unless the exit has begun: then never */
void lp_host_wake_all(void);             /* those that wait look at their hook again */
void lp_host_detached_begin(struct lp_host *h);
void lp_host_detached_end(struct lp_host *h);

/* A light thread comes and goes, on the thread of its state. Going twice, or after the host's end, is fine. */
void lp_host_add_light(struct lp_host *h, struct lp_exec *e);
void lp_host_remove_light(struct lp_exec *e);
void lp_host_forget_lights(struct lp_host *h); /* the state closes */

/* The host after h (NULL: the first), retained; gives h's count back. NULL: there are no more. */
struct lp_host *lp_host_after(struct lp_host *h);
void lp_host_forget(struct lp_host *h);  /* it has closed: out of the list */
void lp_host_forget_if_quiet(struct lp_host *h); /* one that was left: when nothing of it has to be waited for */
unsigned lp_host_count(void);

#endif
