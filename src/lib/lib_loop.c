/* lib_loop: what lua-pool/loop.lua needs of the inbox; opens what lies under a wait that suspends its coroutine. */
#include <errno.h>
#include <string.h>

#include "vm/holdings.h"
#include "wait/inbox.h"
#include "vm/suspend.h"

/* Not lp_state(): an adapter that calls for a coroutine is no reason to remember that one. */
static struct lp_inbox *inbox_of(lua_State *L)
{
	return lp_state_inbox(L, lua_touserdata(L, lua_upvalueindex(1)));
}

/* inbox_fd() -> the descriptor that is readable when waits are over; watched by the loop, never read by it
 * / nil, why, errno. */
static int inbox_fd(lua_State *L)
{
	int fd = lp_inbox_fd(inbox_of(L));
	if (fd < 0 && lp_hold_less_in(L, lua_touserdata(L, lua_upvalueindex(1)), errno))
		fd = lp_inbox_fd(inbox_of(L));
	if (fd >= 0) {
		lua_pushinteger(L, fd);
		return 1;
	}
	int err = errno;
	lua_pushnil(L);
	lua_pushstring(L, strerror(err));
	lua_pushinteger(L, err);
	return 3;
}

/* inbox_use(fd): announcements go to this connected socket instead, one byte each, and the inbox owns it; nil: to
 * nobody until the next call. For adapters that need a socket (inbox.h). */
static int inbox_use(lua_State *L)
{
	int fd = lua_isnoneornil(L, 1) ? -1 : (int)lp_check_int(L, 1, 0, INT32_MAX);
	lp_inbox_use(inbox_of(L), fd);
	return 0;
}

/* inbox_collect(), then inbox_next() until nil: the ids (light userdata) of waits that are over. */
static int inbox_collect(lua_State *L)
{
	lp_inbox_collect(inbox_of(L));
	return 0;
}

static int inbox_next(lua_State *L)
{
	struct lp_later *l = lp_inbox_next(inbox_of(L));
	if (l)
		lua_pushlightuserdata(L, l);
	else
		lua_pushnil(L);
	return 1;
}

/* inbox_announce(): makes the descriptor readable. */
static int inbox_announce(lua_State *L)
{
	lp_inbox_announce(inbox_of(L));
	return 0;
}

void lp_open_loop(lua_State *L, int state)
{
	static const luaL_Reg functions[] = {{"inbox_fd", inbox_fd}, {"inbox_use", inbox_use},
		{"inbox_collect", inbox_collect}, {"inbox_next", inbox_next},
		{"inbox_announce", inbox_announce}, {NULL, NULL}};
	lua_pushvalue(L, state);
	luaL_setfuncs(L, functions, 1);
}
