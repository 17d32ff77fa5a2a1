/* lib_pollfd: future:pollfd(), events(), timeout(): a future for those who poll descriptors themselves.
 *
 * A future that is polled gets an inbox of its own: its descriptor becomes readable when the task ends, and stays so,
 * since nobody empties it. So any number of pollers, of any kind of loop, see it. (Awaiting needs no descriptor: this is
 * for loops that we have no adapter for, and for polling a future beside other objects.) */
#include <errno.h>
#include <string.h>

#include "values/handle.h"
#include "vm/holdings.h"
#include "wait/inbox.h"
#include "lib/lib.h"

static const char pollers_key, poller_key;

/* Lives as long as the future's handle, in a table with weak keys. */
struct poller {
	struct lp_own own;
	struct lp_later later;
	struct lp_waiting waiting;
	struct lp_node node;
	struct lp_exec exec;        /* of the wait: nobody's */
	struct lp_actor actor;
	uint32_t generation;
	bool live;
};

static int poller_gc(lua_State *L)
{
	struct poller *p = lp_own_test(L, 1, sizeof *p, &poller_key);
	if (!p)
		return 0;
	if (p->live && p->generation == lp_generation) {
		lp_wait_leave(&p->exec, &p->waiting, lp_wait_give_up(&p->later.wait));
		lp_inbox_forget(&p->later);
		lp_inbox_free(p->later.inbox);
	}
	if (p->live)
		lp_release(p->node.obj);
	p->live = false;
	return 0;
}

static struct poller *push_poller(lua_State *L, struct lp_task *t)
{
	struct poller *p = lua_newuserdatauv(L, sizeof *p, 0);
	memset(p, 0, sizeof *p);
	lp_own_set(p, &poller_key);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &poller_key);
	lua_setmetatable(L, -2);
	struct lp_inbox *inbox = lp_inbox_new();
	if (!inbox)
		luaL_error(L, "not enough memory");
	lp_actor_init(&p->actor);
	p->exec.actor = &p->actor;
	lp_lock_init(&p->exec.place_lock, LP_RANK_PLACE);
	p->later.inbox = inbox;
	p->node.obj = lp_retain(t);
	p->waiting = (struct lp_waiting){.wait = &p->later.wait, .nodes = &p->node, .n = 1};
	p->generation = lp_generation;
	p->live = true;
	/* A time limit, though one that never comes: this wait is no link of a ring. */
	lp_wait_enter(&p->exec, &p->waiting, LP_FOREVER - 1);
	return p;
}

/* future:pollfd() -> a descriptor that is readable once the task has ended, and that is only to be polled; open as
 * long as the future's handle lives. Raises when there is none to be had. Never waits. */
static int future_pollfd(lua_State *L)
{
	struct lp_task *t = lp_check(L, 1, &lp_task_class);
	lua_settop(L, 1);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &pollers_key);
	lua_pushvalue(L, 1);
	lua_rawget(L, 2);
	struct poller *p = lp_own_test(L, 3, sizeof *p, &poller_key);
	if (!p || !p->live || p->generation != lp_generation) {
		p = push_poller(L, t);
		lua_pushvalue(L, 1);
		lua_pushvalue(L, -2);
		lua_rawset(L, 2);
	}
	int fd = lp_inbox_fd(p->later.inbox);
	if (fd < 0 && lp_hold_less_in(L, lp_state(L), errno))
		fd = lp_inbox_fd(p->later.inbox);
	if (fd < 0)
		return luaL_error(L, "no descriptor for a future that is polled: %s", strerror(errno));
	if (lp_task_ended(t))
		lp_inbox_announce(p->later.inbox); /* it may have ended before there was a descriptor */
	lua_pushinteger(L, fd);
	return 1;
}

/* future:events() -> "r": what to poll the descriptor for. */
static int future_events(lua_State *L)
{
	lp_check(L, 1, &lp_task_class);
	lua_pushliteral(L, "r");
	return 1;
}

/* future:timeout() -> 0 once the task has ended, so that a poller does not wait; else nil. */
static int future_timeout(lua_State *L)
{
	if (lp_task_ended(lp_check(L, 1, &lp_task_class)))
		lua_pushinteger(L, 0);
	else
		lua_pushnil(L);
	return 1;
}

void lp_open_pollfd(lua_State *L, int state)
{
	static const luaL_Reg methods[] = {
		{"pollfd", future_pollfd}, {"events", future_events}, {"timeout", future_timeout}, {NULL, NULL}};
	int top = lua_gettop(L);
	lua_newtable(L);
	lua_newtable(L);
	lua_pushliteral(L, "k");
	lua_setfield(L, -2, "__mode");
	lua_setmetatable(L, -2);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &pollers_key);
	lua_newtable(L);
	lua_pushcfunction(L, poller_gc);
	lua_setfield(L, -2, "__gc");
	lua_rawsetp(L, LUA_REGISTRYINDEX, &poller_key);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &lp_task_class);
	lua_getfield(L, -1, "__index");
	lua_pushvalue(L, state);
	luaL_setfuncs(L, methods, 1);
	lua_settop(L, top);
}
