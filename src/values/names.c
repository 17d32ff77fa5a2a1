/* names: what is sent by name: modules, and the C functions, userdata and metatables that are fields of one.
 * The names are collected from package.loaded when something is to be sent that may have one, and again
 * when package.loaded has changed. Of several names the standard library's wins, then the shortest.
 *
 * A message costs the same however many modules there are. So nothing is looked through to learn whether it has changed:
 *
 * - A name that is about to be used is verified: is it still the name of that value? If not, all are collected again.
 * - A key that is new in package.loaded is seen (changes.c).
 * - What is left: a table that has no name, and now stands in the place of another module, or is a metatable and a field of a
 *   module. A message with such a table may look for it if there is credit: ALLOWANCE places for each message that asks.
 *   Where the interpreter's insides are known that is all of some 250 modules; with more it may be noticed some messages later, and so may a class
 *   that was sent before its module had it. What has not been looked for lately, and is a metatable or has a function as a module has,
 *   is looked for on credit. What would be refused, a C function without a name say, is always looked for. */
#include <stdlib.h>
#include <string.h>

#include "values/handle.h"
#include "values/values_int.h"

enum { ALLOWANCE = 256, FIELD_ALLOWANCE = 128, SAVINGS = 1 << 16, DEBT = 1 << 19 };
enum { BY_LUA_NEXT = 16 /* so much dearer is a place that lua_next shows */ };

/* ---- collecting ---- */

static void push_loaded(lua_State *L)
{
	lua_getfield(L, LUA_REGISTRYINDEX, "_LOADED");
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

/* Another sum says that something in package.loaded (at the top) has changed. */
static size_t add_up(lua_State *L, struct lp_values *v)
{
	size_t sum = 0, n = 0;
	lua_pushnil(L);
	while (lua_next(L, -2)) {
		sum += (size_t)lua_topointer(L, -1) * 31 + (size_t)lua_topointer(L, -2);
		n++;
		lua_pop(L, 1);
	}
	v->looked += n * BY_LUA_NEXT;
	return sum + n;
}

/* Has the value on top a name? A table that is a module has that of a module. */
static bool is_known(lua_State *L, struct lp_values *v, int names, bool module)
{
	if (!lp_maybe_named(v, lua_topointer(L, -1)))
		return false;
	size_t n;
	lua_pushvalue(L, -1);
	bool known = lua_rawget(L, names) == LUA_TSTRING &&
		(!module || !lua_istable(L, -2) || strlen(lua_tolstring(L, -1, &n)) == n);
	lua_pop(L, 1);
	return known;
}

static bool fields_known(lua_State *L, struct lp_values *v, int names, const char *module)
{
	lua_pushnil(L);
	while (lua_next(L, -2)) {
		v->looked += BY_LUA_NEXT;
		if (lua_type(L, -2) == LUA_TSTRING && field_has_name(L, module) && !is_known(L, v, names, false)) {
			lua_pop(L, 2);
			return false;
		}
		lua_pop(L, 1);
	}
	return true;
}

/* Has each module in package.loaded (at the top) a name, and if asked for, each of its fields? */
static bool all_known(lua_State *L, struct lp_values *v, bool fields)
{
	int loaded = lua_gettop(L);
	luaL_checkstack(L, 8, NULL);
	bool known = lua_rawgeti(L, LUA_REGISTRYINDEX, v->names) == LUA_TTABLE;
	if (known)
		lua_pushnil(L);
	while (known && lua_next(L, loaded)) {
		v->looked += BY_LUA_NEXT;
		if (lua_type(L, -2) == LUA_TSTRING) {
			known = !may_have_name(L, -1) || is_known(L, v, loaded + 1, true);
			if (known && fields && lua_istable(L, -1))
				known = fields_known(L, v, loaded + 1, lua_tostring(L, -2));
		}
		lua_pop(L, 1);
	}
	lua_settop(L, loaded);
	return known;
}

static void collect_from(lua_State *L, struct lp_values *v, int names, int loaded)
{
	size_t n = 0;
	lua_pushnil(L);
	while (lua_next(L, loaded)) {
		n += lua_type(L, -2) == LUA_TSTRING;
		lua_pop(L, 1);
	}
	lua_createtable(L, (int)n, 0); /* keeps the keys */
	int keys = lua_gettop(L);
	const char **sorted = lua_newuserdatauv(L, (n + 1) * sizeof *sorted, 0);
	size_t i = 0;
	lua_pushnil(L);
	while (lua_next(L, loaded)) {
		if (lua_type(L, -2) == LUA_TSTRING && i < n) {
			lua_pushvalue(L, -2);
			lua_rawseti(L, keys, (int)i + 1);
			sorted[i++] = lua_tostring(L, -2);
		}
		lua_pop(L, 1);
	}
	n = i;
	v->looked += n * BY_LUA_NEXT;
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
				v->looked += BY_LUA_NEXT;
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

static void collect(lua_State *L, struct lp_values *v)
{
	int top = lua_gettop(L);
	luaL_checkstack(L, 16, NULL);
	v->modules = NULL; /* if it raises, and what finalisers do meanwhile: to be looked through again */
	lua_newtable(L);
	lua_newtable(L);
	lua_pushliteral(L, "k");
	lua_setfield(L, -2, "__mode");
	lua_setmetatable(L, -2);
	push_loaded(L);
	memset(v->named, 0, sizeof v->named);
	lua_pushvalue(L, top + 1);
	lua_rawseti(L, LUA_REGISTRYINDEX, v->names);
	if (lua_istable(L, top + 2)) {
		lp_changes_note(L, top + 2);
		lua_pushvalue(L, top + 2);
		v->sum = add_up(L, v);
		lua_pop(L, 1);
		collect_from(L, v, top + 1, top + 2);
	}
	v->modules = lua_topointer(L, top + 2);
	lua_pushglobaltable(L);
	v->globals = lua_topointer(L, -1);
	memset(v->verified, 0, sizeof v->verified);
	lua_settop(L, top);
}

void lp_names_refresh(lua_State *L, struct lp_values *v)
{
	push_loaded(L);
	const void *loaded = lua_topointer(L, -1);
	bool known = loaded == v->modules;
	if (known && lp_changes_since(loaded)) {
		lp_changes_note(L, -1); /* before it is looked through */
		known = all_known(L, v, false);
		if (known)
			v->sum = add_up(L, v);
	}
	lua_pop(L, 1);
	if (!known)
		collect(L, v);
}

/* Has it perhaps got a name? Package.loaded is at the top. */
static bool look_for(lua_State *L, struct lp_values *v, const void *value, bool fields, bool must)
{
	const void *loaded = lua_topointer(L, -1);
	if (!v->modules || loaded != v->modules)
		return true;
	if (!must && lp_records_known()) /* then it is a table */
		return lp_fields_hold(loaded, value, fields, v->globals, &v->looked);
	return fields ? !all_known(L, v, true) : add_up(L, v) != v->sum;
}

/* Is there a function among the first fields of the table at index? */
static bool has_function(lua_State *L, int index)
{
	int top = lua_gettop(L);
	lua_pushnil(L);
	for (int i = 0; i < 8 && lua_next(L, index); i++) {
		if (lua_isfunction(L, -1)) {
			lua_settop(L, top);
			return true;
		}
		lua_pop(L, 1);
	}
	lua_settop(L, top);
	return false;
}

bool lp_names_search(lua_State *L, struct lp_values *v, int index, bool fields, bool must)
{
	const void *value = lua_topointer(L, index), **seen = &v->nameless[lp_hash_pointer(value) % LP_VERIFIED];
	int *credit = fields ? &v->field_credit : &v->credit;
	if (*credit < SAVINGS)
		*credit += fields ? FIELD_ALLOWANCE : ALLOWANCE;
	bool on_credit = !must && *credit <= 0;
	if (on_credit && (*seen == value || *credit <= -DEBT || !(fields || has_function(L, index))))
		return false;
	size_t before = v->looked;
	push_loaded(L);
	bool found = lua_istable(L, -1) && look_for(L, v, value, fields, must);
	lua_pop(L, 1);
	if (found)
		collect(L, v);
	if (found && lp_maybe_named(v, value))
		return true; /* that was no waste */
	if (fields || on_credit)
		*seen = value;
	size_t cost = v->looked - before;
	*credit = cost < DEBT && *credit > -DEBT ? *credit - (int)cost : -DEBT - DEBT;
	return found;
}

/* ---- asking ---- */

/* Is the value below its name on top what has this name? */
static bool holds(lua_State *L)
{
	int top = lua_gettop(L);
	size_t n;
	const char *name = lua_tolstring(L, -1, &n);
	size_t module = strlen(name);
	push_loaded(L);
	if (lua_istable(L, -1)) {
		if (module == n)
			lua_pushvalue(L, top);
		else
			lua_pushlstring(L, name, module);
		lua_rawget(L, -2);
		if (module != n && lua_istable(L, -1)) {
			lua_pushlstring(L, name + module + 1, n - module - 1);
			lua_rawget(L, -2);
		} else if (module != n) {
			lua_pushnil(L);
		}
	}
	bool same = lua_rawequal(L, top - 1, -1);
	lua_settop(L, top);
	return same;
}

bool lp_name_of(lua_State *L, struct lp_values *v, int index)
{
	const void *value = lua_topointer(L, index);
	if (!lp_maybe_named(v, value))
		return false;
	index = lua_absindex(L, index);
	uint32_t slot = lp_hash_pointer(value) % LP_VERIFIED;
	for (bool again = false;; again = true) {
		lua_rawgeti(L, LUA_REGISTRYINDEX, v->names);
		lua_pushvalue(L, index);
		if (!lua_istable(L, -2) || lua_rawget(L, -2) != LUA_TSTRING) {
			lua_pop(L, 2);
			return false;
		}
		lua_remove(L, -2);
		if (v->verified[slot].value == value && v->verified[slot].message == v->message)
			return true;
		lua_pushvalue(L, index);
		lua_insert(L, -2);
		bool same = holds(L);
		lua_remove(L, -2);
		if (same) {
			v->verified[slot].value = value;
			v->verified[slot].message = v->message;
			return true;
		}
		lua_pop(L, 1);
		if (again)
			return false;
		collect(L, v);
	}
}

size_t lp_names_looked(const struct lp_values *v)
{
	return v->looked;
}

/* ---- receiving ---- */

const char lp_standard_modules;

void lp_names_watch(struct lp_values *v, bool *lost)
{
	v->lost = lost;
}

void lp_names_lost(struct lp_values *v)
{
	if (v->lost)
		*v->lost = true;
}

/* The module of this name, or nil. */
static void push_module(lua_State *L, const char *name, size_t n)
{
	push_loaded(L);
	if (!lua_istable(L, -1)) {
		lua_pop(L, 1);
		lua_newtable(L);
	}
	lua_pushlstring(L, name, n);
	lua_rawget(L, -2);
	lua_remove(L, -2);
	if (!lua_isnil(L, -1))
		return;
	if (lua_rawgetp(L, LUA_REGISTRYINDEX, &lp_standard_modules) != LUA_TTABLE) {
		lua_pop(L, 1);
		return;
	}
	lua_pushlstring(L, name, n);
	lua_rawget(L, -2);
	lua_replace(L, -3);
	lua_pop(L, 1);
	if (!lua_isnil(L, -1))
		lp_names_lost(lp_values_open(L));
}

void lp_push_named(lua_State *L, const char *module, size_t n, const char *field, size_t m)
{
	luaL_checkstack(L, 6, NULL);
	push_module(L, module, n);
	/* LuaJIT leaves a mark where loading has failed: a light userdata, or a strange number. */
	if (!lua_toboolean(L, -1) || lua_type(L, -1) == LUA_TLIGHTUSERDATA || lua_type(L, -1) == LUA_TNUMBER) {
		lua_pop(L, 1);
		if (lua_getglobal(L, "require") != LUA_TFUNCTION) {
			lua_pushlstring(L, module, n);
			luaL_error(L, "the module '%s' was sent by name, is not loaded in this state, and there is no 'require' here",
				lua_tostring(L, -1));
		}
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
