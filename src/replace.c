/* replace: see replace.h. */
#define _GNU_SOURCE
#include "replace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blocking.h"
#include "io.h"

enum { SLOTS = 16 }; /* writers of one target at the same time; more wait */

static void temp_name(struct lp_replace *r, unsigned slot)
{
	size_t len = strlen(r->name);
	if (len <= 230) {
		snprintf(r->temp, sizeof r->temp, ".%s.lua-pool-%u", r->name, slot);
		return;
	}
	uint64_t hash = 14695981039346656037u; /* FNV-1a (Fowler, Noll, Vo) */
	for (const char *p = r->name; *p; p++)
		hash = (hash ^ (unsigned char)*p) * 1099511628211u;
	snprintf(r->temp, sizeof r->temp, ".%.200s.%016llx.lua-pool-%u", r->name, (unsigned long long)hash, slot);
}

/* Does the name still mean the file that is open? */
static bool is_at(int dir, const char *name, int fd)
{
	struct stat open, there;
	return fstat(fd, &open) == 0 && fstatat(dir, name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
		open.st_dev == there.st_dev && open.st_ino == there.st_ino;
}

/* True: the name is free now; if anything was there, its writer had died. */
static bool remove_stale(struct lp_replace *r)
{
	int fd = openat(r->dir, r->temp, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT;
	/* With the lock nobody else can be between looking and removing; a writer that has just made it and not locked it
	 * yet finds it locked or gone, and takes another. */
	bool stale = flock(fd, LOCK_EX | LOCK_NB) == 0;
	if (stale && is_at(r->dir, r->temp, fd))
		unlinkat(r->dir, r->temp, 0);
	close(fd);
	return stale;
}

/* 0, EBUSY, or an errno. */
static int take_slot(struct lp_replace *r, unsigned slot, mode_t mode)
{
	temp_name(r, slot);
	for (int i = 0; i < 8; i++) {
		int fd = openat(r->dir, r->temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
		if (fd >= 0) {
			if (flock(fd, LOCK_EX | LOCK_NB) == 0 && is_at(r->dir, r->temp, fd)) {
				r->fd = fd;
				return 0;
			}
			close(fd);
		} else if (errno != EEXIST) {
			return errno;
		} else if (!remove_stale(r)) {
			return EBUSY;
		}
	}
	return EBUSY;
}

static int take_any(struct lp_state *s, struct lp_replace *r, mode_t mode)
{
	for (lp_time nap = 500000;; nap = nap < 10000000 ? nap * 2 : nap) {
		for (unsigned slot = 0; slot < SLOTS; slot++) {
			int err = take_slot(r, slot, mode);
			if (err != EBUSY)
				return err;
		}
		if (lp_block_over(s))
			return LP_IO_STOPPED;
		lp_nap(lp_now() + nap);
	}
}

static void clean(const struct lp_replace *r)
{
	struct lp_replace other = *r;
	for (unsigned slot = 0; slot < SLOTS; slot++) {
		temp_name(&other, slot);
		if (strcmp(other.temp, r->temp) != 0)
			remove_stale(&other);
	}
}

/* As the file that it is to replace. Giving files away is for root; the group may be one of ours. */
static int dress(int fd, const struct stat *like)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return errno;
	if ((st.st_uid != like->st_uid || st.st_gid != like->st_gid) && fchown(fd, like->st_uid, like->st_gid) < 0 &&
		st.st_gid != like->st_gid && fchown(fd, (uid_t)-1, like->st_gid) < 0 && errno != EPERM)
		return errno;
	return fchmod(fd, like->st_mode & 07777) < 0 ? errno : 0; /* last: chown takes bits away */
}

int lp_replace_begin(struct lp_state *s, struct lp_replace *r, int dir, const char *name, mode_t mode)
{
	struct stat st;
	*r = (struct lp_replace){.dir = dir, .fd = -1, .name = name};
	bool there = fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
	if (!there && errno != ENOENT)
		return errno;
	if (there && S_ISDIR(st.st_mode))
		return EISDIR;
	if (there && !S_ISREG(st.st_mode))
		return EXDEV;
	int err = take_any(s, r, there ? 0600 : mode);
	if (err)
		return err;
	clean(r);
	if (there && (err = dress(r->fd, &st)))
		lp_replace_abort(r);
	return err;
}

static int sync_folder(int dir)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	int err = fsync(fd) < 0 && errno != EINVAL ? errno : 0; /* EINVAL: a file system that has nothing to sync */
	close(fd);
	return err;
}

int lp_replace_commit(struct lp_state *s, struct lp_replace *r, int sync)
{
	struct lp_io io = {.s = s, .fd = r->fd, .regular = true};
	int err = sync ? lp_io_sync(&io, false) : 0;
	if (!err && renameat(r->dir, r->temp, r->dir, r->name) < 0)
		err = errno;
	if (err) {
		lp_replace_abort(r);
		return err;
	}
	if (sync > 1)
		err = sync_folder(r->dir);
	close(r->fd);
	r->fd = -1;
	return err;
}

void lp_replace_abort(struct lp_replace *r)
{
	if (r->fd < 0)
		return;
	unlinkat(r->dir, r->temp, 0); /* while the lock is held: it is ours */
	close(r->fd);
	r->fd = -1;
}
