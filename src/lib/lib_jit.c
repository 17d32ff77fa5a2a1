/* lib_jit: what lua-pool/worker.lua needs where the interpreter is LuaJIT: message handlers that can be stopped, and a
 * guard of the C stack, which LuaJIT does not watch.
 *
 * A Lua state bounds its own stack, and with it the depth of C functions that call Lua functions that call C functions:
 * 6,500 such levels, and nearly all of LuaJIT's functions need less than 2 MiB for them (tried; LP_TASK_STACK is more). The
 * exceptions are string.gsub (8 KiB a level for its buffer: recursion through it ends the plain interpreter with
 * SIGSEGV), load with a reader, and coroutines, each of which has a stack of its own. */
#include "values/handle.h"
#include "lib/lib.h"
#include "vm/signals.h"
#include "sched/worker.h"

#if LP_LUAJIT

/* LP_LEAST_STACK is for whatever runs next, the compiler and the unwinding included.
 * Upvalue: the function. A C function proper is entered directly, one of LuaJIT's in assembler is called. */
static int guarded(lua_State *L)
{
	size_t left = lp_stack_left();
	if (left && left < LP_LEAST_STACK)
		return luaL_error(L, "stack overflow (C stack)");
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
	return lua_gettop(L);
}

static int guarded_direct(lua_State *L)
{
	size_t left = lp_stack_left();
	if (left && left < LP_LEAST_STACK)
		return luaL_error(L, "stack overflow (C stack)");
	return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

/* guard(f [, direct]) -> function that calls f, and raises when little of the C stack is left. direct: f is a C function
 * without upvalues, whose own frame this becomes. */
static int guard(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TFUNCTION);
	bool direct = lua_toboolean(L, 2) && lua_iscfunction(L, 1);
	lua_settop(L, 1);
	lua_pushcclosure(L, direct ? guarded_direct : guarded, 1);
	return 1;
}

/* handle(handler, err) -> what the user's handler answers, in a message handler: it can be stopped, and the task's own end
 * is not for it. */
static int handle(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	lua_settop(L, 2);
	if (lp_is_own_stop(L, 2, s->exec->actor))
		return 1;
	if (!s->worker || lua_iscfunction(L, 1)) {
		lua_call(L, 1, 1);
		return 1;
	}
	if (lp_pcall_in_handler(L, s->worker, 1) == LUA_OK || lp_is_own_stop(L, -1, s->exec->actor))
		return 1;
	return lua_error(L);
}

void lp_open_jit(lua_State *L, int state)
{
	static const luaL_Reg functions[] = {{"guard", guard}, {"handle", handle}, {NULL, NULL}};
	lua_pushvalue(L, state);
	luaL_setfuncs(L, functions, 1);
}

#else

void lp_open_jit(lua_State *L, int state)
{
	(void)L, (void)state;
}

#endif
