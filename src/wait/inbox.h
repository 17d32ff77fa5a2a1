/* inbox: how a Lua state hears, through one descriptor, that waits of its suspended coroutines are over.
 *
 * Under an event loop a wait does not park its thread: it is a record (lp_later) whose coroutine is suspended
 * until the loop resumes it. Whoever fires the wait pushes the record onto the state's ready list, without a
 * lock, and writes to the descriptor only when the list was empty. The state's thread, the only reader, is
 * told by its loop that the descriptor is readable, empties it, and then takes the whole list: in this
 * order, so that a push after the taking is announced afresh.
 *
 * What is written to: an eventfd that lp_inbox_fd makes on first use; or, for a loop that cannot watch such a
 * thing (nginx's cosockets), the end of a socket that lp_inbox_use is given. A socket receives one byte for
 * each announcement; its reader reads and drops what has come, then collects.
 *
 * An inbox is recycled, never freed: a waker may announce to one whose state has closed, and at worst
 * wakes the next owner for nothing. */
#ifndef LP_INBOX_H
#define LP_INBOX_H

#include "wait/wait.h"

struct lp_inbox {
	_Atomic(struct lp_later *) ready; /* pushed by wakers, the last one first */
	struct lp_link taken;             /* [owner] collected, in the order in which they became ready */
	lp_mutex lock;
	int read_fd, write_fd;            /* [lock] -1: none; the same number for an eventfd */
	struct lp_inbox *next_free, *next;/* [inboxes lock] */
};

/* later: the wait of a suspended coroutine. The state's thread makes and ends it. */
struct lp_later {
	struct lp_wait wait;      /* its parker is NULL */
	struct lp_inbox *inbox;   /* [I] */
	struct lp_later *next;    /* in `ready` */
	struct lp_link link;      /* [owner] in `taken` */
	bool pushed;              /* it is, or was, in `ready`; seen by whoever sees FIRED */
	bool collected;           /* [owner] it left `ready` */
};

struct lp_inbox *lp_inbox_new(void); /* NULL: out of memory */
void lp_inbox_free(struct lp_inbox *i); /* closes what it has open; no record of it may be left */

/* ---- wakers ---- */
/* Before FIRED is stored. True: the list was empty, so lp_inbox_announce has to follow, without locks. */
bool lp_inbox_push(struct lp_later *l);
void lp_inbox_announce(struct lp_inbox *i);

/* ---- the state's thread ---- */
/* The descriptor to be watched for reading; made on first use, and afresh in a forked child. -1 and errno. */
int lp_inbox_fd(struct lp_inbox *i);
/* Announcements go to this connected socket from now on; the inbox closes it when another one comes, and at its own
 * end. -1: to nobody, until the next call or lp_inbox_fd. What is ready already is announced at once. */
void lp_inbox_use(struct lp_inbox *i, int socket);
/* Empties the eventfd, then takes the ready list. */
void lp_inbox_collect(struct lp_inbox *i);
/* The next of those that were collected; NULL: no more. */
struct lp_later *lp_inbox_next(struct lp_inbox *i);
/* The record's end: it is in no list afterwards. Only of one that is FIRED or SELF. */
void lp_inbox_forget(struct lp_later *l);

#endif
