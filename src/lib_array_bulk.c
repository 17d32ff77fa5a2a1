/* lib_array_bulk: methods of arrays and buffers that go over many elements at once. */
#include <string.h>

#include "lib_array.h"

/* ---- to Lua ---- */

/* array:string([i [, j]]) -> the bytes of elements i to j, in the machine's order. */
static int array_string(lua_State *L)
{
	unsigned char *data;
	struct lp_array *a = lp_check_array(L, 1, &data);
	size_t from, n = lp_check_range(L, 2, a->n, &from), size = lp_array_size(a);
	lua_pushlstring(L, (char *)data + from * size, n * size);
	return 1;
}

/* array:table([i [, j]]) -> table with the numbers i to j. */
static int array_table(lua_State *L)
{
	unsigned char *data;
	struct lp_array *a = lp_check_array(L, 1, &data);
	size_t from, n = lp_check_range(L, 2, a->n, &from), size = lp_array_size(a);
	if (n > INT32_MAX - 1)
		return luaL_error(L, "more elements than a table can hold: take them in parts, array:table(i, j)");
	lua_createtable(L, (int)n, 0);
	for (size_t i = 0; i < n; i++) {
		lp_element_push(L, a->type, data + (from + i) * size);
		lua_rawseti(L, -2, (int)i + 1);
	}
	return 1;
}

const luaL_Reg lp_array_bulk[] = {{"string", array_string}, {"table", array_table}, {NULL, NULL}};
