/* file: an open file that Lua states share: one descriptor, counted, closed exactly once.
 *
 * An operation *enters* the file before it touches the descriptor and *leaves* it afterwards. Closing lets
 * nobody in any more; the descriptor is closed by whoever leaves last, so no operation ever works on a
 * number that the system has given to another file.
 *
 * The position belongs to whoever has the *turn*: sequential operations wait for it one after the other, so
 * that a long read or write is never torn by another. What cannot be positioned (a pipe, a terminal) has no
 * turn for reading: who reads takes what comes; writes take turns.
 *
 * What is no regular file does not block (O_NONBLOCK): whoever has to wait does it in poll. */
#ifndef LP_FILE_H
#define LP_FILE_H

#include <sys/stat.h>

#include "wait/wait.h"

struct lp_file {
	struct lp_obj obj;
	lp_mutex lock;
	int fd;                   /* [lock] -1: not yet open, or closed; constant while an operation is inside */
	unsigned inside;          /* [lock] operations that have entered and not left */
	bool closing;             /* [lock] nobody may enter */
	bool closed;              /* [lock] the descriptor is gone */
	bool taken;               /* [lock] somebody has the turn */
	int close_error;          /* [lock] errno of close, 0 */
	struct lp_link waiters;   /* [lock] nodes */
	bool regular, fifo, seekable; /* [I] once it is open */
	_Atomic uint32_t renewed; /* lp_generation of the last process in which somebody has begun to renew it */
	bool temporary;           /* [I] its name is removed when it is closed */
	size_t path_len;          /* [I] */
	char path[];              /* [I] as it was given, with a zero byte behind */
};

extern const struct lp_class lp_file_class;

/* Not yet open; count 1; NULL: out of memory. */
struct lp_file *lp_file_new(const char *path, size_t len);
/* The file takes the descriptor over. 0, or an errno (EISDIR of a folder): then it is closed. `checked`: what
 * fstat said, or NULL. */
int lp_file_adopt(struct lp_file *f, int fd, const struct stat *checked);

/* False: it is closed, or about to be. */
bool lp_file_enter(struct lp_file *f);
void lp_file_leave(struct lp_file *f);
/* node.op; node.result of a turn is 0. Whoever waits for the turn has entered. */
enum { LP_FILE_TURN, LP_FILE_CLOSED };
void lp_file_pass_turn(struct lp_file *f);

/* Lets nobody in any more; closes the descriptor once the last has left. Does not wait: wait for
 * LP_FILE_CLOSED. True: nobody had closed it before. */
bool lp_file_close(struct lp_file *f);
bool lp_file_closing(struct lp_file *f); /* was lp_file_close called? */
int lp_file_close_error(struct lp_file *f); /* errno of close, 0; once it is closed */

/* Before a file is used that may be the parent process's: in a child it goes on as a copy of its own, without those who were
 * inside it. Several threads of the child may come at once. */
void lp_file_renew(struct lp_file *f);

#endif
