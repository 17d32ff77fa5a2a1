/* values: a state's record for sending and receiving. See values.h. */
#include <stdio.h>
#include <string.h>

#include "values/values.h"
#include "base/account.h"
#include "values/pin.h"
#include "values/values_int.h"

static const char values_key;

static int values_gc(lua_State *L)
{
	struct lp_values *v = lp_own_test(L, 1, sizeof *v, &values_key);
	if (!v)
		return 0;
	lp_map_free(&v->scratch.map);
	for (int i = 0; i < LP_KNOWN; i++) {
		lp_release(v->known[i].code);
		v->known[i].code = NULL;
		v->known[i].proto = NULL;
	}
	if (v->pins)
		lp_pins_close(v->pins);
	v->pins = NULL;
	return 0;
}

struct lp_values *lp_values_open(lua_State *L)
{
	if (lua_rawgetp(L, LUA_REGISTRYINDEX, &values_key) == LUA_TUSERDATA) {
		struct lp_values *v = lua_touserdata(L, -1);
		lua_pop(L, 1);
		return v;
	}
	lua_pop(L, 1);
	struct lp_values *v = lua_newuserdatauv(L, sizeof *v, 0);
	memset(v, 0, sizeof *v);
	lp_own_set(v, &values_key);
	lua_newtable(L);
	lua_pushcfunction(L, values_gc);
	lua_setfield(L, -2, "__gc");
	lua_setmetatable(L, -2);
	lp_shortcut_test(L);
	lp_code_open(L, v);
	lua_newtable(L);
	v->names = luaL_ref(L, LUA_REGISTRYINDEX);
	lua_newtable(L);
	v->pins = lp_pins_new(luaL_ref(L, LUA_REGISTRYINDEX)); /* NULL: everything is copied */
	lua_pushglobaltable(L);
	v->globals = lua_topointer(L, -1);
#if LP_LUAJIT
	v->home = v->globals;
	v->home_ref = luaL_ref(L, LUA_REGISTRYINDEX);
#else
	lua_pop(L, 1);
#endif
	lua_rawsetp(L, LUA_REGISTRYINDEX, &values_key);
	return v;
}

/* ---- memory ---- */

static int collect_all(lua_State *L)
{
	lua_gc(L, LUA_GCCOLLECT, 0);
	lua_gc(L, LUA_GCCOLLECT, 0); /* what the finalisers of handles have let go of is gone: twice for those of others */
	return 0;
}

bool lp_make_room(lua_State *L)
{
	if (!lp_account_refused() || !lua_checkstack(L, 4))
		return false;
#if LP_LUAJIT
	int status = lua_cpcall(L, collect_all, NULL);
#else
	lua_pushcfunction(L, collect_all);
	int status = lua_pcall(L, 0, 0, 0);
#endif
	if (status != LUA_OK)
		lua_pop(L, 1);
	return true;
}

static int no_memory(lua_State *L, const char *space, const char *what)
{
	size_t limit = lp_account_refused();
	if (!limit)
		return luaL_error(L, "not enough memory%s%s", space, what);
	char bytes[24];
	snprintf(bytes, sizeof bytes, "%zu", limit);
	return luaL_error(L, "not enough memory%s%s: with what the task has sent and what it holds outside its Lua state it would be over its "
		"pool's memory_limit of %s bytes", space, what, bytes);
}

int lp_no_memory(lua_State *L)
{
	return no_memory(L, "", "");
}

int lp_no_memory_for(lua_State *L, const char *what)
{
	return no_memory(L, " ", what);
}

#if LP_LUAJIT
void lp_go_home(lua_State *L, struct lp_values *v)
{
	if (lua_topointer(L, LUA_GLOBALSINDEX) == v->home)
		return;
	lua_rawgeti(L, LUA_REGISTRYINDEX, v->home_ref);
	lua_replace(L, LUA_GLOBALSINDEX);
}

enum { LARGE = 64 * 1024, SHARE = 8 }; /* asks for steps that would be right for an eighth of the bytes */

static int collect(lua_State *L)
{
	lua_gc(L, LUA_GCSTEP, *(int *)lua_touserdata(L, 1));
	return 0;
}

void lp_collect(lua_State *L, size_t bytes)
{
	if (bytes < LARGE || !lua_gc(L, LUA_GCISRUNNING, 0) || !lua_checkstack(L, 4))
		return;
	int kib = bytes / SHARE / 1024 < 1 << 20 ? (int)(bytes / SHARE / 1024) : 1 << 20;
	if (lua_cpcall(L, collect, &kib) != LUA_OK) /* finalisers run in it */
		lua_pop(L, 1);
}
#else
void lp_collect(lua_State *L, size_t bytes)
{
	(void)L, (void)bytes;
}
#endif
