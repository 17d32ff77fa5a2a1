/* shortcut: knowledge of the interpreter's insides: where a closure keeps its prototype, where the running function of a
 * call is, where it stands (numbers.c: the array part of tables; records.c: their other part; changes.c: whether a table got a
 * new key). Identities and two line numbers: nothing is written, but for a mark in changes.c. Tested when the library is
 * loaded, each part for itself; where its test fails, or with LUA_POOL_PORTABLE=1, everything works without it. */
#include <stdlib.h>
#include <string.h>

#include "values/values_int.h"

#if LP_LUAJIT
enum { PROTO_AT = 32 }; /* GCfuncL.pc in a 64-bit build (GC64): after header, env, gclist */
#else
enum { PROTO_AT = 24 }; /* LClosure.p: after header, nupvalues, gclist */
#endif

static _Atomic int known, spots, arrays, records; /* 0 not tested, 1 yes, -1 no */

bool lp_portable(void)
{
	const char *s = getenv("LUA_POOL_PORTABLE");
	return s && *s && strcmp(s, "0") != 0;
}

/* ---- the prototype of a function ---- */

static const void *pointer_at(const void *object, size_t at)
{
	const void *p;
	memcpy(&p, (const char *)object + at, sizeof p);
	return p;
}

static const void *peek(lua_State *L, int index)
{
	return pointer_at(lua_topointer(L, index), PROTO_AT);
}

/* Functions of one prototype must agree there, with and without upvalues, and those of others differ. */
static bool agrees(lua_State *L)
{
	static const char text[] =
		"local function make(n) local m = n\n"
		"  return function() return n, m end, function() return n end, function() return 1 end end\n"
		"local a, b, c = make(1) local d, e, f = make(2)\n"
		"return a, b, c, d, e, f";
	if (sizeof(void *) != 8 || luaL_loadstring(L, text) != LUA_OK)
		return false;
	lua_call(L, 0, 6);
	const void *p[6];
	for (int i = 0; i < 6; i++)
		p[i] = peek(L, -6 + i);
	for (int i = 0; i < 3; i++)
		if (!p[i] || p[i] != p[i + 3] || p[i] == p[(i + 1) % 3] || (uintptr_t)p[i] % 4)
			return false;
	return true;
}

const void *lp_prototype(lua_State *L, int index)
{
	return atomic_load_explicit(&known, memory_order_relaxed) > 0 ? peek(L, index) : NULL;
}

bool lp_arrays_known(void)
{
	return atomic_load_explicit(&arrays, memory_order_relaxed) > 0;
}

bool lp_records_known(void)
{
	return atomic_load_explicit(&records, memory_order_relaxed) > 0;
}

/* ---- where a function stands ---- */

#if LP_LUAJIT
static bool spots_agree(lua_State *L)
{
	(void)L;
	return false;
}

bool lp_spot_of(const lua_Debug *ar, struct lp_spot *spot)
{
	(void)ar, (void)spot;
	return false;
}
#else
/* Lua 5.4 on 64 bits. CallInfo: func, top, previous, next, then of a Lua function its savedpc. A value: its pointer, its
 * type. Proto: header and sizes, then as below. */
enum { CALL_FUNC = 0, CALL_PC = 32, VALUE_TYPE = 8, LUA_CLOSURE = LUA_TFUNCTION | 64 };
enum { PROTO_SIZECODE = 24, PROTO_FIRST = 44, PROTO_LAST = 48, PROTO_CODE = 64, PROTO_LINES = 88, PROTO_SOURCE = 112 };

static int int_at(const void *object, size_t at)
{
	int x;
	memcpy(&x, (const char *)object + at, sizeof x);
	return x;
}

static bool look(const lua_Debug *ar, struct lp_spot *spot)
{
	const char *value = pointer_at(ar->i_ci, CALL_FUNC);
	if (value[VALUE_TYPE] != LUA_CLOSURE)
		return false;
	const void *proto = pointer_at(pointer_at(value, 0), PROTO_AT);
	memset(spot, 0, sizeof *spot);
	spot->pc = pointer_at(ar->i_ci, CALL_PC);
	spot->proto = proto;
	spot->code = pointer_at(proto, PROTO_CODE);
	spot->lines = pointer_at(proto, PROTO_LINES);
	spot->source = pointer_at(proto, PROTO_SOURCE);
	spot->first = int_at(proto, PROTO_FIRST);
	spot->last = int_at(proto, PROTO_LAST);
	return true;
}

bool lp_spot_of(const lua_Debug *ar, struct lp_spot *spot)
{
	return atomic_load_explicit(&spots, memory_order_relaxed) > 0 && look(ar, spot);
}

/* Called twice from one function, on different lines: checks what it sees against what Lua says. Answers whether it agrees, and
 * the two places as light userdata. */
static int spot_test(lua_State *L)
{
	lua_Debug ar;
	struct lp_spot spot;
	bool ok = lua_getstack(L, 1, &ar) && lua_getinfo(L, "Slf", &ar);
	if (ok) {
		const char *value = pointer_at(ar.i_ci, CALL_FUNC);
		/* One step at a time: what is not as expected must not be followed. */
		ok = (uintptr_t)value % 8 == 0 && pointer_at(value, 0) == lua_topointer(L, -1) && value[VALUE_TYPE] == LUA_CLOSURE &&
			look(&ar, &spot) &&
			spot.first == ar.linedefined && spot.last == ar.lastlinedefined &&
			(uintptr_t)spot.pc >= (uintptr_t)spot.code &&
			(uintptr_t)spot.pc <= (uintptr_t)spot.code + 4 * (uintptr_t)int_at(spot.proto, PROTO_SIZECODE) &&
			(const char *)spot.source < ar.source && (const char *)spot.source + 64 >= ar.source;
	}
	lua_pushboolean(L, ok);
	lua_pushlightuserdata(L, ok ? (void *)spot.pc : NULL);
	lua_pushlightuserdata(L, ok ? (void *)spot.lines : NULL);
	return 3;
}

static bool spots_agree(lua_State *L)
{
	static const char text[] =
		"local test = ...\n"
		"local function f()\n"
		"  local a, p, l = test()\n"
		"  local b, q, m = test()\n"
		"  return a and b and p ~= q and l == m\n"
		"end\n"
		"local a, p = test()\n"
		"return f() and f() and a, (pcall(test))";
	if (luaL_loadstring(L, text) != LUA_OK)
		return false;
	lua_pushcfunction(L, spot_test);
	lua_call(L, 1, 2);
	return lua_toboolean(L, -2) && lua_toboolean(L, -1);
}
#endif

void lp_shortcut_test(lua_State *L)
{
	if (atomic_load(&known))
		return;
	int top = lua_gettop(L);
	int answer = !lp_portable() && agrees(L) ? 1 : -1;
	lua_settop(L, top);
	atomic_store(&spots, answer > 0 && spots_agree(L) ? 1 : -1);
	lua_settop(L, top);
	atomic_store(&arrays, answer > 0 && lp_numbers_work(L) ? 1 : -1);
	lua_settop(L, top);
	atomic_store(&records, lp_arrays_known() && lp_records_work(L) ? 1 : -1);
	lua_settop(L, top);
	if (!lp_portable())
		lp_changes_work(L);
	lua_settop(L, top);
	atomic_store(&known, answer);
}
