/* lib_group: pool.group for Lua. Options are checked, and `with` is made, in lua-pool/group.lua. */
#include <stdio.h>

#include "wait/cancel.h"
#include "sched/group.h"
#include "sched/close.h"
#include "values/handle.h"
#include "lib/lib.h"
#include "vm/signals.h"
#include "vm/suspend.h"

static struct lp_group *check_group(lua_State *L)
{
	return lp_check(L, 1, &lp_group_class);
}

/* new_group(pool | nil, limit, ids) -> group. Of a task it is a part: what cancels the task cancels the group. */
static int group_new(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	struct lp_pool *p = lua_isnil(L, 1) ? lp_module_pool(L, s) : lp_check_pool(L, 1);
	struct lp_handle *h = lp_handle_new(L, &lp_group_class);
	struct lp_task *me = lp_current_task(s);
	struct lp_token *parent = me ? lp_task_token(me) : NULL;
	struct lp_group *g = !me || parent ? lp_group_new(p, parent, (uint32_t)lua_tonumber(L, 2), lua_toboolean(L, 3)) : NULL;
	if (!g)
		return luaL_error(L, "not enough memory");
	h->obj = &g->token.obj;
	return 1;
}

/* group:async(fn, ...) -> future: a member. Blocks only while the pool's queue is full. */
static int group_async(lua_State *L)
{
	struct lp_group *g = check_group(L);
	return lp_submit(L, lp_state(L), g->pool, g, 2, LP_ASYNC);
}

/* group:go(fn, ...): the same member without a future. */
static int group_go(lua_State *L)
{
	struct lp_group *g = check_group(L);
	return lp_submit(L, lp_state(L), g->pool, g, 2, LP_UNSEEN);
}

/* A member that runs on this very thread cannot end before we go on. */
static bool carries_member(struct lp_state *s, struct lp_group *g)
{
	for (struct lp_actor *a = s->worker ? s->exec->actor : NULL; a; a = a->outer)
		if (a->is_task && lp_entry(a, struct lp_task, actor)->parent == &g->token)
			return true;
	return false;
}

static bool below(struct lp_state *s, struct lp_group *g)
{
	for (struct lp_actor *a = s->worker ? s->exec->actor : NULL; a; a = a->outer)
		if (a->is_task && lp_task_descends(lp_entry(a, struct lp_task, actor), &g->token))
			return true;
	return false;
}

/* Runs members that nobody has begun on this thread, as long as there are some and it may. */
static void work(lua_State *L, struct lp_state *s, struct lp_group *g)
{
	if (lp_group_left(g) == 0 || !lp_current_task(s))
		return;
	struct lp_handle *h = lp_handle_new(L, &lp_task_class);
	struct lp_task *t;
	while ((t = lp_group_next_pending(g))) {
		h->obj = &t->obj; /* what follows may raise */
		bool begun = lp_worker_inline(L, s, t) || lp_task_state(t) != LP_PENDING;
		if (!begun)
			lp_group_put_back(g, t);
		h->obj = NULL;
		lp_release(t);
		if (!begun)
			return;
		if (lp_interrupted(s->exec))
			lp_raise_interrupt(L, s);
	}
}

int lp_group_outcome(lua_State *L, struct lp_group *g)
{
	struct lp_handle *h = lp_handle_new(L, &lp_task_class);
	struct lp_task *t = lp_group_failed(g);
	if (t) {
		h->obj = &t->obj;
		lua_getfield(L, -1, "await"); /* it has ended: raises its error, and it was seen */
		lua_insert(L, -2);
		lua_call(L, 1, 0);
	}
	lua_pop(L, 1);
	if (lp_group_over(g)) {
		lp_raise_if_doomed(L, lp_state(L));
		lp_push(L, &lp_cancelled_value);
		return lua_error(L);
	}
	lua_pushboolean(L, 1);
	return 1;
}

static int outcome(lua_State *L, struct lp_state *s, struct lp_node *n, int answer)
{
	return answer < 0 ? lp_wait_failed(L, s, n, answer) : lp_group_outcome(L, check_group(L));
}

/* group:await([timeout]) -> true / nil, "timeout". Waits until no member is left; a worker runs them meanwhile.
 * Raises the error of the first that failed, or CANCELLED if the group was cancelled. Blocks; a cancellation point. */
static int group_await(lua_State *L)
{
	struct lp_group *g = check_group(L);
	struct lp_state *s = lp_state(L);
	lp_time deadline = lp_check_timeout(L, 2);
	if (deadline == LP_FOREVER && s->worker) {
		if (carries_member(s, g))
			return luaL_error(L, "dead-lock: a task of a group cannot await the group: it would wait for its own end");
		work(L, s, g);
	}
	struct lp_node node = {.obj = &g->token.obj};
	return lp_wait_then(L, s, &node, deadline, outcome);
}

/* group:cancel([timeout]) -> true / nil, "timeout". No member starts any more, those that run are asked to end;
 * waits until they have (0 only asks). Called by a member it raises CANCELLED there. Blocks; a cancellation point. */
static int group_cancel(lua_State *L)
{
	struct lp_group *g = check_group(L);
	struct lp_state *s = lp_state(L);
	lp_time deadline = lp_check_timeout(L, 2);
	lp_group_cancel(g);
	if (below(s, g)) {
		if (lp_interrupted(s->exec))
			return lp_raise_interrupt(L, s);
		deadline = 0;
	}
	struct lp_node node = {.obj = &g->token.obj};
	return lp_wait_then(L, s, &node, deadline, lp_then_true);
}

static int group_close(lua_State *L)
{
	if (lp_is_unwinding(L, lp_state(L))) {
		lp_host_end(lp_state(L)->host);
		return 0;
	}
	lua_settop(L, 1);
	return group_cancel(L);
}

/* group:count() -> members that have not ended. */
static int group_count(lua_State *L)
{
	lua_pushinteger(L, (lua_Integer)lp_group_left(check_group(L)));
	return 1;
}

static int group_tostring(lua_State *L)
{
	struct lp_group *g = check_group(L);
	lp_lock(&g->lock);
	int left = (int)lp_group_left(g), held = left - (int)g->out;
	bool failed = g->failed;
	lp_unlock(&g->lock);
	char back[32] = "";
	if (held)
		snprintf(back, sizeof back, ", %d held back", held);
	lua_pushfstring(L, "lua-pool.group: %p (%d task%s left%s%s)", (void *)g, left, left == 1 ? "" : "s", back,
		failed ? ", failed" : lp_group_over(g) ? ", cancelled" : "");
	return 1;
}

void lp_open_group(lua_State *L, int state)
{
	static const luaL_Reg methods[] = {{"async", group_async}, {"go", group_go}, {"await", group_await},
		{"cancel", group_cancel}, {"count", group_count}, {NULL, NULL}};
	static const char *const blocking[] = {"async", "go", "await", "cancel", NULL};
	static const luaL_Reg meta[] = {{"__tostring", group_tostring}, {"__close", group_close}, {NULL, NULL}};
	static const luaL_Reg functions[] = {{"new_group", group_new}, {NULL, NULL}};
	lua_pushvalue(L, state);
	lp_handle_class(L, &lp_group_class, methods, meta, 1);
	lp_blocking_methods(L, state, &lp_group_class, blocking);
	lua_pushvalue(L, state);
	luaL_setfuncs(L, functions, 1);
}
