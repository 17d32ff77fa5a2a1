/* sys: what the specs need of the system and Lua has not. Its signal handlers are made as Lua libraries make them:
 * the C handler sets a debug hook on the main state, and the hook calls the Lua function. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "values/compat.h"
#include "base/os.h"

/* ---- signals ---- */

static lua_State *main_state;
static volatile sig_atomic_t came[65];
static struct sigaction chain_to[65];
static lua_Hook hook_before;
static int mask_before, count_before;
static const char handlers_key;

static void hook(lua_State *L, lua_Debug *ar)
{
	(void)ar;
	lua_sethook(L, hook_before, mask_before, count_before);
	for (int sig = 1; sig < 65; sig++) {
		if (!came[sig])
			continue;
		came[sig] = 0;
		lua_rawgetp(L, LUA_REGISTRYINDEX, &handlers_key);
		lua_rawgeti(L, -1, sig);
		lua_remove(L, -2);
		lua_call(L, 0, 0);
	}
}

static void handler(int sig, siginfo_t *info, void *context)
{
	struct sigaction *next = &chain_to[sig];
	if (next->sa_flags & SA_SIGINFO)
		next->sa_sigaction(sig, info, context);
	came[sig] = 1;
	if (lua_gethook(main_state) == hook)
		return;
	hook_before = lua_gethook(main_state);
	mask_before = lua_gethookmask(main_state);
	count_before = lua_gethookcount(main_state);
	lua_sethook(main_state, hook, LUA_MASKCALL | LUA_MASKRET | LUA_MASKCOUNT, 1);
}

/* signal(number, fn [, chain]): fn() runs in the main state; with chain, the handler that was there is called too. */
static int sys_signal(lua_State *L)
{
	int sig = (int)luaL_checkinteger(L, 1);
	luaL_argcheck(L, sig > 0 && sig < 65, 1, "no such signal");
	luaL_checktype(L, 2, LUA_TFUNCTION);
	bool chain = lua_toboolean(L, 3);
	if (lua_rawgetp(L, LUA_REGISTRYINDEX, &handlers_key) == LUA_TNIL) {
		lua_pop(L, 1);
		lua_newtable(L);
		lua_pushvalue(L, -1);
		lua_rawsetp(L, LUA_REGISTRYINDEX, &handlers_key);
	}
	lua_pushvalue(L, 2);
	lua_rawseti(L, -2, sig);
#if LP_LUAJIT
	main_state = L; /* the main chunk's; hooks are global */
#else
	lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
	main_state = lua_tothread(L, -1);
#endif
	struct sigaction a, before;
	memset(&a, 0, sizeof a);
	a.sa_sigaction = handler;
	a.sa_flags = SA_SIGINFO;
	sigaction(sig, &a, &before);
	if (chain && before.sa_sigaction != handler)
		chain_to[sig] = before;
	return 0;
}

static int sys_raise(lua_State *L)
{
	raise((int)luaL_checkinteger(L, 1));
	return 0;
}

/* later(signal, milliseconds): a child process sends this one the signal. */
static int sys_later(lua_State *L)
{
	int sig = (int)luaL_checkinteger(L, 1);
	useconds_t us = (useconds_t)(luaL_checknumber(L, 2) * 1000);
	pid_t parent = getpid();
	pid_t pid = vfork(); /* the specs' processes have threads: nothing but system calls from here on */
	if (pid == 0) {
		if (fork() == 0) {
			usleep(us);
			kill(parent, sig);
		}
		_exit(0);
	}
	lua_pushboolean(L, pid > 0);
	return 1;
}

/* ---- system calls that block; each says what it was told: true / nil, error, errno ---- */

static int answer(lua_State *L, long n)
{
	if (n < 0) {
		int err = errno;
		lua_pushnil(L);
		lua_pushstring(L, strerror(err));
		lua_pushinteger(L, err);
		return 3;
	}
	lua_pushinteger(L, (lua_Integer)n);
	return 1;
}

static int sys_pipe(lua_State *L)
{
	int fds[2];
	if (pipe(fds) != 0)
		return answer(L, -1);
	lua_pushinteger(L, fds[0]);
	lua_pushinteger(L, fds[1]);
	return 2;
}

static int sys_close(lua_State *L)
{
	return answer(L, close((int)luaL_checkinteger(L, 1)));
}

static int sys_write(lua_State *L)
{
	size_t n;
	const char *s = luaL_checklstring(L, 2, &n);
	return answer(L, write((int)luaL_checkinteger(L, 1), s, n));
}

/* read(fd) -> string / nil, error, errno: one read(2), of at most 100 bytes. */
static int sys_read(lua_State *L)
{
	char buffer[100];
	long n = read((int)luaL_checkinteger(L, 1), buffer, sizeof buffer);
	if (n < 0)
		return answer(L, n);
	lua_pushlstring(L, buffer, (size_t)n);
	return 1;
}

/* stuck(gate [, inside]): says on `inside` that it is in C, then waits for a byte from `gate`, whatever signals come: a
 * call that does not react. */
static int sys_stuck(lua_State *L)
{
	int gate = (int)luaL_checkinteger(L, 1);
	char c = 'x';
	if (!lua_isnoneornil(L, 2) && write((int)luaL_checkinteger(L, 2), &c, 1) != 1)
		return luaL_error(L, "write failed");
	while (read(gate, &c, 1) < 0 && errno == EINTR)
		;
	return 0;
}

/* read_after_signal(fd): reads only when lua-pool's handler has run in this very call: the signal is gone, and the
 * hook that it has set cannot run before the read has returned. */
static int sys_read_after_signal(lua_State *L)
{
	while (!lua_gethook(L))
		lp_relax();
	return sys_read(L);
}

/* write_later(fd, microseconds): another thread writes one byte. Detached: the specs' bytes always fit. */
struct later {
	int fd;
	lp_time when;
};

static void *write_byte(void *arg)
{
	struct later l = *(struct later *)arg;
	free(arg);
	while (lp_now() < l.when)
		lp_nap(l.when);
	if (write(l.fd, "x", 1) != 1)
		abort();
	return NULL;
}

static int sys_write_later(lua_State *L)
{
	int fd = (int)luaL_checkinteger(L, 1);
	lp_time when = lp_now() + (lp_time)(luaL_checknumber(L, 2) * 1000);
	struct later *l = malloc(sizeof *l);
	pthread_t t;
	if (!l)
		return luaL_error(L, "not enough memory");
	*l = (struct later){fd, when};
	if (pthread_create(&t, NULL, write_byte, l) != 0)
		return luaL_error(L, "no thread");
	pthread_detach(t);
	return 0;
}

static int sys_mkfifo(lua_State *L)
{
	return answer(L, mkfifo(luaL_checkstring(L, 1), 0600));
}

/* terminal() -> descriptor of its other end, name */
static int sys_terminal(lua_State *L)
{
	int fd = posix_openpt(O_RDWR | O_NOCTTY);
	if (fd < 0 || grantpt(fd) != 0 || unlockpt(fd) != 0)
		return answer(L, -1);
	lua_pushinteger(L, fd);
	lua_pushstring(L, ptsname(fd));
	return 2;
}

/* flock(path) -> descriptor that holds the lock */
static int sys_flock(lua_State *L)
{
	int fd = open(luaL_checkstring(L, 1), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || flock(fd, LOCK_EX) == 0)
		return answer(L, fd);
	int n = answer(L, -1);
	close(fd);
	return n;
}

/* fork() -> 0 in the child, its number in the parent / nil, error, errno. */
static int sys_fork(lua_State *L)
{
	fflush(NULL); /* else both would write what is buffered */
	return answer(L, fork());
}

static int sys_exit(lua_State *L)
{
	_exit((int)luaL_checkinteger(L, 1));
	return 0;
}

/* wait(pid) -> the child's exit status, 128 + the signal's number if one ended it. */
static int sys_wait(lua_State *L)
{
	int status = 0;
	pid_t pid = (pid_t)luaL_checkinteger(L, 1), got;
	do
		got = waitpid(pid, &status, 0);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return answer(L, got);
	return answer(L, WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
}

/* children() -> "none", "running", or "ended": one has that nobody has waited for. */
static int sys_children(lua_State *L)
{
	siginfo_t info = {0};
	int r = waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT);
	lua_pushstring(L, r < 0 ? "none" : info.si_pid ? "ended" : "running");
	return 1;
}

/* pending() -> boolean: is one of lua-pool's signals waiting for this thread? */
static int sys_pending(lua_State *L)
{
	sigset_t set;
	sigpending(&set);
	lua_pushboolean(L, sigismember(&set, SIGURG));
	return 1;
}

/* killed(fn, milliseconds) -> the signal that ended it: a copy of this process calls fn and gets SIGKILL after that time. For
 * processes without threads. Should we be killed meanwhile, the copy does not live for long. */
static int sys_killed(lua_State *L)
{
	useconds_t us = (useconds_t)(luaL_checknumber(L, 2) * 1000);
	luaL_checktype(L, 1, LUA_TFUNCTION);
	pid_t pid = fork();
	if (pid < 0)
		return answer(L, -1);
	if (pid == 0) {
		alarm(20);
		lua_pushvalue(L, 1);
		_exit(lua_pcall(L, 0, 0, 0) == LUA_OK ? 0 : 1);
	}
	usleep(us);
	kill(pid, SIGKILL);
	int status;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return answer(L, -1);
	return answer(L, WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

/* killed_at(fn, n) -> true: a copy of this process called fn and was killed as it made its nth system call; false: it had made
 * fewer / nil, what went wrong. For processes without threads. */
static int sys_killed_at(lua_State *L)
{
	lua_Integer left = luaL_checkinteger(L, 2);
	luaL_checktype(L, 1, LUA_TFUNCTION);
	pid_t pid = fork();
	if (pid < 0)
		return answer(L, -1);
	if (pid == 0) {
		alarm(20);
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
			_exit(2);
		raise(SIGSTOP);
		lua_pushvalue(L, 1);
		_exit(lua_pcall(L, 0, 0, 0) == LUA_OK ? 0 : 1);
	}
	int status, sig = 0;
	bool set = false, inside = false;
	for (;;) {
		while (waitpid(pid, &status, 0) < 0)
			if (errno != EINTR)
				return answer(L, -1);
		if (!WIFSTOPPED(status))
			break;
		sig = WSTOPSIG(status);
		if (!set) { /* its SIGSTOP */
			set = true;
			sig = 0;
			ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL));
		} else if (sig == (SIGTRAP | 0x80)) {
			sig = 0;
			inside = !inside;
			if (inside && --left == 0)
				kill(pid, SIGKILL); /* the call is not made */
		}
		ptrace(PTRACE_SYSCALL, pid, NULL, (void *)(long)sig);
	}
	if (WIFSIGNALED(status) || WEXITSTATUS(status) == 0) {
		lua_pushboolean(L, WIFSIGNALED(status));
		return 1;
	}
	lua_pushnil(L);
	lua_pushstring(L, WEXITSTATUS(status) == 2 ? "it cannot be traced" : "it failed");
	return 2;
}

/* become(uid): this process is an ordinary user from now on, in no group but the one of that number. */
static int sys_become(lua_State *L)
{
	uid_t id = (uid_t)luaL_checkinteger(L, 1);
	return answer(L, setgroups(0, NULL) || setresgid(id, id, id) || setresuid(id, id, id) ? -1 : 0);
}

static int sys_umask(lua_State *L)
{
	lua_pushinteger(L, umask((mode_t)luaL_checkinteger(L, 1)));
	return 1;
}

/* getuid() -> real user id */
static int sys_getuid(lua_State *L)
{
	lua_pushinteger(L, getuid());
	return 1;
}

/* limit(n): open descriptors at most; may only go down again for an ordinary user. */
static int sys_limit(lua_State *L)
{
	struct rlimit l;
	getrlimit(RLIMIT_NOFILE, &l);
	l.rlim_cur = (rlim_t)luaL_checkinteger(L, 1);
	return answer(L, setrlimit(RLIMIT_NOFILE, &l));
}

int luaopen_sys(lua_State *L);

__attribute__((visibility("default"))) int luaopen_sys(lua_State *L)
{
	static const luaL_Reg functions[] = {{"signal", sys_signal}, {"raise", sys_raise}, {"later", sys_later},
		{"pipe", sys_pipe}, {"close", sys_close}, {"write", sys_write}, {"read", sys_read},
		{"read_after_signal", sys_read_after_signal}, {"stuck", sys_stuck}, {"write_later", sys_write_later}, {"mkfifo", sys_mkfifo},
		{"terminal", sys_terminal}, {"flock", sys_flock}, {"pending", sys_pending}, {"killed", sys_killed},
		{"killed_at", sys_killed_at}, {"become", sys_become}, {"umask", sys_umask}, {"getuid", sys_getuid}, {"limit", sys_limit}, {"children", sys_children},
		{"fork", sys_fork}, {"wait", sys_wait}, {"_exit", sys_exit},
		{NULL, NULL}};
	static const struct { const char *name; int value; } numbers[] = {
		{"SIGINT", SIGINT}, {"SIGUSR1", SIGUSR1}, {"SIGURG", SIGURG}, {"EINTR", EINTR}};
	lua_newtable(L);
	luaL_setfuncs(L, functions, 0);
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
		lua_pushinteger(L, numbers[i].value);
		lua_setfield(L, -2, numbers[i].name);
	}
	return 1;
}
