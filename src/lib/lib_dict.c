/* lib_dict: pool.dict() for Lua: single entries. lib_dict_all.c: whole dicts and waiting; lua-pool/dict.lua: update. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lib/lib_dict.h"
#include "vm/suspend.h"

/* ---- anchors, values ---- */

struct lp_handle *lp_take_anchor(lua_State *L)
{
	struct lp_handle *h = lua_touserdata(L, lua_upvalueindex(2));
	if (h->obj) {
		h = lp_handle_new(L, &lp_blob_class);
		lua_replace(L, lua_upvalueindex(2));
	}
	lua_pushvalue(L, lua_upvalueindex(2));
	return h;
}

void lp_set_anchored(lua_State *L, int state, const luaL_Reg *functions)
{
	for (; functions->name; functions++) {
		lua_pushvalue(L, state);
		lp_handle_new(L, &lp_blob_class);
		lua_pushcclosure(L, functions->func, 2);
		lua_setfield(L, -2, functions->name);
	}
}

void lp_push_value(lua_State *L, struct lp_state *s, struct lp_handle *h, struct lp_dict_value *value)
{
	if (value->blob) {
		h->obj = &value->blob->obj;
		lp_decode(L, s->values, &value->blob->msg);
		lp_drop_anchor(h);
		return;
	}
	struct lp_msg m = {.data = value->bytes, .len = value->n, .nvalues = 1};
	lp_decode(L, s->values, &m);
}

/* The value at index, encoded; a blob's count is the anchor's. Raises what lp_encode has to say. */
static void check_value(lua_State *L, struct lp_state *s, int index, struct lp_handle *h, struct lp_dict_value *value)
{
	int t = lua_type(L, index);
	value->blob = NULL;
	if (t == LUA_TBOOLEAN || t == LUA_TNUMBER || (t == LUA_TSTRING && lua_rawlen(L, index) <= LP_DICT_INLINE - 7)) {
		struct lp_msg m;
		lp_msg_init(&m, value->bytes, sizeof value->bytes); /* it fits: nothing is allocated */
		lp_encode(L, s->values, &m, index, 1, "argument", index - 1);
		value->n = (uint8_t)m.len;
		return;
	}
	struct lp_blob *b = lp_blob_new();
	if (!b) {
		lp_no_memory(L);
		return;
	}
	h->obj = &b->obj;
	if (!lp_encode(L, s->values, &b->msg, index, 1, "argument", index - 1))
		lp_error_on_top(L);
	value->blob = b;
	value->n = 0;
}

/* ---- arguments ---- */

static struct lp_dict *check_dict(lua_State *L)
{
	return lp_check(L, 1, &lp_dict_class);
}

static lp_time default_expiry(struct lp_dict *d)
{
	double ttl = lp_dict_options(d)->ttl;
	return ttl > 0 ? lp_deadline_in(ttl) : LP_FOREVER;
}

static lp_time check_seconds(lua_State *L, int index, const char *what)
{
	double x = lua_type(L, index) == LUA_TNUMBER ? lua_tonumber(L, index) : -1;
	if (!(x > 0)) {
		const char *got = lua_type(L, index) == LUA_TNUMBER ? lua_pushfstring(L, "%f", lua_tonumber(L, index)) : luaL_typename(L, index);
		luaL_error(L, "%s must be seconds (a number greater than 0), got %s", what, got);
	}
	return lp_deadline_in(x);
}

/* Options of set and add at index: {ttl = seconds}. */
static lp_time check_options(lua_State *L, int index, struct lp_dict *d)
{
	if (lua_isnoneornil(L, index))
		return default_expiry(d);
	luaL_checktype(L, index, LUA_TTABLE);
	lua_pushnil(L);
	while (lua_next(L, index)) {
		if (lua_type(L, -2) != LUA_TSTRING || strcmp(lua_tostring(L, -2), "ttl") != 0)
			luaL_argerror(L, index, "unknown option: there is 'ttl' (seconds)");
		lua_pop(L, 1);
	}
	lua_getfield(L, index, "ttl");
	return lua_isnil(L, -1) ? default_expiry(d) : check_seconds(L, lua_gettop(L), "option 'ttl'");
}

static int push_answer(lua_State *L, enum lp_dict_answer answer)
{
	switch (answer) {
	case LP_DICT_OK:
		lua_pushboolean(L, 1);
		return 1;
	case LP_DICT_NO_MEMORY:
		return lp_no_memory(L);
	default:
		lua_pushnil(L);
		lua_pushstring(L, answer == LP_DICT_EXISTS ? "exists" : "full");
		return 2;
	}
}

/* ---- methods ---- */

/* dict:get(key) -> a copy of the value / nil. */
static int dict_get(lua_State *L)
{
	struct lp_dict *d = check_dict(L);
	struct lp_dict_key key = lp_check_key(L, 2);
	struct lp_handle *h = lp_take_anchor(L);
	struct lp_dict_value v;
	if (lp_dict_get(d, &key, &v, NULL))
		lp_push_value(L, lp_state(L), h, &v);
	else
		lua_pushnil(L);
	return 1;
}

/* dict:has(key) -> boolean. */
static int dict_has(lua_State *L)
{
	struct lp_dict *d = check_dict(L);
	struct lp_dict_key key = lp_check_key(L, 2);
	lp_time expires;
	lua_pushboolean(L, lp_dict_expires(d, &key, &expires));
	return 1;
}

static int put(lua_State *L, enum lp_dict_mode mode)
{
	struct lp_dict *d = check_dict(L);
	struct lp_dict_key key = lp_check_key(L, 2);
	luaL_checkany(L, 3);
	struct lp_dict_change c = {.mode = mode, .writer = lp_state(L), .expires = check_options(L, 4, d)};
	if (lua_isnil(L, 3)) {
		if (mode == LP_DICT_ADD)
			luaL_argerror(L, 3, "a value expected, got nil");
		c.mode = LP_DICT_SET;
		lp_dict_remove(d, &key, NULL, &c);
		lua_pushboolean(L, 1);
		return 1;
	}
	struct lp_handle *h = lp_take_anchor(L);
	struct lp_dict_value v;
	check_value(L, lp_state(L), 3, h, &v);
	enum lp_dict_answer answer = lp_dict_put(d, &key, &v, &c);
	lp_drop_anchor(h);
	return push_answer(L, answer);
}

/* dict:set(key, value [, {ttl = seconds}]) -> true / nil, "full" (only with max_bytes, or `evict = false`). The value
 * is copied; nil takes the entry away. Its time begins anew: the dict's, or for ever. */
static int dict_set(lua_State *L)
{
	return put(L, LP_DICT_SET);
}

/* dict:add(key, value [, {ttl = seconds}]) -> true / nil, "exists" / nil, "full": only if it is absent. */
static int dict_add(lua_State *L)
{
	return put(L, LP_DICT_ADD);
}

/* dict:delete(key) -> boolean: was it there? */
static int dict_delete(lua_State *L)
{
	struct lp_dict *d = check_dict(L);
	struct lp_dict_key key = lp_check_key(L, 2);
	struct lp_dict_change c = {.mode = LP_DICT_SET};
	lua_pushboolean(L, lp_dict_remove(d, &key, NULL, &c) == LP_DICT_OK);
	return 1;
}

/* dict:pop(key) -> its value, which is not in the dict any more / nil. One of several who try gets it. */
static int dict_pop(lua_State *L)
{
	struct lp_dict *d = check_dict(L);
	struct lp_dict_key key = lp_check_key(L, 2);
	struct lp_handle *h = lp_take_anchor(L);
	struct lp_dict_change c = {.mode = LP_DICT_SET};
	struct lp_dict_value v;
	if (lp_dict_remove(d, &key, &v, &c) == LP_DICT_OK)
		lp_push_value(L, lp_state(L), h, &v);
	else
		lua_pushnil(L);
	return 1;
}

static struct lp_number check_number(lua_State *L, int index, int64_t absent)
{
	if (lua_isnoneornil(L, index))
		return (struct lp_number){.whole = !LP_LUAJIT, .i = absent, .f = (double)absent};
	if (lua_type(L, index) != LUA_TNUMBER)
		luaL_argerror(L, index, lua_pushfstring(L, "number expected, got %s", luaL_typename(L, index)));
	if (lua_isinteger(L, index))
		return (struct lp_number){.whole = true, .i = (int64_t)lua_tointeger(L, index)};
	return (struct lp_number){.f = lua_tonumber(L, index)};
}

/* dict:incr(key [, by [, init]]) -> the new number / nil, "full". by is 1, and what is absent is `init`, or 0, to begin
 * with. Atomic. Adds as Lua does. An entry keeps its time. */
static int dict_incr(lua_State *L)
{
	struct lp_dict *d = check_dict(L);
	struct lp_dict_key key = lp_check_key(L, 2);
	struct lp_number by = check_number(L, 3, 1), x = check_number(L, 4, 0);
	struct lp_dict_change c = {.mode = LP_DICT_SET, .keep_time = true, .writer = lp_state(L), .expires = default_expiry(d)};
	enum lp_dict_answer answer = lp_dict_incr(d, &key, by, &x, &c);
	if (answer == LP_DICT_NO_NUMBER)
		return luaL_error(L, "incr: the value of this key is no number");
	if (answer != LP_DICT_OK)
		return push_answer(L, answer);
	if (x.whole)
		lua_pushinteger(L, (lua_Integer)x.i);
	else
		lua_pushnumber(L, x.f);
	return 1;
}

/* dict:expire(key [, seconds]) -> boolean: is it there? It goes after that time; without one it stays. */
static int dict_expire(lua_State *L)
{
	struct lp_dict *d = check_dict(L);
	struct lp_dict_key key = lp_check_key(L, 2);
	lp_time expires = lua_isnoneornil(L, 3) ? LP_FOREVER : check_seconds(L, 3, "the time of an entry");
	lua_pushboolean(L, lp_dict_expire(d, &key, expires));
	return 1;
}

/* dict:ttl(key) -> seconds that it will be there; math.huge / nil: it is not there. */
static int dict_ttl(lua_State *L)
{
	struct lp_dict *d = check_dict(L);
	struct lp_dict_key key = lp_check_key(L, 2);
	lp_time expires;
	if (!lp_dict_expires(d, &key, &expires))
		lua_pushnil(L);
	else if (expires == LP_FOREVER)
		lua_pushnumber(L, HUGE_VAL);
	else
		lua_pushnumber(L, (double)(expires - lp_now()) / LP_SECOND);
	return 1;
}

/* ---- update: the C part ---- */

/* peek(dict, key) -> version, value: what `commit` compares. */
static int dict_peek(lua_State *L)
{
	struct lp_dict *d = check_dict(L);
	struct lp_dict_key key = lp_check_key(L, 2);
	struct lp_handle *h = lp_take_anchor(L);
	struct lp_dict_value v;
	uint64_t version;
	bool there = lp_dict_get(d, &key, &v, &version);
	lua_pushnumber(L, (lua_Number)version); /* exact below 2^53 changes */
	if (there)
		lp_push_value(L, lp_state(L), h, &v);
	else
		lua_pushnil(L);
	return 2;
}

/* commit(dict, key, value, version) -> true: the entry was as it was, and has this value now (nil: is gone) / false, boolean:
 * it has changed meanwhile; by this very state? / nil, "full". */
static int dict_commit(lua_State *L)
{
	struct lp_dict *d = check_dict(L);
	struct lp_dict_key key = lp_check_key(L, 2);
	struct lp_dict_change c = {.mode = LP_DICT_IF_VERSION, .version = (uint64_t)luaL_checknumber(L, 4), .keep_time = true,
		.writer = lp_state(L), .expires = default_expiry(d)};
	enum lp_dict_answer answer;
	if (lua_isnil(L, 3)) {
		answer = lp_dict_remove(d, &key, NULL, &c);
		if (answer == LP_DICT_EXISTS) /* it was absent, and is */
			answer = LP_DICT_OK;
	} else {
		struct lp_handle *h = lp_take_anchor(L);
		struct lp_dict_value v;
		check_value(L, lp_state(L), 3, h, &v);
		answer = lp_dict_put(d, &key, &v, &c);
		lp_drop_anchor(h);
	}
	if (answer != LP_DICT_CHANGED)
		return push_answer(L, answer);
	lua_pushboolean(L, 0);
	lua_pushboolean(L, c.last_writer == lp_state(L));
	return 2;
}

/* ---- opening ---- */

/* new_dict(max_items, max_bytes, ttl, keep) -> dict; 0: no limit. pool.dict checks the options. */
static int dict_new(lua_State *L)
{
	struct lp_dict_options o = {.max_items = (uint64_t)luaL_checknumber(L, 1), .max_bytes = (uint64_t)luaL_checknumber(L, 2),
		.ttl = luaL_checknumber(L, 3), .keep = lua_toboolean(L, 4)};
	struct lp_handle *h = lp_handle_new(L, &lp_dict_class);
	h->obj = (struct lp_obj *)lp_dict_new(&o);
	return h->obj ? 1 : luaL_error(L, "not enough memory");
}

static int dict_tostring(lua_State *L)
{
	struct lp_dict *d = check_dict(L);
	const struct lp_dict_options *o = lp_dict_options(d);
	char text[96], limit[48] = "";
	if (o->max_items)
		snprintf(limit, sizeof limit, ", at most %llu", (unsigned long long)o->max_items);
	snprintf(text, sizeof text, "%zu items%s", lp_dict_len(d), limit);
	lua_pushfstring(L, "lua-pool.dict: %p (%s)", (void *)d, text);
	return 1;
}

void lp_open_dict(lua_State *L, int state)
{
	static const luaL_Reg plain[] = {{"has", dict_has}, {"delete", dict_delete}, {"incr", dict_incr}, {"expire", dict_expire},
		{"ttl", dict_ttl}, {NULL, NULL}};
	static const luaL_Reg anchored[] = {{"get", dict_get}, {"set", dict_set}, {"add", dict_add}, {"pop", dict_pop}, {NULL, NULL}};
	static const luaL_Reg inner[] = {{"dict_peek", dict_peek}, {"dict_commit", dict_commit}, {NULL, NULL}};
	static const luaL_Reg meta[] = {{"__tostring", dict_tostring}, {NULL, NULL}};
	static const luaL_Reg functions[] = {{"new_dict", dict_new}, {NULL, NULL}};
	static const char *const blocking[] = {"wait", NULL};
	lua_pushvalue(L, state);
	lp_handle_class(L, &lp_blob_class, NULL, NULL, 1);
	lua_pushvalue(L, state);
	lp_handle_class(L, &lp_dict_class, plain, meta, 1);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &lp_dict_class);
	lua_getfield(L, -1, "__index");
	lp_set_anchored(L, state, anchored);
	lp_set_anchored(L, state, lp_dict_all_methods);
	lp_blocking_fields(L, state, lua_gettop(L), blocking);
	lua_getfield(L, -1, "len");
	lua_setfield(L, -3, "__len");
	lua_getfield(L, -1, "pairs");
	lua_setfield(L, -3, "__pairs");
	lua_pop(L, 2);
	lp_set_anchored(L, state, inner);
	lua_pushvalue(L, state);
	luaL_setfuncs(L, functions, 1);
}
