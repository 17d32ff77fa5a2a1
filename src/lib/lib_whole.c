/* lib_whole: pool.fs.read, write, open: opening, and files that are read and written as one string. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "vm/holdings.h"
#include "values/large.h"
#include "lib/lib_path.h"
#include "base/sys.h"

/* Of letters: r read, w write, c create, x exclusive, t truncate, a append. */
static int open_flags(const char *letters)
{
	bool r = strchr(letters, 'r'), w = strchr(letters, 'w');
	int flags = r && w ? O_RDWR : w ? O_WRONLY : O_RDONLY;
	flags |= strchr(letters, 'c') ? O_CREAT : 0;
	flags |= strchr(letters, 'x') ? O_EXCL : 0;
	flags |= strchr(letters, 't') ? O_TRUNC : 0;
	flags |= strchr(letters, 'a') ? O_APPEND : 0;
	return flags;
}

/* fs_open(root, path, letters, mode, temporary) -> file / nil, err, errno */
static int fs_open(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	struct lp_path path;
	int err = EINVAL, fd;
	int flags = open_flags(luaL_checkstring(L, 3));
	mode_t mode = (mode_t)luaL_optinteger(L, 4, 0666);
	bool temporary = lua_toboolean(L, 5);
	bool valid = lp_check_path(L, 2, &path);
	struct lp_file *f = lp_push_new_file(L, path.name, path.len);
	if (valid) {
		lp_block_begin(L, s);
		err = lp_open_path(s, &path, flags, mode, &fd);
		if (!err)
			err = lp_file_adopt(f, fd, NULL);
	}
	if (err)
		return lp_push_path_error(L, s, &path, err);
	f->temporary = temporary;
	lp_hold(L, s, -1);
	return 1;
}

/* fs_open_portable(dir, path, letters) -> file: what within does on kernels without openat2, for the tests. */
static int fs_open_portable(lua_State *L)
{
	const char *name = luaL_checkstring(L, 2);
	int flags = open_flags(luaL_checkstring(L, 3)) | O_NONBLOCK;
	struct lp_job *job = lp_push_job(L);
	struct lp_file *f = lp_push_new_file(L, name, strlen(name));
	if ((job->fds[0] = open(luaL_checkstring(L, 1), O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0)
		return lp_push_errno(L, name, strlen(name), errno);
	int fd = lp_open_beneath_portable(job->fds[0], name, flags, 0666), err = fd < 0 ? errno : 0;
	if (!err)
		err = lp_file_adopt(f, fd, NULL);
	lp_job_clear(job);
	return err ? lp_push_errno(L, name, strlen(name), err) : (lua_settop(L, 5), 1);
}

int lp_begin_reading(struct lp_state *s, const struct lp_path *path, int *fd, struct lp_io *io)
{
	struct stat st;
	int err = lp_open_path(s, path, O_RDONLY, 0, fd);
	if (!err && fstat(*fd, &st) < 0)
		err = errno;
	if (!err && S_ISDIR(st.st_mode))
		err = EISDIR;
	if (!err)
		*io = (struct lp_io){.s = s, .fd = *fd, .regular = S_ISREG(st.st_mode), .fifo = S_ISFIFO(st.st_mode),
			.size = S_ISREG(st.st_mode) && st.st_size > 0 ? (size_t)st.st_size : 0};
	return err;
}

enum { SMALL = 32768 }; /* on the C stack: most files are smaller */

static int read_whole(const struct lp_io *io, char *small, struct lp_bytes *b, size_t *len)
{
	int err = 0;
	if (io->size < SMALL) {
		err = lp_io_read(io, small, SMALL, -1, len);
		if (err || *len < SMALL)
			return err;
		if (!lp_bytes_room(b, 4 * SMALL)) /* it was longer than it said */
			return ENOMEM;
		memcpy(b->p, small, SMALL);
		b->len = SMALL;
	}
	struct lp_io rest = *io;
	rest.size = b->len ? 0 : io->size;
	err = lp_io_read_bytes(&rest, b, rest.size, SIZE_MAX, -1);
	*len = b->len;
	return err;
}

/* The function's own job (upvalue 2), which saves a userdata for each small file. Another takes its place if it is in use: by an
 * outer call (a finaliser reads files), or by one that an error has left. */
static struct lp_job *own_job(lua_State *L)
{
	struct lp_job *job = lua_touserdata(L, lua_upvalueindex(2));
	if (job->bytes.p || job->fds[0] >= 0) {
		job = lp_push_job(L);
		lua_replace(L, lua_upvalueindex(2));
	}
	lua_pushvalue(L, lua_upvalueindex(2)); /* stays while this call uses it */
	return job;
}

/* fs_read(root, path) -> string / nil, err, errno */
static int fs_read(lua_State *L)
{
	char small[SMALL];
	struct lp_state *s = lp_state(L);
	struct lp_path path;
	struct lp_io io;
	size_t len = 0;
	int err = EINVAL;
	bool valid = lp_check_path(L, 2, &path);
	struct lp_job *job = own_job(L);
	if (valid) {
		lp_block_begin(L, s);
		err = lp_begin_reading(s, &path, &job->fds[0], &io);
		if (!err)
			err = read_whole(&io, small, &job->bytes, &len);
	}
	if (err) {
		lp_job_clear(job);
		return lp_push_path_error(L, s, &path, err);
	}
	close(job->fds[0]);
	job->fds[0] = -1;
	lp_push_large(L, job->bytes.p ? job->bytes.p : small, len);
	lp_job_clear(job);
	return 1;
}

/* Opens for writing. *made: it is new and has bits that writing takes away. */
static int open_for_writing(struct lp_state *s, const struct lp_path *path, int flags, mode_t mode, int *fd, bool *made)
{
	*made = false;
	if (!(mode & (S_ISUID | S_ISGID)))
		return lp_open_path(s, path, flags, mode, fd);
	int err = lp_open_path(s, path, flags | O_EXCL, mode, fd);
	*made = !err;
	return err == EEXIST && !(flags & O_EXCL) ? lp_open_path(s, path, flags, mode, fd) : err;
}

/* fs_write(root, path, data, letters, mode, sync) -> true / nil, err, errno, bytes written before */
static int fs_write(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	struct lp_path path;
	struct stat st;
	size_t len, done = 0;
	int err = EINVAL;
	const char *data = luaL_checklstring(L, 3, &len);
	int flags = open_flags(luaL_checkstring(L, 4));
	mode_t mode = (mode_t)luaL_optinteger(L, 5, 0666);
	bool sync = lua_toboolean(L, 6);
	if (lp_check_path(L, 2, &path)) {
		int fd = -1;
		bool made;
		lp_block_begin(L, s);
		err = open_for_writing(s, &path, flags, mode, &fd, &made);
		if (!err && fstat(fd, &st) < 0)
			err = errno;
		if (!err) {
			struct lp_io io = {.s = s, .fd = fd, .regular = S_ISREG(st.st_mode)};
			err = lp_io_write(&io, data, len, -1, &done);
			if (!err && made)
				err = lp_io_keep_mode(fd, st.st_mode);
			if (!err && sync)
				err = lp_io_sync(&io, false);
		}
		/* Some file systems tell only now that there was no room. */
		if (fd >= 0 && close(fd) < 0 && errno != EINTR && !err)
			err = errno;
	}
	if (err) {
		int n = lp_push_path_error(L, s, &path, err);
		lp_push_size(L, (int64_t)done);
		return n + 1;
	}
	lua_pushboolean(L, 1);
	return 1;
}

void lp_open_whole(lua_State *L, int state)
{
	static const luaL_Reg functions[] = {{"fs_open", fs_open}, {"fs_write", fs_write},
		{"fs_open_portable", fs_open_portable}, {NULL, NULL}};
	lua_pushvalue(L, state);
	luaL_setfuncs(L, functions, 1);
	lua_pushvalue(L, state);
	lp_push_job(L);
	lua_pushcclosure(L, fs_read, 2);
	lua_setfield(L, -2, "fs_read");
}
