/* lib_file: the methods of files that pool.fs.open and create answer. Opening is in lib_fs.c. */
#define _GNU_SOURCE
#include "lib/lib_file.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/account.h"
#include "data/array.h"
#include "values/large.h"
#include "lib/lib_sync.h"
#include "base/sys.h"

/* ---- jobs ---- */

static const char job_key;

void lp_job_clear(struct lp_job *job)
{
	lp_free_counted(job->bytes.p);
	job->bytes = (struct lp_bytes){0};
	for (int i = 0; i < 2; i++) {
		if (job->fds[i] >= 0)
			close(job->fds[i]);
		job->fds[i] = -1;
	}
}

static int job_gc(lua_State *L)
{
	struct lp_job *job = lp_own_test(L, 1, sizeof *job, &job_key);
	if (job)
		lp_job_clear(job);
	return 0;
}

struct lp_job *lp_push_job(lua_State *L)
{
	struct lp_job *job = lua_newuserdatauv(L, sizeof *job, 0);
	*job = (struct lp_job){.fds = {-1, -1}};
	lp_own_set(job, &job_key);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &job_key);
	lua_setmetatable(L, -2);
	return job;
}

/* ---- arguments and results ---- */

int64_t lp_check_bytes(lua_State *L, int index, const char *what)
{
	double x = lua_tonumber(L, index);
	if (lua_type(L, index) != LUA_TNUMBER)
		luaL_argerror(L, index, lua_pushfstring(L, "%s expected, got %s", what, luaL_typename(L, index)));
	if (lua_isinteger(L, index) && lua_tointeger(L, index) >= 0)
		return (int64_t)lua_tointeger(L, index);
	if (!(x >= 0 && x < 9223372036854775808.0 && floor(x) == x))
		luaL_argerror(L, index, lua_pushfstring(L, "%s must be a whole number from 0 to 2^63 - 1, not %s", what,
			lua_tostring(L, index)));
	return (int64_t)x;
}

void lp_push_size(lua_State *L, int64_t n)
{
#if LP_LUAJIT
	lua_pushnumber(L, (lua_Number)n); /* lua_Integer may be narrower there */
#else
	lua_pushinteger(L, n);
#endif
}

int lp_push_io_error(lua_State *L, struct lp_state *s, const char *path, size_t len, int err)
{
	if (err == LP_IO_STOPPED)
		return lp_block_raise(L, s);
	if (err == ENOMEM)
		return lp_no_memory(L);
	return lp_push_errno(L, path, len, err);
}

static int answer(lua_State *L, struct lp_state *s, struct lp_file *f, int err)
{
	if (err)
		return lp_push_io_error(L, s, f->path, f->path_len, err);
	lua_pushboolean(L, 1);
	return 1;
}

struct lp_file *lp_push_new_file(lua_State *L, const char *path, size_t len)
{
	struct lp_handle *h = lp_handle_new(L, &lp_file_class);
	struct lp_file *f = lp_file_new(path, len);
	if (!f)
		lp_no_memory(L);
	h->obj = &f->obj;
	return f;
}

/* Files go on in a child process, unlike most else that is shared. */
static struct lp_file *test_file(lua_State *L, int index)
{
	struct lp_file *f = lp_test(L, index, &lp_file_class);
	if (f)
		lp_file_renew(f);
	return f;
}

static struct lp_file *check_file(lua_State *L)
{
	struct lp_file *f = test_file(L, 1);
	return f ? f : lp_check(L, 1, &lp_file_class);
}

struct lp_file *lp_enter_file(lua_State *L, struct lp_state *s)
{
	struct lp_file *f = check_file(L);
	lp_block_begin(L, s);
	if (!lp_file_enter(f))
		luaL_error(L, "the file is closed (%s)", f->path);
	return f;
}

static struct lp_io io_of(struct lp_state *s, struct lp_file *f)
{
	return (struct lp_io){.s = s, .fd = f->fd, .regular = f->regular, .fifo = f->fifo};
}

/* Waits until the position is ours. Raises, and leaves the file, if that is ended. */
static void take_turn(lua_State *L, struct lp_state *s, struct lp_file *f)
{
	struct lp_node n = {.obj = &f->obj, .op = LP_FILE_TURN};
	int fired = lp_sync_wait(L, s, &n, LP_FOREVER);
	if (fired < 0) {
		lp_file_leave(f);
		lp_sync_raise(L, s, &n, fired);
	}
}

/* ---- reading ---- */

enum { SMALL = 16384 }; /* on the C stack */

/* Reads n bytes, or to the end with n = SIZE_MAX, and pushes them; nil at the end of the file. */
static int read_and_push(lua_State *L, size_t n, int64_t offset)
{
	char small[SMALL];
	struct lp_state *s = lp_state(L);
	struct lp_job *job = n > SMALL ? lp_push_job(L) : NULL;
	struct lp_file *f = lp_enter_file(L, s);
	struct lp_io io = io_of(s, f);
	size_t got = 0, guess = 0;
	int err;
	bool turn = offset < 0 && f->seekable;
	if (turn)
		take_turn(L, s, f);
	if (!job) {
		err = lp_io_read(&io, small, n, offset, &got);
	} else {
		struct stat st;
		if (n <= 64u << 20)
			guess = n;
		else if (f->regular && fstat(f->fd, &st) == 0) {
			int64_t at = offset < 0 ? (int64_t)lseek(f->fd, 0, SEEK_CUR) : offset;
			guess = at >= 0 && st.st_size > at ? (size_t)(st.st_size - at) : 0;
		}
		err = lp_io_read_bytes(&io, &job->bytes, guess, n, offset);
		got = job->bytes.len;
	}
	if (turn)
		lp_file_pass_turn(f);
	lp_file_leave(f);
	if (err)
		return lp_push_io_error(L, s, f->path, f->path_len, err);
	if (got == 0 && n > 0)
		lua_pushnil(L);
	else
		lp_push_large(L, job ? job->bytes.p : small, got);
	if (job)
		lp_job_clear(job);
	return 1;
}

static size_t check_count(lua_State *L, int index)
{
	return (size_t)lp_check_bytes(L, index, "number of bytes");
}

/* file:pread(n [, offset]) -> string of n bytes, fewer if the file ends before / nil: it has ended / nil, err,
 * errno. Without an offset: read(n). Blocks. */
static int file_pread(lua_State *L)
{
	check_file(L);
	size_t n = check_count(L, 2);
	int64_t offset = lua_isnoneornil(L, 3) ? -1 : lp_check_bytes(L, 3, "offset");
	lua_settop(L, 1);
	return read_and_push(L, n, offset);
}

/* file:read([n]) -> the next n bytes, fewer only if the file ends; without n all that is left / nil: the file has
 * ended / nil, err, errno. Blocks; a cancellation point. */
static int file_read(lua_State *L)
{
	check_file(L);
	size_t n = lua_isnoneornil(L, 2) ? SIZE_MAX : check_count(L, 2);
	lua_settop(L, 1);
	return read_and_push(L, n, -1);
}

/* file:read_some([n]) -> what there is, at least one byte and at most n (65536) / nil: the end / nil, err, errno. For
 * pipes and terminals: does not wait until all has come. Blocks; a cancellation point. */
static int file_read_some(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	check_file(L);
	size_t n = lua_isnoneornil(L, 2) ? 65536 : check_count(L, 2), got;
	n = n > 1 << 20 ? 1 << 20 : n;
	lua_settop(L, 1);
	char small[SMALL], *p = small;
	struct lp_job *job = n > SMALL ? lp_push_job(L) : NULL;
	if (job && !lp_bytes_room(&job->bytes, n))
		return lp_no_memory(L);
	if (job)
		p = job->bytes.p;
	struct lp_file *f = lp_enter_file(L, s);
	struct lp_io io = io_of(s, f);
	if (f->seekable)
		take_turn(L, s, f);
	int err = lp_io_read_some(&io, p, n, &got);
	if (f->seekable)
		lp_file_pass_turn(f);
	lp_file_leave(f);
	if (err)
		return lp_push_io_error(L, s, f->path, f->path_len, err);
	if (got == 0 && n > 0)
		lua_pushnil(L);
	else
		lua_pushlstring(L, p, got);
	if (job)
		lp_job_clear(job);
	return 1;
}

/* The buffer or array at index; NULL: something else. */
static struct lp_array *test_memory(lua_State *L, int index)
{
	struct lp_array *a = lp_test(L, index, &lp_buffer_class);
	return a ? a : lp_test(L, index, &lp_array_class);
}

/* The memory of a, counted, so that it outlives what others do with their handles; raises, and leaves the file, if it
 * was moved away. */
static void hold_memory(lua_State *L, struct lp_file *f, bool turn, struct lp_array *a, struct lp_span *span)
{
	if (lp_array_span(a, span))
		return;
	if (turn)
		lp_file_pass_turn(f);
	lp_file_leave(f);
	luaL_error(L, "its memory was transferred to somebody else");
}

/* file:readinto(buffer [, offset]) -> number of bytes read / nil: the end of the file / nil, err, errno. Fills the buffer (a
 * part: buffer:slice) from the position, or from offset; fewer only if the file ends. Nothing is copied in between. Blocks. */
static int file_readinto(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	check_file(L);
	struct lp_array *a = test_memory(L, 2);
	if (!a)
		luaL_argerror(L, 2, lua_pushfstring(L, "buffer or array expected, got %s", luaL_typename(L, 2)));
	int64_t offset = lua_isnoneornil(L, 3) ? -1 : lp_check_bytes(L, 3, "offset");
	struct lp_file *f = lp_enter_file(L, s);
	struct lp_io io = io_of(s, f);
	bool turn = offset < 0 && f->seekable;
	if (turn)
		take_turn(L, s, f);
	struct lp_span span;
	hold_memory(L, f, turn, a, &span);
	size_t got;
	int err = lp_io_read(&io, (char *)span.data, span.size, offset, &got);
	bool end = got == 0 && span.size > 0;
	lp_release(span.store);
	if (turn)
		lp_file_pass_turn(f);
	lp_file_leave(f);
	if (err)
		return lp_push_io_error(L, s, f->path, f->path_len, err);
	if (end)
		lua_pushnil(L);
	else
		lp_push_size(L, (int64_t)got);
	return 1;
}

/* ---- writing ---- */

/* What it was cut off by is told at the next point: here it is said how much is in the file. */
static int push_written(lua_State *L, struct lp_state *s, struct lp_file *f, int err, size_t done)
{
	if (err == LP_IO_STOPPED && done > 0)
		err = EINTR;
	if (err) {
		lp_push_io_error(L, s, f->path, f->path_len, err);
		lp_push_size(L, (int64_t)done);
		return 4;
	}
	lp_push_size(L, (int64_t)done);
	return 1;
}

/* The bytes of a string; NULL: it is a buffer or an array. */
static const char *check_data(lua_State *L, int index, size_t *len)
{
	int t = lua_type(L, index);
	if (t == LUA_TUSERDATA && test_memory(L, index))
		return NULL;
	if (t != LUA_TSTRING && t != LUA_TNUMBER)
		luaL_argerror(L, index, lua_pushfstring(L, "data (a string, buffer or array) expected, got %s", luaL_typename(L, index)));
	return lua_tolstring(L, index, len);
}

/* Inside f: writes what lies at index. */
static int write_data(lua_State *L, struct lp_file *f, const struct lp_io *io, bool turn, int index, int64_t offset, size_t *done)
{
	size_t len;
	const char *data = check_data(L, index, &len); /* it is one: does not raise */
	struct lp_span span = {.store = NULL};
	if (!data) {
		hold_memory(L, f, turn, test_memory(L, index), &span);
		data = (const char *)span.data;
		len = span.size;
	}
	int err = lp_io_write(io, data, len, offset, done);
	lp_release(span.store);
	return err;
}

/* file:pwrite(data [, offset]) -> number of bytes, all of them / nil, err, errno, bytes written before. Without an
 * offset: write(data). Blocks. */
static int file_pwrite(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	size_t len, done;
	check_file(L);
	check_data(L, 2, &len);
	int64_t offset = lua_isnoneornil(L, 3) ? -1 : lp_check_bytes(L, 3, "offset");
	struct lp_file *f = lp_enter_file(L, s);
	struct lp_io io = io_of(s, f);
	if (offset < 0)
		take_turn(L, s, f);
	int err = write_data(L, f, &io, offset < 0, 2, offset, &done);
	if (offset < 0)
		lp_file_pass_turn(f);
	lp_file_leave(f);
	return push_written(L, s, f, err, done);
}

/* file:write(data...) -> number of bytes, all of them / nil, err, errno, bytes written before. At the position, as one
 * piece: no other write comes in between. Blocks; a cancellation point. */
static int file_write(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	check_file(L);
	int top = lua_gettop(L);
	size_t len, done = 0;
	for (int i = 2; i <= top; i++)
		check_data(L, i, &len);
	struct lp_file *f = lp_enter_file(L, s);
	struct lp_io io = io_of(s, f);
	take_turn(L, s, f);
	int err = 0;
	for (int i = 2; i <= top && !err; i++) {
		size_t part;
		err = write_data(L, f, &io, true, i, -1, &part);
		done += part;
	}
	lp_file_pass_turn(f);
	lp_file_leave(f);
	return push_written(L, s, f, err, done);
}

/* ---- the position ---- */

/* file:seek([whence [, offset]]) -> the new position / nil, err, errno. As io's: "set", "cur" (default), "end". */
static int file_seek(lua_State *L)
{
	static const char *const names[] = {"set", "cur", "end", NULL};
	static const int whences[] = {SEEK_SET, SEEK_CUR, SEEK_END};
	struct lp_state *s = lp_state(L);
	check_file(L);
	int whence = whences[luaL_checkoption(L, 2, "cur", names)];
	double offset = luaL_optnumber(L, 3, 0);
	if (!(fabs(offset) < 9223372036854775808.0 && floor(offset) == offset))
		luaL_argerror(L, 3, lua_pushfstring(L, "offset must be a whole number, not %s", lua_tostring(L, 3)));
	struct lp_file *f = lp_enter_file(L, s);
	take_turn(L, s, f);
	off_t at = lseek(f->fd, (off_t)offset, whence);
	int err = at < 0 ? errno : 0;
	lp_file_pass_turn(f);
	lp_file_leave(f);
	if (err)
		return answer(L, s, f, err);
	lp_push_size(L, at);
	return 1;
}

/* ---- the file as a whole ---- */

/* file:size() -> bytes / nil, err, errno. */
static int file_size(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	struct lp_file *f = lp_enter_file(L, s);
	struct stat st;
	int err = fstat(f->fd, &st) < 0 ? errno : 0;
	lp_file_leave(f);
	if (err)
		return answer(L, s, f, err);
	lp_push_size(L, st.st_size);
	return 1;
}

/* file:stat() -> as pool.fs.stat / nil, err, errno. */
static int file_stat(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	struct lp_file *f = lp_enter_file(L, s);
	struct stat st;
	int err = fstat(f->fd, &st) < 0 ? errno : 0;
	lp_file_leave(f);
	if (err)
		return answer(L, s, f, err);
	lp_push_stat(L, &st);
	return 1;
}

static int sync_file(lua_State *L, bool data_only)
{
	struct lp_state *s = lp_state(L);
	struct lp_file *f = lp_enter_file(L, s);
	struct lp_io io = io_of(s, f);
	int err = lp_io_sync(&io, data_only);
	lp_file_leave(f);
	return answer(L, s, f, err);
}

/* file:sync() -> true / nil, err, errno: data and metadata are on the disk. Blocks. datasync(): what is needed to
 * read the data. */
static int file_sync(lua_State *L)
{
	return sync_file(L, false);
}

static int file_datasync(lua_State *L)
{
	return sync_file(L, true);
}

/* file:truncate([size]) -> true / nil, err, errno: the file has that size (0), cut or filled with zeros. */
static int file_truncate(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	check_file(L);
	int64_t size = lua_isnoneornil(L, 2) ? 0 : lp_check_bytes(L, 2, "size");
	struct lp_file *f = lp_enter_file(L, s);
	int err;
	while ((err = ftruncate(f->fd, size) < 0 ? errno : 0) == EINTR && !lp_block_over(s))
		;
	lp_file_leave(f);
	return answer(L, s, f, err == EINTR ? LP_IO_STOPPED : err);
}

/* ---- locks ---- */

enum { FIRST_NAP_NS = 1000000, LAST_NAP_NS = 20000000 };

/* The system can wait for a lock, but not until a time, and after a handler of the host's it goes on by itself:
 * then we ask again and again. */
static int wait_for_lock(struct lp_state *s, int fd, enum lp_lock_kind kind, lp_time deadline)
{
	int err = lp_lock_file(fd, kind, false);
	if (err != EAGAIN || deadline <= lp_now())
		return err;
	lp_block_yield(s);
	for (lp_time nap = FIRST_NAP_NS; err == EAGAIN || err == EINTR; nap = nap < LAST_NAP_NS ? nap * 2 : nap) {
		lp_time until = lp_now() + nap;
		if (lp_block_over(s))
			err = LP_IO_STOPPED;
		else if (lp_now() >= deadline)
			err = ETIMEDOUT;
		else if (s->worker && deadline == LP_FOREVER)
			err = lp_lock_file(fd, kind, true);
		else {
			lp_nap(until < deadline ? until : deadline);
			err = lp_lock_file(fd, kind, false);
		}
	}
	lp_block_resume(s);
	return err;
}

static enum lp_lock_kind check_kind(lua_State *L)
{
	static const char *const names[] = {"shared", "exclusive", NULL};
	return luaL_checkoption(L, 2, "exclusive", names) ? LP_LOCK_EXCLUSIVE : LP_LOCK_SHARED;
}

static int lock_file(lua_State *L, lp_time deadline, const char *busy)
{
	struct lp_state *s = lp_state(L);
	enum lp_lock_kind kind = check_kind(L);
	struct lp_file *f = lp_enter_file(L, s);
	int err = wait_for_lock(s, f->fd, kind, deadline);
	lp_file_leave(f);
	if (err != EAGAIN && err != ETIMEDOUT)
		return answer(L, s, f, err);
	lua_pushnil(L);
	lua_pushstring(L, err == EAGAIN ? busy : "timeout");
	return 2;
}

/* file:lock(["shared" | "exclusive" [, timeout]]) -> true / nil, "timeout" / nil, err, errno. The lock belongs to the
 * open file (all handles of this one): others who opened it, here or in other processes, wait. Released by
 * unlock and by close. Blocks; a cancellation point. */
static int file_lock(lua_State *L)
{
	check_file(L);
	return lock_file(L, lp_check_timeout(L, 3), "timeout");
}

/* file:try_lock(["shared" | "exclusive"]) -> true / nil, "locked" / nil, err, errno. Never waits. */
static int file_try_lock(lua_State *L)
{
	check_file(L);
	return lock_file(L, 0, "locked");
}

/* file:unlock() -> true / nil, err, errno. */
static int file_unlock(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	struct lp_file *f = lp_enter_file(L, s);
	int err = lp_lock_file(f->fd, LP_LOCK_NONE, false);
	lp_file_leave(f);
	return answer(L, s, f, err);
}

/* ---- the end ---- */

/* file:close() -> true / nil, err, errno: what the system could not write is told here. Waits for the operations
 * that run; if that is ended, the last of them closes. Closing twice is fine. A cancellation point. */
static int file_close(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	struct lp_file *f = check_file(L);
	bool first = lp_file_close(f);
	struct lp_node n = {.obj = &f->obj, .op = LP_FILE_CLOSED};
	if (!f->obj.cls->take(n.obj, &n)) /* closed already: no point for a cancellation */
		lp_wait(L, s, &n, 1, LP_FOREVER);
	return answer(L, s, f, first ? lp_file_close_error(f) : 0);
}

static int file_is_closed(lua_State *L)
{
	lua_pushboolean(L, lp_file_closing(check_file(L)));
	return 1;
}

/* file:path() -> the name that it was opened by. */
static int file_path(lua_State *L)
{
	struct lp_file *f = check_file(L);
	lua_pushlstring(L, f->path, f->path_len);
	return 1;
}

static int file_tostring(lua_State *L)
{
	struct lp_file *f = test_file(L, 1);
	if (!f)
		lua_pushliteral(L, "lua-pool.file (collected)");
	else
		lua_pushfstring(L, "lua-pool.file: %p (%s%s)", (void *)f, f->path, lp_file_closing(f) ? ", closed" : "");
	return 1;
}

static int with_enter(lua_State *L, lp_then entered)
{
	check_file(L);
	return entered(L, lp_state(L), NULL, 0);
}

static void with_leave(lua_State *L, bool failed)
{
	(void)failed;
	lp_file_close(check_file(L));
}

void lp_open_file(lua_State *L, int state)
{
	static const luaL_Reg methods[] = {{"pread", file_pread}, {"pwrite", file_pwrite}, {"read", file_read},
		{"read_some", file_read_some}, {"readinto", file_readinto}, {"write", file_write}, {"seek", file_seek}, {"size", file_size},
		{"stat", file_stat}, {"sync", file_sync}, {"datasync", file_datasync}, {"truncate", file_truncate},
		{"lock", file_lock}, {"try_lock", file_try_lock}, {"unlock", file_unlock}, {"close", file_close},
		{"is_closed", file_is_closed}, {"path", file_path}, {NULL, NULL}};
	static const luaL_Reg meta[] = {{"__tostring", file_tostring}, {"__close", file_close}, {NULL, NULL}};
	static const struct lp_scope scope = {with_enter, NULL, NULL, with_leave, true};
	lua_newtable(L);
	lua_pushcfunction(L, job_gc);
	lua_setfield(L, -2, "__gc");
	lua_rawsetp(L, LUA_REGISTRYINDEX, &job_key);
	lua_pushvalue(L, state);
	lp_handle_class(L, &lp_file_class, methods, meta, 1);
	lp_set_with(L, state, &lp_file_class, "with", &scope);
}
