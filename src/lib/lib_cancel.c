/* lib_cancel: cancellation from inside: cancel_requested, check_cancel, shield, deadline.
 *
 * A scope keeps what held outside and puts it back, however fn is left. On Lua 5.4 nothing that stops a task from
 * outside can fall between its begin and the protected call, or between that and its end: there is no Lua code
 * there. LuaJIT has no continuations, so a scope is made of Lua there (lua-pool/cancel.lua), which holds the
 * moments at its borders with a shield. */
#include "wait/cancel.h"
#include "values/handle.h"
#include "lib/lib.h"
#include "values/own.h"
#include "vm/signals.h"
#include "vm/suspend.h"

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

/* check_end(): the same after a scope whose fn has returned something, which may be what a call has just taken. */
static int check_end(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	if (s->exec && lp_interrupted(s->exec) && !lp_in_hand(s->exec->actor))
		return lp_raise_interrupt(L, s);
	return 0;
}

/* is_own(err) -> boolean: is it the error with which this task is being ended? */
static int is_own(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	lua_pushboolean(L, s->exec && lp_is_own_stop(L, 1, s->exec->actor));
	return 1;
}

/* was_told() -> boolean: is this task in its clean-up? */
static int was_told(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	lua_pushboolean(L, s->exec && s->exec->actor && (lp_cancel_word(s->exec->actor) & LP_CANCEL_DELIVERED));
	return 1;
}

static void set_scope(struct lp_state *s, const struct lp_limits *to)
{
	if (s->worker)
		lp_worker_set_scope(s->worker, to);
	else
		lp_limits_set(s->exec->actor, to);
}

/* A deadline that was put away is to be told when it passes, or now. */
static void restore_scope(struct lp_state *s, const struct lp_limits *out)
{
	set_scope(s, out);
	if (s->worker && out->deadline != LP_FOREVER)
		lp_monitor_deadline(out->deadline);
}

static lp_time check_deadline(lua_State *L)
{
	if (lua_type(L, 1) != LUA_TNUMBER)
		luaL_argerror(L, 1, lua_pushfstring(L, "seconds expected, got %s", luaL_typename(L, 1)));
	double seconds = lua_tonumber(L, 1);
	luaL_argcheck(L, seconds == seconds, 1, "seconds expected, got NaN");
	return seconds > 0 ? lp_deadline_in(seconds) : lp_now();
}

#if !LP_LUAJIT
static void check_callable(lua_State *L, int index)
{
	if (lua_isfunction(L, index))
		return;
	if (!luaL_getmetafield(L, index, "__call"))
		luaL_argerror(L, index, lua_pushfstring(L, "function expected, got %s", luaL_typename(L, index)));
	lua_pop(L, 1);
}
#endif

/* Before a scope begins. Raises in a state that is closing: then there is nobody to be told. */
static struct lp_state *check_state(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	if (!s->exec || (!s->worker && !s->host))
		luaL_error(L, "this Lua state is closing: nothing can be waited for");
	lp_light_note(L, s);
	return s;
}

/* Deadlines that were set outside do not count in a shield. */
static void begin_shield(struct lp_state *s, const struct lp_limits *out)
{
	struct lp_limits in = *out;
	in.shield++;
	in.deadline = LP_FOREVER;
	in.told = LP_UNTOLD_YET;
	set_scope(s, &in);
}

/* Of nested deadlines the earlier counts. */
static void begin_deadline(lua_State *L, struct lp_state *s, const struct lp_limits *out, int hold, lp_time mine)
{
	struct lp_limits in = *out;
	in.hold = (uint16_t)(in.hold + hold);
	if (mine < out->deadline) {
		in.deadline = mine;
		in.told = LP_UNTOLD_YET;
	}
	set_scope(s, &in);
	if (s->worker && mine < out->deadline && !lp_monitor_deadline(mine) && s->worker->has_thread) {
		set_scope(s, out); /* else it would hold for waits only, and a loop would go on for ever */
		luaL_error(L, "no thread can be had that would see to this deadline");
	}
}

/* The error at the top is what this scope's fn was left with. What stopped it is an ordinary error outside, unless
 * an outer scope's time is up as well: then that is told by it, and its grace runs. */
static void end_deadline(lua_State *L, struct lp_state *s, const struct lp_limits *out, bool failed)
{
	bool own = failed && lp_toobj(L, -1) && lp_toobj(L, -1)->cls == lp_timeout_value.cls &&
		lp_is_own_stop(L, -1, s->exec->actor);
	bool outer = own && out->deadline != LP_FOREVER && out->deadline <= lp_now();
	struct lp_limits to = *out;
	if (outer && to.told == LP_UNTOLD_YET) {
		to.told = LP_TOLD;
		to.deadline = lp_deadline_after(s->worker ? s->worker->pool->opt.cancel_grace : LP_SECOND);
	}
	restore_scope(s, &to);
	if (own && !outer) {
		lua_pop(L, 1);
		lp_push(L, &lp_timeout_value);
	}
}

#if !LP_LUAJIT

static struct lp_limits *push_outside(lua_State *L, struct lp_state *s)
{
	struct lp_limits *out = lua_newuserdatauv(L, sizeof *out, 0);
	*out = lp_limits_of(s->exec->actor);
	return out;
}

/* The scope lies below what fn has answered. */
static int shield_end(lua_State *L, int status, lua_KContext unused)
{
	(void)unused;
	struct lp_state *s = lp_state(L);
	if (s->worker)
		s->worker->running = L;
	restore_scope(s, lua_touserdata(L, 1));
	if (status != LUA_OK && status != LUA_YIELD)
		return lua_error(L);
	/* What arrived meanwhile is told right after, unless fn returns what a call has just taken. */
	if (lp_interrupted(s->exec) && (lua_gettop(L) == 1 || !lp_in_hand(s->exec->actor)))
		return lp_raise_interrupt(L, s);
	return lua_gettop(L) - 1;
}

/* shield(fn, ...) -> fn's results. Cancellation and the deadlines that hold outside are held back until fn has returned
 * or raised, and so is the cancellation of what the task has started. Deadlines set inside count. May be nested. Blocks
 * as fn does. In the main state it holds deadlines back. */
static int shield(lua_State *L)
{
	struct lp_state *s = check_state(L);
	luaL_checkany(L, 1);
	check_callable(L, 1);
	struct lp_limits *out = push_outside(L, s);
	lua_insert(L, 1);
	begin_shield(s, out);
	return shield_end(L, lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, 0, shield_end), 0);
}

static int deadline_end(lua_State *L, int status, lua_KContext unused)
{
	(void)unused;
	struct lp_state *s = lp_state(L);
	bool failed = status != LUA_OK && status != LUA_YIELD;
	if (s->worker)
		s->worker->running = L;
	end_deadline(L, s, lua_touserdata(L, 1), failed);
	return failed ? lua_error(L) : lua_gettop(L) - 1;
}

/* deadline(seconds, fn, ...) -> fn's results. When the time is up, fn is stopped as if it were cancelled, and TIMEOUT
 * is raised here, as an ordinary error. Of nested ones the earlier counts. Blocks as fn does. In the main state, and
 * in a pool without threads, it ends waits of lua-pool only. */
static int deadline(lua_State *L)
{
	struct lp_state *s = check_state(L);
	lp_time mine = check_deadline(L);
	luaL_checkany(L, 2);
	check_callable(L, 2);
	struct lp_limits *out = push_outside(L, s);
	lua_replace(L, 1);
	begin_deadline(L, s, out, 0, mine);
	return deadline_end(L, lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, 0, deadline_end), 0);
}

#else

/* The scope as Lua code carries it. */
static const char scope_key;

struct scope {
	struct lp_own own;
	struct lp_limits out;
};

static struct lp_limits *check_scope(lua_State *L)
{
	struct scope *scope = lp_own_test(L, 1, sizeof *scope, &scope_key);
	if (!scope)
		luaL_argerror(L, 1, "scope expected");
	return &scope->out;
}

/* scope_begin(fn [, seconds]) -> scope: with the seconds a deadline, in which everything is held back at first; else a
 * shield. */
static int scope_begin(lua_State *L)
{
	struct lp_state *s = check_state(L);
	int top = lua_gettop(L); /* fn is the last argument of the user's call as well */
	if (!lua_isfunction(L, 1) && !luaL_getmetafield(L, 1, "__call"))
		luaL_argerror(L, top, lua_pushfstring(L, "function expected, got %s", luaL_typename(L, 1)));
	lua_settop(L, top);
	bool timed = top >= 2;
	lp_time mine = LP_FOREVER;
	if (timed) {
		lua_remove(L, 1);
		mine = check_deadline(L);
	}
	struct scope *scope = lua_newuserdata(L, sizeof *scope);
	lp_own_set(scope, &scope_key);
	struct lp_limits *out = &scope->out;
	*out = lp_limits_of(s->exec->actor);
	if (timed)
		begin_deadline(L, s, out, 1, mine);
	else
		begin_shield(s, out);
	return 1;
}

static void change_hold(struct lp_state *s, uint16_t hold)
{
	struct lp_limits in = lp_limits_of(s->exec->actor);
	in.hold = hold;
	set_scope(s, &in);
}

/* scope_open(scope): inside the protected call of a deadline; nothing is held back by it any longer. */
static int scope_open(lua_State *L)
{
	change_hold(lp_state(L), check_scope(L)->hold);
	return 0;
}

/* hold(...) -> ...: nothing is told from here to scope_end. Also the handler of the protected call's errors. */
static int scope_hold(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	change_hold(s, (uint16_t)(s->exec->actor->hold + 1));
	return lua_gettop(L);
}

/* scope_end(scope [, error]) -> the error to raise outside. */
static int scope_end(lua_State *L)
{
	bool failed = lua_gettop(L) >= 2;
	end_deadline(L, lp_state(L), check_scope(L), failed);
	return failed;
}
#endif

void lp_open_cancel(lua_State *L, int state)
{
	static const luaL_Reg functions[] = {{"cancel_requested", cancel_requested}, {"check_cancel", check_cancel},
		{"check_end", check_end}, {"is_own", is_own},
		{"was_told", was_told},
#if !LP_LUAJIT
		{"shield", shield}, {"deadline", deadline}, {"install_protected", lp_install_protected},
#else
		{"scope_begin", scope_begin}, {"scope_open", scope_open}, {"scope_hold", scope_hold}, {"scope_end", scope_end},
#endif
		{NULL, NULL}};
	lua_pushvalue(L, state);
	luaL_setfuncs(L, functions, 1);
}
