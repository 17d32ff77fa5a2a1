/* changes: has a table got a new key since we looked at it? The fourth thing that is known of the interpreter's insides (see
 * shortcut.c), on both Luas. In each table they keep a byte that says which metamethods are known to be missing from it,
 * in case it is a metatable. Whoever adds a key clears that byte. So we write down, as the interpreter itself does when it has
 * looked for it in vain, that the table has no "__eq"; when the mark is gone, somebody has written to the table.
 *
 * What it does not see: another value under a key that is there, on Lua 5.4 and in loops that LuaJIT has compiled. */
#include <string.h>

#include "values/values_int.h"

static _Atomic unsigned found; /* [A] where the byte is, shifted by 8, and its bit for "__eq"; 0: not known */

static unsigned char *byte_of(const void *table, size_t offset)
{
	return (unsigned char *)table + offset;
}

static bool compare(lua_State *L)
{
#if LP_LUAJIT
	return lua_equal(L, -2, -1);
#else
	return lua_compare(L, -2, -1, LUA_OPEQ);
#endif
}

/* Each function gets the table as its argument. */
static int by_rawset(lua_State *L)
{
	lua_pushliteral(L, "raw");
	lua_pushinteger(L, 1);
	lua_rawset(L, 1);
	return 0;
}

static int by_setfield(lua_State *L)
{
	lua_pushinteger(L, 1);
	lua_setfield(L, 1, "field");
	return 0;
}

static bool is_cleared(lua_State *L, unsigned char *byte, unsigned char bit, int table)
{
	*byte |= bit;
	lua_pushvalue(L, table);
	lua_call(L, 1, 0);
	return !(*byte & bit);
}

static bool works_at(lua_State *L, size_t offset)
{
	static const char *const writes[] = {"(...).new = 1", "(...).again = nil (...).again = 1", "local t, k = ..., 'computed' t[k] = 1",
		"local t = ... for i = 1, 9 do t['many' .. i] = i end"};
	lua_newtable(L);
	int table = lua_gettop(L);
	unsigned char *byte = byte_of(lua_topointer(L, table), offset);
	for (int i = 0; i < 2; i++) {
		lua_newtable(L);
		lua_pushvalue(L, table);
		lua_setmetatable(L, -2);
	}
	lua_pushinteger(L, 1);
	lua_setfield(L, table, "again");
	unsigned char before = *byte;
	bool equal = compare(L);
	unsigned char after = *byte, bit = (unsigned char)(after ^ before);
	if (equal || !bit || (bit & (bit - 1)) || !(after & bit))
		return false;
	for (size_t i = 0; i < sizeof writes / sizeof *writes; i++)
		if (luaL_loadstring(L, writes[i]) != LUA_OK || !is_cleared(L, byte, bit, table))
			return false;
	lua_pushcfunction(L, by_rawset);
	if (!is_cleared(L, byte, bit, table))
		return false;
	lua_pushcfunction(L, by_setfield);
	if (!is_cleared(L, byte, bit, table))
		return false;
	atomic_store_explicit(&found, (unsigned)offset << 8 | bit, memory_order_relaxed);
	return true;
}

bool lp_changes_work(lua_State *L)
{
	/* The first field of an object is a link of the collector, then come two bytes of its own. LuaJIT has links of 4 bytes, too. */
	return lua_checkstack(L, 12) && (works_at(L, sizeof(void *) + 2) || works_at(L, 4 + 2));
}

bool lp_changes_since(const void *table)
{
	unsigned where = atomic_load_explicit(&found, memory_order_relaxed);
	return !where || !(*byte_of(table, where >> 8) & where & 255);
}

void lp_changes_note(lua_State *L, int index)
{
	unsigned where = atomic_load_explicit(&found, memory_order_relaxed);
	if (!where)
		return;
	index = lua_absindex(L, index);
	lua_pushliteral(L, "__eq");
	if (lua_rawget(L, index) == LUA_TNIL)
		*byte_of(lua_topointer(L, index), where >> 8) |= where & 255;
	lua_pop(L, 1);
}
