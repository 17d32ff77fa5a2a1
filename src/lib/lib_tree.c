/* lib_tree: what is in folders: listing, and removing with all that is in them. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "vm/holdings.h"
#include "lib/lib_path.h"
#include "base/sys.h"

/* ---- listing ---- */

static char letter_of_mode(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG: return 'f';
	case S_IFDIR: return 'd';
	case S_IFLNK: return 'l';
	case S_IFIFO: return 'p';
	case S_IFSOCK: return 's';
	case S_IFCHR: return 'c';
	case S_IFBLK: return 'b';
	}
	return '?';
}

char lp_type_letter(int dir, const char *name, unsigned char type)
{
	struct stat st;
	if (type != DT_UNKNOWN)
		return letter_of_mode(DTTOIF(type));
	/* This file system does not say it here. */
	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ? '?' : letter_of_mode(st.st_mode);
}

static bool is_dots(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* Appends "letter name zero" for each entry; 0, an errno or LP_IO_STOPPED. */
static int scan(struct lp_state *s, int fd, struct lp_bytes *b, size_t *count)
{
	struct lp_names names;
	const char *name;
	unsigned char type;
	int err;
	lp_begin_names(&names, fd);
	while ((err = lp_next_name(&names, &name, &type)) == 0 && name) {
		size_t len = strlen(name) + 1;
		if (!lp_bytes_room(b, len + 1))
			return ENOMEM;
		b->p[b->len] = lp_type_letter(fd, name, type);
		memcpy(b->p + b->len + 1, name, len);
		b->len += len + 1;
		if (++*count % 4096 == 0 && lp_block_over(s))
			return LP_IO_STOPPED;
	}
	return err;
}

/* fs_list(root, path) -> list of names, string with the letter of each one's type / nil, err, errno */
static int fs_list(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	struct lp_path path;
	int err = EINVAL;
	size_t count = 0;
	bool valid = lp_check_path(L, 2, &path);
	struct lp_job *job = lp_push_job(L);
	if (valid) {
		lp_block_begin(L, s);
		err = lp_open_path(s, &path, O_RDONLY | O_DIRECTORY, 0, &job->fds[0]);
		if (!err)
			err = scan(s, job->fds[0], &job->bytes, &count);
	}
	if (err) {
		lp_job_clear(job);
		return lp_push_path_error(L, s, &path, err);
	}
	lua_createtable(L, count < INT_MAX ? (int)count : 0, 0);
	const char *p = job->bytes.p;
	char *letters = job->bytes.p; /* gathered where the names were: each takes more room than its letter */
	for (size_t i = 0; i < count; i++) {
		size_t len = strlen(p + 1);
		lua_pushlstring(L, p + 1, len);
		lua_rawseti(L, -2, (int)(i + 1));
		letters[i] = *p;
		p += len + 2;
	}
	lua_pushlstring(L, letters ? letters : "", count);
	lp_job_clear(job);
	return 2;
}

/* ---- removing a tree ---- */

struct tree {
	struct lp_state *s; /* NULL: is not stopped */
	char where[PATH_MAX]; /* of what could not be removed, as seen from the top */
};

static int refused(struct tree *t, const char *name, int err)
{
	size_t n = strlen(name), m = strlen(t->where);
	if (n + 1 + m + 1 < sizeof t->where) {
		memmove(t->where + n + (m > 0), t->where, m + 1);
		memcpy(t->where, name, n);
		if (m)
			t->where[n] = '/';
	}
	return err;
}

static int remove_tree(struct tree *t, int dir, const char *name, bool folder);

static int remove_content(struct tree *t, int fd)
{
	int err = 0;
	DIR *d = fdopendir(fd);
	if (!d) {
		err = errno;
		close(fd);
		return err;
	}
	while (!err) {
		errno = 0;
		struct dirent *e = readdir(d);
		if (!e) {
			err = errno;
			break;
		}
		if (is_dots(e->d_name))
			continue;
		err = t->s && lp_block_over(t->s) ? LP_IO_STOPPED : remove_tree(t, fd, e->d_name, e->d_type == DT_DIR);
		if (err == ENOENT) /* somebody else removes it as well */
			err = 0;
	}
	closedir(d);
	return err;
}

/* Never through a link: those are removed themselves. */
static int remove_tree(struct tree *t, int dir, const char *name, bool folder)
{
	if (!folder) {
		if (unlinkat(dir, name, 0) == 0)
			return 0;
		if (errno != EISDIR && errno != EPERM)
			return refused(t, name, errno);
	}
	int err = errno;
	/* What is put in while this removes is removed as well; not for ever. */
	for (int round = 0; round < 8; round++) {
		int fd, tries = 0;
		do
			fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		while (fd < 0 && t->s && lp_hold_less(t->s, errno, &tries));
		if (fd < 0)
			return refused(t, name, errno == ENOTDIR && err ? err : errno);
		if ((err = remove_content(t, fd)))
			return refused(t, name, err);
		if (unlinkat(dir, name, AT_REMOVEDIR) == 0)
			return 0;
		err = errno;
		if (err != ENOTEMPTY && err != EEXIST)
			break;
	}
	return refused(t, name, err);
}

int lp_remove_tree(struct lp_state *s, int dir, const char *name)
{
	struct tree t = {.s = s};
	return remove_tree(&t, dir, name, false);
}

/* fs_remove_tree(root, path) -> true / nil, err, errno */
static int fs_remove_tree(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	struct lp_path path;
	struct lp_where w;
	struct tree t = {.s = s};
	int err = EINVAL, fd = -1;
	if (lp_check_path(L, 2, &path)) {
		lp_block_begin(L, s);
		err = lp_path_parent(s, &path, &w, &fd);
		if (!err)
			err = remove_tree(&t, w.dir, w.name, false);
		if (fd >= 0)
			close(fd);
	}
	if (!err) {
		lua_pushboolean(L, 1);
		return 1;
	}
	if (t.where[0])
		path = (struct lp_path){.root = path.root, .name = t.where, .len = strlen(t.where)};
	return lp_push_path_error(L, s, &path, err);
}

void lp_open_tree(lua_State *L, int state)
{
	static const luaL_Reg functions[] = {{"fs_list", fs_list}, {"fs_remove_tree", fs_remove_tree}, {NULL, NULL}};
	lua_pushvalue(L, state);
	luaL_setfuncs(L, functions, 1);
}
