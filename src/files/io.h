/* io: whole reads and writes on a descriptor: short ones are completed, EINTR is restarted while nothing was
 * asked of the actor, what would block is waited for in poll. No Lua. */
#ifndef LP_IO_H
#define LP_IO_H

#include <sys/types.h>

#include "vm/state.h"

struct lp_io {
	struct lp_state *s;
	int fd;
	bool regular; /* false: a pipe, a device: it may block, and SIGPIPE may come */
	bool fifo;    /* opened by its name: no writer yet is not the end */
	size_t size;  /* of a regular file that is read from its beginning, as fstat said: no further call is
	               * needed to see that it ends there; 0: not known */
};

/* What they answer: 0, an errno, or LP_IO_STOPPED: there is something to be told (lp_block_raise). *done
 * counts what was transferred in any case. offset < 0: at the position. */
#define LP_IO_STOPPED (-1)
/* n bytes, or fewer if the file ends before. What was taken out of a pipe is not lost: a request to stop
 * that comes then answers 0 with less than n. */
int lp_io_read(const struct lp_io *io, char *p, size_t n, int64_t offset, size_t *done);
int lp_io_write(const struct lp_io *io, const char *p, size_t n, int64_t offset, size_t *done);
/* What one read gives, at least a byte unless the file has ended. */
int lp_io_read_some(const struct lp_io *io, char *p, size_t n, size_t *done);
int lp_io_sync(const struct lp_io *io, bool data_only);
/* A new file, that was `made` with these permissions and has been written to, gets back what that took away: set-user-ID and
 * set-group-ID, if the writer has no privileges. 0 or an errno. */
int lp_io_keep_mode(int fd, mode_t made);

/* bytes: memory that grows. Whoever has it frees p (lp_free). */
struct lp_bytes {
	char *p;
	size_t len, cap;
};
bool lp_bytes_room(struct lp_bytes *b, size_t n); /* for n more; false: no memory, nothing changed */
/* Appends up to `most` bytes to b, to the end of the file if that comes first; `guess`: what is expected, 0
 * unknown. ENOMEM is one of its answers. */
int lp_io_read_bytes(const struct lp_io *io, struct lp_bytes *b, size_t guess, size_t most, int64_t offset);

#endif
