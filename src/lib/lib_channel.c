/* lib_channel: pool.channel() for Lua.
 *
 * A message is all values of one send. It is encoded before and decoded after it passes through the
 * channel, so no lock is held while Lua code can run. In between a *box* owns it: a userdata that
 * frees it if a Lua error jumps over us. A box per call would cost more than the message, so each of
 * the functions keeps one as its second upvalue and makes another only when that is in use: by an
 * outer call (a metamethod of the values uses channels), by one that waits, or by one that an error
 * has left. */
#include <math.h>
#include <stdio.h>

#include "wait/cancel.h"
#include "sync/channel.h"
#include "values/handle.h"
#include "lib/lib.h"
#include "vm/signals.h"
#include "vm/suspend.h"
#include "values/values.h"
#include "sched/worker.h"

/* ---- boxes ---- */

struct box {
	struct lp_own own;
	void *packet; /* NULL: the box is free */
};
static const char box_key;

static int box_gc(lua_State *L)
{
	struct box *b = lp_own_test(L, 1, sizeof *b, &box_key);
	if (b) {
		lp_packet_free(b->packet);
		b->packet = NULL;
	}
	return 0;
}

static struct box *push_box(lua_State *L)
{
	struct box *b = lua_newuserdatauv(L, sizeof *b, 0);
	lp_own_set(b, &box_key);
	b->packet = NULL;
	if (lua_rawgetp(L, LUA_REGISTRYINDEX, &box_key) == LUA_TNIL) {
		lua_pop(L, 1);
		lua_newtable(L);
		lua_pushcfunction(L, box_gc);
		lua_setfield(L, -2, "__gc");
		lua_pushvalue(L, -1);
		lua_rawsetp(L, LUA_REGISTRYINDEX, &box_key);
	}
	lua_setmetatable(L, -2);
	return b;
}

/* From here on only this call's stack keeps the box that it uses. */
static void leave_box(lua_State *L)
{
	push_box(L);
	lua_replace(L, lua_upvalueindex(2));
}

/* Pushes a free box: it stays on the stack until the call returns. */
static struct box *take_box(lua_State *L)
{
	struct box *b = lua_touserdata(L, lua_upvalueindex(2));
	if (b->packet) {
		leave_box(L);
		b = lua_touserdata(L, lua_upvalueindex(2));
	}
	lua_pushvalue(L, lua_upvalueindex(2));
	return b;
}

/* ---- waiting ---- */

/* Consumes the node now: the usual case in a few instructions; all others are lp_wait_then's. A task that was asked to
 * end may still send what is in its hands, and takes nothing. */
static inline bool take_now(struct lp_state *s, struct lp_node *n)
{
	struct lp_exec *e = s->exec;
	if (!e)
		return false;
	struct lp_actor *a = e->actor;
	bool hands = lp_may_hand_over(a);
	if (lp_interrupted(e)) /* sending does not make it more */
		return (n->op & LP_CHANNEL_SEND) && lp_may_send(a) && lp_channel_class.take(n->obj, n);
	if (!lp_channel_class.take(n->obj, n))
		return false;
	lp_hand_over(a, hands);
	return true;
}

static void mark_alone(struct lp_state *s, struct lp_node *n, lp_time deadline)
{
	if (deadline == LP_FOREVER && s->exec && lp_actor_until(s->exec->actor, deadline) == LP_FOREVER)
		n->op |= LP_CHANNEL_ONLY;
}

static int push_refusal(lua_State *L, const char *why)
{
	lua_pushnil(L);
	lua_pushstring(L, why);
	return 2;
}

/* ---- sending ---- */

/* The packet is the node's. */
static int send_done(lua_State *L, struct lp_state *s, struct lp_node *n, int answer)
{
	if (answer >= 0 && n->result == LP_CHANNEL_OK) {
		lua_pushboolean(L, 1);
		return 1;
	}
	lp_packet_free(n->value);
	return answer >= 0 ? push_refusal(L, "closed") : lp_wait_failed(L, s, n, answer);
}

/* Sends the values from index `first` on. */
static int send_values(lua_State *L, int first, lp_time deadline, lp_then done)
{
	struct lp_channel *ch = lp_check(L, 1, &lp_channel_class);
	struct lp_state *s = lp_state(L);
	int n = lua_gettop(L) - first + 1;
	struct box *box = take_box(L);
	struct lp_packet *p = lp_packet_new();
	if (!p && lp_make_room(L))
		p = lp_packet_new();
	if (!p)
		return lp_no_memory(L);
	box->packet = p;
	bool sendable = lp_encode(L, s->values, &p->msg, first, n, "argument", first - 1);
	box->packet = NULL; /* nothing can raise before it has another owner */
	if (!sendable) {
		lp_packet_free(p);
		return lp_error_on_top(L);
	}
	struct lp_node node = {.obj = &ch->obj, .op = LP_CHANNEL_SEND, .value = p};
	if (take_now(s, &node))
		return done(L, s, &node, 0);
	mark_alone(s, &node, deadline);
	return lp_wait_then(L, s, &node, deadline, done);
}

/* channel:send(...) -> true / nil, "closed". Blocks while the channel is full (capacity 0: until somebody
 * receives); a cancellation point. */
static int channel_send(lua_State *L)
{
	return send_values(L, 2, LP_FOREVER, send_done);
}

static int try_send_done(lua_State *L, struct lp_state *s, struct lp_node *n, int answer)
{
	if (answer != LP_TIMEOUT)
		return send_done(L, s, n, answer);
	lp_packet_free(n->value);
	return push_refusal(L, "full");
}

/* channel:try_send(...) -> true / nil, "full" / nil, "closed". Never waits. */
static int channel_try_send(lua_State *L)
{
	return send_values(L, 2, 0, try_send_done);
}

/* channel:send_within(timeout, ...) -> true / nil, "timeout" / nil, "closed". */
static int channel_send_within(lua_State *L)
{
	lp_check(L, 1, &lp_channel_class);
	if (lua_isnone(L, 2))
		luaL_argerror(L, 2, "timeout in seconds expected before the values, got no value");
	return send_values(L, 3, lp_check_timeout(L, 2), send_done);
}

/* ---- receiving ---- */

/* (state, message) -> its values */
static int decode_body(lua_State *L)
{
	struct lp_state *s = lua_touserdata(L, 1);
	struct lp_msg *m = lua_touserdata(L, 2);
	lua_settop(L, 0);
	return lp_decode(L, s->values, m);
}

int lp_channel_open(lua_State *L, struct lp_state *s, struct lp_channel *ch, void **packet)
{
	struct lp_packet *p = *packet;
	if (!p->msg.calls || !s->worker)
		return lp_decode(L, s->values, &p->msg);
	int top = lua_gettop(L);
	struct lp_actor *a = s->exec->actor;
	bool told_before = lp_cancel_word(a) & LP_CANCEL_DELIVERED;
	luaL_checkstack(L, 3, NULL);
	lua_pushcfunction(L, decode_body);
	lua_pushlightuserdata(L, s);
	lua_pushlightuserdata(L, &p->msg);
	int status = lua_pcall(L, 2, LUA_MULTRET, 0);
	s->worker->running = L;
	if (status == LUA_OK)
		return lua_gettop(L) - top;
	if (lp_is_own_stop(L, -1, a) || (!told_before && (lp_cancel_word(a) & LP_CANCEL_DELIVERED))) {
		*packet = NULL;
		lp_channel_put_back(ch, p);
	}
	return lua_error(L);
}

/* Pushes the values of the message that the node has received; the box, on top, keeps it from leaking. Once it was
 * taken out nothing but a failure to decode (memory, a module that cannot be required here, a __pool_decode that
 * raises) can lose it. */
static int push_values(lua_State *L, struct lp_state *s, struct lp_node *node)
{
	struct box *box = lua_touserdata(L, -1);
	void *another = box->packet; /* if this call was suspended it may be in use */
	struct lp_packet *p = box->packet = node->value;
	int n = p->msg.calls ? lp_channel_open(L, s, (struct lp_channel *)node->obj, &box->packet)
		: lp_decode(L, s->values, &p->msg);
	box->packet = another;
	lp_packet_free(p);
	return n;
}

static int receive_done(lua_State *L, struct lp_state *s, struct lp_node *n, int answer)
{
	if (answer < 0)
		return lp_wait_failed(L, s, n, answer);
	return n->result == LP_CHANNEL_CLOSED ? push_refusal(L, "closed") : push_values(L, s, n);
}

static int receive_values(lua_State *L, lp_time deadline, lp_then done)
{
	struct lp_channel *ch = lp_check(L, 1, &lp_channel_class);
	struct lp_state *s = lp_state(L);
	take_box(L); /* on top, for push_values */
	struct lp_node node = {.obj = &ch->obj, .op = LP_CHANNEL_RECEIVE};
	if (take_now(s, &node)) {
		struct lp_actor *a = s->exec->actor;
		bool hands = lp_in_hand(a);
		int n = done(L, s, &node, 0);
		lp_hand_over(a, hands); /* what it took to open the message does not count */
		return n;
	}
	mark_alone(s, &node, deadline);
	return lp_wait_then(L, s, &node, deadline, done);
}

/* channel:receive([timeout]) -> the values of one send / nil, "timeout" / nil, "closed" (closed and
 * empty). Blocks; a cancellation point. */
static int channel_receive(lua_State *L)
{
	lp_check(L, 1, &lp_channel_class);
	lp_time deadline = lp_check_timeout(L, 2);
	lua_settop(L, 1);
	return receive_values(L, deadline, receive_done);
}

static int try_receive_done(lua_State *L, struct lp_state *s, struct lp_node *n, int answer)
{
	return answer == LP_TIMEOUT ? push_refusal(L, "empty") : receive_done(L, s, n, answer);
}

/* channel:try_receive() -> the values of one send / nil, "empty" / nil, "closed". Never waits. */
static int channel_try_receive(lua_State *L)
{
	lua_settop(L, 1);
	return receive_values(L, 0, try_receive_done);
}

static int iterate_done(lua_State *L, struct lp_state *s, struct lp_node *node, int answer)
{
	if (answer < 0)
		return lp_wait_failed(L, s, node, answer);
	if (node->result == LP_CHANNEL_CLOSED)
		return 0;
	int n = push_values(L, s, node);
	if (n == 0 || lua_isnil(L, -n))
		return luaL_error(L, "a message whose first value is nil ends a loop over its channel too early: use receive()");
	return n;
}

/* for a, b in channel do: until it is closed and empty. A first value of nil would end the loop as if
 * that were so: it is an error instead. */
static int channel_call(lua_State *L)
{
	lua_settop(L, 1);
	return receive_values(L, LP_FOREVER, iterate_done);
}

/* ---- the rest ---- */

/* pool.channel([capacity]) -> channel. 0, the default: each send waits for its receiver; math.huge: sends
 * never wait. */
static int channel_new(lua_State *L)
{
	size_t capacity = 0;
	if (!lua_isnoneornil(L, 1)) {
		if (lua_type(L, 1) != LUA_TNUMBER)
			luaL_argerror(L, 1, lua_pushfstring(L, "capacity (a number of messages) expected, got %s", luaL_typename(L, 1)));
		double n = lua_tonumber(L, 1);
		if (n == HUGE_VAL)
			capacity = LP_UNBOUNDED;
		else if (n >= 0 && n <= 9007199254740992.0 && floor(n) == n)
			capacity = (size_t)n;
		else
			luaL_argerror(L, 1, lua_pushfstring(L, "capacity must be 0, a positive whole number or math.huge, not %s",
				lua_tostring(L, 1)));
	}
	struct lp_handle *h = lp_handle_new(L, &lp_channel_class);
	struct lp_channel *ch = lp_channel_new(capacity);
	if (!ch)
		return luaL_error(L, "not enough memory");
	h->obj = &ch->obj;
	return 1;
}

/* channel:close(): no more can be sent; what is in it can be received. Wakes everyone who waits. */
static int channel_close(lua_State *L)
{
	lp_channel_close(lp_check(L, 1, &lp_channel_class));
	return 0;
}

static int channel_len(lua_State *L)
{
	struct lp_channel *ch = lp_check(L, 1, &lp_channel_class);
	lua_pushinteger(L, (lua_Integer)lp_channel_len(ch));
	return 1;
}

static int channel_is_closed(lua_State *L)
{
	lua_pushboolean(L, lp_channel_closed(lp_check(L, 1, &lp_channel_class)));
	return 1;
}

static int channel_tostring(lua_State *L)
{
	struct lp_channel *ch = lp_check(L, 1, &lp_channel_class);
	unsigned senders, receivers;
	char text[160], waiting[64] = "";
	lp_channel_waiting(ch, &senders, &receivers);
	if (senders || receivers)
		snprintf(waiting, sizeof waiting, ", %u waiting to %s", senders ? senders : receivers, senders ? "send" : "receive");
	if (ch->capacity == 0)
		snprintf(text, sizeof text, "rendezvous");
	else if (ch->capacity == LP_UNBOUNDED)
		snprintf(text, sizeof text, "%zu messages", lp_channel_len(ch));
	else
		snprintf(text, sizeof text, "%zu of %zu messages", lp_channel_len(ch), ch->capacity);
	lua_pushfstring(L, "lua-pool.channel: %p (%s, %s%s)", (void *)ch, text,
		lp_channel_closed(ch) ? "closed" : "open", waiting);
	return 1;
}

static int channel_gc(lua_State *L)
{
	struct lp_channel *ch = lp_test(L, 1, &lp_channel_class);
	if (!ch)
		return 0;
	lp_handle_end(L, 1);
	if (ch->obj.generation == lp_generation)
		lp_channel_handle_gone(ch);
	else /* a child process: the threads that may hold its lock are not here */
		lp_release(ch);
	return 0;
}

void lp_open_channel(lua_State *L, int state)
{
	static const luaL_Reg methods[] = {
		{"close", channel_close}, {"len", channel_len}, {"is_closed", channel_is_closed}, {NULL, NULL}};
	static const luaL_Reg boxed[] = {{"send", channel_send}, {"try_send", channel_try_send},
		{"send_within", channel_send_within}, {"receive", channel_receive},
		{"try_receive", channel_try_receive}, {NULL, NULL}};
	static const luaL_Reg meta[] = {{"__tostring", channel_tostring}, {"__len", channel_len},
		{"__close", channel_close}, {"__gc", channel_gc}, {NULL, NULL}};
	static const luaL_Reg functions[] = {{"channel", channel_new}, {NULL, NULL}};
	lua_pushvalue(L, state);
	lp_handle_class(L, &lp_channel_class, methods, meta, 1);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &lp_channel_class);
	lua_getfield(L, -1, "__index");
	for (const luaL_Reg *r = boxed; r->name; r++) {
		lua_pushvalue(L, state);
		push_box(L);
		lua_pushcclosure(L, r->func, 2);
		lp_blocking(L, state);
		lua_setfield(L, -2, r->name);
	}
	lua_pushvalue(L, state);
	push_box(L);
	lua_pushcclosure(L, channel_call, 2);
	lp_blocking(L, state);
	lua_setfield(L, -3, "__call");
	lua_pop(L, 2);
	lua_pushvalue(L, state);
	luaL_setfuncs(L, functions, 1);
}
