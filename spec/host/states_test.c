/* A program that embeds Lua: several states in one process, on one thread and on many, that open, use the
 * pools and close while others go on; fork; exit with everything in flight. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

static int passed, failed;

static void check(int ok, const char *what)
{
	if (ok) {
		passed++;
	} else {
		failed++;
		fprintf(stderr, "failed: %s\n", what);
	}
}

static lua_State *open_state(void)
{
	lua_State *L = luaL_newstate();
	if (!L)
		abort();
	luaL_openlibs(L);
	if (luaL_dostring(L, "pool = require 'lua-pool'")) {
		fprintf(stderr, "%s\n", lua_tostring(L, -1));
		exit(1);
	}
	return L;
}

/* Runs a chunk that returns true when all is well. */
static int run(lua_State *L, const char *chunk)
{
	int ok = luaL_loadstring(L, chunk) == 0 && lua_pcall(L, 0, 1, 0) == 0 && lua_toboolean(L, -1);
	if (!ok)
		fprintf(stderr, "%s\n", lua_tostring(L, -1) ? lua_tostring(L, -1) : "(false)");
	lua_settop(L, 0);
	return ok;
}

#define BLOCK \
	"local pool = pool up, gate = pool.event(), pool.event()\n" \
	"local up, gate = up, gate\n" \
	"f = pool.async(function() up:set() gate:wait() return 'mine' end)\n" \
	"up:wait() return f:status() == 'running'"
#define WORK \
	"local pool, sum = pool, 0\n" \
	"local fs = {}\n" \
	"for i = 1, 50 do fs[i] = pool.async(function(x) return { x } end, i) end\n" \
	"for i = 1, 50 do sum = sum + fs[i]:await()[1] end\n" \
	"return sum == 1275"
#define OWN_POOL \
	"local pool = pool local p = pool.new { workers = 2 }\n" \
	"local r = p:map(function(x) return 2 * x end, 100)\n" \
	"if not rawget(_G, 'keep_open') then p:close() end\n" \
	"return r[100] == 200"

static void one_closes_while_its_tasks_run(void)
{
	lua_State *a = open_state(), *b = open_state();
	check(run(a, BLOCK), "a task of the first state runs");
	check(run(b, BLOCK), "a task of the second state runs");
	lua_close(a); /* created the default pool, and has a task that waits in it */
	check(run(b, "return f:status() == 'running'"), "the other state's task is left alone");
	check(run(b, WORK), "the other state goes on");
	check(run(b, "gate:set() return f:await() == 'mine'"), "and gets its result");
	lua_State *c = open_state();
	check(run(c, WORK), "a third state joins");
	lua_close(b);
	check(run(c, WORK), "and goes on");
	lua_close(c);
}

static void detached_tasks_finish(void)
{
	lua_State *a = open_state(), *b = open_state();
	char path[] = "/tmp/lua-pool-detached-XXXXXX";
	int fd = mkstemp(path);
	lua_pushstring(a, path);
	lua_setglobal(a, "path");
	check(run(a, "local pool, path = pool, path local up = pool.event()\n"
		"pool.go(function() up:set() pool.sleep(0.02) local f = io.open(path, 'w') f:write 'done' f:close() end)\n"
		"up:wait() return true"), "a detached task starts");
	lua_close(a);
	char text[8] = "";
	check(read(fd, text, 4) == 4 && strcmp(text, "done") == 0, "closing its state lets a detached task finish");
	check(run(b, WORK), "the other state goes on");
	lua_close(b);
	close(fd);
	unlink(path);
}

static void many_times(void)
{
	int ok = 1;
	for (int i = 0; i < 30; i++) {
		lua_State *L = open_state();
		if (i & 1)
			run(L, "keep_open = true return true");
		ok = run(L, i % 3 ? WORK : OWN_POOL) && ok;
		if (i % 5 == 0)
			ok = run(L, BLOCK) && ok;
		lua_close(L);
	}
	check(ok, "thirty states, one after the other");
}

enum { THREADS = 8, ROUNDS = 5 };

static void *thread(void *arg)
{
	size_t ok = 1, n = (size_t)arg;
	for (int i = 0; i < ROUNDS; i++) {
		lua_State *L = open_state();
		ok = run(L, WORK) && ok;
		ok = run(L, OWN_POOL) && ok;
		if ((n + (size_t)i) % 2)
			ok = run(L, BLOCK) && ok;
		lua_close(L);
	}
	return (void *)ok;
}

static void a_state_per_thread(void)
{
	pthread_t threads[THREADS];
	size_t ok = 1;
	for (size_t i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, thread, (void *)i);
	for (size_t i = 0; i < THREADS; i++) {
		void *result;
		pthread_join(threads[i], &result);
		ok = ok && result;
	}
	check(ok != 0, "states on eight threads at once");
}

static void *use(void *L)
{
	return run(L, WORK) && run(L, OWN_POOL) && run(L, BLOCK) ? L : NULL;
}

static void a_state_that_moves(void)
{
	lua_State *L = open_state();
	pthread_t t;
	void *result;
	pthread_create(&t, NULL, use, L);
	pthread_join(t, &result);
	check(result == L, "a state opened here, used on another thread");
	check(run(L, "gate:set() return f:await() == 'mine'"), "and used here again");
	lua_close(L);
}

/* Names are the process's: a state meets the objects of another, also when that has closed. */
static void named_objects(void)
{
	lua_State *a = open_state(), *b = open_state();
	check(run(a, "made = pool.counter()\n"
		"jobs = pool.named('jobs', function() made:add() return pool.channel(100) end)\n"
		"return jobs:send('from a', 1)"), "the first state makes a named object");
	check(run(b, "jobs = pool.named('jobs', function() error 'it is there' end)\n"
		"local text, n = jobs:receive(10) return text == 'from a' and n == 1"), "the second one gets it, and what is in it");
	check(run(b, "local pool = pool return pool.async(function() return pool.named('jobs'):send('from b') end):await()"),
		"so do its tasks");
	check(run(a, "return jobs:receive(10) == 'from b' and made:get() == 1"), "both ways");
	lua_close(a);
	lua_State *c = open_state();
	check(run(b, "return jobs:send('still')"), "it outlives the state that made it");
	check(run(c, "return pool.named('jobs'):receive(10) == 'still'"), "for states that come later too");
	/* A state that closes while it makes one leaves the name free. */
	lua_State *d = open_state();
	run(d, "co = coroutine.create(function() return pool.named('half', function() coroutine.yield() end) end)\n"
		"return coroutine.resume(co)");
	lua_close(d);
	check(run(c, "return tostring(pool.named('half', pool.event)):find 'event'"), "what a closed state had begun is made by another");
	check(run(c, "return pool.named('jobs', false) and pool.named('half', false)"), "names can be taken away by anybody");
	lua_close(b);
	lua_close(c);
}

/* Each state has its own userdata for them: sent to another, they are that state's. */
static void reasons_cross(void)
{
	lua_State *a = open_state(), *b = open_state();
	check(run(a, "local pool = pool\n"
		"local f = pool.async(function(e) e:wait() end, pool.event())\n"
		"f:cancel() local ok, why = f:pawait()\n"
		"local late, reason = pcall(pool.deadline, 0.001, function() pool.event():wait() end)\n"
		"reasons = pool.named('reasons', function() return pool.channel(2) end)\n"
		"return not ok and not late and why == pool.CANCELLED and reason == pool.TIMEOUT and reasons:send(why, reason)"),
		"a cancellation and a deadline in one state");
	check(run(b, "local why, reason = pool.named('reasons', error):receive(10)\n"
		"return why == pool.CANCELLED and reason == pool.TIMEOUT and why ~= reason\n"
		"	and tostring(why) == tostring(pool.CANCELLED) and tostring(reason) == tostring(pool.TIMEOUT)\n"
		"	and tostring(why):find 'cancel' and pool.named('reasons', false)"), "the values and texts of another");
	lua_close(b);
	lua_close(a);
}

static void fork_with_tasks(void)
{
	lua_State *L = open_state();
	check(run(L, BLOCK), "a task of the parent runs");
	check(run(L, "p = pool.new { workers = 2 } return p:async(function() return 1 end):await() == 1"), "a pool of the parent");
	fflush(NULL);
	pid_t child = fork();
	if (child == 0) {
		alarm(30);
		int ok = run(L, WORK) && run(L, "return p:async(function() return 2 end):await() == 2");
		ok = run(L, "local ok, err = pcall(f.await, f, 0) return not ok and err:find('parent process', 1, true)") && ok;
		ok = run(L, "local ok, err = pcall(gate.set, gate) return not ok and err:find('parent process', 1, true)") && ok;
		ok = run(L, OWN_POOL) && ok;
		lua_close(L);
		exit(ok ? 17 : 18);
	}
	int status;
	waitpid(child, &status, 0);
	check(WIFEXITED(status) && WEXITSTATUS(status) == 17, "the child starts afresh, closes and exits");
	check(run(L, "gate:set() return f:await() == 'mine'"), "the parent is undisturbed");
	check(run(L, WORK), "and goes on");
	lua_close(L);
}

/* In a child of its own, because it ends the process. */
static void exit_with_all_in_flight(void)
{
	fflush(NULL);
	pid_t child = fork();
	if (child == 0) {
		alarm(30);
		lua_State *a = open_state(), *b = open_state();
		int ok = run(a, BLOCK) && run(b, BLOCK) && run(b, WORK);
		printf("flushed by exit");
		(void)a;
		exit(ok ? 19 : 20);
	}
	int status;
	waitpid(child, &status, 0);
	check(WIFEXITED(status) && WEXITSTATUS(status) == 19, "exit with two states open and tasks waiting");
}

int main(void)
{
	alarm(100);
	one_closes_while_its_tasks_run();
	detached_tasks_finish();
	many_times();
	a_state_per_thread();
	a_state_that_moves();
	named_objects();
	reasons_cross();
	if (!getenv("TSAN_OPTIONS")) /* ThreadSanitizer cannot start threads in the child of a process with threads */
		fork_with_tasks();
	exit_with_all_in_flight();
	printf("\n%d passed, %d failed\n", passed, failed);
	return failed != 0;
}
