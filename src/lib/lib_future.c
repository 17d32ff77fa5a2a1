/* lib_future: futures for Lua. A future is a handle of the task itself. */
#include "sched/abandon.h"
#include "wait/cancel.h"
#include "sched/close.h"
#include "values/handle.h"
#include "lib/lib.h"
#include "vm/signals.h"
#include "vm/suspend.h"
#include "values/values.h"
#include "sched/worker.h"

enum { AWAIT_SPIN_NS = 4000 }; /* longer makes every cold await as long as the spin */

static bool spin(struct lp_task *t)
{
	lp_time until = lp_now() + AWAIT_SPIN_NS;
	do
		for (int i = 0; i < 32; i++) {
			if (lp_task_ended(t))
				return true;
			lp_relax();
		}
	while (lp_now() < until);
	return false;
}

/* Waits until the task has ended, running it here if that is right. */
static int wait_for(lua_State *L, lp_then done)
{
	struct lp_state *s = lp_state(L);
	struct lp_task *t = lp_check(L, 1, &lp_task_class);
	lp_time deadline = lp_check_timeout(L, 2);
	struct lp_node node = {.obj = &t->obj};
	if (lp_task_ended(t))
		return done(L, s, &node, 0);
	if (s->worker && deadline == LP_FOREVER && lp_worker_inline(L, s, t)) {
		if (lp_interrupted(s->exec)) /* it was asked while the child ran on top of it */
			lp_raise_interrupt(L, s);
		if (lp_task_ended(t))
			return done(L, s, &node, 0);
	}
	if (s->worker)
		lp_hand_over(s->exec->actor, false);
	/* A light thread has better things to do: its loop. */
	if (deadline != 0 && lp_spinning && !(s->exec && s->exec->host) && spin(t)) {
		if (s->host)
			lp_host_stand_still();
		return done(L, s, &node, 0);
	}
	return lp_wait_then(L, s, &node, deadline, done);
}

void lp_raise_if_doomed(lua_State *L, struct lp_state *s)
{
	struct lp_task *me = lp_current_task(s);
	if (!me)
		return;
	bool doomed = lp_task_condemned(me) || me->sweeps != atomic_load(&me->pool->sweeps);
	if (doomed && !lp_cancel_word(&me->actor))
		lp_task_request_cancel(me);
	if (lp_interrupted(s->exec))
		lp_raise_interrupt(L, s);
}

/* Pushes the error of a failed or cancelled task. */
static void push_error(lua_State *L, struct lp_state *s, struct lp_task *t)
{
	if (lp_task_state(t) == LP_STOPPED) {
		if (s->host)
			lp_host_stand_still(); /* os.exit in a task may be what ended it */
		lp_raise_if_doomed(L, s);
		lp_push(L, &lp_cancelled_value);
	} else if (lp_task_abandoned(t)) { /* its message may be being written */
		lp_push(L, &lp_timeout_value);
	} else if (t->msg.nvalues == 0) {
		lua_pushliteral(L, "not enough memory");
	} else {
		lp_decode(L, s->values, &t->msg);
	}
}

static int awaited(lua_State *L, struct lp_state *s, struct lp_node *n, int answer)
{
	if (answer < 0)
		return lp_wait_failed(L, s, n, answer);
	struct lp_task *t = (struct lp_task *)n->obj;
	if (lp_task_state(t) == LP_DONE)
		return lp_decode(L, s->values, &t->msg);
	lp_task_observe(t);
	push_error(L, s, t);
	return lua_error(L);
}

/* future:await([timeout]) -> results / nil, "timeout"; raises the task's error. */
static int future_await(lua_State *L)
{
	return wait_for(L, awaited);
}

static int pawaited(lua_State *L, struct lp_state *s, struct lp_node *n, int answer)
{
	if (answer == LP_DEADLOCK) { /* the task will never end, which is known now: an answer like its failure */
		lua_pushboolean(L, 0);
		lp_push_deadlock(L);
		return 2;
	}
	if (answer < 0)
		return lp_wait_failed(L, s, n, answer);
	struct lp_task *t = (struct lp_task *)n->obj;
	bool done = lp_task_state(t) == LP_DONE;
	if (!done)
		lp_task_observe(t);
	lua_pushboolean(L, done);
	if (done)
		return 1 + lp_decode(L, s->values, &t->msg);
	push_error(L, s, t);
	return 2;
}

/* future:pawait([timeout]) -> true, results / false, error / nil, "timeout". */
static int future_pawait(lua_State *L)
{
	return wait_for(L, pawaited);
}

/* future:wait([timeout]) -> true / nil, "timeout": has it ended? Never raises the task's error. */
static int future_wait(lua_State *L)
{
	return wait_for(L, lp_then_true);
}

static const char *status_name(struct lp_task *t)
{
	static const char *const names[] = {"pending", "running", "done", "failed", "cancelled"};
	return names[lp_task_state(t)];
}

static int future_status(lua_State *L)
{
	struct lp_task *t = lp_check(L, 1, &lp_task_class);
	lua_pushstring(L, status_name(t));
	return 1;
}

/* future:traceback() -> string of a failed task: its error, the functions inside the task, and where
 * async was called; nil for any other. */
static int future_traceback(lua_State *L)
{
	struct lp_task *t = lp_check(L, 1, &lp_task_class);
	if (lp_task_state(t) == LP_FAILED && lp_task_abandoned(t)) {
		char text[LP_ABANDON_TEXT];
		lp_abandon_describe(t, text, sizeof text);
		lua_pushstring(L, text);
	} else if (lp_task_state(t) == LP_FAILED) {
		lp_task_observe(t);
		lua_pushstring(L, t->report ? t->report : "not enough memory");
	} else {
		lua_pushnil(L);
	}
	return 1;
}

/* Is t the current task, or an ancestor, or one that runs us on top of itself? */
static bool above(struct lp_state *s, struct lp_task *t)
{
	struct lp_task *me = lp_current_task(s);
	if (!me)
		return false;
	for (struct lp_actor *a = &me->actor; a; a = a->outer)
		if (a == &t->actor)
			return true;
	struct lp_token *k = lp_task_token_ref(t);
	bool below = k && lp_task_descends(me, k);
	lp_release(k);
	return below;
}

static int cancelled(lua_State *L, struct lp_state *s, struct lp_node *n, int answer)
{
	if (answer < 0)
		return lp_wait_failed(L, s, n, answer);
	struct lp_task *t = (struct lp_task *)n->obj;
	lua_pushboolean(L, lp_task_state(t) == LP_STOPPED);
	if (lua_toboolean(L, -1))
		return 1;
	lua_pushstring(L, status_name(t));
	return 2;
}

/* future:cancel([timeout]) -> true / false, status / nil, "timeout". Requests, then waits for the end. */
static int future_cancel(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	struct lp_task *t = lp_check(L, 1, &lp_task_class);
	lp_time deadline = lp_check_timeout(L, 2);
	lp_task_observe(t);
	lp_task_request_cancel(t);
	if (above(s, t)) {
		/* Ourselves, or one that waits for us: told at once, not waited for. */
		if (lp_interrupted(s->exec))
			return lp_raise_interrupt(L, s);
		deadline = 0;
	}
	struct lp_node node = {.obj = &t->obj};
	return lp_task_ended(t) ? cancelled(L, s, &node, 0) : lp_wait_then(L, s, &node, deadline, cancelled);
}

static int future_close(lua_State *L)
{
	if (lp_is_unwinding(L, lp_state(L))) {
		lp_host_end(lp_state(L)->host);
		return 0;
	}
	lua_settop(L, 1);
	return future_cancel(L);
}

static int future_tostring(lua_State *L)
{
	struct lp_task *t = lp_check(L, 1, &lp_task_class);
	lua_pushfstring(L, "lua-pool.future: %p (%s)", (void *)t, status_name(t));
	return 1;
}

void lp_open_future(lua_State *L, int state)
{
	static const luaL_Reg methods[] = {{"await", future_await}, {"pawait", future_pawait}, {"wait", future_wait},
		{"status", future_status}, {"traceback", future_traceback}, {"cancel", future_cancel}, {NULL, NULL}};
	static const char *const blocking[] = {"await", "pawait", "wait", "cancel", NULL};
	static const luaL_Reg meta[] = {{"__tostring", future_tostring}, {"__close", future_close}, {NULL, NULL}};
	lua_pushvalue(L, state);
	lp_handle_class(L, &lp_task_class, methods, meta, 1);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &lp_task_class);
	struct lp_state *s = lua_touserdata(L, state);
	s->future_meta = luaL_ref(L, LUA_REGISTRYINDEX);
	lp_blocking_methods(L, state, &lp_task_class, blocking);
}
