/* values: a state's record for sending and receiving. See values.h. */
#include <string.h>

#include "pin.h"
#include "values_int.h"

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
