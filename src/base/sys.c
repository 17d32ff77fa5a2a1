/* sys: Linux with glibc. See sys.h. */
#define _GNU_SOURCE
#include "base/sys.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

const char *lp_error_text(int err, char *buf, size_t size)
{
	return strerror_r(err, buf, size);
}

/* ---- opening beneath a folder ---- */

enum { MAX_LINKS = 40, MAX_DEPTH = 256 };

/* The folders from the one that may not be left down to where the walk stands. ".." goes back to the
 * descriptor that it came from, so a folder that is moved elsewhere meanwhile does not lead out. */
struct walk {
	int fds[MAX_DEPTH];
	int depth;
};

static void leave(struct walk *w, int down_to)
{
	int err = errno;
	while (w->depth > down_to)
		close(w->fds[w->depth--]);
	errno = err;
}

static int refuse(int err)
{
	errno = err;
	return -1;
}

/* Puts the target of the link `name` before what is left of the path. */
static int splice_link(int dir, const char *name, char *rest, size_t size)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(dir, name, target, sizeof target);
	if (n < 0)
		return -1;
	size_t left = strlen(rest);
	if (n == 0 || (size_t)n + 1 + left + 1 > size || (size_t)n == sizeof target)
		return refuse(n ? ENAMETOOLONG : ENOENT);
	memmove(rest + n + 1, rest, left + 1);
	memcpy(rest, target, (size_t)n);
	rest[n] = '/';
	return 0;
}

static int enter_component(struct walk *w, const char *name)
{
	if (w->depth + 1 == MAX_DEPTH)
		return refuse(ENAMETOOLONG);
	int fd = openat(w->fds[w->depth], name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -1;
	w->fds[++w->depth] = fd;
	return 0;
}

static int walk_down(struct walk *w, const char *path, int flags, mode_t mode)
{
	char rest[2 * PATH_MAX], name[NAME_MAX + 1];
	if (!*path)
		return refuse(ENOENT);
	if (strlen(path) >= PATH_MAX)
		return refuse(ENAMETOOLONG);
	strcpy(rest, path);
	for (int links = 0;;) {
		if (rest[0] == '/')
			return refuse(EXDEV);
		size_t n = strcspn(rest, "/"), skip = n + strspn(rest + n, "/");
		if (n > NAME_MAX)
			return refuse(ENAMETOOLONG);
		memcpy(name, rest, n);
		name[n] = '\0';
		bool slash = skip > n, last = !rest[skip];
		memmove(rest, rest + skip, strlen(rest + skip) + 1);
		if (strcmp(name, "..") == 0) {
			if (w->depth == 0)
				return refuse(EXDEV);
			leave(w, w->depth - 1);
			strcpy(name, ".");
		}
		if (strcmp(name, ".") == 0 && !last)
			continue;
		/* The last one is opened as it was asked for, but never through a link: those are resolved here. */
		int final = flags | O_NOFOLLOW | O_CLOEXEC | (slash ? O_DIRECTORY : 0);
		if (last && strcmp(name, ".") != 0 && (flags & O_NOFOLLOW) && !slash)
			return openat(w->fds[w->depth], name, final, mode);
		struct stat st;
		if (fstatat(w->fds[w->depth], name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode)) {
			if ((flags & O_CREAT) && (flags & O_EXCL) && last)
				return refuse(EEXIST);
			if (++links > MAX_LINKS)
				return refuse(ELOOP);
			if (splice_link(w->fds[w->depth], name, rest, sizeof rest) < 0)
				return -1;
			if (!slash && last)
				rest[strlen(rest) - 1] = '\0'; /* the slash that was put behind the target */
			continue;
		}
		if (last)
			return openat(w->fds[w->depth], name, final, mode);
		if (enter_component(w, name) < 0)
			return -1;
	}
}

int lp_open_beneath_portable(int dir, const char *path, int flags, mode_t mode)
{
	struct walk w = {.depth = 0};
	w.fds[0] = dir;
	int fd = walk_down(&w, path, flags, mode);
	leave(&w, 0);
	return fd;
}

int lp_open_beneath(int dir, const char *path, int flags, mode_t mode)
{
	struct open_how how = {.flags = (unsigned)(flags | O_CLOEXEC), .mode = flags & O_CREAT ? mode : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
	for (int i = 0; i < 16; i++) { /* EAGAIN: somebody renames on the way just now */
		long fd = syscall(SYS_openat2, dir, path, &how, sizeof how);
		if (fd >= 0)
			return (int)fd;
		if (errno == ENOSYS || errno == EPERM) /* an old kernel, or a filter that does not know it */
			break;
		if (errno != EAGAIN)
			return -1;
	}
	return lp_open_beneath_portable(dir, path, flags, mode);
}

/* ---- names ---- */

static bool is_dots(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

int lp_next_name(struct lp_names *n, const char **name, unsigned char *type)
{
	for (;;) {
		if (n->at == n->end) {
			ssize_t r = getdents64(n->fd, n->buf, n->room);
			if (r <= 0) {
				*name = NULL;
				return r < 0 ? errno : 0;
			}
			n->at = 0;
			n->end = (size_t)r;
		}
		const struct dirent64 *e = (const struct dirent64 *)(void *)(n->buf + n->at);
		n->at += e->d_reclen;
		*name = e->d_name;
		*type = e->d_type;
		if (!is_dots(e->d_name))
			return 0;
	}
}

/* ---- data ---- */

ssize_t lp_copy_range(int from, int to, size_t n)
{
	ssize_t r = copy_file_range(from, NULL, to, NULL, n, 0);
	if (r < 0 && (errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP || errno == EPERM || errno == EBADF))
		errno = EXDEV;
	return r;
}

ssize_t lp_write_quietly(int fd, const void *p, size_t n)
{
	sigset_t pipe, before, pending;
	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	sigpending(&pending);
	pthread_sigmask(SIG_BLOCK, &pipe, &before);
	ssize_t r = write(fd, p, n);
	int err = errno;
	/* It is pending for this thread now, unless one was before: that one stays. */
	if (r < 0 && err == EPIPE && !sigismember(&pending, SIGPIPE)) {
		struct timespec none = {0, 0};
		while (sigtimedwait(&pipe, NULL, &none) < 0 && errno == EINTR)
			;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = err;
	return r;
}

int lp_lock_file(int fd, enum lp_lock_kind kind, bool wait)
{
	static const short types[] = {F_RDLCK, F_WRLCK, F_UNLCK};
	struct flock lock = {.l_type = types[kind], .l_whence = SEEK_SET};
	if (fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &lock) == 0)
		return 0;
	return errno == EACCES ? EAGAIN : errno;
}

bool lp_random_letters(char *text, size_t n)
{
	static const char letters[] = "0123456789abcdefghijklmnopqrstuv";
	unsigned char bytes[LP_MAX_LETTERS];
	if (n > sizeof bytes || getrandom(bytes, n, 0) != (ssize_t)n)
		return false;
	for (size_t i = 0; i < n; i++)
		text[i] = letters[bytes[i] % 32];
	return true;
}

void lp_advise_large(void *p, size_t n)
{
	const uintptr_t page = 2 << 20;
	uintptr_t from = ((uintptr_t)p + page - 1) & ~(page - 1), to = ((uintptr_t)p + n) & ~(page - 1);
	if (from < to)
		madvise((void *)from, to - from, MADV_HUGEPAGE);
}

int lp_pipe(int fds[2], int ours)
{
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -1;
	int flags = fcntl(fds[ours], F_GETFL);
	if (flags >= 0 && fcntl(fds[ours], F_SETFL, flags | O_NONBLOCK) == 0)
		return 0;
	int err = errno;
	close(fds[0]);
	close(fds[1]);
	return refuse(err);
}

/* Is the process of this folder of /proc one that lives, and of that group? */
static bool lives_in(int proc, const char *name, pid_t group)
{
	char path[64], text[512], state;
	int owner, parent;
	if (snprintf(path, sizeof path, "%s/stat", name) >= (int)sizeof path)
		return false;
	int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t n = read(fd, text, sizeof text - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	const char *end = strrchr(text, ')'); /* of its name, which may hold anything */
	return end && sscanf(end + 1, " %c %d %d", &state, &parent, &owner) == 3 && owner == group && state != 'Z' && state != 'X';
}

bool lp_group_lives(pid_t group)
{
	if (kill(-group, 0) < 0)
		return false;
	struct lp_names names;
	const char *name;
	unsigned char type;
	int fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return true; /* it cannot be known */
	bool lives = false;
	lp_begin_names(&names, fd);
	while (!lives && lp_next_name(&names, &name, &type) == 0 && name)
		if (*name >= '1' && *name <= '9')
			lives = lives_in(fd, name, group);
	close(fd);
	return lives;
}

int lp_open_child(pid_t pid)
{
#ifdef SYS_pidfd_open
	return (int)syscall(SYS_pidfd_open, pid, 0); /* closed on exec */
#else
	(void)pid;
	return refuse(ENOSYS);
#endif
}
