/* lib_dict_all: keys of a dict; whole dicts: their length, snapshots, statistics; waiting for a key. */
#include <math.h>
#include <string.h>

#include "values/cdata.h"
#include "data/element.h"
#include "lib/lib_dict.h"
#include "vm/suspend.h"

/* ---- keys ---- */

/* A float that is whole is the integer, as in Lua's own tables. */
static struct lp_dict_key number_key(double x)
{
	struct lp_dict_key key = {.kind = LP_KEY_FLOAT};
	if (floor(x) == x && x >= -9223372036854775808.0 && x < 9223372036854775808.0) {
		key.kind = LP_KEY_INTEGER;
		key.bits = (uint64_t)(int64_t)x;
	} else {
		memcpy(&key.bits, &x, sizeof x);
	}
	return key;
}

const char *lp_to_key(lua_State *L, int index, struct lp_dict_key *key)
{
	*key = (struct lp_dict_key){.kind = LP_KEY_BOOLEAN};
	switch (lua_type(L, index)) {
	case LUA_TSTRING:
		key->kind = LP_KEY_STRING;
		key->bytes = (const unsigned char *)lua_tolstring(L, index, &key->len);
		return NULL;
	case LUA_TNUMBER:
		if (lua_isinteger(L, index)) {
			key->kind = LP_KEY_INTEGER;
			key->bits = (uint64_t)lua_tointeger(L, index);
			return NULL;
		}
		if (lua_tonumber(L, index) != lua_tonumber(L, index))
			return "a key cannot be NaN";
		*key = number_key(lua_tonumber(L, index));
		return NULL;
	case LUA_TBOOLEAN:
		key->bits = (uint64_t)lua_toboolean(L, index);
		return NULL;
	case LUA_TLIGHTUSERDATA:
		key->kind = LP_KEY_LIGHT;
		key->bits = (uintptr_t)lua_touserdata(L, index);
		return NULL;
	default:
#if LP_LUAJIT
		switch (lp_cdata_get(L, index, &key->bits)) {
		case LP_CDATA_I64: key->kind = LP_KEY_INT64; return NULL;
		case LP_CDATA_U64: key->kind = LP_KEY_UINT64; return NULL;
		default: break;
		}
#endif
		return lua_pushfstring(L, "key expected (a string, number, boolean or light userdata), got %s", luaL_typename(L, index));
	}
}

struct lp_dict_key lp_check_key(lua_State *L, int index)
{
	struct lp_dict_key key;
	const char *why = lp_to_key(L, index, &key);
	if (why)
		luaL_argerror(L, index, why);
	return key;
}

void lp_push_key(lua_State *L, const struct lp_dict_key *key)
{
	double x;
	switch (key->kind) {
	case LP_KEY_STRING: lua_pushlstring(L, (const char *)key->bytes, key->len); break;
	case LP_KEY_BOOLEAN: lua_pushboolean(L, (int)key->bits); break;
	case LP_KEY_LIGHT: lua_pushlightuserdata(L, (void *)(uintptr_t)key->bits); break;
	case LP_KEY_FLOAT:
		memcpy(&x, &key->bits, sizeof x);
		lua_pushnumber(L, x);
		break;
#if LP_LUAJIT
	case LP_KEY_INTEGER: lua_pushnumber(L, (lua_Number)(int64_t)key->bits); break;
	case LP_KEY_INT64: lp_cdata_push(L, LP_CDATA_I64, key->bits); break;
	case LP_KEY_UINT64: lp_cdata_push(L, LP_CDATA_U64, key->bits); break;
#else
	case LP_KEY_INTEGER:
	case LP_KEY_INT64:
	case LP_KEY_UINT64: lua_pushinteger(L, (lua_Integer)key->bits); break;
#endif
	}
}

/* ---- whole dicts ---- */

/* dict:len(), #dict -> how many entries there are. Looks at every shard. */
static int dict_len(lua_State *L)
{
	lua_pushinteger(L, (lua_Integer)lp_dict_len(lp_check(L, 1, &lp_dict_class)));
	return 1;
}

/* dict:clear(). */
static int dict_clear(lua_State *L)
{
	lp_dict_clear(lp_check(L, 1, &lp_dict_class));
	return 0;
}

/* Pushes the handle of a snapshot. */
static struct lp_blob *push_snapshot(lua_State *L, struct lp_dict *d, bool values)
{
	struct lp_handle *h = lp_handle_new(L, &lp_blob_class);
	struct lp_blob *b = lp_blob_new();
	if (!b) {
		lp_no_memory(L);
		return NULL;
	}
	h->obj = &b->obj;
	if (!lp_dict_snapshot(d, b, values))
		luaL_error(L, "not enough memory for a snapshot of the dict");
	return b;
}

/* dict:keys() -> list of the keys that were there, in no order. */
static int dict_keys(lua_State *L)
{
	struct lp_blob *b = push_snapshot(L, lp_check(L, 1, &lp_dict_class), false);
	struct lp_dict_key key;
	struct lp_dict_value v;
	size_t at = 0;
	lua_newtable(L);
	for (int i = 1; lp_dict_record(b, &at, &key, &v); i++) {
		lp_push_key(L, &key);
		lua_rawseti(L, -2, i);
	}
	return 1;
}

/* Upvalues: the state, the snapshot, where in it. */
static int dict_next(lua_State *L)
{
	struct lp_blob *b = lp_check(L, lua_upvalueindex(2), &lp_blob_class);
	size_t at = (size_t)lua_tonumber(L, lua_upvalueindex(3));
	struct lp_dict_key key;
	struct lp_dict_value v;
	if (!lp_dict_record(b, &at, &key, &v)) {
		lua_pushnil(L);
		return 1;
	}
	lua_pushnumber(L, (lua_Number)at);
	lua_replace(L, lua_upvalueindex(3));
	lp_push_key(L, &key);
	struct lp_msg m = {.data = v.bytes, .len = v.n, .nvalues = 1};
	lp_decode(L, lp_state(L)->values, v.blob ? &v.blob->msg : &m); /* the snapshot keeps the blob */
	return 2;
}

/* for key, value in dict:pairs() do; Lua 5.4 also: in pairs(dict). What was there when the loop began, each shard at
 * one moment; a value is copied when the loop comes to it. */
int lp_dict_pairs(lua_State *L)
{
	struct lp_dict *d = lp_check(L, 1, &lp_dict_class);
	lua_pushvalue(L, lua_upvalueindex(1));
	push_snapshot(L, d, true);
	lua_pushnumber(L, 0);
	lua_pushcclosure(L, dict_next, 3);
	return 1;
}

/* dict:stats() -> table: items, bytes (without what shared objects hold), hits, misses, evicted, expired, shards. */
static int dict_stats(lua_State *L)
{
	struct lp_dict_stats st;
	lp_dict_stats(lp_check(L, 1, &lp_dict_class), &st);
	const struct {
		const char *name;
		uint64_t value;
	} fields[] = {{"items", st.items}, {"bytes", st.bytes}, {"hits", st.hits}, {"misses", st.misses},
		{"evicted", st.evicted}, {"expired", st.expired}, {"shards", st.shards}};
	lua_createtable(L, 0, 8);
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
		lp_push_i64(L, (int64_t)fields[i].value);
		lua_setfield(L, -2, fields[i].name);
	}
	return 1;
}

/* ---- waiting ---- */

static const char wait_key;

static int wait_gc(lua_State *L)
{
	struct lp_dict_wait *w = lp_own_test(L, 1, sizeof *w, &wait_key);
	if (!w)
		return 0;
	struct lp_blob *b = w->value.blob;
	w->value.blob = NULL;
	lp_release(b);
	return 0;
}

static struct lp_dict_wait *push_wait(lua_State *L)
{
	struct lp_dict_wait *w = lua_newuserdatauv(L, sizeof *w, 0);
	memset(w, 0, sizeof *w);
	lp_own_set(w, &wait_key);
	if (lua_rawgetp(L, LUA_REGISTRYINDEX, &wait_key) == LUA_TNIL) {
		lua_pop(L, 1);
		lua_newtable(L);
		lua_pushcfunction(L, wait_gc);
		lua_setfield(L, -2, "__gc");
		lua_pushvalue(L, -1);
		lua_rawsetp(L, LUA_REGISTRYINDEX, &wait_key);
	}
	lua_setmetatable(L, -2);
	return w;
}

/* The wait on the stack keeps the value's count until it is decoded, or for ever if the call never goes on. */
static int wait_done(lua_State *L, struct lp_state *s, struct lp_node *n, int answer)
{
	if (answer < 0)
		return lp_wait_failed(L, s, n, answer);
	struct lp_dict_wait *w = n->value;
	struct lp_msg m = {.data = w->value.bytes, .len = w->value.n, .nvalues = 1};
	lp_decode(L, s->values, w->value.blob ? &w->value.blob->msg : &m);
	struct lp_blob *b = w->value.blob;
	w->value.blob = NULL;
	lp_release(b);
	return 1;
}

/* dict:wait(key [, timeout]) -> its value, as soon as it is there / nil, "timeout". Blocks; a cancellation point. */
static int dict_wait(lua_State *L)
{
	struct lp_dict *d = lp_check(L, 1, &lp_dict_class);
	struct lp_dict_key key = lp_check_key(L, 2);
	lp_time deadline = lp_check_timeout(L, 3);
	lua_settop(L, 3);
	struct lp_dict_wait *w = push_wait(L);
	w->key = key;
	struct lp_node n = {.obj = (struct lp_obj *)d, .value = w};
	return lp_wait_then(L, lp_state(L), &n, deadline, wait_done);
}

const luaL_Reg lp_dict_all_methods[] = {{"len", dict_len}, {"clear", dict_clear}, {"keys", dict_keys}, {"pairs", lp_dict_pairs},
	{"stats", dict_stats}, {"wait", dict_wait}, {NULL, NULL}};
