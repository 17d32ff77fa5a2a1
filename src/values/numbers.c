/* numbers: runs of numbers in a table's array part, read and written without a call for each: the second thing that is known of
 * the interpreter's insides (see shortcut.c). Lua 5.4 on 64 bits; where the self-test fails, or with
 * LUA_POOL_PORTABLE=1, encode and decode go element by element. */
#include <string.h>

#include "values/encode_int.h"

#if LP_LUAJIT
uint32_t lp_enc_numbers(struct enc *e, int index)
{
	(void)e, (void)index;
	return 0;
}

bool lp_set_numbers(lua_State *L, enum lp_tag tag, const unsigned char *p, uint32_t at, uint32_t n)
{
	(void)L, (void)tag, (void)p, (void)at, (void)n;
	return false;
}

bool lp_numbers_work(lua_State *L)
{
	(void)L;
	return false;
}
#else
/* Table: header and flags, alimit, array. What is within alimit is in the array. A value: 8 bytes, its type, padding. */
enum { ALIMIT = 12, ARRAY = 16, VALUE = 16, TYPE = 8, INTEGER = LUA_TNUMBER, FLOAT = LUA_TNUMBER | 16 };

static unsigned char *array_of(lua_State *L, int index, uint32_t *n)
{
	const char *table = lua_topointer(L, index);
	unsigned char *array;
	memcpy(n, table + ALIMIT, sizeof *n);
	memcpy(&array, table + ARRAY, sizeof array);
	return array;
}

static uint32_t run_of(const unsigned char *values, uint32_t n, unsigned char type)
{
	uint32_t i = 0;
	while (i < n && values[(size_t)i * VALUE + TYPE] == type)
		i++;
	return i;
}

uint32_t lp_enc_numbers(struct enc *e, int index)
{
	uint32_t n, done = 0;
	if (!lp_arrays_known())
		return 0;
	const unsigned char *v = array_of(e->L, index, &n);
	while (done < n) {
		unsigned char type = v[TYPE];
		if (type != INTEGER && type != FLOAT)
			break;
		uint32_t run = run_of(v, n - done, type);
		unsigned char *p = lp_enc_room(e, 5 + (size_t)run * 8);
		p[0] = type == INTEGER ? LP_TINTS : LP_TFLOATS;
		lp_put_u32(p + 1, run);
		p += 5;
		for (uint32_t i = 0; i < run; i++, p += 8, v += VALUE)
			memcpy(p, v, 8);
		done += run;
	}
	return done;
}

/* Numbers are not collected: no barrier. */
static void put(unsigned char *v, enum lp_tag tag, const unsigned char *p, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++, p += 8, v += VALUE) {
		memcpy(v, p, 8);
		v[TYPE] = tag == LP_TINTS ? INTEGER : FLOAT;
	}
}

bool lp_set_numbers(lua_State *L, enum lp_tag tag, const unsigned char *p, uint32_t at, uint32_t n)
{
	uint32_t room;
	if (!lp_arrays_known())
		return false;
	unsigned char *v = array_of(L, -1, &room);
	if (room < n || at - 1 > room - n)
		return false;
	put(v + (size_t)(at - 1) * VALUE, tag, p, n);
	return true;
}

/* ---- the self-test ---- */

static bool same(lua_State *L, const unsigned char *v, int i)
{
	bool whole = i % 3 != 0;
	int64_t x;
	double d;
	memcpy(&x, v, 8);
	memcpy(&d, v, 8);
	if (lua_rawgeti(L, -1, i) != LUA_TNUMBER)
		return false;
	bool ok = v[TYPE] == (whole ? INTEGER : FLOAT) && lua_isinteger(L, -1) == whole &&
		(whole ? x == lua_tointeger(L, -1) : d == lua_tonumber(L, -1));
	lua_pop(L, 1);
	return ok;
}

/* Is the array part where we think, in a table of a known size and in one that has grown? */
static bool can_read(lua_State *L, const char *text, uint32_t least)
{
	uint32_t n;
	if (luaL_loadstring(L, text) != LUA_OK)
		return false;
	lua_call(L, 0, 1);
	const unsigned char *v = array_of(L, -1, &n);
	if (n < least || n > 64 || (uintptr_t)v % 8)
		return false;
	for (uint32_t i = 1; i <= least; i++)
		if (!same(L, v + (i - 1) * VALUE, (int)i))
			return false;
	lua_pop(L, 1);
	return true;
}

static bool can_write(lua_State *L)
{
	enum { N = 12 };
	int64_t whole[N];
	double parts[N];
	uint32_t room;
	for (int i = 0; i < N; i++) {
		whole[i] = (int64_t)1 << (5 * i) | 1;
		parts[i] = 1.5 * i - 3;
	}
	lua_createtable(L, 2 * N, 1);
	unsigned char *v = array_of(L, -1, &room);
	if (room != 2 * N)
		return false;
	put(v, LP_TINTS, (unsigned char *)whole, N);
	put(v + N * VALUE, LP_TFLOATS, (unsigned char *)parts, N);
	lua_pushboolean(L, 1);
	lua_setfield(L, -2, "x");
	int n = 0;
	for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
		n++;
	if (n != 2 * N + 1 || lua_rawlen(L, -1) != 2 * N)
		return false;
	for (int i = 0; i < N; i++) {
		lua_rawgeti(L, -1, i + 1);
		lua_rawgeti(L, -2, N + i + 1);
		if (!lua_isinteger(L, -2) || lua_tointeger(L, -2) != whole[i] || lua_isinteger(L, -1) || lua_tonumber(L, -1) != parts[i])
			return false;
		lua_pop(L, 2);
	}
	return true;
}

bool lp_numbers_work(lua_State *L)
{
	return sizeof(void *) == 8 && sizeof(lua_Integer) == 8 && sizeof(lua_Number) == 8 && lua_checkstack(L, 12) &&
		can_read(L, "return {1, 2, 0.5, 4, 5, 6.25, 7, math.mininteger, -1e300}", 9) &&
		can_read(L, "local t = {} for i = 1, 37 do t[i] = i % 3 == 0 and i * 0.5 or i << 20 end return t", 32) && can_write(L);
}
#endif
