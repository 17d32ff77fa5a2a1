/* lib_path: see lib_path.h. */
#define _GNU_SOURCE
#include "lib/lib_path.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "vm/holdings.h"
#include "base/sys.h"

static void folder_destroy(struct lp_obj *o)
{
	struct lp_folder *d = (struct lp_folder *)o;
	if (d->fd >= 0)
		close(d->fd);
	lp_free(d);
}

static bool folder_holds(struct lp_obj *o)
{
	return ((struct lp_folder *)o)->fd >= 0;
}

const struct lp_class lp_folder_class = {.name = "lua-pool.folder", .destroy = folder_destroy, .holds = folder_holds};

bool lp_check_path(lua_State *L, int index, struct lp_path *path)
{
	luaL_checktype(L, index, LUA_TSTRING);
	path->name = lua_tolstring(L, index, &path->len);
	path->root = lua_isnoneornil(L, 1) ? NULL : lp_test(L, 1, &lp_folder_class);
	luaL_argcheck(L, path->root || lua_isnoneornil(L, 1), 1, "folder expected");
	return strlen(path->name) == path->len;
}

int lp_push_path_error(lua_State *L, struct lp_state *s, const struct lp_path *path, int err)
{
	if (strlen(path->name) != path->len) {
		lua_pushnil(L);
		lua_pushlstring(L, path->name, path->len);
		lua_pushliteral(L, ": a name cannot hold a zero byte");
		lua_concat(L, 2);
		lua_pushinteger(L, EINVAL);
		return 3;
	}
	if (path->root && err == EXDEV) {
		lua_pushnil(L);
		lua_pushfstring(L, "%s: leads out of the folder", path->name);
		lua_pushinteger(L, EXDEV);
		return 3;
	}
	return lp_push_io_error(L, s, path->name, path->len, err);
}

/* Opens once. */
static int open_once(const struct lp_path *path, int flags, mode_t mode)
{
	return path->root ? lp_open_beneath(path->root->fd, path->name, flags, mode)
		: open(path->name, flags | O_CLOEXEC, mode);
}

static bool is_fifo(const struct lp_path *path)
{
	struct stat st;
	int fd = open_once(path, O_PATH, 0);
	bool fifo = fd >= 0 && fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode);
	if (fd >= 0)
		close(fd);
	return fifo;
}

/* A FIFO that nobody reads yet: asks again and again. (Waiting inside open would do for workers; that of a host
 * would go on after Ctrl-C.) */
static int open_fifo(struct lp_state *s, const struct lp_path *path, int flags, mode_t mode, int *fd)
{
	int err = ENXIO;
	lp_block_yield(s);
	for (lp_time nap = 100000; err == ENXIO; nap = nap < 10000000 ? nap * 2 : nap) {
		lp_nap(lp_now() + nap);
		if (lp_block_over(s))
			err = LP_IO_STOPPED;
		else if ((*fd = open_once(path, flags, mode)) >= 0)
			err = 0;
		else
			err = errno == EINTR ? ENXIO : errno;
	}
	lp_block_resume(s);
	return err;
}

int lp_open_path(struct lp_state *s, const struct lp_path *path, int flags, mode_t mode, int *fd)
{
	/* Not to wait for the other end of a FIFO inside open. It has no effect on regular files. */
	if (!(flags & O_PATH))
		flags |= O_NONBLOCK | O_NOCTTY;
	for (int tries = 0;;) {
		if ((*fd = open_once(path, flags, mode)) >= 0)
			return 0;
		int err = errno;
		if (lp_hold_less(s, err, &tries))
			continue;
		if (err == EINTR && lp_block_over(s))
			return LP_IO_STOPPED;
		if (err == ENXIO && (flags & O_ACCMODE) == O_WRONLY && is_fifo(path))
			return open_fifo(s, path, flags, mode, fd);
		if (err == EWOULDBLOCK) /* somebody's lease is being broken: wait for that */
			flags &= ~O_NONBLOCK;
		else if (err != EINTR)
			return err;
	}
}

int lp_path_parent(struct lp_state *s, const struct lp_path *path, struct lp_where *w, int *fd)
{
	w->dir = AT_FDCWD;
	w->name = path->name;
	if (!path->root)
		return 0;
	size_t n = path->len;
	while (n > 1 && path->name[n - 1] == '/')
		n--;
	if (n == 0)
		return ENOENT;
	if (n >= sizeof w->copy)
		return ENAMETOOLONG;
	memcpy(w->copy, path->name, n);
	w->copy[n] = '\0';
	char *slash = strrchr(w->copy, '/');
	w->name = slash ? slash + 1 : w->copy;
	if (strcmp(w->name, "..") == 0 || w->copy[0] == '/')
		return EXDEV;
	if (strcmp(w->name, ".") == 0)
		return EINVAL;
	if (!slash) {
		w->dir = path->root->fd;
		return 0;
	}
	*slash = '\0';
	struct lp_path parent = {.root = path->root, .name = w->copy, .len = (size_t)(slash - w->copy)};
	int err = lp_open_path(s, &parent, O_PATH | O_DIRECTORY, 0, fd);
	w->dir = *fd;
	return err;
}
