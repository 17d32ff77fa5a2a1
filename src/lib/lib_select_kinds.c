/* lib_select_kinds: see lib_select.h. */
#include "lib/lib_select.h"

#include <string.h>

#include "sync/channel.h"
#include "sync/event.h"
#include "sched/group.h"
#include "values/handle.h"
#include "lib/lib.h"
#include "lib/lib_dict.h"
#include "lib/lib_sync.h"
#include "sync/mutex.h"
#include "sync/rwlock.h"
#include "sync/semaphore.h"
#include "sched/task.h"
#include "sync/timer.h"
#include "values/values.h"

static int push_true(lua_State *L, struct lp_state *s, struct lp_node *n)
{
	(void)s, (void)n;
	lua_pushboolean(L, 1);
	return 1;
}

static int push_closed(lua_State *L)
{
	lua_pushnil(L);
	lua_pushliteral(L, "closed");
	return 2;
}

static int push_locked(lua_State *L, bool abandoned)
{
	lua_pushboolean(L, 1);
	if (!abandoned)
		return 1;
	lua_pushliteral(L, "abandoned");
	return 2;
}

/* ---- futures, groups, timers ---- */

static int future_results(lua_State *L, struct lp_state *s, struct lp_node *n)
{
	(void)s;
	int before = lua_gettop(L);
	lp_push(L, n->obj);
	lua_getfield(L, -1, "await"); /* it has ended: gives the results, or raises */
	lua_insert(L, -2);
	lua_call(L, 1, LUA_MULTRET);
	return lua_gettop(L) - before;
}

static int group_results(lua_State *L, struct lp_state *s, struct lp_node *n)
{
	(void)s;
	return lp_group_outcome(L, (struct lp_group *)n->obj);
}

static int timer_results(lua_State *L, struct lp_state *s, struct lp_node *n)
{
	(void)s;
	if (n->result == LP_TIMER_CLOSED)
		return push_closed(L);
	lua_pushinteger(L, n->result);
	return 1;
}

/* ---- channels ---- */

static void packet_drop(struct lp_node *n)
{
	lp_packet_free(n->value);
	n->value = NULL;
}

/* {channel, "send", values...}: they become the node's packet. `n` counts them if it is there: they may be nil. */
static void send_begin(lua_State *L, struct lp_state *s, struct lp_node *n, int t, int item)
{
	struct lp_packet *p = lp_packet_new();
	if (!p) {
		lp_no_memory(L);
		return;
	}
	n->op = LP_CHANNEL_SEND;
	n->value = p;
	lua_Integer last = lua_getfield(L, t, "n") == LUA_TNUMBER ? lua_tointeger(L, -1) + 2 : (lua_Integer)lua_rawlen(L, t);
	lua_pop(L, 1);
	int first = lua_gettop(L) + 1, count = last > 2 ? (int)(last - 2) : 0;
	if (last > 1000000 || !lua_checkstack(L, count + 4))
		luaL_error(L, "item #%d of the list for 'select' sends too many values", item);
	for (int i = 1; i <= count; i++)
		lua_rawgeti(L, t, i + 2);
	if (!lp_encode(L, s->values, &p->msg, first, count, "value", 1)) {
		lua_pushfstring(L, "item #%d of the list for 'select': ", item);
		lua_insert(L, -2);
		lua_concat(L, 2);
		lp_error_on_top(L);
	}
	lua_settop(L, first - 1);
}

static int send_results(lua_State *L, struct lp_state *s, struct lp_node *n)
{
	if (n->result == LP_CHANNEL_CLOSED)
		return push_closed(L);
	n->value = NULL; /* the channel's now */
	return push_true(L, s, n);
}

static int receive_results(lua_State *L, struct lp_state *s, struct lp_node *n)
{
	if (n->result == LP_CHANNEL_CLOSED)
		return push_closed(L);
	return lp_channel_open(L, s, (struct lp_channel *)n->obj, &n->value);
}

/* ---- locks ---- */

static void mutex_begin(lua_State *L, struct lp_state *s, struct lp_node *n, int t, int item)
{
	(void)t;
	n->value = lp_sync_actor(L, s);
	if (lp_mtx_owned((struct lp_mtx *)n->obj, n->value))
		luaL_error(L, "item #%d of the list for 'select': this task has locked the mutex already", item);
}

static int mutex_results(lua_State *L, struct lp_state *s, struct lp_node *n)
{
	(void)s;
	lp_mtx_entered((struct lp_mtx *)n->obj, n->value); /* before anything that may raise */
	return push_locked(L, n->result);
}

static void rwlock_begin(lua_State *L, struct lp_state *s, struct lp_node *n, bool writes, int item)
{
	struct lp_rwlock *rw = (struct lp_rwlock *)n->obj;
	struct lp_actor *a = lp_sync_actor(L, s);
	if (lp_rwlock_find(rw, a))
		luaL_error(L, "item #%d of the list for 'select': this task has locked the rwlock already", item);
	if (!(n->value = lp_rwhold_new(rw, a, writes)))
		luaL_error(L, "not enough memory");
}

static void read_begin(lua_State *L, struct lp_state *s, struct lp_node *n, int t, int item)
{
	(void)t;
	rwlock_begin(L, s, n, false, item);
}

static void write_begin(lua_State *L, struct lp_state *s, struct lp_node *n, int t, int item)
{
	(void)t;
	rwlock_begin(L, s, n, true, item);
}

static int rwlock_results(lua_State *L, struct lp_state *s, struct lp_node *n)
{
	(void)s;
	lp_rwlock_entered(n->value); /* before anything that may raise */
	n->value = NULL; /* the task's now */
	return push_locked(L, n->result);
}

static void rwlock_drop(struct lp_node *n)
{
	lp_free(n->value);
	n->value = NULL;
}

/* ---- dicts ---- */

/* The wait, and the bytes of its key: the string may go while the coroutine is suspended. */
struct key_wait {
	struct lp_dict_wait wait;
	unsigned char bytes[];
};

static void dict_begin(lua_State *L, struct lp_state *s, struct lp_node *n, int t, int item)
{
	(void)s;
	struct lp_dict_key key;
	lua_rawgeti(L, t, 3);
	const char *why = lp_to_key(L, lua_gettop(L), &key);
	if (why)
		luaL_error(L, "item #%d of the list for 'select': %s", item, why);
	size_t len = key.kind == LP_KEY_STRING ? key.len : 0;
	struct key_wait *w = lp_alloc(sizeof *w + len);
	if (!w) {
		luaL_error(L, "not enough memory");
		return;
	}
	memset(w, 0, sizeof *w);
	if (len)
		memcpy(w->bytes, key.bytes, len);
	w->wait.key = key;
	w->wait.key.bytes = w->bytes;
	n->value = &w->wait;
	lua_pop(L, 1);
}

static int dict_results(lua_State *L, struct lp_state *s, struct lp_node *n)
{
	struct lp_dict_value *v = &((struct lp_dict_wait *)n->value)->value;
	struct lp_msg m = {.data = v->bytes, .len = v->n, .nvalues = 1};
	return lp_decode(L, s->values, v->blob ? &v->blob->msg : &m);
}

static void dict_drop(struct lp_node *n)
{
	struct lp_dict_wait *w = n->value;
	n->value = NULL;
	if (w)
		lp_release(w->value.blob);
	lp_free(w);
}

/* ---- all of them ---- */

/* The others that can be waited for do more than that: a barrier would have to be left again by those who have counted
 * on it, a condition gives a mutex up and takes it again. */
static const struct lp_kind kinds[] = {
	{&lp_task_class, "await", true, NULL, future_results, NULL},
	{&lp_channel_class, "receive", true, NULL, receive_results, packet_drop},
	{&lp_channel_class, "send", false, send_begin, send_results, packet_drop},
	{&lp_event_class, "wait", true, NULL, push_true, NULL},
	{&lp_timer_class, "wait", true, NULL, timer_results, NULL},
	{&lp_semaphore_class, "acquire", true, NULL, push_true, NULL},
	{&lp_mtx_class, "lock", true, mutex_begin, mutex_results, NULL},
	{&lp_rwlock_class, "read_lock", false, read_begin, rwlock_results, rwlock_drop},
	{&lp_rwlock_class, "write_lock", false, write_begin, rwlock_results, rwlock_drop},
	{&lp_group_class, "await", true, NULL, group_results, NULL},
	{&lp_dict_class, "wait", false, dict_begin, dict_results, dict_drop},
};

const struct lp_kind *lp_kind_of(const struct lp_class *cls, const char *method)
{
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (kinds[i].cls == cls && (method ? strcmp(kinds[i].method, method) == 0 : kinds[i].usual))
			return &kinds[i];
	return NULL;
}
