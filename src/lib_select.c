/* lib_select: pool.select(list [, timeout]): the first of several that is ready.
 *
 * An item of the list is a future, a group, a channel (to receive from), {channel, "send", values...}, an event, a
 * timer, a semaphore (a permit is taken) or a mutex (it is locked). Exactly one of them is consumed. All nodes lie in
 * a userdata, with a count of every object and the messages to be sent, so that whatever raises
 * leaks nothing.
 *
 * Of several that are ready the first wins, counted from the one behind the last winner: a list that is
 * used again and again serves all who are ready in turn. */
#include <string.h>

#include "channel.h"
#include "event.h"
#include "group.h"
#include "handle.h"
#include "lib.h"
#include "lib_sync.h"
#include "mutex.h"
#include "semaphore.h"
#include "task.h"
#include "timer.h"
#include "values.h"

struct selection {
	int n;                   /* nodes that are filled */
	struct lp_node nodes[];
};

static const char selection_key;

/* Gives back the counts and what was not sent. */
static void clear(struct selection *sel)
{
	while (sel->n > 0) {
		struct lp_node *n = &sel->nodes[--sel->n];
		if (n->obj->cls == &lp_channel_class && n->op == LP_CHANNEL_SEND)
			lp_packet_free(n->value);
		if (n->obj->cls == &lp_channel_class && n->obj->generation == lp_generation)
			lp_channel_handle_gone((struct lp_channel *)n->obj);
		else
			lp_release(n->obj);
	}
}

static int selection_gc(lua_State *L)
{
	clear(lua_touserdata(L, 1));
	return 0;
}

static struct selection *push_selection(lua_State *L, int n)
{
	struct selection *sel = lua_newuserdatauv(L, sizeof *sel + (size_t)n * sizeof *sel->nodes, 0);
	sel->n = 0;
	lua_rawgetp(L, LUA_REGISTRYINDEX, &selection_key);
	lua_setmetatable(L, -2);
	return sel;
}

/* ---- items ---- */

static int refuse(lua_State *L, int item, const char *what)
{
	return luaL_error(L, "bad item #%d of the list for 'select' (future, group, channel, {channel, \"send\", values...}, "
		"event, timer, semaphore or mutex expected, got %s)", item, what);
}

static void *check_generation(lua_State *L, int item, struct lp_obj *o)
{
	if (o->generation != lp_generation)
		luaL_error(L, "item #%d of the list for 'select' belongs to the parent process: make a new one after fork", item);
	return o;
}

/* {channel, "send", values...} on top of the stack becomes the node's packet. `n` counts values if it is
 * there: they may be nil. */
static void add_send(lua_State *L, struct lp_state *s, struct selection *sel, int item)
{
	int t = lua_gettop(L);
	lua_rawgeti(L, t, 1);
	struct lp_channel *ch = lp_test(L, -1, &lp_channel_class);
	lua_rawgeti(L, t, 2);
	const char *op = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
	if (!ch || op[0] != 's' || strcmp(op, "send") != 0)
		refuse(L, item, "a table");
	check_generation(L, item, &ch->obj);
	lua_Integer last = lua_getfield(L, t, "n") == LUA_TNUMBER ? lua_tointeger(L, -1) + 2 : (lua_Integer)lua_rawlen(L, t);
	int n = last > 2 ? (int)(last - 2) : 0;
	lua_settop(L, t);
	if (last > 1000000 || !lua_checkstack(L, n + 4))
		luaL_error(L, "item #%d of the list for 'select' sends too many values", item);
	for (int i = 1; i <= n; i++)
		lua_rawgeti(L, t, i + 2);
	struct lp_packet *p = lp_packet_new();
	if (!p)
		luaL_error(L, "not enough memory");
	sel->nodes[sel->n++] = (struct lp_node){.obj = lp_retain(ch), .op = LP_CHANNEL_SEND, .value = p};
	if (!lp_encode(L, s->values, &p->msg, t + 1, n, "value", 1)) {
		lua_pushfstring(L, "item #%d of the list for 'select': ", item);
		lua_insert(L, -2);
		lua_concat(L, 2);
		lua_error(L);
	}
	lua_settop(L, t);
}

/* The others that can be waited for do more than that: a barrier would have to be left again, a condition gives a
 * mutex up and takes it again, of a read-write lock one has to say how. */
static bool selectable(const struct lp_class *cls)
{
	const struct lp_class *const all[] = {&lp_task_class, &lp_group_class, &lp_channel_class, &lp_event_class,
		&lp_timer_class, &lp_semaphore_class, &lp_mtx_class};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		if (cls == all[i])
			return true;
	return false;
}

/* The item on top of the stack. */
static void add(lua_State *L, struct lp_state *s, struct selection *sel, int item)
{
	struct lp_obj *o = lp_toobj(L, -1);
	if (!o && lua_istable(L, -1)) {
		add_send(L, s, sel, item);
		return;
	}
	if (!o) {
		refuse(L, item, luaL_typename(L, -1));
		return;
	}
	if (!selectable(o->cls))
		refuse(L, item, o->cls->name);
	check_generation(L, item, o);
	struct lp_node *n = &sel->nodes[sel->n];
	*n = (struct lp_node){.obj = o, .op = LP_CHANNEL_RECEIVE};
	if (o->cls == &lp_mtx_class) {
		n->value = lp_sync_actor(L, s);
		if (lp_mtx_owned((struct lp_mtx *)o, n->value))
			luaL_error(L, "item #%d of the list for 'select': this task has locked the mutex already", item);
	}
	lp_retain(o);
	sel->n++;
}

/* ---- results ---- */

static int push_closed(lua_State *L)
{
	lua_pushnil(L);
	lua_pushliteral(L, "closed");
	return 3;
}

/* The index is on the stack; the node was consumed. */
static int push_results(lua_State *L, struct lp_state *s, struct selection *sel, struct lp_node *n)
{
	struct lp_obj *o = n->obj;
	int results = 2;
	if (o->cls == &lp_mtx_class) {
		lp_mtx_entered((struct lp_mtx *)o, n->value); /* before anything that may raise */
		lua_pushboolean(L, 1);
		if (n->result) {
			lua_pushliteral(L, "abandoned");
			results = 3;
		}
	} else if (o->cls == &lp_channel_class && n->result == LP_CHANNEL_CLOSED) {
		results = push_closed(L);
	} else if (o->cls == &lp_channel_class && n->op == LP_CHANNEL_SEND) {
		n->value = NULL; /* the channel's now */
		lua_pushboolean(L, 1);
	} else if (o->cls == &lp_channel_class) {
		n->op = LP_CHANNEL_SEND; /* a packet that is ours to free: also if decoding raises */
		results = 1 + lp_decode(L, s->values, &((struct lp_packet *)n->value)->msg);
	} else if (o->cls == &lp_group_class) {
		results = 1 + lp_group_outcome(L, (struct lp_group *)o);
	} else if (o->cls == &lp_timer_class && n->result == LP_TIMER_CLOSED) {
		results = push_closed(L);
	} else if (o->cls == &lp_timer_class) {
		lua_pushinteger(L, n->result);
	} else if (o->cls == &lp_task_class) {
		int before = lua_gettop(L);
		lp_push(L, o);
		lua_getfield(L, -1, "await"); /* it has ended: gives the results, or raises */
		lua_insert(L, -2);
		lua_call(L, 1, LUA_MULTRET);
		results = 1 + lua_gettop(L) - before;
	} else {
		lua_pushboolean(L, 1);
	}
	clear(sel);
	return results;
}

/* The stack: the list, the timeout, the selection, where the next one begins, which item came first. */
static int selected(lua_State *L, struct lp_state *s, struct lp_node *nodes, int answer)
{
	struct selection *sel = lua_touserdata(L, 3);
	if (answer < 0) {
		clear(sel);
		return lp_wait_failed(L, s, nodes, answer);
	}
	int index = ((int)lua_tointeger(L, 5) + answer) % sel->n + 1;
	*(unsigned *)lua_touserdata(L, 4) = (unsigned)index; /* counted from 0 this is the one behind it */
	lua_pushinteger(L, index);
	return push_results(L, s, sel, &nodes[answer]);
}

/* pool.select(list [, timeout]) -> index, then: a future's results (or its error is raised); the values that
 * a channel gave, or nil, "closed"; how many times a timer came due, or nil, "closed"; true for the others (true,
 * "abandoned"; a group's error is raised) / nil, "timeout". Blocks; a
 * cancellation point. An empty list is an error unless there is a timeout. */
static int pool_select(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	luaL_checktype(L, 1, LUA_TTABLE);
	lp_time deadline = lp_check_timeout(L, 2);
	int n = (int)lua_rawlen(L, 1);
	if (n == 0 && deadline == LP_FOREVER)
		luaL_argerror(L, 1, "the list is empty and there is no timeout: this would wait for ever");
	lua_settop(L, 2);
	struct selection *sel = push_selection(L, n);
	unsigned *last = lua_touserdata(L, lua_upvalueindex(2));
	int first = n ? (int)(*last % (unsigned)n) : 0;
	for (int i = 0; i < n; i++) {
		int item = (first + i) % n + 1;
		lua_rawgeti(L, 1, item);
		add(L, s, sel, item);
		lua_settop(L, 3);
	}
	lua_pushvalue(L, lua_upvalueindex(2));
	lua_pushinteger(L, first);
	return lp_wait_any_then(L, s, sel->nodes, n, deadline, selected);
}

void lp_open_select(lua_State *L, int state)
{
	lua_newtable(L);
	lua_pushcfunction(L, selection_gc);
	lua_setfield(L, -2, "__gc");
	lua_rawsetp(L, LUA_REGISTRYINDEX, &selection_key);
	lua_pushvalue(L, state);
	*(unsigned *)lua_newuserdatauv(L, sizeof(unsigned), 0) = 0;
	lua_pushcclosure(L, pool_select, 2);
	lp_blocking(L, state);
	lua_setfield(L, -2, "select");
}
