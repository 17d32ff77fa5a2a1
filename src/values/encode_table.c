/* encode_table: tables, and tables and userdata that encode themselves (__pool_encode). */
#include "values/encode_int.h"

#include "vm/signals.h"

/* Has the metatable a name, perhaps since a moment ago? */
static bool has_name(struct enc *e, int metatable)
{
	if (!lp_name_of(e->L, e->v, metatable) && !(lp_enc_search(e, metatable, true, false) && lp_name_of(e->L, e->v, metatable)))
		return false;
	lua_pop(e->L, 1);
	return true;
}

/* The object of this metatable: how it is made, and the n values from `base` on of which it is made. */
static bool put_custom(struct enc *e, int metatable, int base, int n)
{
	lua_State *L = e->L;
	unsigned char *p = lp_enc_room(e, 9);
	p[0] = LP_TCUSTOM;
	lp_put_u32(p + 1, LP_NO_ORDINAL);
	lp_put_u32(p + 5, (uint32_t)n);
	if (!(has_name(e, metatable) && lp_enc_named(e, metatable))) {
		lua_pushliteral(L, "__pool_decode");
		lua_rawget(L, metatable);
		if (lua_isnil(L, -1)) {
			lua_pushliteral(L, "has __pool_encode, but no __pool_decode");
			return lp_enc_refuse(e);
		}
		if (!lp_enc_value(e, lua_gettop(L))) {
			lua_pushliteral(L, ".<__pool_decode>");
			return lp_enc_step(e);
		}
		lua_pop(L, 1);
	}
	for (int i = 0; i < n; i++)
		if (!lp_enc_value(e, base + i)) {
			lua_pushliteral(L, ".<__pool_encode>");
			return lp_enc_step(e);
		}
	return true;
}

bool lp_enc_custom(struct enc *e, int index, int metatable)
{
	lua_State *L = e->L;
	int base = lua_gettop(L);
	bool was = e->v->in_user_code;
	lua_pushvalue(L, index);
	e->v->in_user_code = true; /* what it sends itself uses a scratch of its own */
	int status = lua_pcall(L, 1, LUA_MULTRET, 0);
	e->v->in_user_code = was;
	if (status != LUA_OK && lp_ends_actor(L, -1))
		lua_error(L); /* it is not __pool_encode that has failed */
	if (status != LUA_OK) {
		lua_pushfstring(L, "__pool_encode failed: %s", lua_tostring(L, -1) ? lua_tostring(L, -1) : luaL_typename(L, -1));
		return lp_enc_refuse(e);
	}
	int n = lua_gettop(L) - base + 1;
	if (!lua_checkstack(L, 12)) {
		lua_pop(L, 12);
		lua_pushfstring(L, "__pool_encode gave %d values: too many for the stack", n);
		return lp_enc_refuse(e);
	}
	if (lua_isnil(L, e->s->keep)) {
		lua_newtable(L);
		lua_replace(L, e->s->keep);
	}
	for (int i = 0; i < n; i++) {
		if (lua_rawequal(L, base + i, index)) {
			lua_pushliteral(L, "__pool_encode returned its own argument");
			return lp_enc_refuse(e);
		}
		/* Kept until the end: addresses of what was sent must not be given to something else. */
		lua_pushvalue(L, base + i);
		luaL_ref(L, e->s->keep);
	}
	e->m->calls = true;
	struct lp_open open = {.at = e->m->len, .outer = e->open};
	e->open = &open;
	bool ok = put_custom(e, metatable, base, n);
	e->open = open.outer;
	if (ok)
		lua_settop(L, base - 1);
	return ok;
}

bool lp_enc_meta_field(lua_State *L, int metatable, const char *name)
{
	lua_pushstring(L, name);
	if (lua_rawget(L, metatable) != LUA_TNIL)
		return true;
	lua_pop(L, 1);
	return false;
}

/* Elements 1 … n and then the pairs, in the order of one lua_next pass. Numbers of one kind in a row are
 * written as a block. */
static bool put_elements(struct enc *e, int index, size_t header)
{
	lua_State *L = e->L;
	uint32_t array, pairs, run = 0;
	if (lp_enc_record(e, index, &pairs)) {
		lp_put_u32(e->m->data + header + 5, 0);
		lp_put_u32(e->m->data + header + 9, pairs);
		return true;
	}
	array = lp_enc_numbers(e, index);
	pairs = 0;
	size_t run_at = 0;
	enum lp_tag kind = LP_TNIL;
	bool in_array = true;
	if (array)
		lua_pushinteger(L, (lua_Integer)array);
	else
		lua_pushnil(L);
	while (lua_next(L, index)) {
		int value = lua_gettop(L), key = value - 1;
		if (in_array && !(lua_type(L, key) == LUA_TNUMBER && lua_tonumber(L, key) == (double)array + 1)) {
			in_array = false;
			kind = LP_TNIL;
		}
		if (in_array) {
			array++;
			if (lua_type(L, value) == LUA_TNUMBER) {
				bool whole = lua_isinteger(L, value);
				enum lp_tag t = whole ? LP_TINTS : LP_TFLOATS;
				if (kind != t) {
					kind = t;
					run = 0;
					unsigned char *p = lp_enc_room(e, 5);
					p[0] = (unsigned char)t;
					run_at = e->m->len - 4;
				}
				unsigned char *p = lp_enc_room(e, 8);
				if (whole) {
					int64_t x = (int64_t)lua_tointeger(L, value);
					memcpy(p, &x, 8);
				} else {
					double x = lua_tonumber(L, value);
					memcpy(p, &x, 8);
				}
				lp_put_u32(e->m->data + run_at, ++run);
				lua_pop(L, 1);
				continue;
			}
			kind = LP_TNIL;
		} else {
			pairs++;
			if (!lp_enc_value(e, key)) {
				lua_pushliteral(L, ".<key>");
				return lp_enc_step(e);
			}
		}
		if (!lp_enc_value(e, value)) {
			lp_enc_push_key(L, key);
			return lp_enc_step(e);
		}
		lua_pop(L, 1);
	}
	lp_put_u32(e->m->data + header + 5, array);
	lp_put_u32(e->m->data + header + 9, pairs);
	return true;
}

bool lp_enc_table(struct enc *e, int index)
{
	lua_State *L = e->L;
	const void *address = lua_topointer(L, index);
	enum lp_met met = lp_enc_met(e, address);
	if (met != LP_NEW)
		return met == LP_WRITTEN;
	int metatable = lua_getmetatable(L, index) ? lua_gettop(L) : 0;
	/* Rows of data are no modules: only what stands near the top, or has a metatable, makes us look again. */
	bool near = e->depth <= 3 || metatable;
	if (near)
		lp_enc_names(e);
	if (address == e->v->globals) {
		lua_settop(L, metatable ? metatable - 1 : lua_gettop(L));
		unsigned char *p = lp_enc_room(e, 5);
		p[0] = LP_TGLOBALS;
		lp_put_u32(p + 1, LP_NO_ORDINAL);
		return true;
	}
	if (lp_name_of(L, e->v, index) || (near && lp_enc_search(e, index, false, false) && lp_name_of(L, e->v, index))) {
		size_t n;
		const char *name = lua_tolstring(L, -1, &n);
		bool module = strlen(name) == n && n < 256; /* a field is only named as a metatable */
		if (module)
			lp_enc_module(e, name, n);
		lua_pop(L, 1);
		if (module) {
			lua_settop(L, metatable ? metatable - 1 : lua_gettop(L));
			return true;
		}
	}
	if (metatable && lp_enc_meta_field(L, metatable, "__pool_encode")) {
		if (!lp_enc_custom(e, index, metatable))
			return false;
		lua_settop(L, metatable - 1);
		return true;
	}
	bool named_meta = metatable && has_name(e, metatable);
	if (metatable && lp_enc_meta_field(L, metatable, "__gc") && !named_meta) {
		lua_pushliteral(L, "cannot send a table with a finaliser (__gc in its metatable): give it __pool_encode and __pool_decode");
		return lp_enc_refuse(e);
	}
	if (metatable)
		lua_settop(L, metatable);
	size_t header = e->m->len;
	unsigned char *p = lp_enc_room(e, 13);
	p[0] = metatable ? LP_TTABLE | LP_META : LP_TTABLE;
	lp_put_u32(p + 1, LP_NO_ORDINAL);
	if (!put_elements(e, index, header))
		return false;
	if (metatable) {
		if (!(named_meta && lp_enc_named(e, metatable)) && !lp_enc_value(e, metatable)) {
			lua_pushliteral(L, ".<metatable>");
			return lp_enc_step(e);
		}
		lua_pop(L, 1);
	}
	return true;
}
