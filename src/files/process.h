/* process: a subprocess in a process group of its own, with pipes to it that never block this side.
 *
 * It is reaped exactly once: by whoever waits for it, or when the object goes, which ends the whole group first.
 * While it has not been reaped its number, and its group's, cannot be given to another. */
#ifndef LP_PROCESS_H
#define LP_PROCESS_H

#include <sys/types.h>

#include "files/io.h"
#include "wait/obj.h"

enum { LP_OUT, LP_ERR };

struct lp_process {
	struct lp_obj obj;
	pid_t pid;            /* 0: not started */
	int watch;            /* readable once it has ended (pidfd); -1: not opened */
	bool reaped, lost;    /* lost: somebody else in this process took its status */
	int status;           /* as waitpid gives it, once reaped */
	int in, out[2];       /* our ends; -1: none or closed */
	size_t fed;           /* bytes of the current piece of input that it has taken */
	struct lp_bytes got[2];
	lp_time grace;        /* between TERM and KILL */
	struct lp_orphan *orphan; /* the entry that it will need should it not be reaped; NULL: it did */
	struct lp_obj *sinks[2]; /* counted: channels that its output goes to, to be closed at the end; NULL */
};

extern const struct lp_class lp_process_class;

struct lp_process *lp_process_new(void); /* count 1; NULL: out of memory */

/* How its descriptors 0 to 2 are made. */
enum lp_stream { LP_STREAM_NULL, LP_STREAM_INHERIT, LP_STREAM_PIPE, LP_STREAM_FD, LP_STREAM_OUT /* 2: as 1 */ };
struct lp_start {
	char **argv, **envp;      /* envp NULL: ours */
	const char *cwd;          /* NULL: ours */
	enum lp_stream streams[3];
	int fds[3];               /* of LP_STREAM_FD */
};
/* 0 or an errno. *what: what it is about, the command or the folder. */
int lp_process_start(struct lp_process *p, const struct lp_start *how, const char **what);

/* Has it ended? Reaps it then. Does not wait. */
bool lp_process_ended(struct lp_process *p);
/* A descriptor that tells when it has ended, or -1 where there is none. */
int lp_process_watch(struct lp_process *p);
/* Reads what is there from stream k into p->got[k]; closes it at the end. 0 or ENOMEM. */
int lp_process_drain(struct lp_process *p, int k);
void lp_process_shut(int *fd); /* closes one of our ends */

/* Ends the group: asks it (TERM), gives it until the deadline, then kills what is left. Waits; is not a
 * cancellation point: this is what cancelling does. */
void lp_process_end(struct lp_process *p, lp_time deadline);

#endif
