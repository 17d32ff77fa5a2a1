/* records: tables such as {id = 1, name = "x"}, whose pairs are read without a call for each: the third thing that is known
 * of the interpreter's insides (see shortcut.c). Lua 5.4 on 64 bits; where the self-test fails, or with
 * LUA_POOL_PORTABLE=1, such a table is encoded like any other. */
#include <string.h>

#include "values/encode_int.h"

#if LP_LUAJIT
bool lp_enc_record(struct enc *e, int index, uint32_t *pairs)
{
	(void)e, (void)index, (void)pairs;
	return false;
}

bool lp_records_work(lua_State *L)
{
	(void)L;
	return false;
}

bool lp_fields_hold(const void *table, const void *value, bool deep, const void *except, size_t *looked)
{
	(void)table, (void)value, (void)deep, (void)except, (void)looked;
	return false;
}
#else
/* Table: log2 of the number of nodes, alimit, nodes. Node: value, its type, the key's type, next, key. String: header, length,
 * hash, a pointer, bytes. */
enum { LOG_NODES = 11, ALIMIT = 12, NODES = 24 };
enum { NODE = 24, VALUE_TYPE = 8, KEY_TYPE = 9, KEY = 16 };
enum { SHORT_LENGTH = 11, BYTES = 24 };
enum { FALSE = LUA_TBOOLEAN, TRUE = LUA_TBOOLEAN | 16, INTEGER = LUA_TNUMBER, FLOAT = LUA_TNUMBER | 16, SHORT = LUA_TSTRING | 64,
	BASIC_TYPE = 15 };
enum { MOST = 64 /* nodes: a larger table gains little */ };

struct record {
	const unsigned char *nodes;
	uint32_t n;
};

static bool has_array(const char *table)
{
	uint32_t n;
	memcpy(&n, table + ALIMIT, sizeof n);
	return n != 0;
}

static bool open_record(const char *table, struct record *r)
{
	unsigned log2 = (unsigned char)table[LOG_NODES];
	if (has_array(table) || log2 > 6)
		return false;
	r->n = 1u << log2;
	memcpy(&r->nodes, table + NODES, sizeof r->nodes);
	return true;
}

/* How many pairs; MOST + 1: there is something else among them. */
static uint32_t count_pairs(const struct record *r)
{
	uint32_t pairs = 0;
	for (const unsigned char *node = r->nodes, *end = node + r->n * NODE; node < end; node += NODE) {
		unsigned type = node[VALUE_TYPE];
		if ((type & BASIC_TYPE) == LUA_TNIL) /* free, or its key may be dead */
			continue;
		if (node[KEY_TYPE] != SHORT ||
			!(type == SHORT || type == INTEGER || type == FLOAT || type == TRUE || type == FALSE))
			return MOST + 1;
		pairs++;
	}
	return pairs;
}

static const char *string_at(const unsigned char *p, size_t *n)
{
	const char *s;
	memcpy(&s, p, sizeof s);
	*n = (unsigned char)s[SHORT_LENGTH];
	return s + BYTES;
}

bool lp_enc_record(struct enc *e, int index, uint32_t *pairs)
{
	struct record r;
	if (!lp_records_known() || !open_record(lua_topointer(e->L, index), &r) || (*pairs = count_pairs(&r)) > MOST)
		return false;
	for (const unsigned char *node = r.nodes, *end = node + r.n * NODE; node < end; node += NODE) {
		size_t n;
		const char *s;
		int64_t x;
		double d;
		unsigned type = node[VALUE_TYPE];
		if ((type & BASIC_TYPE) == LUA_TNIL)
			continue;
		s = string_at(node + KEY, &n);
		lp_enc_short(e, s, n);
		switch (type) {
		case SHORT:
			s = string_at(node, &n);
			lp_enc_short(e, s, n);
			break;
		case INTEGER:
			memcpy(&x, node, 8);
			lp_enc_integer(e, x);
			break;
		case FLOAT:
			memcpy(&d, node, 8);
			lp_enc_float(e, d);
			break;
		default:
			*lp_enc_room(e, 1) = type == TRUE ? LP_TTRUE : LP_TFALSE;
		}
	}
	return true;
}

/* ---- is a value anywhere in a table? ---- */

bool lp_fields_hold(const void *table, const void *value, bool deep, const void *except, size_t *looked)
{
	enum { COLLECTED = 64, TABLE = LUA_TTABLE | COLLECTED };
	const unsigned char *nodes;
	memcpy(&nodes, (const char *)table + NODES, sizeof nodes);
	size_t n = (size_t)1 << ((const unsigned char *)table)[LOG_NODES];
	*looked += n;
	for (const unsigned char *node = nodes, *end = nodes + n * NODE; node < end; node += NODE) {
		const void *held;
		if (!(node[VALUE_TYPE] & COLLECTED) || (node[KEY_TYPE] & BASIC_TYPE) != LUA_TSTRING)
			continue;
		memcpy(&held, node, sizeof held);
		if (held == value)
			return true;
		if (deep && node[VALUE_TYPE] == TABLE && held != except && lp_fields_hold(held, value, false, NULL, looked))
			return true;
	}
	return false;
}

/* ---- the self-test ---- */

/* Is each node what Lua says of its key? The table is on top; its strings are as short as they are many. */
static bool agrees(lua_State *L, const struct record *r)
{
	for (const unsigned char *node = r->nodes, *end = node + r->n * NODE; node < end; node += NODE) {
		const void *key;
		size_t n, len;
		if ((node[VALUE_TYPE] & BASIC_TYPE) == LUA_TNIL)
			continue;
		/* What the node says is a string must be one of the keys: an address, before it is followed. */
		memcpy(&key, node + KEY, sizeof key);
		bool found = false;
		for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
			const char *s = lua_tolstring(L, -2, &len);
			if ((const char *)key + BYTES != s)
				continue;
			found = string_at(node + KEY, &n) == s && n == len;
			int64_t x;
			double d;
			memcpy(&x, node, 8);
			memcpy(&d, node, 8);
			switch (node[VALUE_TYPE]) {
			case SHORT:
				found = found && lua_type(L, -1) == LUA_TSTRING && (const char *)(uintptr_t)x + BYTES == lua_tolstring(L, -1, &len) &&
					string_at(node, &n) == lua_tolstring(L, -1, &len) && n == len;
				break;
			case INTEGER: found = found && lua_isinteger(L, -1) && lua_tointeger(L, -1) == x; break;
			case FLOAT: found = found && lua_type(L, -1) == LUA_TNUMBER && !lua_isinteger(L, -1) && lua_tonumber(L, -1) == d; break;
			case TRUE: found = found && lua_isboolean(L, -1) && lua_toboolean(L, -1); break;
			case FALSE: found = found && lua_isboolean(L, -1) && !lua_toboolean(L, -1); break;
			default: found = false;
			}
		}
		if (!found)
			return false;
	}
	return true;
}

bool lp_records_work(lua_State *L)
{
	static const struct {
		const char *text;
		uint32_t pairs;
	} tests[] = {
		{"return {}", 0},
		{"return {a = 1, bb = 'two', ccc = 3.5, dddd = true, eeeee = false, [''] = '', f = math.mininteger}", 7},
		{"local t = {} for i = 1, 40 do t['key ' .. i] = i % 2 == 0 and i or 'value ' .. i end "
		 "for i = 1, 30 do t['key ' .. i] = nil end return t", 10},
	};
	if (!lua_checkstack(L, 12))
		return false;
	for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
		struct record r;
		if (luaL_loadstring(L, tests[i].text) != LUA_OK)
			return false;
		lua_call(L, 0, 1);
		if (!open_record(lua_topointer(L, -1), &r) || (uintptr_t)r.nodes % 8 || count_pairs(&r) != tests[i].pairs || !agrees(L, &r))
			return false;
		lua_pop(L, 1);
	}
	/* What is in a table is found there. */
	size_t looked = 0;
	if (luaL_loadstring(L, "local t = {} local m = {t = t, n = 5, [t] = 'x'} return {a = {}, m = m, s = 'y'}, m, t, {}") != LUA_OK)
		return false;
	lua_call(L, 0, 4);
	const void *all = lua_topointer(L, -4), *m = lua_topointer(L, -3), *t = lua_topointer(L, -2), *none = lua_topointer(L, -1);
	if (!lp_fields_hold(all, m, false, NULL, &looked) || lp_fields_hold(all, t, false, NULL, &looked) ||
		!lp_fields_hold(all, t, true, NULL, &looked) || lp_fields_hold(all, t, true, m, &looked) ||
		lp_fields_hold(all, none, true, NULL, &looked) || looked < 4 || looked > 64)
		return false;
	lua_pop(L, 4);
	/* A key or a value of any other kind is noticed. */
	static const char *const others[] = {"return {a = 1, [2.5] = 1}", "return {a = {}}", "return {a = print}", "return {[true] = 1}",
		"return {a = ('x'):rep(100)}", "return {[('x'):rep(100)] = 1}", "return {1, a = 1}", "return {[{}] = 1}"};
	for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
		struct record r;
		if (luaL_loadstring(L, others[i]) != LUA_OK)
			return false;
		lua_call(L, 0, 1);
		if (open_record(lua_topointer(L, -1), &r) && count_pairs(&r) <= MOST)
			return false;
		lua_pop(L, 1);
	}
	return true;
}
#endif
