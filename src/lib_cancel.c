/* lib_cancel: cancellation from inside: cancel_requested, check_cancel, and what lua-pool/cancel.lua makes
 * shield and deadline of; the protected calls of workers, which do not catch their task's own end.
 *
 * The protected calls are copies of those in Lua 5.4's lbaselib.c and lcorolib.c (MIT) with two additions:
 * the error of the task's own end is raised again, and the coroutine that runs is recorded for the signal
 * handler. LuaJIT has no continuations: there they are Lua wrappers (lua-pool/worker.lua). */
#include "cancel.h"
#include "handle.h"
#include "lib.h"
#include "signals.h"

static bool own(lua_State *L, int index)
{
	return lp_is_own_stop(L, index, lp_state(L)->exec->actor);
}

/* cancel_requested() -> boolean: was this task asked to end? Also while it cleans up or is shielded. */
static int cancel_requested(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	lua_pushboolean(L, s->exec && s->exec->actor && lp_cancel_word(s->exec->actor));
	return 1;
}

/* check_cancel(): raises CANCELLED or TIMEOUT if this task is to be told; a cancellation point, no more. */
static int check_cancel(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	if (s->exec && lp_interrupted(s->exec))
		return lp_raise_interrupt(L, s);
	return 0;
}

/* is_own(err) -> boolean: is it the error with which this task is being ended? */
static int is_own(lua_State *L)
{
	lua_pushboolean(L, own(L, 1));
	return 1;
}

static void set_scope(struct lp_state *s, uint32_t shield, lp_time deadline)
{
	if (s->worker) {
		lp_worker_set_scope(s->worker, shield, deadline);
	} else {
		s->exec->actor->shield = shield;
		s->exec->actor->deadline = deadline;
	}
}

/* shield_begin(), shield_end(): what lies between is not told anything. */
static int shield_begin(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	struct lp_actor *a = s->exec->actor;
	set_scope(s, a->shield + 1, a->deadline);
	return 0;
}

static int shield_end(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	struct lp_actor *a = s->exec->actor;
	set_scope(s, a->shield - 1, a->deadline);
	return 0;
}

/* deadline_begin(seconds) -> scope; deadline_end(scope) -> true if an outer scope's time is up as well. */
static int deadline_begin(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	double seconds = luaL_checknumber(L, 1);
	luaL_argcheck(L, seconds == seconds, 1, "seconds expected, got NaN");
	struct lp_actor *a = s->exec->actor;
	lp_time *outer = lua_newuserdatauv(L, sizeof *outer, 0);
	*outer = a->deadline;
	lp_time mine = seconds > 0 ? lp_deadline_in(seconds) : lp_now();
	if (mine < *outer) {
		set_scope(s, a->shield, mine);
		if (s->worker)
			lp_monitor_deadline(mine);
	}
	return 1;
}

static int deadline_end(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	luaL_checktype(L, 1, LUA_TUSERDATA);
	lp_time outer = *(lp_time *)lua_touserdata(L, 1);
	set_scope(s, s->exec->actor->shield, outer);
	lua_pushboolean(L, outer != LP_FOREVER && outer <= lp_now());
	return 1;
}

#if !LP_LUAJIT

/* ---- pcall, xpcall ---- */

static int finish_pcall(lua_State *L, int status, lua_KContext extra)
{
	struct lp_state *s = lp_state(L);
	if (s->worker)
		s->worker->running = L;
	if (status != LUA_OK && status != LUA_YIELD) {
		if (own(L, -1))
			return lua_error(L);
		lua_pushboolean(L, 0);
		lua_pushvalue(L, -2);
		return 2;
	}
	return lua_gettop(L) - (int)extra;
}

static int protected_call(lua_State *L)
{
	luaL_checkany(L, 1);
	lua_pushboolean(L, 1);
	lua_insert(L, 1);
	int status = lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, 0, finish_pcall);
	return finish_pcall(L, status, 0);
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
	int status = lua_pcallk(L, n - 2, LUA_MULTRET, 2, 2, finish_pcall);
	return finish_pcall(L, status, 2);
}

/* ---- coroutines ---- */

static lua_State *check_coroutine(lua_State *L)
{
	lua_State *co = lua_tothread(L, 1);
	luaL_argexpected(L, co, 1, "coroutine");
	return co;
}

static int resume(lua_State *L, lua_State *co, int nargs)
{
	struct lp_worker *w = lp_state(L)->worker;
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
	lua_State *co = check_coroutine(L);
	int results = resume(L, co, lua_gettop(L) - 1);
	if (results < 0 && own(L, -1)) {
		/* The task ends: nobody will close it later, as a program could after an error. */
		if (close_coroutine(L, co) != LUA_OK)
			lua_xmove(co, L, 1);
		return lua_error(L);
	}
	lua_pushboolean(L, results >= 0);
	lua_insert(L, -(results < 0 ? 2 : results + 1));
	return results < 0 ? 2 : results + 1;
}

/* Upvalues: state, coroutine. */
static int wrapped(lua_State *L)
{
	lua_State *co = lua_tothread(L, lua_upvalueindex(2));
	int results = resume(L, co, lua_gettop(L));
	if (results >= 0)
		return results;
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
	if (close_coroutine(L, co) == LUA_OK) {
		lua_pushboolean(L, 1);
		return 1;
	}
	lua_pushboolean(L, 0);
	lua_xmove(co, L, 1);
	return own(L, -1) ? lua_error(L) : 2;
}

/* load with a function as reader runs that function protected. Upvalues: state, the standard load. */
static int load_chunk(lua_State *L)
{
	lua_pushvalue(L, lua_upvalueindex(2));
	lua_insert(L, 1);
	lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
	if (lua_gettop(L) >= 2 && !lua_toboolean(L, 1) && own(L, 2)) {
		lua_settop(L, 2);
		return lua_error(L);
	}
	return lua_gettop(L);
}

/* protected() : replaces pcall and its kin in the globals of a worker. */
static int install_protected(lua_State *L)
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

void lp_open_cancel(lua_State *L, int state)
{
	static const luaL_Reg functions[] = {{"cancel_requested", cancel_requested}, {"check_cancel", check_cancel},
		{"is_own", is_own}, {"shield_begin", shield_begin}, {"shield_end", shield_end},
		{"deadline_begin", deadline_begin}, {"deadline_end", deadline_end},
#if !LP_LUAJIT
		{"install_protected", install_protected},
#endif
		{NULL, NULL}};
	lua_pushvalue(L, state);
	luaL_setfuncs(L, functions, 1);
}
