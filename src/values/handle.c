/* handle: see handle.h. Registry keys: the class's address -> its metatable; the address of
 * `cache_key` -> weak table object -> userdata. */
#include "values/handle.h"

#include "vm/holdings.h"

#include "vm/state.h"
#include "vm/signals.h"

static const char cache_key;

static int handle_gc(lua_State *L)
{
	lp_release(lp_handle_end(L, 1));
	return 0;
}

static int handle_eq(lua_State *L)
{
	struct lp_obj *a = lp_toobj(L, 1), *b = lp_toobj(L, 2);
	lua_pushboolean(L, a && a == b);
	return 1;
}

static int handle_tostring(lua_State *L)
{
	struct lp_obj *o = lp_toobj(L, 1);
	if (!o)
		lua_pushliteral(L, "lua-pool object (collected)");
	else
		lua_pushfstring(L, "%s: %p", o->cls->name, (void *)o);
	return 1;
}

/* What is written in Lua of a class comes with the module lua-pool, which a task need not have required: it is when
 * somebody asks for a method that is not there. Upvalue 1: was that done? */
static int methods_index(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 2);
	if (!lua_toboolean(L, lua_upvalueindex(1))) {
		lua_pushboolean(L, 1);
		lua_replace(L, lua_upvalueindex(1));
		lua_pushglobaltable(L);
		lua_pushliteral(L, "require");
		if (lua_rawget(L, -2) == LUA_TFUNCTION) {
			lua_pushliteral(L, "lua-pool");
			int status = lua_pcall(L, 1, 0, 0); /* without it the method is not there, that is all ... */
			if (status != LUA_OK && (status == LUA_ERRMEM || lp_ends_actor(L, -1))) { /* ... but this passes */
				lua_pushboolean(L, 0);
				lua_replace(L, lua_upvalueindex(1));
				lua_error(L);
			}
		}
		lua_settop(L, 2);
	}
	lua_rawget(L, 1);
	return 1;
}

/* Gives the table of methods on top of the stack the above as __index. */
static void add_lua_methods(lua_State *L)
{
	static const char key;
	if (lua_rawgetp(L, LUA_REGISTRYINDEX, &key) == LUA_TNIL) {
		lua_pop(L, 1);
		lua_newtable(L);
		lua_pushboolean(L, 0);
		lua_pushcclosure(L, methods_index, 1);
		lua_setfield(L, -2, "__index");
		lua_pushvalue(L, -1);
		lua_rawsetp(L, LUA_REGISTRYINDEX, &key);
	}
	lua_setmetatable(L, -2);
}

void lp_handle_class(lua_State *L, const struct lp_class *cls, const luaL_Reg *methods, const luaL_Reg *meta, int nup)
{
	static const luaL_Reg basics[] = {
		{"__gc", handle_gc}, {"__eq", handle_eq}, {"__tostring", handle_tostring}, {NULL, NULL}};
	int up = lua_gettop(L);
	lua_newtable(L); /* metatable */
	luaL_setfuncs(L, basics, 0);
	lua_pushstring(L, cls->name);
	lua_setfield(L, -2, "__name");
	lp_own_protect(L, cls->name);
	lua_newtable(L); /* methods */
	add_lua_methods(L);
	for (int i = 0; i < 2; i++) {
		const luaL_Reg *funcs = i ? meta : methods;
		lua_pushvalue(L, i ? up + 1 : up + 2);
		if (nup)
			lua_pushvalue(L, up);
		if (funcs)
			luaL_setfuncs(L, funcs, nup);
		else if (nup)
			lua_pop(L, 1);
		lua_pop(L, 1);
	}
	lp_push_classes(L);
	lua_pushvalue(L, up + 2);
	lua_setfield(L, -2, cls->name);
	lua_pop(L, 1);
	if (lua_getfield(L, up + 1, "__index") == LUA_TNIL) {
		lua_pushvalue(L, up + 2);
		lua_setfield(L, up + 1, "__index");
	}
	lua_settop(L, up + 1);
	lua_rawsetp(L, LUA_REGISTRYINDEX, cls);
	if (lua_rawgetp(L, LUA_REGISTRYINDEX, &cache_key) == LUA_TNIL) {
		lua_newtable(L);
		lua_newtable(L);
		lua_pushliteral(L, "v");
		lua_setfield(L, -2, "__mode");
		lua_setmetatable(L, -2);
		lua_rawsetp(L, LUA_REGISTRYINDEX, &cache_key);
	}
	lua_settop(L, nup ? up - 1 : up);
}

void lp_push_classes(lua_State *L)
{
	luaL_getsubtable(L, LUA_REGISTRYINDEX, "lua-pool.classes");
}

struct lp_handle *lp_handle_new(lua_State *L, const struct lp_class *cls)
{
	struct lp_handle *h = lua_newuserdatauv(L, sizeof *h, 0);
	h->magic = LP_HANDLE_MAGIC ^ (uintptr_t)h;
	h->obj = NULL;
	lua_rawgetp(L, LUA_REGISTRYINDEX, cls);
	lua_setmetatable(L, -2);
	return h;
}

struct lp_handle *lp_handle_quick(lua_State *L, int metatable)
{
	struct lp_handle *h = lua_newuserdatauv(L, sizeof *h, 0);
	h->magic = LP_HANDLE_MAGIC ^ (uintptr_t)h;
	h->obj = NULL;
	lua_rawgeti(L, LUA_REGISTRYINDEX, metatable);
	lua_setmetatable(L, -2);
	return h;
}

void lp_push(lua_State *L, struct lp_obj *o)
{
	luaL_checkstack(L, 4, "too many values");
	lua_rawgetp(L, LUA_REGISTRYINDEX, &cache_key);
	/* One that was finalised by hand is empty: it is none. */
	if (lua_rawgetp(L, -1, o) != LUA_TUSERDATA || lp_toobj(L, -1) != o) {
		lua_pop(L, 1);
		struct lp_handle *h = lp_handle_new(L, o->cls);
		h->obj = lp_retain(o);
		lua_pushvalue(L, -1);
		lua_rawsetp(L, -3, o);
		if (o->cls->holds && o->cls->holds(o))
			lp_hold_received(L, -1);
	}
	lua_remove(L, -2);
}

void *lp_test(lua_State *L, int index, const struct lp_class *cls)
{
	struct lp_obj *o = lp_toobj(L, index);
	return o && o->cls == cls ? o : NULL;
}

void *lp_check(lua_State *L, int index, const struct lp_class *cls)
{
	struct lp_obj *o = lp_toobj(L, index);
	if (!o || o->cls != cls) {
		const char *got = o ? lp_class_short_name(o->cls) : luaL_typename(L, index);
		const char *msg = lua_pushfstring(L, "%s expected, got %s", lp_class_short_name(cls), got);
		luaL_argerror(L, index, msg);
		return NULL; /* not reached */
	}
	if (o->generation != lp_generation && !cls->forks)
		luaL_error(L, "this %s belongs to the parent process: make a new one after fork", lp_class_short_name(cls));
	return o;
}
