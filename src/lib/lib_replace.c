/* lib_replace: pool.fs.write{atomic = true} and pool.fs.copy. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "vm/holdings.h"
#include "lib/lib_path.h"
#include "files/replace.h"
#include "base/sys.h"

enum { MAX_LINKS = 40 };

/* A name that may be a symbolic link, followed to the folder and the name where the file itself is or will be. */
struct target {
	struct lp_path path;
	struct lp_where w;
	int fd;                   /* of w.dir; -1: none */
	char copy[2][PATH_MAX];
};

/* Without a folder of its own the name may still be a path: from here on its folder is held open, so that the file
 * beside is made and renamed in one and the same. */
static int hold_folder(struct lp_state *s, struct target *t)
{
	const char *slash = strrchr(t->w.name, '/');
	if (!t->path.root && slash) {
		char folder[PATH_MAX];
		size_t n = slash == t->w.name ? 1 : (size_t)(slash - t->w.name);
		if (n >= sizeof folder)
			return ENAMETOOLONG;
		memcpy(folder, t->w.name, n);
		folder[n] = '\0';
		struct lp_path parent = {.name = folder, .len = n};
		int err = lp_open_path(s, &parent, O_PATH | O_DIRECTORY, 0, &t->fd);
		if (err)
			return err;
		t->w.dir = t->fd;
		t->w.name = slash + 1;
	}
	if (!*t->w.name)
		return t->path.len ? EISDIR : ENOENT;
	return strcmp(t->w.name, ".") == 0 || strcmp(t->w.name, "..") == 0 ? EISDIR : 0;
}

static int follow(struct lp_state *s, struct target *t)
{
	t->fd = -1;
	for (int i = 0; i < MAX_LINKS; i++) {
		char link[PATH_MAX];
		int err = lp_path_parent(s, &t->path, &t->w, &t->fd);
		if (err)
			return err;
		ssize_t n = readlinkat(t->w.dir, t->w.name, link, sizeof link - 1);
		if (n < 0)
			return errno == EINVAL || errno == ENOENT ? hold_folder(s, t) : errno; /* no link, or nothing */
		link[n] = '\0';
		if (t->fd >= 0)
			close(t->fd);
		t->fd = -1;
		/* It leads on from the folder that it lies in. */
		char *next = t->copy[i % 2];
		const char *slash = link[0] == '/' ? NULL : strrchr(t->path.name, '/');
		size_t before = slash ? (size_t)(slash - t->path.name) + 1 : 0;
		if (before + (size_t)n >= PATH_MAX)
			return ENAMETOOLONG;
		memcpy(next, t->path.name, before);
		memcpy(next + before, link, (size_t)n + 1);
		t->path.name = next;
		t->path.len = before + (size_t)n;
	}
	return ELOOP;
}

static void leave(struct target *t)
{
	if (t->fd >= 0)
		close(t->fd);
	t->fd = -1;
}

static int begin(struct lp_state *s, struct lp_replace *r, struct target *t, mode_t mode)
{
	int err, tries = 0;
	do
		err = lp_replace_begin(r, t->w.dir, t->w.name, mode);
	while (lp_hold_less(s, err, &tries));
	return err;
}

/* fs_replace(root, path, data, mode, sync: 0, 1, 2) -> true / nil, err, errno / false: it is no regular file */
static int fs_replace(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	struct target t;
	struct lp_path path;
	struct lp_replace r = {.fd = -1};
	size_t len, done;
	const char *data = luaL_checklstring(L, 3, &len);
	mode_t mode = (mode_t)luaL_optinteger(L, 4, 0666);
	int sync = (int)luaL_checkinteger(L, 5), err = EINVAL;
	bool plain = false;
	if (lp_check_path(L, 2, &path)) {
		lp_block_begin(L, s);
		t.path = path;
		err = follow(s, &t);
		if (!err) {
			err = begin(s, &r, &t, mode);
			plain = err == EXDEV;
		}
		if (!err) {
			struct lp_io io = {.s = s, .fd = r.fd, .regular = true};
			err = lp_io_write(&io, data, len, -1, &done);
		}
		if (!err)
			err = lp_replace_commit(s, &r, sync);
		lp_replace_abort(&r);
		leave(&t);
	}
	if (err && !plain)
		return lp_push_path_error(L, s, &path, err);
	lua_pushboolean(L, !plain);
	return 1;
}

/* ---- copying ---- */

struct copy {
	struct lp_io from, to;
	bool reading; /* what failed last: from, else to */
};

static int copy_by_hand(struct copy *c, char *buf, size_t size)
{
	for (;;) {
		size_t got, put;
		c->reading = true;
		int err = lp_io_read(&c->from, buf, size, -1, &got);
		if (err)
			return err;
		c->reading = false;
		if (got == 0)
			return 0;
		if ((err = lp_io_write(&c->to, buf, got, -1, &put)))
			return err;
	}
}

static int copy_data(struct copy *c, char *buf, size_t size)
{
	bool any = false;
	while (c->from.regular && c->to.regular) {
		ssize_t r = lp_copy_range(c->from.fd, c->to.fd, 8 << 20);
		if (r == 0 && any)
			return 0;
		if (lp_block_over(c->from.s))
			return LP_IO_STOPPED;
		if (r == 0 || (r < 0 && errno == EXDEV))
			break; /* nothing at once: a file of /proc may have something all the same */
		if (r < 0 && errno != EINTR)
			return errno;
		any = any || r > 0;
	}
	return copy_by_hand(c, buf, size);
}

/* Opens the target in place. *made: it was not there. */
static int open_target(struct lp_state *s, const struct lp_path *to, const struct stat *from, mode_t mode, bool exclusive, int *fd,
	bool *made)
{
	struct stat st;
	int err = lp_open_path(s, to, O_WRONLY | O_CREAT | O_EXCL, mode, fd);
	*made = !err;
	if (err != EEXIST || exclusive)
		return err;
	if ((err = lp_open_path(s, to, O_WRONLY | O_CREAT, mode, fd)))
		return err;
	if (fstat(*fd, &st) < 0)
		return errno;
	if (st.st_dev == from->st_dev && st.st_ino == from->st_ino)
		return EINVAL; /* emptying it would lose the content */
	return S_ISREG(st.st_mode) && ftruncate(*fd, 0) < 0 ? errno : 0;
}

/* fs_copy(root, from, to, mode, atomic, exclusive, sync: 0, 1, 2) -> true / nil, err, errno */
static int fs_copy(lua_State *L)
{
	enum { SIZE = 256 * 1024 };
	struct lp_state *s = lp_state(L);
	struct lp_path from, to;
	struct target t = {.fd = -1};
	struct lp_replace r = {.fd = -1};
	struct stat st, out;
	bool atomic = lua_toboolean(L, 5), exclusive = lua_toboolean(L, 6), made = false;
	int sync = (int)luaL_checkinteger(L, 7), err = 0;
	if (!lp_check_path(L, 2, &from))
		return lp_push_path_error(L, s, &from, EINVAL);
	if (!lp_check_path(L, 3, &to))
		return lp_push_path_error(L, s, &to, EINVAL);
	lp_block_begin(L, s);
	struct lp_job *job = lp_push_job(L);
	if (!lp_bytes_room(&job->bytes, SIZE))
		return lp_no_memory(L);
	struct copy c = {.reading = true};
	err = lp_open_path(s, &from, O_RDONLY, 0, &job->fds[0]);
	if (!err && fstat(job->fds[0], &st) < 0)
		err = errno;
	if (!err && S_ISDIR(st.st_mode))
		err = EISDIR;
	mode_t mode = err ? 0 : lua_isnoneornil(L, 4) ? st.st_mode & 0777 : (mode_t)lua_tointeger(L, 4);
	if (!err) {
		c.reading = false;
		if (atomic) {
			t.path = to;
			err = follow(s, &t);
			if (!err)
				err = begin(s, &r, &t, mode);
			if (err == EXDEV && !to.root)
				atomic = false;
		}
		if (!atomic)
			err = open_target(s, &to, &st, mode, exclusive, &job->fds[1], &made);
	}
	int fd = atomic ? r.fd : job->fds[1];
	if (!err && fstat(fd, &out) < 0)
		err = errno;
	if (!err) {
		c.from = (struct lp_io){.s = s, .fd = job->fds[0], .regular = S_ISREG(st.st_mode), .fifo = S_ISFIFO(st.st_mode)};
		c.to = (struct lp_io){.s = s, .fd = fd, .regular = S_ISREG(out.st_mode)};
		err = copy_data(&c, job->bytes.p, SIZE);
		if (!err)
			c.reading = false;
		if (!err && made)
			err = lp_io_keep_mode(fd, out.st_mode);
		if (!err && !atomic && sync)
			err = lp_io_sync(&c.to, false);
	}
	if (!err && atomic)
		err = lp_replace_commit(s, &r, sync);
	lp_replace_abort(&r);
	leave(&t);
	if (err && made) { /* nothing half done: half a file looks like a whole one */
		struct lp_where w;
		int dir = -1;
		if (lp_path_parent(s, &to, &w, &dir) == 0)
			unlinkat(w.dir, w.name, 0);
		if (dir >= 0)
			close(dir);
	}
	if (!err && job->fds[1] >= 0) {
		err = close(job->fds[1]) < 0 && errno != EINTR ? errno : 0;
		job->fds[1] = -1;
	}
	lp_job_clear(job);
	if (err)
		return lp_push_path_error(L, s, c.reading ? &from : &to, err);
	lua_pushboolean(L, 1);
	return 1;
}

void lp_open_replace(lua_State *L, int state)
{
	static const luaL_Reg functions[] = {{"fs_replace", fs_replace}, {"fs_copy", fs_copy}, {NULL, NULL}};
	lua_pushvalue(L, state);
	luaL_setfuncs(L, functions, 1);
}
