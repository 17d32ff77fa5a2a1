/* suspend: see suspend.h. */
#include "vm/suspend.h"

#include "wait/cancel.h"
#include "wait/inbox.h"
#include "sched/host.h"
#include "values/own.h"
#include "sched/worker.h"

const char lp_loop_ask, lp_loop_suspend, lp_loop_life, lp_loop_sweep;
static const char dropped_key;
static const char record_key, prepare_key;

/* record: a suspended wait, a full userdata. It lives on the stack of its coroutine, and what it anchors lives as
 * long: the light thread whose wait it is, and on LuaJIT the stack of the C function.
 *
 * A coroutine that is never resumed leaves its record to the collector, which may come late. Whoever learns of it
 * earlier gives the wait up at once, so that what it was given goes on to others and no report tells of the dead: the
 * adapter whose loop has killed it (give_up), the report, and the next call of a coroutine that is used again. */
struct record {
	struct lp_own own;
	struct lp_later later;
	struct lp_waiting waiting;   /* its wait is later.wait */
	struct lp_state *s;
	struct lp_exec *exec;
	struct lp_link link;         /* exec->suspended, while it is live */
	const lua_State *co;         /* whose wait it is; only compared: it may be gone */
	lp_then then;
	lp_time deadline;
	struct lp_node one;          /* waiting.nodes of a wait for one object */
	uint32_t generation;
	int top;                     /* of the stack at the call */
	bool counts;                 /* it holds a count of each object */
	bool shielded;
	bool live;                   /* its nodes are to be taken back */
	bool given_up;               /* it was live, and Lua's side has not heard that it is no more */
	bool neighbour;              /* another coroutine of its state holds what it waits for */
};

static void drop_counts(struct record *r)
{
	if (!r->counts)
		return;
	r->counts = false;
	for (int i = 0; i < r->waiting.n; i++)
		lp_release(r->waiting.nodes[i].obj);
}

static void set_live(struct record *r)
{
	r->live = true;
	lp_list_append(&r->exec->suspended, &r->link);
}

static void set_over(struct record *r)
{
	r->live = false;
	lp_list_remove(&r->link);
	if (r->shielded && r->exec->actor->hold) /* its coroutine's next job begins without */
		r->exec->actor->hold--;
}

/* Ends the wait: afterwards only `then` has to do with the nodes. */
static void finish(struct record *r, int fired)
{
	set_over(r);
	lp_wait_leave(r->exec, &r->waiting, fired);
	lp_inbox_forget(&r->later);
}

/* What a record anchors lies in a table. */
enum { KEPT_LIGHT = 1, KEPT_ADAPTER, KEPT_W, KEPT = KEPT_W }; /* on LuaJIT the stack of the function follows */

static void push_kept(lua_State *L, int record, int which)
{
#if LP_LUAJIT
	lua_getfenv(L, record);
#else
	lua_getiuservalue(L, record, 1);
#endif
	lua_rawgeti(L, -1, which);
	lua_remove(L, -2);
}

/* Nobody will come back to it: whatever the wait has consumed is given back. */
static void give_up(struct record *r)
{
	r->given_up = true;
	if (r->generation != lp_generation) { /* a child process: the wait was its parent's */
		set_over(r);
		lp_wait_forget(r->exec, &r->waiting);
		return;
	}
	int fired = lp_wait_give_up(&r->later.wait);
	finish(r, fired);
	for (int i = 0; i < r->waiting.n; i++) {
		struct lp_node *n = &r->waiting.nodes[i];
		if (n->obj->cls->discard)
			n->obj->cls->discard(n->obj, n, i == fired);
	}
	drop_counts(r);
}

/* The coroutine was closed or is collected while it waits. */
static int record_gc(lua_State *L)
{
	struct record *r = lp_own_test(L, 1, sizeof *r, &record_key);
	if (!r)
		return 0;
	if (r->live)
		give_up(r);
	else
		drop_counts(r);
	if (!r->given_up)
		return 0;
	r->given_up = false;
	if (r->s->host && lua_rawgetp(L, LUA_REGISTRYINDEX, &dropped_key) == LUA_TFUNCTION) {
		lua_pushlightuserdata(L, &r->later);
		push_kept(L, 1, KEPT_W);
		lua_call(L, 2, 0);
	}
	return 0;
}

/* ---- the waits of coroutines that are gone ---- */

#if LP_LUAJIT
/* Is r on the stack of co? LuaJIT tells of temporaries and of variable arguments as well. A coroutine that was killed and is used
 * again has an empty one, or another call on it; and so has one in which the adapter's wait has raised. */
static bool on_stack(lua_State *co, const struct record *r)
{
	lua_Debug ar;
	for (int level = 0; lua_getstack(co, level, &ar); level++)
		for (int step = 1; step >= -1; step -= 2)
			for (int n = step; lua_getlocal(co, &ar, n); n += step) {
				bool is = lua_touserdata(co, -1) == (const void *)r;
				lua_pop(co, 1);
				if (is)
					return true;
			}
	return false;
}
#endif

/* co is a coroutine that exists, and r is one of its waits. */
static bool is_gone(lua_State *L, lua_State *co, const struct record *r)
{
#if LP_LUAJIT
	(void)L;
	return lua_checkstack(co, 1) && !on_stack(co, r);
#else
	(void)r; /* whatever takes its stack from a coroutine calls __close */
	return lp_is_dead(L, co);
#endif
}

/* r's coroutine was killed in it. What else that has left goes to others as well, if it is all of its light thread. */
static void give_up_killed(struct record *r)
{
	struct lp_exec *e = r->exec;
	bool all = r->co == e->coroutine;
	give_up(r);
	if (all)
		lp_light_clear(e);
}

void lp_give_up_gone(lua_State *L, struct lp_exec *e, lua_State *co)
{
	for (struct lp_link *l = e->suspended.next, *next; l != &e->suspended; l = next) {
		struct record *r = lp_entry(l, struct record, link);
		next = l->next;
		if (r->co == (co ? co : e->coroutine) && (!co || is_gone(L, co, r)))
			give_up_killed(r);
	}
}

/* ---- beginning ---- */

struct request {
	struct lp_state *s;
	struct lp_node *nodes;
	int n;
	lp_time deadline;
	lp_then then;
	bool in_place, shielded, once;
};

struct lp_inbox *lp_state_inbox(lua_State *L, struct lp_state *s)
{
	if (!s->inbox && !(s->inbox = lp_inbox_new()))
		luaL_error(L, "not enough memory");
	return s->inbox;
}

static const char *const NO_YIELD = "cannot wait here: the coroutine is run by an event loop, which must not be blocked, "
	"and cannot be suspended inside a finaliser, a comparator of table.sort, a callback of another C function, or "
	"while coroutine.close closes it";

/* (request, on LuaJIT the stack of the caller ...) -> nothing: the thread is to be blocked; a record; or
 * raises why the call cannot wait here. Called protected. */
static int prepare(lua_State *L)
{
	struct request *q = lua_touserdata(L, 1);
	struct lp_state *s = q->s;
	int top = lua_gettop(L);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &lp_loop_ask);
	lua_call(L, 0, 3); /* adapter, thread, why */
	if (lua_isnil(L, top + 1) || lua_isnil(L, top + 2))
		return 0;
	if (!lua_isnil(L, top + 3)) {
		lua_settop(L, top + 3);
		return lua_error(L);
	}
	struct lp_inbox *inbox = lp_state_inbox(L, s);
	struct record *r = lua_newuserdatauv(L, sizeof *r, 1);
	*r = (struct record){
		.later = {.inbox = inbox},
		.waiting = {.wait = &r->later.wait, .nodes = q->in_place ? q->nodes : q->n ? &r->one : NULL, .n = q->n},
		.s = s, .exec = s->exec, .co = L, .then = q->then, .deadline = q->deadline, .shielded = q->shielded,
		.generation = lp_generation, .top = top - 1,
	};
	lp_own_set(r, &record_key);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &record_key);
	lua_setmetatable(L, -2);
	lua_createtable(L, KEPT + top - 1, 0);
	lua_pushvalue(L, top + 2);
	lp_push_light(L);
	lua_rawseti(L, -2, KEPT_LIGHT);
	lua_pushvalue(L, top + 1);
	lua_rawseti(L, -2, KEPT_ADAPTER);
	lua_createtable(L, 0, 5); /* the fields that our adapters use, and `id` */
	lua_rawseti(L, -2, KEPT_W);
	for (int i = 2; i <= top; i++) {
		lua_pushvalue(L, i);
		lua_rawseti(L, -2, KEPT + i - 1);
	}
#if LP_LUAJIT
	lua_setfenv(L, -2);
#else
	lua_setiuservalue(L, -2, 1);
#endif
	return 1;
}

/* Nobody tells when a coroutine ends: whoever waits for what it holds has to look. */
#define LOOK_FOR_THE_DEAD (LP_SECOND / 4)

static void is_neighbour(struct lp_exec *holder, void *data)
{
	struct record *r = data;
	r->neighbour |= holder->host && lp_exec_same_thread(holder, r->exec);
}

static bool held_by_neighbour(struct record *r)
{
	r->neighbour = false;
	lp_graph_lock();
	for (int i = 0; i < r->waiting.n; i++)
		lp_holders(r->waiting.nodes[i].obj, is_neighbour, r);
	lp_graph_unlock();
	return r->neighbour;
}

/* What `suspend` is told: the adapter; the id, or nil of one that waits for the time alone; the seconds that are left;
 * w. */
static void push_wait(lua_State *L, struct record *r, int record)
{
	push_kept(L, record, KEPT_ADAPTER);
	if (r->waiting.n)
		lua_pushlightuserdata(L, &r->later);
	else
		lua_pushnil(L);
	lp_time until = lp_actor_until(r->exec->actor, r->deadline);
	if (held_by_neighbour(r) && until > lp_now() + LOOK_FOR_THE_DEAD)
		until = lp_now() + LOOK_FOR_THE_DEAD;
	if (until == LP_FOREVER) {
		lua_pushnil(L);
	} else {
		lp_time left = until - lp_now();
		lua_pushnumber(L, left > 0 ? (lua_Number)left / 1e9 : 0);
	}
	push_kept(L, record, KEPT_W);
}

/* Not yet over: LP_MUST_WAIT. Else it is finished. */
static int look(lua_State *L, struct record *r)
{
	for (int i = 0; i < r->waiting.n && r->generation == lp_generation; i++)
		lp_bury(L, r->s, r->waiting.nodes[i].obj);
	bool (*signalled)(struct lp_exec *) = r->exec->signalled;
	r->exec->signalled = NULL; /* Ctrl-C is the loop's business */
	int answer = r->generation != lp_generation ? LP_CLOSING : lp_wait_look(r->exec, &r->later.wait, r->deadline);
	r->exec->signalled = signalled;
	if (answer == LP_MUST_WAIT)
		return answer;
	finish(r, answer);
	drop_counts(r);
	if (r->s->host)
		lp_host_stand_still();
	return answer;
}

/* By an adapter that was wrong. The nodes are no longer there for `then`. */
static int was_given_up(lua_State *L)
{
	return luaL_error(L, "the event loop's adapter has given this wait up, and yet its coroutine goes on");
}

#if !LP_LUAJIT
/* The stack: that of the function, the record. */
static int resumed(lua_State *L, int status, lua_KContext context)
{
	struct record *r = (struct record *)context;
	(void)status;
	for (;;) {
		if (!r->live)
			return was_given_up(L);
		int answer = look(L, r);
		if (answer != LP_MUST_WAIT) {
			lp_then then = r->then;
			struct lp_node one = r->one, *nodes = r->waiting.nodes == &r->one ? &one : r->waiting.nodes;
			lua_settop(L, r->top); /* closes the record, which is over */
			return then(L, lp_state(L), nodes, answer);
		}
		lua_rawgetp(L, LUA_REGISTRYINDEX, &lp_loop_suspend);
		push_wait(L, r, r->top + 1);
		lua_callk(L, 4, 0, context, resumed);
	}
}
#else
static const char mark_key;

/* The Lua function around us yields, and calls resume_record. */
static int push_mark(lua_State *L, struct record *r, int record)
{
	lua_pushlightuserdata(L, (void *)&mark_key);
	lua_pushvalue(L, record);
	push_wait(L, r, record);
	return 6;
}

/* give_up_record(record): the adapter's wait has raised. */
static int give_up_record(lua_State *L)
{
	struct record *r = lp_own_test(L, 1, sizeof *r, &record_key);
	return r && r->live ? record_gc(L) : 0;
}

/* resume_record(record): by the Lua function around, after its coroutine was resumed. */
static int resume_record(lua_State *L)
{
	struct record *r = lp_own_test(L, 1, sizeof *r, &record_key);
	if (!r)
		return luaL_argerror(L, 1, "the record of a wait expected");
	if (!r->live)
		return was_given_up(L);
	int answer = look(L, r);
	lua_settop(L, 1);
	lua_getfenv(L, 1);
	if (answer == LP_MUST_WAIT)
		return push_mark(L, r, 1);
	lp_then then = r->then;
	struct lp_node one = r->one, *nodes = r->waiting.nodes == &r->one ? &one : r->waiting.nodes;
	int top = r->top;
	luaL_checkstack(L, top + LUA_MINSTACK, "too many values");
	for (int i = 1; i <= top; i++)
		lua_rawgeti(L, 2, KEPT + i);
	lua_remove(L, 2);
	lua_remove(L, 1);
	return then(L, lp_state(L), nodes, answer);
}
#endif

/* The function's stack is as it was, with the record on top. */
static int suspend(lua_State *L, struct record *r, struct request *q)
{
#if !LP_LUAJIT
	r->top = lua_gettop(L) - 1;
	lua_toclose(L, r->top + 1); /* coroutine.close ends the wait at once */
#endif
	if (!q->in_place && q->n)
		r->one = *q->nodes;
	for (int i = 0; i < q->n; i++) {
		r->waiting.nodes[i].op &= ~LP_NODE_ALONE; /* other coroutines of the state run meanwhile */
		lp_retain(r->waiting.nodes[i].obj);
	}
	r->counts = true;
	lp_note_code(L, r->s);
	if (r->shielded)
		r->exec->actor->hold++;
	if (lp_wait_enter(r->exec, &r->waiting, r->deadline) == LP_DEADLOCK) {
		if (r->shielded)
			r->exec->actor->hold--;
		drop_counts(r);
		return LP_DEADLOCK;
	}
	set_live(r);
	lp_leave_coroutine(L, r->s);
	return 0;
}

static void hold(struct lp_state *s, int change)
{
	struct lp_limits scope = lp_limits_of(s->exec->actor);
	scope.hold = (uint16_t)(scope.hold + change);
	if (s->worker)
		lp_worker_set_scope(s->worker, &scope);
	else
		lp_limits_set(s->exec->actor, &scope);
}

static int take_shielded(struct lp_node *n)
{
	*n = (struct lp_node){.obj = n->obj, .op = n->op, .value = n->value};
	return n->obj->cls->take(n->obj, n) ? 0 : LP_MUST_WAIT;
}

static int wait_blocking(lua_State *L, struct lp_state *s, struct request *q)
{
	struct lp_exec *e = s->exec;
	if (!q->shielded)
		return lp_wait_blocking(L, s, q->nodes, q->n, q->deadline, q->once);
	bool (*signalled)(struct lp_exec *) = e->signalled;
	e->signalled = NULL;
	hold(s, 1);
	int answer = lp_wait_blocking(L, s, q->nodes, q->n, q->deadline, q->once);
	hold(s, -1);
	e->signalled = signalled;
	return answer;
}

static bool buried(lua_State *L, struct request *q)
{
	bool any = false;
	for (int i = 0; i < q->n; i++)
		any = lp_bury(L, q->s, q->nodes[i].obj) || any;
	return any;
}

/* The end of a wait that blocked. What it took is in the code's hands as it returns (cancel.h), and while Lua code runs
 * that makes a value of it. */
static int answered(lua_State *L, struct request *q, int answer, bool may_hand_over)
{
	struct lp_state *s = q->s;
	if (answer < 0 || !s->worker)
		return q->then(L, s, q->nodes, answer);
	may_hand_over = may_hand_over && q->nodes[answer].obj->cls->discard; /* what is not taken can be asked for again */
	lp_hand_over(s->exec->actor, may_hand_over);
	int n = q->then(L, s, q->nodes, answer);
	lp_hand_over(s->exec->actor, may_hand_over);
	return n;
}

static int wait_then(lua_State *L, struct request *q)
{
	struct lp_state *s = q->s;
	if (!s->exec || (!s->worker && !s->host))
		return q->then(L, s, q->nodes, LP_CLOSING);
	bool hands = lp_may_hand_over(s->exec->actor);
	int answer = q->shielded ? take_shielded(q->nodes) : lp_wait_try(s->exec, q->nodes, q->n, q->deadline);
	if (answer < 0 && s->host && s->loops && buried(L, q))
		answer = q->shielded ? take_shielded(q->nodes) : lp_wait_try(s->exec, q->nodes, q->n, q->deadline);
	if (answer != LP_MUST_WAIT)
		return answered(L, q, answer, hands);
	if (!s->host || !s->loops || (!s->asks_main && lp_is_main(L, s)))
		return answered(L, q, wait_blocking(L, s, q), hands);

	int top = lua_gettop(L), args = LP_LUAJIT ? top : 0;
	if (!lua_checkstack(L, args + LUA_MINSTACK))
		return q->then(L, s, q->nodes, LP_NOMEM);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &prepare_key);
	lua_pushlightuserdata(L, q);
	for (int i = 1; i <= args; i++)
		lua_pushvalue(L, i);
	if (lua_pcall(L, 1 + args, LUA_MULTRET, 0) != LUA_OK)
		return q->then(L, s, q->nodes, LP_RAISED);
	if (lua_gettop(L) == top)
		return q->then(L, s, q->nodes, wait_blocking(L, s, q));
	struct record *r = lua_touserdata(L, -1);
	if (!lua_isyieldable(L)) {
		lua_settop(L, top);
		luaL_where(L, lp_caller_level(L));
		lua_pushstring(L, NO_YIELD);
		lua_concat(L, 2);
		return q->then(L, s, q->nodes, LP_RAISED);
	}
	answer = suspend(L, r, q);
	if (answer == LP_DEADLOCK) {
		lua_settop(L, top);
		return q->then(L, s, q->nodes, answer);
	}
#if !LP_LUAJIT
	return resumed(L, LUA_OK, (lua_KContext)r);
#else
	/* What was ready when the nodes were queued has been fired without being announced. */
	answer = look(L, r);
	if (answer == LP_MUST_WAIT)
		return push_mark(L, r, top + 1);
	struct lp_node one = r->one;
	lua_settop(L, top);
	return q->then(L, s, q->in_place ? q->nodes : q->n ? &one : NULL, answer);
#endif
}

int lp_wait_then(lua_State *L, struct lp_state *s, struct lp_node *node, lp_time deadline, lp_then then)
{
	struct request q = {.s = s, .nodes = node, .n = node != NULL, .deadline = deadline, .then = then};
	return wait_then(L, &q);
}

int lp_wait_any_then(lua_State *L, struct lp_state *s, struct lp_node *nodes, int n, lp_time deadline, lp_then then)
{
	struct request q = {.s = s, .nodes = nodes, .n = n, .deadline = deadline, .then = then, .in_place = true};
	return wait_then(L, &q);
}

int lp_wait_shielded_then(lua_State *L, struct lp_state *s, struct lp_node *node, lp_time deadline, lp_then then)
{
	struct request q = {.s = s, .nodes = node, .n = 1, .deadline = deadline, .then = then, .shielded = true};
	return wait_then(L, &q);
}

int lp_wait_once_then(lua_State *L, struct lp_state *s, struct lp_node *node, lp_time deadline, lp_then then)
{
	struct request q = {.s = s, .nodes = node, .n = 1, .deadline = deadline, .then = then, .once = true};
	return wait_then(L, &q);
}

int lp_wait_failed(lua_State *L, struct lp_state *s, const struct lp_node *nodes, int answer)
{
	return answer == LP_TIMEOUT ? lp_push_timeout(L) : lp_wait_raise(L, s, nodes, answer);
}

int lp_then_true(lua_State *L, struct lp_state *s, struct lp_node *nodes, int answer)
{
	if (answer < 0)
		return lp_wait_failed(L, s, nodes, answer);
	lua_pushboolean(L, 1);
	return 1;
}

/* ---- functions that wait ---- */

#if LP_LUAJIT
static const char wrap_key;

static void push_wrap(lua_State *L, int state)
{
	static const char text[] = "local mark, resume, give_up, hooks, pcall, error = ... "
		"local suspended "
		"local function finish(...) if (...) ~= mark then return ... end return suspended(...) end "
		"function suspended(_, record, ...) "
		"local ok, err = pcall(hooks.suspend, ...) "
		"if not ok then give_up(record) error(err, 0) end "
		"return finish(resume(record)) end "
		"return function(f) return function(...) return finish(f(...)) end end";
	if (lua_rawgetp(L, LUA_REGISTRYINDEX, &wrap_key) == LUA_TFUNCTION)
		return;
	lua_pop(L, 1);
	if (luaL_loadbuffer(L, text, sizeof text - 1, LP_CHUNK) != 0)
		lua_error(L);
	lua_pushlightuserdata(L, (void *)&mark_key);
	lua_pushvalue(L, state);
	lua_pushcclosure(L, resume_record, 1);
	lua_pushcfunction(L, give_up_record);
	lua_newtable(L);
	lua_pushvalue(L, -1);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &lp_loop_suspend);
	lua_getglobal(L, "pcall");
	lua_getglobal(L, "error");
	lua_call(L, 6, 1);
	lua_pushvalue(L, -1);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &wrap_key);
}

void lp_blocking(lua_State *L, int state)
{
	struct lp_state *s = lua_touserdata(L, state);
	if (s->worker) /* there no event loop of ours runs */
		return;
	push_wrap(L, state);
	lua_insert(L, -2);
	lua_call(L, 1, 1);
}
#else
void lp_blocking(lua_State *L, int state)
{
	(void)L, (void)state;
}
#endif

void lp_blocking_fields(lua_State *L, int state, int t, const char *const *names)
{
	t = lua_absindex(L, t);
	for (; *names; names++) {
		lua_getfield(L, t, *names);
		lp_blocking(L, state);
		lua_setfield(L, t, *names);
	}
}

void lp_blocking_methods(lua_State *L, int state, const struct lp_class *cls, const char *const *names)
{
	lua_rawgetp(L, LUA_REGISTRYINDEX, cls);
	lua_getfield(L, -1, "__index");
	lp_blocking_fields(L, state, -1, names);
	lua_pop(L, 2);
}

/* give_up(id): of a wait that is not over, and whose coroutine the loop has killed. */
static int give_up_wait(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TLIGHTUSERDATA);
	struct record *r = lp_entry(lua_touserdata(L, 1), struct record, later);
	if (r->live)
		give_up_killed(r);
	return 0;
}

/* set_loop(ask, suspend, dropped, life, sweep, asks_main): functions of lua-pool/loop.lua; and whether a loop may run code
 * outside all coroutines. */
static int set_loop(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	luaL_checktype(L, 1, LUA_TFUNCTION);
	luaL_checktype(L, 2, LUA_TFUNCTION);
	luaL_checktype(L, 3, LUA_TFUNCTION);
	luaL_checktype(L, 4, LUA_TFUNCTION);
	luaL_checktype(L, 5, LUA_TFUNCTION);
	s->asks_main = lua_toboolean(L, 6);
	lua_settop(L, 5);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &lp_loop_sweep);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &lp_loop_life);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &dropped_key);
#if LP_LUAJIT
	lua_rawgetp(L, LUA_REGISTRYINDEX, &lp_loop_suspend);
	lua_insert(L, 2);
	lua_setfield(L, 2, "suspend");
	lua_settop(L, 1);
#else
	lua_rawsetp(L, LUA_REGISTRYINDEX, &lp_loop_suspend);
#endif
	lua_rawsetp(L, LUA_REGISTRYINDEX, &lp_loop_ask);
	s->loops = s->host != NULL;
	return 0;
}

void lp_open_suspend(lua_State *L, int state)
{
	static const luaL_Reg record[] = {{"__gc", record_gc}, {"__close", record_gc}, {NULL, NULL}};
	static const luaL_Reg functions[] = {{"set_loop", set_loop}, {"give_up", give_up_wait}, {NULL, NULL}};
	lua_newtable(L);
	luaL_setfuncs(L, record, 0);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &record_key);
	lua_pushcfunction(L, prepare);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &prepare_key);
#if LP_LUAJIT
	push_wrap(L, state);
	lua_pop(L, 1);
#endif
	lua_pushvalue(L, state);
	luaL_setfuncs(L, functions, 1);
}
