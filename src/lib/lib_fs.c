/* lib_fs: what pool.fs does with paths. lua-pool/fs.lua checks the arguments that users give and calls these.
 *
 * The first argument of each is the folder that the path starts from and may not leave, or nil: the
 * process's own folder, and no limits. The last component of a path is only ever reached through the descriptor of
 * the folder that it lies in, so nobody can put a link in between. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "vm/holdings.h"
#include "lib/lib_path.h"

/* ---- stat ---- */

static const char *type_name(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG: return "file";
	case S_IFDIR: return "directory";
	case S_IFLNK: return "link";
	case S_IFIFO: return "fifo";
	case S_IFSOCK: return "socket";
	case S_IFCHR: return "char";
	case S_IFBLK: return "block";
	default: return "other";
	}
}

static void set_size(lua_State *L, const char *key, int64_t n)
{
	lp_push_size(L, n);
	lua_setfield(L, -2, key);
}

static void set_time(lua_State *L, const char *key, struct timespec t)
{
	lua_pushnumber(L, (lua_Number)t.tv_sec + (lua_Number)t.tv_nsec / 1e9);
	lua_setfield(L, -2, key);
}

void lp_push_stat(lua_State *L, const struct stat *st)
{
	lua_createtable(L, 0, 12);
	lua_pushstring(L, type_name(st->st_mode));
	lua_setfield(L, -2, "type");
	set_size(L, "size", st->st_size);
	set_size(L, "mode", st->st_mode & 07777);
	set_size(L, "nlink", (int64_t)st->st_nlink);
	set_size(L, "uid", st->st_uid);
	set_size(L, "gid", st->st_gid);
	set_size(L, "ino", (int64_t)st->st_ino);
	set_size(L, "dev", (int64_t)st->st_dev);
	set_size(L, "blocks", st->st_blocks);
	set_time(L, "mtime", st->st_mtim);
	set_time(L, "atime", st->st_atim);
	set_time(L, "ctime", st->st_ctim);
}

int lp_stat_path(struct lp_state *s, const struct lp_path *path, bool follow, struct stat *st)
{
	if (!path->root)
		return fstatat(AT_FDCWD, path->name, st, follow ? 0 : AT_SYMLINK_NOFOLLOW) < 0 ? errno : 0;
	int fd = -1, err = lp_open_path(s, path, O_PATH | (follow ? 0 : O_NOFOLLOW), 0, &fd);
	if (!err && fstat(fd, st) < 0)
		err = errno;
	if (fd >= 0)
		close(fd);
	return err;
}

/* fs_stat(root, path, nofollow) -> table / nil, err, errno */
static int fs_stat(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	struct lp_path path;
	struct stat st;
	int err = EINVAL;
	bool follow = !lua_toboolean(L, 3);
	if (lp_check_path(L, 2, &path)) {
		lp_block_begin(L, s);
		err = lp_stat_path(s, &path, follow, &st);
	}
	if (err)
		return lp_push_path_error(L, s, &path, err);
	lp_push_stat(L, &st);
	return 1;
}

/* fs_folder(root, path) -> folder / nil, err, errno */
static int fs_folder(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	struct lp_path path;
	int err = EINVAL;
	bool valid = lp_check_path(L, 2, &path);
	struct lp_handle *h = lp_handle_new(L, &lp_folder_class);
	struct lp_folder *d = lp_alloc(sizeof *d);
	if (!d)
		return luaL_error(L, "not enough memory");
	lp_obj_init(&d->obj, &lp_folder_class);
	d->fd = -1;
	h->obj = &d->obj;
	if (valid) {
		lp_block_begin(L, s);
		err = lp_open_path(s, &path, O_PATH | O_DIRECTORY, 0, &d->fd);
	}
	if (err)
		return lp_push_path_error(L, s, &path, err);
	lp_hold(L, s, -1);
	return 1;
}

/* ---- names in folders ---- */

/* The operations on one name: what is done with the folder and the name in it; 0 or an errno. */
struct change {
	mode_t mode;
	const char *text;
};

static int do_mkdir(const struct lp_where *w, const struct change *c)
{
	return mkdirat(w->dir, w->name, c->mode) < 0 ? errno : 0;
}

static int do_remove(const struct lp_where *w, const struct change *c)
{
	(void)c;
	if (unlinkat(w->dir, w->name, 0) == 0)
		return 0;
	int err = errno;
	if (err != EISDIR && err != EPERM)
		return err;
	if (unlinkat(w->dir, w->name, AT_REMOVEDIR) == 0)
		return 0;
	return errno == ENOTDIR ? err : errno;
}

static int do_symlink(const struct lp_where *w, const struct change *c)
{
	return symlinkat(c->text, w->dir, w->name) < 0 ? errno : 0;
}

static int change(lua_State *L, int (*what)(const struct lp_where *, const struct change *), const struct change *c)
{
	struct lp_state *s = lp_state(L);
	struct lp_path path;
	struct lp_where w;
	int err = EINVAL, fd = -1;
	if (lp_check_path(L, 2, &path)) {
		lp_block_begin(L, s);
		err = lp_path_parent(s, &path, &w, &fd);
		while (!err && (err = what(&w, c)) == EINTR)
			err = lp_block_over(s) ? LP_IO_STOPPED : 0;
		if (fd >= 0)
			close(fd);
	}
	if (err)
		return lp_push_path_error(L, s, &path, err);
	lua_pushboolean(L, 1);
	return 1;
}

/* fs_mkdir(root, path, mode) */
static int fs_mkdir(lua_State *L)
{
	return change(L, do_mkdir, &(struct change){.mode = (mode_t)luaL_optinteger(L, 3, 0777)});
}

/* fs_remove(root, path): a file, a link (not what it leads to), an empty folder */
static int fs_remove(lua_State *L)
{
	return change(L, do_remove, &(struct change){0});
}

/* fs_symlink(root, path, target) */
static int fs_symlink(lua_State *L)
{
	size_t len;
	struct change c = {.text = luaL_checklstring(L, 3, &len)};
	if (strlen(c.text) != len)
		return lp_push_path_error(L, lp_state(L), &(struct lp_path){.name = c.text, .len = len}, EINVAL);
	return change(L, do_symlink, &c);
}

/* Two names: fs_rename(root, from, to), fs_link(root, from, to) */
static int two_names(lua_State *L, int (*what)(int, const char *, int, const char *))
{
	struct lp_state *s = lp_state(L);
	struct lp_path path[2];
	struct lp_where w[2];
	int fds[2] = {-1, -1}, err = 0, bad = 0;
	for (int i = 0; i < 2; i++)
		if (!lp_check_path(L, 2 + i, &path[i]))
			return lp_push_path_error(L, s, &path[i], EINVAL);
	lp_block_begin(L, s);
	for (int i = 0; i < 2 && !err; i++) {
		err = lp_path_parent(s, &path[i], &w[i], &fds[i]);
		bad = i;
	}
	if (!err) {
		bad = 0;
		err = what(w[0].dir, w[0].name, w[1].dir, w[1].name) < 0 ? errno : 0;
	}
	for (int i = 0; i < 2; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	if (!err) {
		lua_pushboolean(L, 1);
		return 1;
	}
	/* The system does not say which of the two it means: the first, if that is missing. */
	struct stat st;
	if (err == ENOENT && bad == 0 && !path[0].root && fstatat(AT_FDCWD, path[0].name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		bad = 1;
	return lp_push_path_error(L, s, &path[bad], err);
}

static int do_link(int from_dir, const char *from, int to_dir, const char *to)
{
	return linkat(from_dir, from, to_dir, to, 0);
}

static int fs_rename(lua_State *L)
{
	return two_names(L, renameat);
}

static int fs_link(lua_State *L)
{
	return two_names(L, do_link);
}

/* fs_readlink(root, path) -> string / nil, err, errno */
static int fs_readlink(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	struct lp_path path;
	struct lp_where w;
	char target[PATH_MAX];
	ssize_t n = 0;
	int err = EINVAL, fd = -1;
	if (lp_check_path(L, 2, &path)) {
		lp_block_begin(L, s);
		err = lp_path_parent(s, &path, &w, &fd);
		if (!err && (n = readlinkat(w.dir, w.name, target, sizeof target)) < 0)
			err = errno;
		if (fd >= 0)
			close(fd);
	}
	if (err)
		return lp_push_path_error(L, s, &path, err);
	lua_pushlstring(L, target, (size_t)n);
	return 1;
}

/* fs_chmod(root, path, mode): of what a link leads to */
static int fs_chmod(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	struct lp_path path;
	int err = EINVAL, fd = -1;
	mode_t mode = (mode_t)luaL_checkinteger(L, 3);
	if (lp_check_path(L, 2, &path)) {
		lp_block_begin(L, s);
		if (!path.root) {
			err = fchmodat(AT_FDCWD, path.name, mode, 0) < 0 ? errno : 0;
		} else if ((err = lp_open_path(s, &path, O_PATH, 0, &fd)) == 0) {
			char proc[64]; /* fchmod refuses a descriptor that is only a place */
			snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
			err = chmod(proc, mode) < 0 ? errno : 0;
		}
		if (fd >= 0)
			close(fd);
	}
	if (err)
		return lp_push_path_error(L, s, &path, err);
	lua_pushboolean(L, 1);
	return 1;
}

void lp_open_fs(lua_State *L, int state)
{
	static const luaL_Reg functions[] = {{"fs_stat", fs_stat}, {"fs_folder", fs_folder}, {"fs_mkdir", fs_mkdir},
		{"fs_remove", fs_remove}, {"fs_symlink", fs_symlink}, {"fs_rename", fs_rename}, {"fs_link", fs_link},
		{"fs_readlink", fs_readlink}, {"fs_chmod", fs_chmod}, {NULL, NULL}};
	lp_handle_class(L, &lp_folder_class, NULL, NULL, 0);
	lua_pushvalue(L, state);
	luaL_setfuncs(L, functions, 1);
	lp_open_file(L, state); /* first: it makes what jobs need */
	lp_open_whole(L, state);
	lp_open_tree(L, state);
	lp_open_many(L, state);
	lp_open_walk(L, state);
	lp_open_replace(L, state);
	lp_open_temp(L, state);
	lp_open_watch(L, state);
}
