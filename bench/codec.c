/* codec: what it costs to turn values into a message and back, without a task around it. A Lua module for
 * bench/rows.lua: require "bench_codec" (n, values...) -> seconds to encode, seconds to decode, each for one time. */
#include "base/os.h"
#include "values/values.h"

enum { INLINE = 256 };

static int measure(lua_State *L)
{
	int n = (int)luaL_checkinteger(L, 1), top = lua_gettop(L);
	struct lp_values *v = lp_values_open(L);
	lua_settop(L, top); /* it is anchored in the registry */
	luaL_checkstack(L, top + 8, NULL);
	unsigned char bytes[INLINE];
	struct lp_msg m;
	lp_msg_init(&m, bytes, INLINE);

	lp_time start = lp_now();
	for (int i = 0; i < n; i++) {
		lp_msg_clear(&m);
		m.nvalues = 0;
		if (!lp_encode(L, v, &m, 2, top - 1, "value", 1)) {
			lp_msg_clear(&m);
			return lua_error(L);
		}
	}
	lp_time middle = lp_now();
	for (int i = 0; i < n; i++) {
		lp_decode(L, v, &m);
		lua_settop(L, top);
	}
	lp_time end = lp_now();
	lp_msg_clear(&m);
	lua_pushnumber(L, (double)(middle - start) / LP_SECOND / n);
	lua_pushnumber(L, (double)(end - middle) / LP_SECOND / n);
	return 2;
}

int luaopen_bench_codec(lua_State *L);

__attribute__((visibility("default"))) int luaopen_bench_codec(lua_State *L)
{
	lua_pushcfunction(L, measure);
	return 1;
}
