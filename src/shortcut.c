/* shortcut: the only knowledge of the interpreter's insides: where a closure keeps its prototype. It is an
 * identity, nothing is read through it. Tested when the library is loaded; where the test fails, or
 * with LUA_POOL_PORTABLE=1, everything works without it. */
#include <stdlib.h>
#include <string.h>

#include "values_int.h"

#if LP_LUAJIT
enum { PROTO_AT = 32 }; /* GCfuncL.pc in a 64-bit build (GC64): after header, env, gclist */
#else
enum { PROTO_AT = 24 }; /* LClosure.p: after header, nupvalues, gclist */
#endif

static _Atomic int known; /* 0 not tested, 1 yes, -1 no */

bool lp_portable(void)
{
	const char *s = getenv("LUA_POOL_PORTABLE");
	return s && *s && strcmp(s, "0") != 0;
}

static const void *peek(lua_State *L, int index)
{
	const char *closure = lua_topointer(L, index);
	const void *p;
	memcpy(&p, closure + PROTO_AT, sizeof p);
	return p;
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

void lp_shortcut_test(lua_State *L)
{
	if (atomic_load(&known))
		return;
	int top = lua_gettop(L);
	int answer = !lp_portable() && agrees(L) ? 1 : -1;
	lua_settop(L, top);
	atomic_store(&known, answer);
}

const void *lp_prototype(lua_State *L, int index)
{
	return atomic_load_explicit(&known, memory_order_relaxed) > 0 ? peek(L, index) : NULL;
}
