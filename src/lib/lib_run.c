/* lib_run: subprocesses for lua-pool/run.lua, which checks what users write. One call of run_step goes on until
 * there is something that only Lua can do: a piece of output for a function, more input, the end. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sync/channel.h"
#include "vm/holdings.h"
#include "values/large.h"
#include "lib/lib_file.h"
#include "lib/lib_sync.h"
#include "files/process.h"
#include "base/sys.h"

/* ---- starting ---- */

/* The strings of the list at index as an array that ends with NULL; it and the strings live as long as the list
 * and what this pushes. */
static char **push_strings(lua_State *L, int index)
{
	size_t n = lua_rawlen(L, index);
	char **list = lua_newuserdatauv(L, (n + 1) * sizeof *list, 0);
	for (size_t i = 0; i < n; i++) {
		lua_rawgeti(L, index, (lua_Integer)i + 1);
		list[i] = (char *)lua_tostring(L, -1);
		lua_pop(L, 1);
	}
	list[n] = NULL;
	return list;
}

extern char **environ;

/* The environment with the changes of the table at index (name -> value, or false: without it); `empty`: nothing
 * else. Pushes what keeps it. */
static char **push_environment(lua_State *L, int index, bool empty)
{
	lua_newtable(L);
	int list = lua_gettop(L), n = 0;
	for (char **e = environ; !empty && e && *e; e++) {
		const char *equals = strchr(*e, '=');
		if (!equals)
			continue;
		lua_pushlstring(L, *e, (size_t)(equals - *e));
		lua_rawget(L, index);
		bool changed = !lua_isnil(L, -1);
		lua_pop(L, 1);
		if (!changed) {
			lua_pushstring(L, *e);
			lua_rawseti(L, list, ++n);
		}
	}
	lua_pushnil(L);
	while (lua_next(L, index)) {
		if (lua_toboolean(L, -1)) {
			lua_pushvalue(L, -2);
			lua_pushliteral(L, "=");
			lua_pushvalue(L, -3);
			lua_concat(L, 3);
			lua_rawseti(L, list, ++n);
		}
		lua_pop(L, 1);
	}
	return push_strings(L, list);
}

/* Field `name` of the table at 1: what becomes of descriptor i. */
static struct lp_file *stream(lua_State *L, const char *name, int i, struct lp_start *how)
{
	static const char *const words[] = {"null", "inherit", "pipe", "stdout", NULL};
	static const enum lp_stream streams[] = {LP_STREAM_NULL, LP_STREAM_INHERIT, LP_STREAM_PIPE, LP_STREAM_OUT};
	lua_getfield(L, 1, name);
	struct lp_file *f = lp_test(L, -1, &lp_file_class);
	if (f)
		lp_file_renew(f);
	if (f)
		how->streams[i] = LP_STREAM_FD;
	else
		how->streams[i] = streams[luaL_checkoption(L, -1, NULL, words)];
	return f; /* kept by the table */
}

static struct lp_process *check_process(lua_State *L, int index)
{
	return lp_check(L, index, &lp_process_class);
}

/* run_new(grace, channel or nil, channel or nil) -> process that has not started. process:with(fn): whatever ends fn, the
 * process has ended afterwards, and the channels are closed. */
static int run_new(lua_State *L)
{
	double grace = luaL_checknumber(L, 1);
	lua_settop(L, 3);
	struct lp_handle *h = lp_handle_new(L, &lp_process_class);
	struct lp_process *p = lp_process_new();
	if (!p)
		return lp_no_memory(L);
	h->obj = &p->obj;
	p->grace = grace < 1e9 ? (lp_time)(grace * 1e9) : (lp_time)1e18;
	for (int k = 0; k < 2; k++)
		if (!lua_isnil(L, 2 + k))
			p->sinks[k] = lp_retain(lp_check(L, 2 + k, &lp_channel_class));
	return 1;
}

static void end_now(struct lp_process *p)
{
	if (!p->reaped || p->out[0] >= 0 || p->out[1] >= 0)
		lp_process_end(p, lp_now() + p->grace);
}

static int with_enter(lua_State *L, lp_then entered)
{
	check_process(L, 1);
	return entered(L, lp_state(L), NULL, 0);
}

static void with_leave(lua_State *L, bool failed)
{
	struct lp_process *p = check_process(L, 1);
	(void)failed;
	end_now(p);
	lp_process_shut(&p->in);
	lp_process_shut(&p->watch);
	for (int k = 0; k < 2; k++)
		if (p->sinks[k])
			lp_channel_close((struct lp_channel *)p->sinks[k]);
}

/* run_start({args = list, cwd, env, clear_env, stdin, stdout, stderr = "null" | "inherit" | "pipe" | file}, process) -> true /
 * nil, err, errno */
static int run_start(lua_State *L)
{
	static const char *const names[] = {"stdin", "stdout", "stderr"};
	struct lp_state *s = lp_state(L);
	struct lp_start how = {.fds = {-1, -1, -1}};
	struct lp_file *files[3];
	luaL_checktype(L, 1, LUA_TTABLE);
	struct lp_process *p = check_process(L, 2);
	luaL_argcheck(L, !p->pid, 2, "it was started before");
	lua_settop(L, 2);
	lua_getfield(L, 1, "args");
	how.argv = push_strings(L, 3);
	lua_getfield(L, 1, "cwd");
	how.cwd = lua_tostring(L, -1);
	lua_getfield(L, 1, "clear_env");
	bool clear = lua_toboolean(L, -1);
	if (lua_getfield(L, 1, "env") == LUA_TTABLE)
		how.envp = push_environment(L, lua_gettop(L), clear);
	for (int i = 0; i < 3; i++)
		files[i] = stream(L, names[i], i, &how);
	lp_block_begin(L, s);
	int entered = 0, err = 0;
	const char *what = how.argv[0];
	for (int i = 0; i < 3 && !err; i++) {
		entered = i;
		if (!files[i])
			continue;
		if (!lp_file_enter(files[i])) {
			err = EBADF;
			what = files[i]->path;
			break;
		}
		how.fds[i] = files[i]->fd;
		if (!files[i]->regular) /* other programs do not expect it */
			fcntl(files[i]->fd, F_SETFL, fcntl(files[i]->fd, F_GETFL) & ~O_NONBLOCK);
	}
	if (!err) {
		int tries = 0;
		do
			err = lp_process_start(p, &how, &what);
		while (lp_hold_less(s, err, &tries));
		entered = 3;
	}
	for (int i = 0; i < entered; i++)
		if (files[i])
			lp_file_leave(files[i]);
	if (err)
		return lp_push_io_error(L, s, what, strlen(what), err);
	lua_pushboolean(L, 1);
	return 1;
}

/* run_stdin(process) -> the pipe to it as a file, which is its owner from now on */
static int run_stdin(lua_State *L)
{
	struct lp_process *p = check_process(L, 1);
	struct lp_file *f = lp_push_new_file(L, "stdin", 5);
	int fd = p->in;
	p->in = -1;
	int err = fd < 0 ? EBADF : lp_file_adopt(f, fd, NULL);
	if (err)
		return lp_push_errno(L, "stdin", 5, err);
	lp_hold(L, lp_state(L), -1);
	return 1;
}

/* ---- while it runs ---- */

/* Writes what is left of the piece, as much as fits. */
static void feed(struct lp_process *p, const char *data, size_t len)
{
	ssize_t r = 0;
	if (p->fed < len) {
		size_t n = len - p->fed < 1 << 20 ? len - p->fed : 1 << 20;
		r = lp_write_quietly(p->in, data + p->fed, n);
	}
	if (r > 0)
		p->fed += (size_t)r;
	else if (r < 0 && errno != EAGAIN && errno != EINTR)
		lp_process_shut(&p->in); /* EPIPE: its right */
}

/* Nothing is open any more: waits for the end alone. 1, or an answer of lp_block_poll. */
static int await(struct lp_state *s, struct lp_process *p, lp_time deadline)
{
	for (lp_time nap = 100000; !lp_process_ended(p); nap = nap < 10000000 ? nap * 2 : nap) {
		int watch = lp_process_watch(p), answer;
		lp_time until = lp_now() + nap;
		if (watch >= 0)
			answer = lp_block_poll_one(s, watch, POLLIN, deadline, false);
		else
			answer = lp_block_poll(s, NULL, 0, until < deadline ? until : deadline, false);
		if (answer == LP_CANCELLED || (answer == LP_TIMEOUT && lp_now() >= deadline))
			return answer;
	}
	return 1;
}

/* run_step(process, deadline, out_pieces, err_pieces [, data [, more]]) -> "done" / "stdout", piece / "stderr", piece / "stdin": the data
 * was taken, and there is more / nil, "timeout". `deadline` is a time of the monotonic clock in seconds, or nil. Ends the group if it is
 * cancelled. Blocks. */
static int run_step(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	struct lp_process *p = check_process(L, 1);
	double at = luaL_optnumber(L, 2, -1);
	lp_time deadline = at < 0 || at >= 9e9 ? LP_FOREVER : (lp_time)(at * 1e9);
	bool pieces[2] = {lua_toboolean(L, 3), lua_toboolean(L, 4)}, more = lua_toboolean(L, 6);
	size_t len = 0;
	const char *data = lua_tolstring(L, 5, &len);
	lp_block_begin(L, s);
	for (;;) {
		if (p->in >= 0 && data && p->fed == len && more) {
			p->fed = 0;
			lua_pushliteral(L, "stdin");
			return 1;
		}
		if (p->in >= 0 && p->fed >= len)
			lp_process_shut(&p->in);
		struct pollfd fds[3];
		int n = 0, answer, which[3];
		if (p->in >= 0) {
			which[n] = -1;
			fds[n++] = (struct pollfd){.fd = p->in, .events = POLLOUT};
		}
		for (int k = 0; k < 2; k++) {
			if (p->out[k] < 0)
				continue;
			which[n] = k;
			fds[n++] = (struct pollfd){.fd = p->out[k], .events = POLLIN};
		}
		answer = n ? lp_block_poll(s, fds, n, deadline, false) : await(s, p, deadline);
		if (answer == LP_CANCELLED) {
			end_now(p);
			return lp_block_raise(L, s);
		}
		if (answer == LP_TIMEOUT)
			return lp_push_timeout(L);
		if (n == 0)
			break;
		for (int i = 0; i < n; i++) {
			int k = which[i];
			if (!fds[i].revents)
				continue;
			if (k < 0) {
				feed(p, data, len);
				continue;
			}
			if (lp_process_drain(p, k) != 0) {
				lp_process_end(p, 0);
				return lp_no_memory(L);
			}
			if (pieces[k] && p->got[k].len) {
				lua_pushstring(L, k == LP_OUT ? "stdout" : "stderr");
				lua_pushlstring(L, p->got[k].p, p->got[k].len);
				p->got[k].len = 0;
				return 2;
			}
		}
	}
	lua_pushliteral(L, "done");
	return 1;
}

/* run_shut(process, "stdout" | "stderr"): nobody wants more of it. */
static int run_shut(lua_State *L)
{
	static const char *const names[] = {"stdout", "stderr", NULL};
	struct lp_process *p = check_process(L, 1);
	lp_process_shut(&p->out[luaL_checkoption(L, 2, NULL, names)]);
	return 0;
}

/* run_result(process) -> code or nil, signal or nil, stdout, stderr, lost */
static int run_result(lua_State *L)
{
	struct lp_process *p = check_process(L, 1);
	bool known = p->reaped && !p->lost;
	if (known && WIFEXITED(p->status))
		lua_pushinteger(L, WEXITSTATUS(p->status));
	else
		lua_pushnil(L);
	if (known && WIFSIGNALED(p->status))
		lua_pushinteger(L, WTERMSIG(p->status));
	else
		lua_pushnil(L);
	for (int k = 0; k < 2; k++)
		lp_push_large(L, p->got[k].p ? p->got[k].p : "", p->got[k].len);
	lua_pushboolean(L, p->lost);
	return 5;
}

static int run_pid(lua_State *L)
{
	lua_pushinteger(L, check_process(L, 1)->pid);
	return 1;
}

void lp_open_run(lua_State *L, int state)
{
	static const luaL_Reg functions[] = {{"run_start", run_start}, {"run_step", run_step}, {"run_stdin", run_stdin},
		{"run_shut", run_shut}, {"run_new", run_new}, {"run_result", run_result}, {"run_pid", run_pid}, {NULL, NULL}};
	static const struct lp_scope scope = {with_enter, NULL, NULL, with_leave, false};
	static const luaL_Reg none[] = {{NULL, NULL}};
	lua_pushvalue(L, state);
	lp_handle_class(L, &lp_process_class, none, none, 1);
	lp_set_with(L, state, &lp_process_class, "with", &scope);
	lua_pushvalue(L, state);
	luaL_setfuncs(L, functions, 1);
}
