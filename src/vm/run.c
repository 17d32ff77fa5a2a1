/* run: one task in a Lua state: decode the call, call, encode the results; errors and their reports.
 *
 * What runs between the begin of a task and its end and is not inside a protected call must not raise (compat.h says what
 * does): an error would jump over the task's end, or end the process. Here that are the functions lp_run_*,
 * run_protected, failed, stopped; in duty.c and inline.c all that lp_worker_run calls; in vm.c lp_vm_open and
 * lp_vm_close. The functions of the table at the end may raise. */
#include <stdio.h>
#include <string.h>

#include "base/account.h"
#include "wait/cancel.h"
#include "values/handle.h"
#include "vm/signals.h"
#include "vm/output.h"
#include "values/values.h"
#include "sched/worker.h"

static const lua_CFunction functions[LP_RUN_FUNCTIONS]; /* at the end of this file */

/* Pushes one of them; never raises (worker.h). */
static inline void push_function(lua_State *L, struct lp_worker *w, enum lp_run_function which)
{
#if LP_LUAJIT
	lua_rawgeti(L, LUA_REGISTRYINDEX, w->functions[which]);
#else
	(void)w;
	lua_pushcfunction(L, functions[which]);
#endif
}

static struct lp_task *running(struct lp_worker *w)
{
	return lp_entry(w->exec.actor, struct lp_task, actor);
}

static bool was_told(struct lp_actor *a)
{
	return lp_cancel_word(a) & LP_CANCEL_DELIVERED;
}

const char lp_unsendable_key;

/* The results are on the stack, with why they cannot be sent on top. Does somebody know what to send instead? Else an error is
 * on top. */
static bool encode_instead(lua_State *L, struct lp_worker *w, struct lp_task *t)
{
	int top = lua_gettop(L);
	if (!lua_checkstack(L, top + 4))
		return false;
	if (lua_rawgetp(L, LUA_REGISTRYINDEX, &lp_unsendable_key) != LUA_TFUNCTION) {
		lua_settop(L, top);
		return false;
	}
	for (int i = 1; i < top; i++)
		lua_pushvalue(L, i);
	lua_call(L, top - 1, LUA_MULTRET);
	int n = lua_gettop(L) - top;
	if (n == 0)
		return false;
	lp_msg_clear(&t->msg);
	return lp_encode(L, w->state->values, &t->msg, top + 1, n, "result", 1);
}

static int task_body(lua_State *L)
{
	struct lp_worker *w = lua_touserdata(L, 1);
	struct lp_task *t = running(w);
	lua_settop(L, 0);
#if LP_LUAJIT
	lp_go_home(L, w->state->values); /* a task before it may have called setfenv(0, ...) */
#endif
	int n = lp_decode(L, w->state->values, &t->msg);
	t->code = lp_msg_take_obj(&t->msg);
	if (t->code && !lp_is_code(t->code)) { /* of a callable object: an object that somebody may wait to see released */
		lp_release(t->code);
		t->code = NULL;
	}
	lp_msg_clear(&t->msg); /* what the call referred to is the running code's now */
	if (w->unwatched) {
		w->unwatched = false;
		return luaL_error(L, "no thread can be had that would see to task_timeout");
	}
	if (t->wants_id) {
		lua_pushinteger(L, (lua_Integer)w->id);
		lua_insert(L, 2);
		n++;
	}
	lua_call(L, n - 1, LUA_MULTRET);
	/* What it returns may come from a system call that was cut off a moment ago to tell it, or be what it has taken. */
	if (lp_interrupted(&w->exec) && !lp_in_hand(w->exec.actor))
		return lp_raise_interrupt(L, w->state);
	if (lp_account_mine)
		lp_account_outcome(true);
	if (!lp_encode(L, w->state->values, &t->msg, 1, lua_gettop(L), "result", 1) && !encode_instead(L, w, t))
		return lua_error(L);
	return 0;
}

/* "attempt to call a nil value (global 'f')": says why it is nil here, and what to do. */
static void push_hint(lua_State *L)
{
	const char *text = lua_type(L, 1) == LUA_TSTRING ? lua_tostring(L, 1) : NULL;
	const char *global = text ? strstr(text, "global '") : NULL;
	const char *end = global ? strchr(global + 8, '\'') : NULL;
	if (!end || !strstr(text, "nil value"))
		return;
	lua_pushlstring(L, global + 8, (size_t)(end - global - 8));
	const char *name = lua_tostring(L, -1);
	lua_pushfstring(L, "%s\n\t(a task has globals of its own: make '%s' a local that the task's function uses, or "
		"require its module inside the task)", text, name);
	lua_replace(L, 1);
	lua_settop(L, 1);
}

void lp_explain_error(lua_State *L)
{
	luaL_checkstack(L, 8, "too many values");
	push_hint(L);
	struct lp_state *s = lp_state_open(L);
	lua_settop(L, 1);
	lp_push_sendable(L, s->values, 1);
	lua_replace(L, 1);
	lua_settop(L, 1);
}

static void keep_report(struct lp_task *t, const char *text)
{
	char where[128] = "";
	if (t->line)
		snprintf(where, sizeof where, "\nasync called at %.80s:%d", t->source, t->line);
	size_t n = strlen(text), m = strlen(where);
	lp_free(t->report);
	if ((t->report = lp_alloc(n + m + 1))) {
		memcpy(t->report, text, n);
		memcpy(t->report + n, where, m + 1);
	}
}

static int tostring_or_error(lua_State *L)
{
	luaL_tolstring(L, 1, NULL);
	return 1;
}

/* Runs at the point of the error, with the stack still there, and only writes down what it sees there: after an
 * overflow LuaJIT leaves room for little more. */
static int task_handler(lua_State *L)
{
	lua_settop(L, 1);
	struct lp_worker *w = lp_state_open(L)->worker;
	lua_settop(L, 1);
	if (lp_is_own_stop(L, 1, w->exec.actor))
		return 1;
	struct lp_task *t = running(w);
	push_hint(L);
	if (lua_type(L, 1) == LUA_TSTRING) {
		lua_pushvalue(L, 1);
	} else {
		lua_pushcfunction(L, tostring_or_error); /* a __tostring may raise, or run for ever */
		lua_pushvalue(L, 1);
		int status = lp_pcall_in_handler(L, w, 1);
		if (status != LUA_OK && lp_is_own_stop(L, 2, w->exec.actor))
			return 1;
		if (status != LUA_OK || lua_type(L, 2) != LUA_TSTRING) {
			lua_settop(L, 1);
			lua_pushfstring(L, "(error object is a %s)", luaL_typename(L, 1));
		}
	}
	luaL_traceback(L, L, lua_tostring(L, 2), 1);
	keep_report(t, lua_tostring(L, -1));
	lua_settop(L, 1);
	return 1;
}

/* encode_error(error, w, status): the outcome of a task that failed. */
static int encode_error(lua_State *L)
{
	struct lp_worker *w = lua_touserdata(L, 2);
	struct lp_task *t = running(w);
	if (lp_account_mine)
		lp_account_outcome(true);
	lp_msg_clear(&t->msg);
	if (LP_LUAJIT && lua_tointeger(L, 3) == LUA_ERRERR) { /* "error in error handling": an overflow that left no room for it */
		lua_settop(L, 0);
		lua_pushliteral(L, "stack overflow (it left no room for a traceback)");
	}
	lua_settop(L, 1);
	if (!t->report) /* the handler did not get that far */
		keep_report(t, luaL_tolstring(L, 1, NULL));
	if (lp_is_own_stop(L, 1, &t->actor)) { /* task_timeout */
		lp_push(L, &lp_timeout_value);
		lua_replace(L, 1);
	}
	lua_settop(L, 1);
	lp_push_sendable(L, w->state->values, 1);
	if (!lp_encode(L, w->state->values, &t->msg, lua_gettop(L), 1, "error", 1))
		lp_msg_clear(&t->msg);
	return 0;
}

/* Is the error on top the end that the task was asked for? A task that is to end, as one of a tree, of its pool, of its
 * host, may hear it first from a child that it awaits, even before the request itself has come to it. */
static bool stopped(lua_State *L, struct lp_task *t, int status)
{
	if (status == LUA_ERRRUN && lp_toobj(L, -1) == &lp_cancelled_value)
		return lp_cancel_word(&t->actor) || lp_task_doomed(t);
	return lp_cancel_word(&t->actor) &&
		(lp_is_own_stop(L, -1, &t->actor) || (LP_LUAJIT && status == LUA_ERRERR && was_told(&t->actor)));
}

/* The error is on top. */
static enum lp_task_state failed(lua_State *L, struct lp_worker *w, struct lp_task *t, int status)
{
	if (status != LUA_ERRMEM && !stopped(L, t, status)) {
		push_function(L, w, LP_RUN_ERROR);
		lua_insert(L, -2);
		lua_pushlightuserdata(L, w);
		lua_pushinteger(L, status);
		status = lua_pcall(L, 3, 0, 0);
		if (status == LUA_OK) {
			lp_output_uncaught(t->report);
			return LP_FAILED;
		}
	}
	lp_msg_clear(&t->msg); /* an empty outcome stands for "not enough memory" */
	if (status == LUA_ERRMEM)
		w->renew = true;
	return status != LUA_ERRMEM && stopped(L, t, status) ? LP_STOPPED : LP_FAILED;
}

/* Called in the state or coroutine that runs the task; leaves the status. */
static inline __attribute__((always_inline)) enum lp_task_state run_protected(lua_State *L, struct lp_worker *w)
{
	struct lp_task *t = running(w);
	int top = lua_gettop(L);
	if (!lua_checkstack(L, 8)) {
		lp_msg_clear(&t->msg);
		return LP_FAILED;
	}
	push_function(L, w, LP_RUN_HANDLER);
	push_function(L, w, LP_RUN_BODY);
	lua_pushlightuserdata(L, w);
	lua_State *before = w->running;
	bool catching = w->catching; /* this task may run on top of one whose message handler awaits it */
	w->running = L;
	w->catching = false;
	int status = lua_pcall(L, 1, 0, top + 1);
	w->running = before;
	w->catching = catching;
	enum lp_task_state how = status == LUA_OK ? LP_DONE : failed(L, w, t, status);
	lua_settop(L, top);
	return how;
}

/* From here on the task is charged for what it has outside its state. One that ends while messages of it are under way, say,
 * leaves its account to them. False: no memory for an account. */
static bool enter_account(struct lp_worker *w)
{
	size_t limit = w->pool->opt.memory_limit;
	struct lp_account *a = limit ? w->account : NULL;
	if (a) {
		w->account = NULL;
		if (!lp_account_idle(a)) {
			lp_account_release(a);
			a = NULL;
		}
	}
	if (limit && !a && !(a = lp_account_new(limit, &w->memory)))
		return false;
	lp_account_mine = a;
	lp_account_outcome(false);
	return true;
}

static void leave_account(struct lp_worker *w, struct lp_account *outer)
{
	struct lp_account *a = lp_account_mine;
	lp_account_mine = outer;
	if (a && !w->account)
		w->account = a;
	else
		lp_account_release(a);
}

#if !LP_LUAJIT
/* A coroutine can be called without being resumed: it has its own stack and count of C levels all the same. */
static enum lp_task_state run_task(struct lp_worker *w, lua_State *L, struct lp_task *t)
{
	(void)t;
	return run_protected(L, w);
}
#else
static int coroutine_body(lua_State *L)
{
	struct lp_worker *w = lua_touserdata(L, 1);
	lua_settop(L, 0);
	struct lp_task *t = running(w);
	lua_pushinteger(L, run_protected(L, w));
	if (t->code)
		lp_code_restore(L, w->state->values, t->code);
	return 1;
}

static enum lp_task_state run_task(struct lp_worker *w, lua_State *L, struct lp_task *t)
{
	if (L == w->L)
		return run_protected(L, w);
	int results;
	push_function(L, w, LP_RUN_COROUTINE);
	lua_pushlightuserdata(L, w);
	if (lp_resume(L, NULL, 1, &results) == LUA_OK)
		return (enum lp_task_state)lua_tointeger(L, -1);
	lp_msg_clear(&t->msg);
	if (was_told(&t->actor)) /* LuaJIT's hooks are everywhere: it was stopped before its first call */
		return LP_STOPPED;
	w->renew = true; /* only memory can end the body itself */
	return LP_FAILED;
}
#endif

enum lp_task_state lp_run_task(struct lp_worker *w, lua_State *L, struct lp_task *t)
{
	struct lp_account *outer = lp_account_mine;
	bool charged = outer || w->pool->opt.memory_limit;
	if (charged && !enter_account(w)) {
		lp_msg_clear(&t->msg);
		return LP_FAILED;
	}
	enum lp_task_state how = run_task(w, L, t);
	if (charged)
		leave_account(w, outer);
	return how;
}

/* ---- reports of failures that nobody sees ---- */

void lp_report_stderr(struct lp_task *t)
{
	lp_output_said(fprintf(stderr, "lua-pool: a task failed%s: %s\n", t->detached ? "" : " and its future was never awaited",
		t->report ? t->report : "not enough memory"));
}

static int report_body(lua_State *L)
{
	struct lp_worker *w = lua_touserdata(L, 1);
	struct lp_task *t = w->told;
	lua_settop(L, 0);
	lua_rawgeti(L, LUA_REGISTRYINDEX, w->report_ref);
	if (t->msg.nvalues == 0)
		lua_pushliteral(L, "not enough memory");
	else
		lp_decode(L, w->state->values, &t->msg);
	lua_settop(L, 2);
	lua_pushstring(L, t->report ? t->report : "not enough memory");
	lua_call(L, 2, 0);
	return 0;
}

static int text_body(lua_State *L)
{
	struct lp_worker *w = lua_touserdata(L, 1);
	const char *text = w->told;
	lua_settop(L, 0);
	lua_rawgeti(L, LUA_REGISTRYINDEX, w->report_ref);
	lua_pushstring(L, text);
	lua_pushvalue(L, -1);
	lua_call(L, 2, 0);
	return 0;
}

bool lp_run_text(struct lp_worker *w, const char *text)
{
	if (w->report_ref == LUA_NOREF)
		return false;
	struct lp_actor actor;
	lp_actor_init(&actor);
	lp_worker_push(w, &actor);
	push_function(w->L, w, LP_RUN_TEXT);
	lua_pushlightuserdata(w->L, w);
	w->told = (void *)text;
	bool told = lua_pcall(w->L, 1, 0, 0) == LUA_OK;
	if (!told) {
		lp_output_uncaught(lp_text_of(w->L, -1));
		fprintf(stderr, "lua-pool: error in on_error: %s\n", lp_text_of(w->L, -1));
		lua_pop(w->L, 1);
	}
	lp_worker_pop(w);
	return told;
}

void lp_run_report(struct lp_worker *w, struct lp_task *t)
{
	if (w->report_ref == LUA_NOREF) {
		lp_report_stderr(t);
		return;
	}
	/* Like the setup it may wait, and is nobody's task. */
	struct lp_actor actor;
	lp_actor_init(&actor);
	lp_worker_push(w, &actor);
	w->acting = t->host;
	lua_State *L = w->L;
	int top = lua_gettop(L);
	push_function(L, w, LP_RUN_REPORT);
	lua_pushlightuserdata(L, w);
	w->told = t;
	if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
		lp_output_uncaught(lp_text_of(L, -1));
		fprintf(stderr, "lua-pool: error in on_error: %s\n", lp_text_of(L, -1));
		lp_report_stderr(t);
	}
	lua_settop(L, top);
	w->acting = NULL;
	w->running = NULL;
	lp_worker_pop(w);
}

/* ---- the functions that are called protected ---- */

static const lua_CFunction functions[LP_RUN_FUNCTIONS] = {[LP_RUN_HANDLER] = task_handler, [LP_RUN_BODY] = task_body,
	[LP_RUN_ERROR] = encode_error, [LP_RUN_REPORT] = report_body, [LP_RUN_TEXT] = text_body,
#if LP_LUAJIT
	[LP_RUN_COROUTINE] = coroutine_body,
#endif
};

void lp_run_open(lua_State *L, struct lp_worker *w)
{
	for (int i = 0; LP_LUAJIT && i < LP_RUN_FUNCTIONS; i++) {
		lua_pushcfunction(L, functions[i]);
		w->functions[i] = luaL_ref(L, LUA_REGISTRYINDEX);
	}
	lua_settop(L, 0);
}
