/* sys: the system calls of files and subprocesses that not every Unix has, or not in this form. Beside
 * os.c the only file with knowledge of Linux. All answer 0 or more, or -1 with errno, unless they say
 * otherwise; none restarts after EINTR: whoever waits decides whether it goes on (blocking.h). */
#ifndef LP_SYS_H
#define LP_SYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The text of an errno, as strerror, into buf. */
const char *lp_error_text(int err, char *buf, size_t size);

/* open(2) of `path` seen from the folder `dir`, which the way there may not leave: no "..", no absolute
 * path and no symbolic link that leads out of it (EXDEV). flags as in open, with O_CLOEXEC added. `portable`:
 * the way for kernels without openat2, component by component. */
int lp_open_beneath(int dir, const char *path, int flags, mode_t mode);
int lp_open_beneath_portable(int dir, const char *path, int flags, mode_t mode);

/* The names in a folder that is open for reading, straight from the system. lp_next_name: 0, and the next one, which is
 * good until the next call, or NULL at the end; or an errno. "." and ".." are left out. *type: DT_REG ... as readdir has it. */
struct lp_names {
	int fd;
	size_t at, end, room; /* room: of buf, what one system call may fill */
	_Alignas(8) char buf[32768];
};
static inline void lp_begin_names(struct lp_names *n, int fd)
{
	n->fd = fd;
	n->at = n->end = 0;
	n->room = sizeof n->buf;
}
int lp_next_name(struct lp_names *n, const char **name, unsigned char *type);

/* Copies up to n bytes from the position of one file to that of the other inside the kernel. -1 with
 * EXDEV: not between these two; copy by hand. */
ssize_t lp_copy_range(int from, int to, size_t n);

/* write(2) that answers EPIPE and never raises SIGPIPE. */
ssize_t lp_write_quietly(int fd, const void *p, size_t n);

/* A lock that belongs to the open file, not to the process or thread. 0, or an errno: EAGAIN if another has
 * it and !wait; EINTR. */
enum lp_lock_kind { LP_LOCK_SHARED, LP_LOCK_EXCLUSIVE, LP_LOCK_NONE };
int lp_lock_file(int fd, enum lp_lock_kind kind, bool wait);

/* n letters and digits that nobody can guess. False: the system gives none. */
enum { LP_MAX_LETTERS = 64 };
bool lp_random_letters(char *text, size_t n);

/* Large memory that will be written once: whole, with few faults, if the system can. */
void lp_advise_large(void *p, size_t n);

/* A pipe, both ends closed on exec. The end `ours` (0 reading, 1 writing) does not block. */
int lp_pipe(int fds[2], int ours);

/* Does a process of the group live? One that has ended and that nobody has waited for does not, though the number is still
 * taken: in a container the first process may never wait. Looks through all processes of the machine. */
bool lp_group_lives(pid_t group);

/* A descriptor that becomes readable when the child has ended; -1: there is none on this system. */
int lp_open_child(pid_t pid);

#endif
