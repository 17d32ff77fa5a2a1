/* report: who waits where for what, and who holds it. For people: pool.report(), and what is said of a stuck pool.
 *
 * A snapshot: each thread is looked at under its own lock, one after the other, so the lines may be a moment apart. */
#ifndef LP_REPORT_H
#define LP_REPORT_H

#include "sched/worker.h"

enum { LP_REPORT_OBJECTS = 4 }; /* of one wait, the rest is counted */

/* Who somebody is: a task on a worker, or a Lua state of the host. */
struct lp_who {
	struct lp_pool *pool;   /* counted; NULL: the host */
	const void *coroutine;  /* of the host, which an event loop has suspended; NULL: none */
	unsigned worker;
	struct lp_task *task;   /* counted; NULL: none (the host; the opening of a state) */
};

struct lp_report_line {
	struct lp_who who;
	/* carries: another task runs on top of it; stuck: it was given up, and its call has not come back */
	enum { LP_RUNS, LP_WAITS, LP_SLEEPS, LP_CARRIES, LP_STUCK } what;
	bool over;              /* it waits no more: it is about to wake up */
	struct lp_place place;  /* where it waits */
	int nobjs;              /* what for: how many, of which the first are */
	const struct lp_class *classes[LP_REPORT_OBJECTS];
	struct lp_obj *objs[LP_REPORT_OBJECTS]; /* counted; NULL: part of something else */
	int ops[LP_REPORT_OBJECTS];
	bool held;              /* the first belongs to ... */
	struct lp_who holder;
};

struct lp_report {
	unsigned n, capacity;
	unsigned threads;       /* tasks that are innermost on a worker */
	bool cut;               /* there was more; not of a report that lp_report_new answers */
	struct lp_report_line lines[];
};

/* Of one pool, or of all pools and hosts (NULL). NULL: out of memory. */
struct lp_report *lp_report_new(struct lp_pool *only);
void lp_report_free(struct lp_report *r);
/* One line in words, NUL-terminated, cut to the size. */
void lp_report_words(const struct lp_report_line *line, char *text, size_t size);
/* "mutex 0x..." and what is known of its state. */
void lp_report_object(struct lp_obj *o, int op, char *text, size_t size);

#endif
