/* signals: see signals.h. */
#include "vm/signals.h"

#include "wait/cancel.h"
#include "values/handle.h"
#include "sched/host.h"
#include "sched/worker.h"

static void immortal(struct lp_obj *o)
{
	(void)o;
}

static const struct lp_class cancelled_class = {.name = "lua-pool.CANCELLED", .destroy = immortal};
static const struct lp_class timeout_class = {.name = "lua-pool.TIMEOUT", .destroy = immortal};

struct lp_obj lp_cancelled_value = {.cls = &cancelled_class, .refs = 1};
struct lp_obj lp_timeout_value = {.cls = &timeout_class, .refs = 1};
static struct lp_obj own_cancelled = {.cls = &cancelled_class, .refs = 1};
static struct lp_obj own_timeout = {.cls = &timeout_class, .refs = 1};

static void renew_values(void)
{
	lp_cancelled_value.generation = lp_timeout_value.generation = lp_generation;
	own_cancelled.generation = own_timeout.generation = lp_generation;
}

__attribute__((constructor)) static void values_open(void)
{
	renew_values();
	lp_fork_child(LP_RANK_NONE, renew_values);
}

bool lp_is_own_stop(lua_State *L, int index, struct lp_actor *a)
{
	struct lp_obj *o = lp_toobj(L, index);
	if (!o || !a)
		return false;
	/* Someone may have kept the value of a task that is gone and raise it: an ordinary error then. */
	return (o == &own_cancelled && (lp_cancel_word(a) & (LP_CANCEL_DELIVERED | LP_CANCEL_FINAL))) ||
		(o == &own_timeout && a->deadline != LP_FOREVER);
}

bool lp_ends_actor(lua_State *L, int index)
{
	if (!lp_toobj(L, index)) /* as nearly all errors: they are text */
		return false;
	index = lua_absindex(L, index);
	struct lp_state *s = lp_state_open(L);
	lua_pop(L, 1);
	return s->exec && lp_is_own_stop(L, index, s->exec->actor);
}

/* ---- raising ---- */

static void stop_hook(lua_State *L, lua_Debug *ar);

/* A call, a new line, or a jump back: every code that goes on for ever comes to one of them. A hook that counts
 * instructions would be no faster, and would stop a task between `local g <close> =` and the mark of the
 * variable. Runs in the signal handler: see lp_arm_hook. */
static void arm(struct lp_worker *w, lua_State *L)
{
	lua_Hook theirs = lua_gethook(L);
	if (theirs != stop_hook)
		w->kept = (struct lp_kept_hook){L, theirs, lua_gethookmask(L), lua_gethookcount(L)};
#if LP_LUAJIT
	/* The interrupted code may be changing LuaJIT's dispatch table: off and on sets all of it again. */
	lua_sethook(L, NULL, 0, 0);
#endif
	lua_sethook(L, stop_hook, LUA_MASKCALL | LUA_MASKLINE, 0);
}

void lp_disarm_hook(struct lp_worker *w, lua_State *L)
{
	if (lua_gethook(L) != stop_hook)
		return;
	struct lp_kept_hook kept = w->kept;
	if (LP_LUAJIT || kept.L == L)
		lua_sethook(L, kept.hook, kept.mask, kept.count);
	else
		lua_sethook(L, NULL, 0, 0);
}

#if LP_LUAJIT
/* telling: {n}, how often a task was told in this state. The protected calls, which are made of Lua there, compare it
 * before and after: an error that a message handler was called for when the hook raised arrives as a string. */
static const char telling_key;

static void count_telling(lua_State *L)
{
	if (lua_rawgetp(L, LUA_REGISTRYINDEX, &telling_key) == LUA_TTABLE) {
		lua_rawgeti(L, -1, 1);
		lua_pushinteger(L, lua_tointeger(L, -1) + 1);
		lua_rawseti(L, -3, 1);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}
#endif

/* Takes what there is to tell, so that the clean-up is not told again, and pushes it. */
static void deliver(lua_State *L, struct lp_worker *w, struct lp_actor *a)
{
	bool stop = lp_actor_interrupt(a) == LP_STOP, again = false;
	if (stop && a->is_task)
		lp_task_drop_token(lp_entry(a, struct lp_task, actor));
	if (w)
		lp_lock(&w->lock); /* no signal is sent for this request from here on */
	if (stop) {
		lp_cancel_deliver(a);
		again = lp_cancel_word(a) & LP_CANCEL_ASKED; /* the grace is over: at every point */
	} else if (a->told == LP_UNTOLD_YET) {
		a->told = LP_TOLD;
		a->deadline = lp_deadline_after(w ? w->pool->opt.cancel_grace : LP_SECOND);
	} else {
		a->told = LP_TOLD_FINALLY;
		again = true;
	}
	if (w) {
		lp_unlock(&w->lock);
		lp_flush_signal(w);
		if (again && w->has_thread)
			arm(w, L);
		else
			lp_disarm_hook(w, L);
		if (!stop)
			lp_monitor_deadline(a->deadline);
	}
#if LP_LUAJIT
	if (stop)
		count_telling(L);
#endif
	lp_push(L, stop ? &own_cancelled : &own_timeout);
}

/* LuaJIT answers an error inside a message handler with "error in error handling", whatever it was: what is raised
 * there does not arrive, unless the handler's code runs protected itself. */
static bool in_handler(lua_State *L, struct lp_worker *w)
{
	return LP_LUAJIT && lua_status(L) == LUA_ERRERR && !w->catching;
}

int lp_pcall_in_handler(lua_State *L, struct lp_worker *w, int nargs)
{
	bool before = w->catching;
	w->catching = true;
	int status = lua_pcall(L, nargs, 1, 0);
	w->catching = before;
	return status;
}

static void stop_hook(lua_State *L, lua_Debug *ar)
{
	(void)ar;
	struct lp_worker *w = lp_this_worker();
	if (!w) { /* a forked child of a task */
		lua_sethook(L, NULL, 0, 0);
		return;
	}
	if (!w->exec.actor || lp_actor_interrupt(w->exec.actor) == LP_NOTHING) {
		lp_disarm_hook(w, L); /* set for a task that is gone, or a moment too late */
		return;
	}
	if (in_handler(L, w) || lp_pass_point(w->exec.actor))
		return; /* at the next point after it */
	deliver(L, w, w->exec.actor);
	lua_error(L);
}

void lp_arm_hook(struct lp_worker *w)
{
	lua_State *L = w->running;
	struct lp_actor *a = w->exec.actor;
	if (L && a && lp_actor_interrupt(a) != LP_NOTHING)
		arm(w, L);
}

int lp_raise_interrupt(lua_State *L, struct lp_state *s)
{
	luaL_checkstack(L, 4, NULL);
	deliver(L, s->worker, s->exec->actor);
	return lua_error(L);
}

void lp_host_begin_wait(struct lp_state *s)
{
	struct lp_host *h = s->host;
	h->hook = (void *)lua_gethook(s->L);
	h->hook_mask = lua_gethookmask(s->L);
	h->hook_count = lua_gethookcount(s->L);
	atomic_store(&h->parker, lp_parker_self());
}

void lp_run_host_hook(lua_State *L, struct lp_state *s)
{
	lua_Hook theirs = lua_gethook(s->L);
#if !LP_LUAJIT
	/* It was set on the main thread; in a coroutine it would not fire before that has ended. */
	if (L != s->L) {
		int mask = lua_gethookmask(s->L), count = lua_gethookcount(s->L);
		lua_sethook(s->L, (lua_Hook)s->host->hook, s->host->hook_mask, s->host->hook_count);
		lua_sethook(L, theirs, mask, count);
	}
#endif
	luaL_checkstack(L, 2, NULL);
	if (luaL_loadstring(L, "return") != LUA_OK)
		lua_error(L);
	lua_call(L, 0, 0);
	if (!LP_LUAJIT && L != s->L && lua_gethook(L) == theirs)
		lua_sethook(L, NULL, 0, 0); /* it stays where it was set, if it did not take itself away */
}

/* ---- the values ---- */

static int same_class(lua_State *L)
{
	struct lp_obj *a = lp_toobj(L, 1), *b = lp_toobj(L, 2);
	lua_pushboolean(L, a && b && a->cls == b->cls);
	return 1;
}

/* They live as long as the process, so their handles keep nothing alive; and one that was emptied by hand while it travels
 * as an error would not end its task any more. */
static int stays(lua_State *L)
{
	(void)L;
	return 0;
}

static int cancelled_tostring(lua_State *L)
{
	lua_pushliteral(L, "cancelled");
	return 1;
}

static int timeout_tostring(lua_State *L)
{
	lua_pushliteral(L, "timeout");
	return 1;
}

#if LP_LUAJIT
/* stop_again(): raises the error with which this task is being ended. Pushed afresh: nobody can have spoilt it. */
static int stop_again(lua_State *L)
{
	luaL_checkstack(L, 4, NULL);
	lp_push(L, &own_cancelled);
	return lua_error(L);
}
#endif

void lp_open_signals(lua_State *L, int state)
{
	static const luaL_Reg cancelled[] = {{"__tostring", cancelled_tostring}, {"__eq", same_class}, {"__gc", stays}, {NULL, NULL}};
	static const luaL_Reg timeout[] = {{"__tostring", timeout_tostring}, {"__eq", same_class}, {"__gc", stays}, {NULL, NULL}};
	(void)state;
	lp_handle_class(L, &cancelled_class, NULL, cancelled, 0);
	lp_handle_class(L, &timeout_class, NULL, timeout, 0);
#if LP_LUAJIT
	lua_createtable(L, 1, 0);
	lua_pushinteger(L, 0);
	lua_rawseti(L, -2, 1);
	lua_pushvalue(L, -1);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &telling_key);
	lua_setfield(L, -2, "telling");
	lua_pushcfunction(L, stop_again);
	lua_setfield(L, -2, "stop_again");
#endif
	lp_push(L, &lp_cancelled_value);
	lua_setfield(L, -2, "CANCELLED");
	lp_push(L, &lp_timeout_value);
	lua_setfield(L, -2, "TIMEOUT");
}
