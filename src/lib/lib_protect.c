/* lib_protect: the protected calls of workers, which do not catch their task's own end. Lua 5.4 only: on LuaJIT they
 * are Lua wrappers (lua-pool/worker.lua), since a pcall made of C cannot be yielded across there.
 *
 * They are copies of those in Lua 5.4's lbaselib.c and lcorolib.c (MIT) with two additions: an error that ends
 * the task is raised again, and the coroutine that runs is recorded for the signal handler.
 *
 * Which errors end the task: the one with which it was told, and one that took its place on the way, when clean-up
 * failed: any that comes through a protected call in which the task was told. */
#include "wait/cancel.h"
#include "values/handle.h"
#include "lib/lib.h"
#include "vm/signals.h"

#if !LP_LUAJIT

static bool own(lua_State *L, int index)
{
	return lp_is_own_stop(L, index, lp_state(L)->exec->actor);
}

static bool was_told(struct lp_state *s)
{
	struct lp_exec *e = s->exec;
	return e && e->actor && (lp_cancel_word(e->actor) & LP_CANCEL_DELIVERED);
}

static bool ends_task(lua_State *L, int index, bool told_before)
{
	return own(L, index) || (!told_before && was_told(lp_state(L)));
}

/* ---- pcall, xpcall ---- */

/* ctx: values below the results, and whether the task had been told before. */
enum { EXTRA = 3, TOLD_BEFORE = 4 };

static int finish(lua_State *L, struct lp_state *s, int status, lua_KContext ctx)
{
	if (s->worker)
		s->worker->running = L;
	if (status != LUA_OK && status != LUA_YIELD) {
		if (ends_task(L, -1, ctx & TOLD_BEFORE))
			return lua_error(L);
		lua_pushboolean(L, 0);
		lua_pushvalue(L, -2);
		return 2;
	}
	return lua_gettop(L) - (int)(ctx & EXTRA);
}

static int finish_pcall(lua_State *L, int status, lua_KContext ctx)
{
	return finish(L, lp_state(L), status, ctx);
}

static int protected_call(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	luaL_checkany(L, 1);
	lua_pushboolean(L, 1);
	lua_insert(L, 1);
	lua_KContext ctx = was_told(s) ? TOLD_BEFORE : 0;
	return finish(L, s, lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, ctx, finish_pcall), ctx);
}

/* The user's handler is not for the task's own end. Upvalues: state, handler. */
static int handle_error(lua_State *L)
{
	lua_settop(L, 1);
	if (own(L, 1))
		return 1;
	lua_pushvalue(L, lua_upvalueindex(2));
	lua_insert(L, 1);
	lua_call(L, 1, 1);
	return 1;
}

static int protected_call_handled(lua_State *L)
{
	int n = lua_gettop(L);
	luaL_checktype(L, 2, LUA_TFUNCTION);
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_pushvalue(L, 2);
	lua_pushcclosure(L, handle_error, 2);
	lua_replace(L, 2);
	lua_pushboolean(L, 1);
	lua_pushvalue(L, 1);
	lua_rotate(L, 3, 2);
	lua_KContext ctx = 2 | (was_told(lp_state(L)) ? TOLD_BEFORE : 0);
	int status = lua_pcallk(L, n - 2, LUA_MULTRET, 2, ctx, finish_pcall);
	return finish_pcall(L, status, ctx);
}

/* ---- coroutines ---- */

static lua_State *check_coroutine(lua_State *L)
{
	lua_State *co = lua_tothread(L, 1);
	luaL_argexpected(L, co, 1, "coroutine");
	return co;
}

static int resume(lua_State *L, struct lp_worker *w, lua_State *co, int nargs)
{
	int results;
	if (!lua_checkstack(co, nargs)) {
		lua_pushliteral(L, "too many arguments to resume");
		return -1;
	}
	lua_xmove(L, co, nargs);
	if (w)
		w->running = co;
	int status = lua_resume(co, L, nargs, &results);
	if (w)
		w->running = L;
	if (status == LUA_OK || status == LUA_YIELD) {
		if (!lua_checkstack(L, results + 1)) {
			lua_pop(co, results);
			lua_pushliteral(L, "too many results to resume");
			return -1;
		}
		lua_xmove(co, L, results);
		return results;
	}
	lua_xmove(co, L, 1);
	return -1;
}

/* After a coroutine gave results. What it has taken it hands on to this one: which now has the hook. */
static bool to_be_told(struct lp_state *s)
{
	if (!lp_interrupted(s->exec))
		return false;
	if (!lp_in_hand(s->exec->actor))
		return true;
	if (s->worker && s->worker->has_thread)
		lp_arm_hook(s->worker);
	return false;
}

/* Runs what its to-be-closed variables ask for, whatever ended it. */
static int close_coroutine(lua_State *L, lua_State *co)
{
	struct lp_worker *w = lp_state(L)->worker;
	if (w)
		w->running = co;
	int status = lua_resetthread(co);
	if (w)
		w->running = L;
	return status;
}

static int coroutine_resume(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	lua_State *co = check_coroutine(L);
	bool told_before = was_told(s);
	int results = resume(L, s->worker, co, lua_gettop(L) - 1);
	if (results < 0 && (ends_task(L, -1, told_before) || lp_interrupted(s->exec))) {
		/* The task ends: nobody will close it later, as a program could after an error. (One that could not be
		 * resumed is none of those: it may be running.) */
		if (lua_status(co) > LUA_YIELD && close_coroutine(L, co) != LUA_OK)
			lua_xmove(co, L, 1);
		return ends_task(L, -1, told_before) ? lua_error(L) : lp_raise_interrupt(L, s);
	}
	if (to_be_told(s))
		return lp_raise_interrupt(L, s);
	lua_pushboolean(L, results >= 0);
	lua_insert(L, -(results < 0 ? 2 : results + 1));
	return results < 0 ? 2 : results + 1;
}

/* Upvalues: state, coroutine. */
static int wrapped(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	lua_State *co = lua_tothread(L, lua_upvalueindex(2));
	int results = resume(L, s->worker, co, lua_gettop(L));
	/* It may have come back because a system call in it was cut off: the hook that was to tell the task is on it. */
	if (results >= 0)
		return to_be_told(s) ? lp_raise_interrupt(L, s) : results;
	int status = lua_status(co);
	if (status != LUA_OK && status != LUA_YIELD) { /* an error in it: closes what it left open */
		status = close_coroutine(L, co);
		if (status != LUA_OK)
			lua_xmove(co, L, 1); /* an error while closing takes the place of the first */
	}
	if (status != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
		luaL_where(L, 1);
		lua_insert(L, -2);
		lua_concat(L, 2);
	}
	return lua_error(L);
}

static int coroutine_wrap(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TFUNCTION);
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_State *co = lua_newthread(L);
	lua_pushvalue(L, 1);
	lua_xmove(L, co, 1);
	lua_pushcclosure(L, wrapped, 2);
	return 1;
}

static int coroutine_close(lua_State *L)
{
	lua_State *co = check_coroutine(L);
	lua_Debug ar;
	if (co == L)
		return luaL_error(L, "cannot close a running coroutine");
	if (lua_status(co) == LUA_OK && lua_getstack(co, 0, &ar))
		return luaL_error(L, "cannot close a normal coroutine");
	bool told_before = was_told(lp_state(L));
	if (close_coroutine(L, co) == LUA_OK) {
		lua_pushboolean(L, 1);
		return 1;
	}
	lua_pushboolean(L, 0);
	lua_xmove(co, L, 1);
	return ends_task(L, -1, told_before) ? lua_error(L) : 2;
}

/* load with a function as reader runs that function protected. Upvalues: state, the standard load. */
static int load_chunk(lua_State *L)
{
	bool told_before = was_told(lp_state(L));
	lua_pushvalue(L, lua_upvalueindex(2));
	lua_insert(L, 1);
	lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
	if (lua_gettop(L) >= 2 && !lua_toboolean(L, 1) && ends_task(L, 2, told_before)) {
		lua_settop(L, 2);
		return lua_error(L);
	}
	return lua_gettop(L);
}

int lp_install_protected(lua_State *L)
{
	static const luaL_Reg plain[] = {{"pcall", protected_call}, {"xpcall", protected_call_handled}, {NULL, NULL}};
	static const luaL_Reg coroutines[] = {{"resume", coroutine_resume}, {"wrap", coroutine_wrap}, {"close", coroutine_close}, {NULL, NULL}};
	lua_settop(L, 0);
	lua_pushglobaltable(L);
	lua_pushvalue(L, lua_upvalueindex(1));
	luaL_setfuncs(L, plain, 1);
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_getfield(L, 1, "load");
	lua_pushcclosure(L, load_chunk, 2);
	lua_setfield(L, 1, "load");
	lua_getfield(L, 1, "coroutine");
	lua_pushvalue(L, lua_upvalueindex(1));
	luaL_setfuncs(L, coroutines, 1);
	return 0;
}
#endif
