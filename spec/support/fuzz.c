/* fuzz: encodes values and decodes damaged copies of the message, for specs. require "fuzz":
 *   fuzz.message(values...) -> message
 *   fuzz.decode(message, seed) -> how many values / nil, error: of a copy with damage that follows from the seed; 0: none
 *   fuzz.size(message) -> bytes
 * A copy has no byte more than its length, so that AddressSanitizer sees every step beyond it. */
#include <stdlib.h>
#include <string.h>

#include "base/account.h"
#include "values/handle.h"
#include "values/values.h"

static const char key;

static int message_gc(lua_State *L)
{
	lp_msg_clear(lua_touserdata(L, 1));
	return 0;
}

static struct lp_msg *push_message(lua_State *L)
{
	struct lp_msg *m = lua_newuserdatauv(L, sizeof *m, 0);
	lp_msg_init(m, NULL, 0);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &key);
	lua_setmetatable(L, -2);
	return m;
}

static struct lp_values *values(lua_State *L)
{
	int top = lua_gettop(L);
	struct lp_values *v = lp_values_open(L);
	lua_settop(L, top);
	return v;
}

static int message(lua_State *L)
{
	int n = lua_gettop(L);
	struct lp_values *v = values(L);
	struct lp_msg *m = push_message(L);
	if (!lp_encode(L, v, m, 1, n, "value", 1))
		return lua_error(L);
	return 1;
}

static uint64_t next(uint64_t *s)
{
	*s ^= *s << 13; /* xorshift64 (Marsaglia 2003) */
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

/* One damage; the buffer has room for the length alone, so what would be longer is moved instead. */
static void damage(struct lp_msg *m, uint64_t *s)
{
	static const uint32_t numbers[] = {0, 1, 2, 127, 128, 255, 256, 65535, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff};
	size_t at = next(s) % m->len, n = 1 + next(s) % 16;
	n = n < m->len - at ? n : m->len - at;
	switch (next(s) % 8) {
	case 0: m->data[at] ^= (unsigned char)(1u << next(s) % 8); break;
	case 1: m->data[at] = (unsigned char)next(s); break;
	case 2: m->data[at] = (unsigned char)(next(s) % 24); break; /* likely a tag */
	case 3: memcpy(m->data + at, &numbers[next(s) % (sizeof numbers / sizeof *numbers)], n < 4 ? n : 4); break;
	case 4: m->len = at; break;
	case 5: memmove(m->data + at, m->data + next(s) % (m->len - n + 1), n); break;
	case 6: m->nvalues = (uint32_t)(next(s) % 3 ? m->nvalues + 1 : next(s)); break;
	case 7: m->nrefs = (uint32_t)(next(s) % 2); break;
	}
}

static int decode_all(lua_State *L)
{
	struct lp_msg *m = lua_touserdata(L, 1);
	lua_settop(L, 1);
	lua_pushinteger(L, lp_decode(L, values(L), m));
	return 1;
}

static int decode(lua_State *L)
{
	struct lp_msg *original = lua_touserdata(L, 1);
	uint64_t seed = (uint64_t)luaL_checkinteger(L, 2);
	struct lp_msg *m = push_message(L);
	if (!lp_msg_copy(m, original))
		return luaL_error(L, "not enough memory");
	uint64_t s = seed * 0x9e3779b97f4a7c15u + 1;
	for (uint64_t i = seed ? 1 + next(&s) % 4 : 0; i > 0 && m->len > 0; i--)
		damage(m, &s);
	unsigned char *exact = m->len ? lp_realloc_counted(m->data, m->len) : NULL;
	if (exact) {
		m->data = exact;
		m->cap = m->len;
	}
	lua_pushcfunction(L, decode_all);
	lua_pushvalue(L, -2);
	int status = lua_pcall(L, 1, 1, 0);
	if (status == LUA_OK)
		return 1;
	lua_pushnil(L);
	lua_insert(L, -2);
	return 2;
}

static int size(lua_State *L)
{
	struct lp_msg *m = lua_touserdata(L, 1);
	lua_pushinteger(L, (lua_Integer)m->len);
	return 1;
}

int luaopen_fuzz(lua_State *L);

__attribute__((visibility("default"))) int luaopen_fuzz(lua_State *L)
{
	static const luaL_Reg functions[] = {{"message", message}, {"decode", decode}, {"size", size}, {NULL, NULL}};
	lua_newtable(L);
	lua_pushcfunction(L, message_gc);
	lua_setfield(L, -2, "__gc");
	lua_rawsetp(L, LUA_REGISTRYINDEX, &key);
	lua_newtable(L);
	for (const luaL_Reg *r = functions; r->name; r++) {
		lua_pushcfunction(L, r->func);
		lua_setfield(L, -2, r->name);
	}
	return 1;
}
