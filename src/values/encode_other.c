/* encode_other: functions with their upvalues, userdata, cdata. */
#include "values/encode_int.h"

#include "values/cdata.h"
#include "values/handle.h"

/* ---- functions ---- */

static bool put_upvalue(struct enc *e, int index, int i, size_t header)
{
	lua_State *L = e->L;
	const char *name = lua_getupvalue(L, index, i);
	if (lua_topointer(L, -1) == e->v->globals && lua_istable(L, -1)) {
		*lp_enc_room(e, 1) = LP_UP_GLOBALS;
		lua_pop(L, 1);
		return true;
	}
	bool fresh;
	struct lp_slot *s = lp_map_get(&e->s->map, lua_upvalueid(L, index, i), &fresh);
	if (!s)
		lp_enc_no_memory(e);
	if (!fresh) { /* shared with a function that was met before, whose header is at s->at */
		uint32_t ordinal = lp_enc_ordinal(e, s->at);
		unsigned char *p = lp_enc_room(e, 6);
		p[0] = LP_UP_SHARED;
		lp_put_u32(p + 1, ordinal);
		p[5] = (unsigned char)s->extra;
		lua_pop(L, 1);
		return true;
	}
	s->at = header;
	s->extra = (unsigned char)i;
	*lp_enc_room(e, 1) = LP_UP_VALUE;
	if (!lp_enc_value(e, lua_gettop(L))) {
		lua_pushfstring(L, ": upvalue '%s'", name && *name ? name : "?");
		return lp_enc_step(e);
	}
	lua_pop(L, 1);
	return true;
}

static void put_header(struct enc *e, struct lp_code *code)
{
	uint32_t object;
	if (!lp_msg_add_obj(e->m, &code->obj, &object))
		lp_enc_no_memory(e);
	unsigned char *p = lp_enc_room(e, 11);
	p[0] = LP_TFUNCTION;
	lp_put_u32(p + 1, LP_NO_ORDINAL);
	lp_put_u32(p + 5, object);
	p[9] = 0;
	p[10] = code->upvalues;
}

bool lp_enc_plain_function(struct enc *e, int index)
{
	const void *address = lua_topointer(e->L, index);
	struct lp_code *code = lp_maybe_named(e->v, address) ? NULL : lp_code_known(e->L, e->v, index);
	if (!code)
		return false;
	e->early = address;
	e->early_at = e->m->len;
	put_header(e, code);
	if (code->upvalues)
		*lp_enc_room(e, 1) = LP_UP_GLOBALS;
	return true;
}

bool lp_enc_function(struct enc *e, int index)
{
	lua_State *L = e->L;
	const void *address = lua_topointer(L, index);
	if (lua_iscfunction(L, index)) {
		lp_enc_names(e);
		if (lp_enc_named(e, index) || (lp_enc_search(e, index, true, true) && lp_enc_named(e, index)))
			return true;
		lua_pushliteral(L, "cannot send a C function that is no field of a loaded module: let the task require its module");
		return lp_enc_refuse(e);
	}
	lp_enc_names(e);
	if (lp_maybe_named(e->v, address) && lp_enc_named(e, index))
		return true;
	enum lp_met met = lp_enc_met(e, address);
	if (met != LP_NEW)
		return met == LP_WRITTEN;
	struct lp_code *code = lp_code_of(L, e->v, index);
	if (e->depth == 1)
		lp_code_note(L, e->v, index, code);
	size_t header = e->m->len;
	put_header(e, code);
#if LP_LUAJIT
	lua_getfenv(L, index);
	if (lua_topointer(L, -1) != e->v->globals) {
		e->m->data[header + 9] = LP_FENV;
		if (!lp_enc_value(e, lua_gettop(L))) {
			lua_pushliteral(L, ": environment");
			return lp_enc_step(e);
		}
	}
	lua_pop(L, 1);
#endif
	for (int i = 1; i <= code->upvalues; i++)
		if (!put_upvalue(e, index, i, header))
			return false;
	return true;
}

/* ---- userdata, cdata ---- */

bool lp_enc_userdata(struct enc *e, int index)
{
	lua_State *L = e->L;
	struct lp_obj *o = lp_toobj(L, index);
	if (o) {
		uint32_t object;
		const char *why = NULL;
		if (o->generation != lp_generation && o->cls->take && !o->cls->forks) {
			lua_pushfstring(L, "cannot send a %s that belongs to the parent process", o->cls->name);
			return lp_enc_refuse(e);
		}
		struct lp_obj *sent = o->cls->sent ? o->cls->sent(o, &why) : lp_retain(o);
		if (!sent) {
			lua_pushstring(L, why);
			return lp_enc_refuse(e);
		}
		bool added = lp_msg_add_obj(e->m, sent, &object);
		lp_release(sent); /* the message has a count, or nobody */
		if (!added)
			lp_enc_no_memory(e);
		unsigned char *p = lp_enc_room(e, 5);
		p[0] = LP_TOBJECT;
		lp_put_u32(p + 1, object);
		return true;
	}
	if (lua_getmetatable(L, index)) {
		int metatable = lua_gettop(L);
		if (lp_enc_meta_field(L, metatable, "__pool_encode")) {
			lp_enc_names(e);
			enum lp_met met = lp_enc_met(e, lua_topointer(L, index));
			if (met == LP_REFUSED)
				return false;
			if (met == LP_WRITTEN)
				return lua_settop(L, metatable - 1), true;
			if (!lp_enc_custom(e, index, metatable))
				return false;
			lua_settop(L, metatable - 1);
			return true;
		}
		lua_settop(L, metatable - 1);
	}
	lp_enc_names(e);
	if (lp_enc_named(e, index) || (lp_enc_search(e, index, true, true) && lp_enc_named(e, index)))
		return true;
	if (luaL_getmetafield(L, index, "__name") && lua_type(L, -1) == LUA_TSTRING)
		lua_pushfstring(L, "cannot send a userdata (%s)", lua_tostring(L, -1));
	else
		lua_pushliteral(L, "cannot send a userdata");
	return lp_enc_refuse(e);
}

#if LP_LUAJIT
bool lp_enc_cdata(struct enc *e, int index)
{
	uint64_t bits;
	enum lp_cdata_kind kind = lp_cdata_get(e->L, index, &bits);
	if (kind == LP_CDATA_NONE) {
		lua_pushliteral(e->L, "cannot send a cdata: only int64_t and uint64_t go by value");
		return lp_enc_refuse(e);
	}
	unsigned char *p = lp_enc_room(e, 10);
	p[0] = LP_TCDATA;
	p[1] = (unsigned char)kind;
	memcpy(p + 2, &bits, 8);
	return true;
}
#endif
