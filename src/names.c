/* names: what is sent by name: modules, and the C functions, userdata and metatables that are fields of one.
 * The names are collected from package.loaded when something is to be sent that may have one, and again
 * when package.loaded has changed. Of several names the standard library's wins, then the shortest. */
#include <stdlib.h>
#include <string.h>

#include "handle.h"
#include "values_int.h"

/* ---- collecting ---- */

static void push_loaded(lua_State *L)
{
	lua_getfield(L, LUA_REGISTRYINDEX, "_LOADED");
}

/* A sum that changes when a module is loaded, unloaded or replaced. */
static size_t fingerprint(lua_State *L)
{
	size_t sum = 0;
	push_loaded(L);
	if (lua_istable(L, -1)) {
		lua_pushnil(L);
		while (lua_next(L, -2)) {
			sum += 1 + (size_t)lua_topointer(L, -1) * 31;
			lua_pop(L, 1);
		}
	}
	lua_pop(L, 1);
	return sum;
}

static bool is_standard(const char *name)
{
	static const char *const names[] = {"_G", "string", "table", "math", "io", "os", "coroutine", "debug", "package",
		"utf8", "bit", "jit", "ffi", NULL};
	for (int i = 0; names[i]; i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

static int compare(const void *a, const void *b)
{
	const char *x = *(const char *const *)a, *y = *(const char *const *)b;
	int standard = is_standard(y) - is_standard(x);
	if (standard)
		return standard;
	size_t n = strlen(x), m = strlen(y);
	return n != m ? (n < m ? -1 : 1) : strcmp(x, y);
}

static bool may_have_name(lua_State *L, int index)
{
	int t = lua_type(L, index);
	return t == LUA_TTABLE || t == LUA_TFUNCTION || (t == LUA_TUSERDATA && !lp_toobj(L, index));
}

static void note_named(struct lp_values *v, const void *p)
{
	uint32_t h = lp_hash_pointer(p);
	v->named[h / 64 % LP_NAMED_WORDS] |= 1ull << h % 64;
	v->named[(h >> 16) / 64 % LP_NAMED_WORDS] |= 1ull << (h >> 16) % 64;
}

/* names[value at top] = name (below it), unless it has one. Pops both. */
static void give(lua_State *L, struct lp_values *v, int names)
{
	lua_pushvalue(L, -1);
	if (lua_rawget(L, names) == LUA_TNIL) {
		note_named(v, lua_topointer(L, -2));
		lua_pushvalue(L, -2);
		lua_pushvalue(L, -4);
		lua_rawset(L, names);
	}
	lua_pop(L, 3);
}

/* Is the field's value (at the top) sent by name? Functions of Lua only if they are ours; tables only as
 * metatables, and not those of _G: a global of the script is no module's. */
static bool field_has_name(lua_State *L, const char *module)
{
	switch (lua_type(L, -1)) {
	case LUA_TFUNCTION:
		/* `require` is ours in a worker, and other programs replace it too: it means that of the state it comes to. */
		return lua_iscfunction(L, -1) || strncmp(module, "lua-pool", 8) == 0 ||
			(strcmp(module, "_G") == 0 && strcmp(lua_tostring(L, -2), "require") == 0);
	case LUA_TUSERDATA:
		return !lp_toobj(L, -1);
	case LUA_TTABLE:
		return strcmp(module, "_G") != 0;
	default:
		return false;
	}
}

static void collect(lua_State *L, struct lp_values *v)
{
	int top = lua_gettop(L);
	luaL_checkstack(L, 16, NULL);
	lua_newtable(L);
	lua_newtable(L);
	lua_pushliteral(L, "k");
	lua_setfield(L, -2, "__mode");
	lua_setmetatable(L, -2);
	int names = top + 1;
	push_loaded(L);
	int loaded = top + 2;
	memset(v->named, 0, sizeof v->named);
	if (lua_istable(L, loaded)) {
		size_t n = 0;
		lua_pushnil(L);
		while (lua_next(L, loaded)) {
			n += lua_type(L, -2) == LUA_TSTRING;
			lua_pop(L, 1);
		}
		const char **sorted = lua_newuserdatauv(L, (n + 1) * sizeof *sorted, 0);
		size_t i = 0;
		lua_pushnil(L);
		while (lua_next(L, loaded)) { /* the strings live: they are keys of a table on the stack */
			if (lua_type(L, -2) == LUA_TSTRING && i < n)
				sorted[i++] = lua_tostring(L, -2);
			lua_pop(L, 1);
		}
		n = i;
		qsort(sorted, n, sizeof *sorted, compare);
		for (i = 0; i < n; i++) { /* modules first: their own name is better than "a.b" as a field */
			lua_pushstring(L, sorted[i]);
			lua_pushvalue(L, -1);
			lua_rawget(L, loaded);
			if (may_have_name(L, -1))
				give(L, v, names);
			else
				lua_pop(L, 2);
		}
		for (i = 0; i < n; i++) {
			lua_pushstring(L, sorted[i]);
			if (lua_rawget(L, loaded) == LUA_TTABLE) {
				lua_pushnil(L);
				while (lua_next(L, -2)) {
					if (lua_type(L, -2) == LUA_TSTRING && field_has_name(L, sorted[i])) {
						lua_pushstring(L, sorted[i]);
						lua_pushlstring(L, "", 1);
						lua_pushvalue(L, -4);
						lua_concat(L, 3);
						lua_insert(L, -2);
						give(L, v, names);
					} else {
						lua_pop(L, 1);
					}
				}
			}
			lua_pop(L, 1);
		}
	}
	v->modules = fingerprint(L);
	lua_pushvalue(L, names);
	lua_rawseti(L, LUA_REGISTRYINDEX, v->names);
	lua_pushglobaltable(L);
	v->globals = lua_topointer(L, -1);
	lua_settop(L, top);
}

void lp_names_refresh(lua_State *L, struct lp_values *v)
{
	if (fingerprint(L) != v->modules)
		collect(L, v);
}

bool lp_name_of(lua_State *L, struct lp_values *v, int index)
{
	index = lua_absindex(L, index);
	if (!lp_maybe_named(v, lua_topointer(L, index)))
		return false;
	lua_rawgeti(L, LUA_REGISTRYINDEX, v->names);
	lua_pushvalue(L, index);
	if (lua_rawget(L, -2) == LUA_TSTRING) {
		lua_remove(L, -2);
		return true;
	}
	lua_pop(L, 2);
	return false;
}

/* ---- receiving ---- */

void lp_push_named(lua_State *L, const char *module, size_t n, const char *field, size_t m)
{
	luaL_checkstack(L, 6, NULL);
	push_loaded(L);
	lua_pushlstring(L, module, n);
	lua_rawget(L, -2);
	lua_remove(L, -2);
	if (!lua_toboolean(L, -1)) {
		lua_pop(L, 1);
		lua_getglobal(L, "require");
		lua_pushlstring(L, module, n);
		lua_call(L, 1, 1);
	}
	if (!field)
		return;
	if (lua_istable(L, -1)) {
		lua_pushlstring(L, field, m);
		lua_rawget(L, -2);
	} else {
		lua_pushnil(L);
	}
	if (lua_isnil(L, -1)) {
		lua_pushlstring(L, module, n);
		lua_pushlstring(L, field, m);
		luaL_error(L, "'%s.%s' was sent by name, and is nil in this state", lua_tostring(L, -2), lua_tostring(L, -1));
	}
	lua_remove(L, -2);
}
