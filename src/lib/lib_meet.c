/* lib_meet: for loops that can connect to an address but not poll a descriptor of ours (nginx's cosockets): see
 * os_socket.c. Lua parts of adapters use it; it is not for users. */
#include <string.h>
#include <unistd.h>

#include "values/own.h"
#include "vm/state.h"

static const char meet_key; /* registry: the metatable */

struct meeting {
	struct lp_own own;
	struct lp_meet meet;
	int fd;              /* our end; -1: none. Given to whoever takes it. */
	uint32_t generation; /* the process that made it: a child leaves the name to its parent */
};

static struct meeting *check_meeting(lua_State *L)
{
	struct meeting *m = lp_own_test(L, 1, sizeof *m, &meet_key);
	if (!m)
		luaL_argerror(L, 1, "meeting expected");
	return m;
}

static void leave(struct meeting *m)
{
	if (m->generation != lp_generation)
		m->meet.path[0] = '\0';
	lp_meet_close(&m->meet);
}

static int meeting_close(lua_State *L)
{
	struct meeting *m = check_meeting(L);
	leave(m);
	if (m->fd >= 0)
		close(m->fd);
	m->fd = -1;
	return 0;
}

/* meet(folder) -> meeting, which listens / nil, error, errno. */
static int meet(lua_State *L)
{
	const char *folder = luaL_checkstring(L, 1);
	struct meeting *m = lua_newuserdatauv(L, sizeof *m, 0);
	lp_own_set(m, &meet_key);
	m->meet.fd = m->fd = -1;
	m->meet.path[0] = '\0';
	m->generation = lp_generation;
	lua_rawgetp(L, LUA_REGISTRYINDEX, &meet_key);
	lua_setmetatable(L, -2);
	int err = lp_meet_open(&m->meet, folder);
	if (!err)
		return 1;
	lua_pushnil(L);
	lua_pushfstring(L, "%s: %s", folder, strerror(err));
	lua_pushinteger(L, err);
	return 3;
}

/* meeting:path() -> where to connect to. */
static int meeting_path(lua_State *L)
{
	lua_pushstring(L, check_meeting(L)->meet.path);
	return 1;
}

/* meeting:accept() -> true: this process had connected, and the name is gone; false: it had not. */
static int meeting_accept(lua_State *L)
{
	struct meeting *m = check_meeting(L);
	if (m->fd < 0 && m->meet.fd >= 0)
		m->fd = lp_meet_accept(&m->meet);
	leave(m);
	lua_pushboolean(L, m->fd >= 0);
	return 1;
}

/* meeting:take() -> the descriptor of our end, which belongs to the caller from now on; nil: there is none. */
static int meeting_take(lua_State *L)
{
	struct meeting *m = check_meeting(L);
	if (m->fd < 0)
		return 0;
	lua_pushinteger(L, m->fd);
	m->fd = -1;
	return 1;
}

/* children_ours(): the host's SIGCHLD handler waits for all children: os.h. */
static int children_ours(lua_State *L)
{
	(void)L;
	lp_children_ours();
	return 0;
}

void lp_open_meet(lua_State *L, int state)
{
	static const luaL_Reg methods[] = {{"path", meeting_path}, {"accept", meeting_accept}, {"take", meeting_take},
		{"close", meeting_close}, {"__gc", meeting_close}, {NULL, NULL}};
	static const luaL_Reg functions[] = {{"meet", meet}, {"children_ours", children_ours}, {NULL, NULL}};
	(void)state;
	lua_newtable(L);
	luaL_setfuncs(L, methods, 0);
	lua_pushvalue(L, -1);
	lua_setfield(L, -2, "__index");
	lp_own_protect(L, "lua-pool.meeting");
	lua_rawsetp(L, LUA_REGISTRYINDEX, &meet_key);
	luaL_setfuncs(L, functions, 0);
}
