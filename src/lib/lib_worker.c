/* lib_worker: what the opening of a worker's state needs (lua-pool/worker.lua): print by whole lines,
 * a lock around the loading of C modules, a seed, the end of the process. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "values/handle.h"
#include "vm/holdings.h"
#include "lib/lib.h"
#include "vm/output.h"
#include "sched/worker.h"

/* print(...): one write per line, so that lines of several workers never mix. */
static int worker_print(lua_State *L)
{
	int n = lua_gettop(L);
	luaL_Buffer b;
	luaL_buffinit(L, &b);
	for (int i = 1; i <= n; i++) {
		if (i > 1)
			luaL_addchar(&b, '\t');
		luaL_tolstring(L, i, NULL);
		luaL_addvalue(&b);
	}
	luaL_addchar(&b, '\n');
	luaL_pushresult(&b);
	size_t len;
	const char *line = lua_tolstring(L, -1, &len);
	if ((fwrite(line, 1, len, stdout) != len || fflush(stdout) != 0) && lp_output_lost(errno))
		return lp_output_raise(L);
	return 0;
}

/* ---- one C module is opened at a time in the process ---- */

static pthread_mutex_t load_lock;

static void renew_load_lock(void)
{
	pthread_mutexattr_t attr;
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE); /* a module may require another */
	pthread_mutex_init(&load_lock, &attr);
	pthread_mutexattr_destroy(&attr);
}

__attribute__((constructor)) static void load_lock_open(void)
{
	renew_load_lock();
	lp_fork_child(LP_RANK_NONE, renew_load_lock);
}

/* alone(f, ...) -> pcall's results of f, with no other C module being opened meanwhile. */
static int alone(lua_State *L)
{
	luaL_checkany(L, 1);
	pthread_mutex_lock(&load_lock);
	int status = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
	pthread_mutex_unlock(&load_lock);
	lua_pushboolean(L, status == LUA_OK);
	lua_insert(L, 1);
	return lua_gettop(L);
}

/* pin(path): this shared object stays loaded when the state closes. */
static int pin(lua_State *L)
{
	lp_pin_library(luaL_checkstring(L, 1));
	return 0;
}

/* seed() -> two numbers that differ from worker to worker and from run to run. */
static int seed(lua_State *L)
{
	static _Atomic uint64_t counter;
	uint64_t x = (uint64_t)lp_now() ^ ((uint64_t)(uintptr_t)L << 20);
	x += atomic_fetch_add(&counter, 1) * 0x9e3779b97f4a7c15u; /* splitmix64 (Steele, Lea, Flood) */
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	x ^= x >> 31;
	lua_pushinteger(L, (lua_Integer)(x & 0x7fffffff));
	lua_pushinteger(L, (lua_Integer)(x >> 33));
	return 2;
}

/* exit([code]): os.exit in a task. Ends the process; every stream is flushed. */
static int worker_exit(lua_State *L)
{
	int code = EXIT_SUCCESS;
	if (lua_isboolean(L, 1))
		code = lua_toboolean(L, 1) ? EXIT_SUCCESS : EXIT_FAILURE;
	else if (!lua_isnoneornil(L, 1))
		code = (int)luaL_checkinteger(L, 1);
	static _Atomic bool begun;
	if (lp_this_worker()) {
		lp_host_exit_begins();
		lp_worker_leaves(lp_this_worker());
		while (atomic_exchange(&begun, true)) /* the first one ends the process */
			lp_nap(LP_FOREVER);
	}
	exit(code);
}

/* execute(command, booleans): os.execute of workers, with the results of this Lua's own. */
static int worker_execute(lua_State *L)
{
	const char *command = luaL_optstring(L, 1, NULL);
	bool booleans = lua_toboolean(L, 2);
	int status = command ? lp_shell(command) : 1;
	if (booleans && command)
		return luaL_execresult(L, status);
	if (booleans)
		lua_pushboolean(L, 1);
	else
		lua_pushinteger(L, status);
	return 1;
}

/* child(f, ...) -> f's results, with an ordinary signal mask: what f starts is an ordinary process. A signal of the
 * host's that comes at this moment may be handled on this thread, and a wait of the host's is not ended by it:
 * that is why the hosts look again. */
static int child(lua_State *L)
{
	luaL_checkany(L, 1);
	lp_child_signals(true);
	int status = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
	lp_child_signals(false);
	lp_host_wake_all();
	return status == LUA_OK ? lua_gettop(L) : lua_error(L);
}

/* What opens files in Lua's own io library, called in this frame: its messages name the caller's place and name. What it
 * opened is noted; without a descriptor the state is collected and it is called once more. Upvalue 2: the function. */
static int opening(lua_State *L)
{
	lua_CFunction open = lua_tocfunction(L, lua_upvalueindex(2));
	int top = lua_gettop(L), n = open(L);
	if (n >= 3 && lua_isnil(L, -n) && lua_isnumber(L, -n + 2) &&
		lp_hold_less_in(L, lp_state(L), (int)lua_tointeger(L, -n + 2))) {
		lua_settop(L, top);
		n = open(L);
	}
	if (n == 0)
		return 0;
	int first = lua_gettop(L) - n + 1;
	if (lua_type(L, first) == LUA_TUSERDATA)
		lp_hold(L, lp_state(L), first);
	else if (lua_iscfunction(L, first) && lua_getupvalue(L, first, 1)) { /* of io.lines: it keeps the file there */
		if (lua_type(L, -1) == LUA_TUSERDATA)
			lp_hold(L, lp_state(L), -1);
		lua_pop(L, 1);
	}
	return n;
}

/* opener(f) -> f with the above around it; f itself if it is not one of the library's functions. */
static int opener(lua_State *L)
{
	bool plain = lua_iscfunction(L, 1);
#if !LP_LUAJIT
	if (plain && lua_getupvalue(L, 1, 1)) /* it would look for it in ours */
		plain = false;
#endif
	lua_settop(L, 1);
	if (!plain)
		return 1;
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_pushvalue(L, 1);
	lua_pushcclosure(L, opening, 2);
#if LP_LUAJIT
	lua_getfenv(L, 1); /* where the library has the metatable of files */
	lua_setfenv(L, 2);
#endif
	return 1;
}

/* opened(...) -> ...: the first of it was opened by Lua's own library, if it is a file. */
static int opened(lua_State *L)
{
	if (lua_type(L, 1) == LUA_TUSERDATA)
		lp_hold(L, lp_state(L), 1);
	return lua_gettop(L);
}

/* cpointer(f) -> light userdata of a C function without upvalues, or nil; from_cpointer(p) -> function.
 * Within one process the address is a name: preload functions that a host linked in have no other. */
static int cpointer(lua_State *L)
{
	lua_CFunction f = lua_tocfunction(L, 1);
	bool plain = f && !lua_getupvalue(L, 1, 1);
	lua_settop(L, 1);
	if (plain)
		lua_pushlightuserdata(L, (void *)f);
	else
		lua_pushnil(L);
	return 1;
}

static int from_cpointer(lua_State *L)
{
	void *f = lua_touserdata(L, 1);
	luaL_argcheck(L, lua_islightuserdata(L, 1) && f, 1, "light userdata expected");
	lua_pushcfunction(L, (lua_CFunction)f);
	return 1;
}

/* registry() -> what debug.getregistry gives in a worker: a table of what has a name there, which is Lua's and that of C
 * modules. What it takes goes into the registry under a name; to empty it empties nothing else. */
static int registry_newindex(lua_State *L)
{
	if (lua_type(L, 2) != LUA_TSTRING)
		return luaL_error(L, "the registry of a worker takes values under names, not under a %s", luaL_typename(L, 2));
	lua_settop(L, 3);
	lua_pushvalue(L, 2);
	lua_pushvalue(L, 3);
	lua_rawset(L, 1);
	lua_pushvalue(L, 2);
	if (lua_rawget(L, LUA_REGISTRYINDEX) != LUA_TNIL && !lua_rawequal(L, -1, 3))
		return luaL_error(L, "'%s' is in the registry already", lua_tostring(L, 2));
	lua_settop(L, 3);
	lua_rawset(L, LUA_REGISTRYINDEX);
	return 0;
}

static int registry(lua_State *L)
{
	lua_settop(L, 0);
	lua_newtable(L);
	lua_pushnil(L);
	while (lua_next(L, LUA_REGISTRYINDEX)) {
		if (lua_type(L, 2) == LUA_TSTRING && strncmp(lua_tostring(L, 2), "lua-pool", 8) != 0) {
			lua_pushvalue(L, 2);
			lua_insert(L, -2);
			lua_rawset(L, 1);
		} else {
			lua_pop(L, 1);
		}
	}
	lua_newtable(L);
	lua_pushcfunction(L, registry_newindex);
	lua_setfield(L, -2, "__newindex");
	lua_setmetatable(L, 1);
	return 1;
}

/* keep_standard(modules): those that a task may not lose to this state (names.c). */
static int keep_standard(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &lp_standard_modules);
	return 0;
}

/* lost(): package.loaded has been emptied: this state ends with its outermost task, and another one is opened. */
static int lost(lua_State *L)
{
	lp_names_lost(lp_state(L)->values);
	return 0;
}

/* output_uncaught(error): see output.h. */
static int output_uncaught(lua_State *L)
{
	if (lua_type(L, 1) == LUA_TSTRING)
		lp_output_uncaught(lua_tostring(L, 1));
	return 0;
}

void lp_open_worker(lua_State *L, int state)
{
	static const luaL_Reg functions[] = {{"print", worker_print}, {"guarded_output", lp_output_guarded}, {"output_uncaught", output_uncaught}, {"alone", alone}, {"pin", pin}, {"seed", seed},
		{"exit", worker_exit}, {"child", child}, {"opener", opener}, {"opened", opened}, {"execute", worker_execute}, {"cpointer", cpointer}, {"from_cpointer", from_cpointer},
		{"registry", registry}, {"keep_standard", keep_standard}, {"lost", lost},
		{NULL, NULL}};
	lua_pushvalue(L, state);
	luaL_setfuncs(L, functions, 1);
}
