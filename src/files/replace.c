/* replace: see replace.h. */
#define _GNU_SOURCE
#include "files/replace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "files/io.h"
#include "base/sys.h"

enum {
	SLOTS = 16,    /* names that follow from the target's */
	LETTERS = 12,  /* of a random one */
	TRIES = 100,
	FEW = 4096     /* bytes of a folder that are read to look for litter, in any case */
};

/* ---- names ---- */

static void set_stem(struct lp_replace *r)
{
	size_t len = strlen(r->name);
	if (len <= 230) {
		r->stem = (size_t)snprintf(r->temp, sizeof r->temp, ".%s.lua-pool-", r->name);
		return;
	}
	uint64_t hash = 14695981039346656037u; /* FNV-1a (Fowler, Noll, Vo) */
	for (const char *p = r->name; *p; p++)
		hash = (hash ^ (unsigned char)*p) * 1099511628211u;
	r->stem = (size_t)snprintf(r->temp, sizeof r->temp, ".%.200s.%016llx.lua-pool-", r->name, (unsigned long long)hash);
}

static void set_slot(struct lp_replace *r, unsigned slot)
{
	snprintf(r->temp + r->stem, sizeof r->temp - r->stem, "%u", slot);
}

/* Could we have made it, of what follows the stem? */
static bool is_ours(const char *rest)
{
	size_t n = strspn(rest, "0123456789abcdefghijklmnopqrstuv");
	if (rest[n])
		return false;
	return n == LETTERS || (n == 1 && *rest <= '9') || (n == 2 && *rest == '1' && rest[1] <= '5'); /* 0 ... SLOTS - 1 */
}

/* ---- what dead writers have left ---- */

/* Does the name still mean the file that is open? */
static bool is_at(int dir, const char *name, int fd)
{
	struct stat open, there;
	return fstat(fd, &open) == 0 && fstatat(dir, name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
		open.st_dev == there.st_dev && open.st_ino == there.st_ino;
}

enum found { NOTHING, LITTER, LIVING, FOREIGN };

/* What lies under the name. LITTER: it was a file whose writer has died; it is gone. */
static enum found remove_stale(int dir, const char *name)
{
	struct stat st;
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? NOTHING : FOREIGN;
	int fd = S_ISREG(st.st_mode) ? openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC) : -1;
	if (fd < 0)
		return S_ISREG(st.st_mode) && errno == ENOENT ? NOTHING : FOREIGN;
	enum found found = FOREIGN;
	/* With the lock nobody else can be between looking and removing; a writer that has just made it and not locked it
	 * yet finds it locked or gone, and takes another. */
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		found = errno == EWOULDBLOCK ? LIVING : FOREIGN;
	else if (!is_at(dir, name, fd) || unlinkat(dir, name, 0) == 0)
		found = LITTER;
	close(fd);
	return found;
}

/* Removes the litter in the folder; the whole of it, or as much as one look into it shows. True: there is no more. */
static bool sweep(const struct lp_replace *r, bool whole)
{
	struct lp_names names;
	const char *name = "";
	unsigned char type;
	int fd = openat(r->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), err = 0;
	if (fd < 0)
		return false;
	lp_begin_names(&names, fd);
	if (!whole)
		names.room = FEW;
	/* One more look than one that showed something: it says whether that was all. */
	for (int looks = 0; (whole || looks < 2) && (err = lp_next_name(&names, &name, &type)) == 0 && name;) {
		if (strncmp(name, r->temp, r->stem) == 0 && is_ours(name + r->stem) && strcmp(name, r->temp) != 0)
			remove_stale(r->dir, name);
		looks += names.at == names.end;
	}
	close(fd);
	return !err && !name;
}

static void clean(const struct lp_replace *r)
{
	struct lp_replace other = *r;
	bool any = false;
	if (sweep(r, false))
		return;
	for (unsigned slot = 0; slot < SLOTS; slot++) {
		set_slot(&other, slot);
		enum found found = strcmp(other.temp, r->temp) == 0 ? NOTHING : remove_stale(r->dir, other.temp);
		any = any || found == LITTER || found == FOREIGN;
	}
	if (any) /* where there is one there may be more */
		sweep(r, true);
}

/* ---- the file beside ---- */

/* 0, EBUSY, or an errno. */
static int take_name(struct lp_replace *r, mode_t mode)
{
	int fd = openat(r->dir, r->temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0)
		return errno == EEXIST || errno == EINTR ? EBUSY : errno;
	/* Where there are no locks, nobody takes it for litter either. */
	bool locked = flock(fd, LOCK_EX | LOCK_NB) == 0 || (errno != EWOULDBLOCK && errno != EINTR);
	if (locked && is_at(r->dir, r->temp, fd)) {
		r->fd = fd;
		return 0;
	}
	close(fd); /* whoever holds it removes it */
	return EBUSY;
}

static int take_any(struct lp_replace *r, mode_t mode)
{
	int err = EBUSY;
	for (unsigned slot = 0; slot < SLOTS && err == EBUSY; slot++) {
		set_slot(r, slot);
		err = take_name(r, mode);
		if (err == EBUSY && remove_stale(r->dir, r->temp) <= LITTER)
			err = take_name(r, mode);
	}
	for (int i = 0; i < TRIES && err == EBUSY; i++) {
		if (!lp_random_letters(r->temp + r->stem, LETTERS))
			return ENOSYS;
		r->temp[r->stem + LETTERS] = '\0';
		err = take_name(r, mode);
	}
	return err == EBUSY ? EEXIST : err;
}

/* Giving files away is for root, or not for this file system: then it stays ours. */
static int give(int fd, uid_t uid, gid_t gid)
{
	return fchown(fd, uid, gid) < 0 && errno != EPERM && errno != EINVAL ? errno : 0;
}

/* After all has been written: the system takes set-user-ID and set-group-ID away when somebody without privileges writes, and
 * when the owner changes. For another owner or group than had them they would mean something else. */
static int dress(struct lp_replace *r)
{
	struct stat st;
	mode_t mode = r->mode;
	int err = fstat(r->fd, &st) < 0 ? errno : 0;
	if (!err && r->there && (st.st_uid != r->like.st_uid || st.st_gid != r->like.st_gid)) {
		err = give(r->fd, r->like.st_uid, r->like.st_gid);
		if (!err && fstat(r->fd, &st) == 0 && st.st_gid != r->like.st_gid) /* the group may be one of ours all the same */
			err = give(r->fd, (uid_t)-1, r->like.st_gid);
		if (!err && fstat(r->fd, &st) < 0)
			err = errno;
		if (st.st_uid != r->like.st_uid)
			mode &= ~(mode_t)S_ISUID;
		if (st.st_gid != r->like.st_gid)
			mode &= ~(mode_t)S_ISGID;
	}
	if (!err && (st.st_mode & 07777) != mode && fchmod(r->fd, mode) < 0)
		err = errno;
	return err;
}

int lp_replace_begin(struct lp_replace *r, int dir, const char *name, mode_t mode)
{
	struct stat st;
	*r = (struct lp_replace){.dir = dir, .fd = -1, .name = name};
	r->there = fstatat(dir, name, &r->like, AT_SYMLINK_NOFOLLOW) == 0;
	if (!r->there && errno != ENOENT)
		return errno;
	if (r->there && S_ISDIR(r->like.st_mode))
		return EISDIR;
	if (r->there && !S_ISREG(r->like.st_mode))
		return EXDEV;
	set_stem(r);
	/* For us alone until it is done. A new one is made with its permissions, for the umask; we can always read it, to see
	 * whether its writer lives. */
	int err = take_any(r, r->there ? 0600 : mode | 0600);
	if (err)
		return err;
	clean(r);
	if (r->there)
		r->mode = r->like.st_mode & 07777;
	else if (fstat(r->fd, &st) == 0)
		r->mode = st.st_mode & 07777 & (mode | ~(mode_t)0600);
	else
		err = errno;
	if (err)
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
	int err = dress(r);
	if (!err && sync)
		err = lp_io_sync(&io, false);
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
