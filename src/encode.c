/* encode: Lua values to a message. See values_int.h for the format.
 *
 * Nothing here raises but for memory, and what it allocates lives in the message (its owner is anchored) or
 * in the state's scratch; a value that cannot be sent unwinds by return values, and each level adds its part of
 * the path. The only user code that runs is __pool_encode, protected. */
#include <string.h>

#include "handle.h"
#include "values_int.h"

struct enc {
	lua_State *L;
	struct lp_values *v;
	struct lp_msg *m;
	struct lp_scratch *s;
	int depth, limit;
};

static bool encode(struct enc *e, int index);

/* ---- writing ---- */

static int no_memory(struct enc *e)
{
	return luaL_error(e->L, "not enough memory");
}

static unsigned char *room(struct enc *e, size_t n)
{
	if (!lp_msg_room(e->m, n))
		no_memory(e);
	unsigned char *p = e->m->data + e->m->len;
	e->m->len += n;
	return p;
}

static void put_tag(struct enc *e, enum lp_tag tag)
{
	*room(e, 1) = (unsigned char)tag;
}

static void put_u32(unsigned char *p, uint32_t x)
{
	memcpy(p, &x, sizeof x);
}

static void put_module(struct enc *e, const char *name, size_t n)
{
	unsigned char *p = room(e, 6 + n);
	p[0] = LP_TMODULE;
	put_u32(p + 1, LP_NO_ORDINAL);
	p[5] = (unsigned char)n;
	memcpy(p + 6, name, n);
}

static void put_field(struct enc *e, const char *module, size_t n, const char *field, size_t m)
{
	unsigned char *p = room(e, 3 + n + m);
	p[0] = LP_TFIELD;
	p[1] = (unsigned char)n;
	memcpy(p + 2, module, n);
	p[2 + n] = (unsigned char)m;
	memcpy(p + 3 + n, field, m);
}

/* ---- what went wrong, and where: two strings on the stack, path above reason ---- */

static bool refuse(struct enc *e)
{
	lua_pushliteral(e->L, "");
	return false;
}

/* Puts a part before the path; the part is on top. */
static bool step(struct enc *e)
{
	lua_insert(e->L, -2);
	lua_concat(e->L, 2);
	return false;
}

static bool is_identifier(const char *s, size_t n)
{
	if (n == 0 || n > 60 || (s[0] >= '0' && s[0] <= '9'))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!(s[i] == '_' || (s[i] >= '0' && s[i] <= '9') || (s[i] >= 'A' && s[i] <= 'Z') || (s[i] >= 'a' && s[i] <= 'z')))
			return false;
	return true;
}

/* The key at `index` as part of a path: .name, ["a b"], [3]. Pushes it. */
static void push_key(lua_State *L, int index)
{
	size_t n;
	const char *s;
	switch (lua_type(L, index)) {
	case LUA_TSTRING:
		s = lua_tolstring(L, index, &n);
		if (is_identifier(s, n))
			lua_pushfstring(L, ".%s", s);
		else
			lua_pushfstring(L, "[\"%s\"]", s);
		break;
	case LUA_TNUMBER:
		lua_pushvalue(L, index);
		lua_pushfstring(L, "[%s]", lua_tostring(L, -1)); /* converts the copy */
		lua_remove(L, -2);
		break;
	case LUA_TBOOLEAN:
		lua_pushfstring(L, "[%s]", lua_toboolean(L, index) ? "true" : "false");
		break;
	default:
		lua_pushfstring(L, "[<%s>]", luaL_typename(L, index));
	}
}

/* ---- references ---- */

/* The ordinal of what begins at this place of the message; it gets one with the first reference. */
static uint32_t ordinal_at(struct enc *e, size_t at)
{
	unsigned char *tag = e->m->data + at;
	uint32_t ordinal;
	if (*tag & LP_MARK) {
		memcpy(&ordinal, tag + 1, 4);
		return ordinal;
	}
	ordinal = e->s->ordinals++;
	*tag |= LP_MARK;
	put_u32(tag + 1, ordinal);
	return ordinal;
}

static bool again(struct enc *e, struct lp_slot *s)
{
	uint32_t ordinal = ordinal_at(e, s->at);
	unsigned char *p = room(e, 5);
	*p = LP_TREF;
	put_u32(p + 1, ordinal);
	return true;
}

/* Was it met before? Then that is all there is to write. Else notes that it begins here. */
static bool met(struct enc *e, const void *key)
{
	bool fresh;
	struct lp_slot *s = lp_map_get(&e->s->map, key, &fresh);
	if (!s)
		no_memory(e);
	if (!fresh)
		return again(e, s);
	s->at = e->m->len;
	return false;
}

/* ---- scalars ---- */

static void put_string(struct enc *e, int index)
{
	size_t n;
	const char *str = lua_tolstring(e->L, index, &n);
	if (n > LP_SHORT_MAX) {
		unsigned char *p = room(e, 9 + n);
		uint64_t len = n;
		*p = LP_TLONG;
		memcpy(p + 1, &len, 8);
		memcpy(p + 9, str, n);
		return;
	}
	/* Short strings are interned: one address, one string, as long as it lives. What __pool_encode made may
	 * have died and its address be another's by now: so the bytes are compared. */
	if (e->depth > 0) {
		bool fresh;
		struct lp_slot *s = lp_map_get(&e->s->map, str, &fresh);
		if (!s)
			no_memory(e);
		if (!fresh) {
			const unsigned char *first = e->m->data + s->at;
			if ((first[0] & ~LP_MARK) == LP_TSHORT && first[5] == n && memcmp(first + 6, str, n) == 0) {
				again(e, s);
				return;
			}
		}
		s->at = e->m->len;
	}
	unsigned char *p = room(e, 6 + n);
	p[0] = LP_TSHORT;
	put_u32(p + 1, 0);
	p[5] = (unsigned char)n;
	memcpy(p + 6, str, n);
}

static void put_integer(struct enc *e, int64_t x)
{
	if (x >= -128 && x < 128) {
		unsigned char *p = room(e, 2);
		p[0] = LP_TBYTE;
		p[1] = (unsigned char)(int8_t)x;
	} else {
		unsigned char *p = room(e, 9);
		p[0] = LP_TINT;
		memcpy(p + 1, &x, 8);
	}
}

static void put_number(struct enc *e, int index)
{
	if (lua_isinteger(e->L, index)) {
		put_integer(e, (int64_t)lua_tointeger(e->L, index));
		return;
	}
	double x = lua_tonumber(e->L, index);
	unsigned char *p = room(e, 9);
	p[0] = LP_TFLOAT;
	memcpy(p + 1, &x, 8);
}

/* ---- by name ---- */

static bool put_named(struct enc *e, int index)
{
	if (!lp_name_of(e->L, e->v, index))
		return false;
	size_t n;
	const char *name = lua_tolstring(e->L, -1, &n);
	size_t module = strlen(name);
	bool fits = module < 256 && n - module < 256;
	if (fits && module == n)
		put_module(e, name, n);
	else if (fits)
		put_field(e, name, module, name + module + 1, n - module - 1);
	lua_pop(e->L, 1);
	return fits;
}

static void names_once(struct enc *e)
{
	if (!e->s->names_fresh) {
		e->s->names_fresh = true;
		lp_names_refresh(e->L, e->v);
	}
}

/* ---- tables ---- */

/* Calls __pool_encode (at the top) with the value: 1 sent, 0 refused. */
static bool put_custom(struct enc *e, int index, int metatable)
{
	lua_State *L = e->L;
	int base = lua_gettop(L);
	bool was = e->v->in_user_code;
	lua_pushvalue(L, index);
	e->v->in_user_code = true; /* what it sends itself uses a scratch of its own */
	int status = lua_pcall(L, 1, LUA_MULTRET, 0);
	e->v->in_user_code = was;
	if (status != LUA_OK) {
		lua_pushfstring(L, "__pool_encode failed: %s", lua_tostring(L, -1) ? lua_tostring(L, -1) : luaL_typename(L, -1));
		return refuse(e);
	}
	int n = lua_gettop(L) - base + 1;
	if (!lua_checkstack(L, 12)) {
		lua_pushliteral(L, "too many values of __pool_encode");
		return refuse(e);
	}
	for (int i = 0; i < n; i++) {
		if (lua_rawequal(L, base + i, index)) {
			lua_pushliteral(L, "__pool_encode returned its own argument");
			return refuse(e);
		}
		/* Kept until the end: addresses of what was sent must not be given to something else. */
		lua_pushvalue(L, base + i);
		luaL_ref(L, e->s->keep);
	}
	unsigned char *p = room(e, 9);
	p[0] = LP_TCUSTOM;
	put_u32(p + 1, LP_NO_ORDINAL);
	put_u32(p + 5, (uint32_t)n);
	if (!put_named(e, metatable)) {
		lua_pushliteral(L, "__pool_decode");
		lua_rawget(L, metatable);
		if (lua_isnil(L, -1)) {
			lua_pushliteral(L, "has __pool_encode, but no __pool_decode");
			return refuse(e);
		}
		if (!encode(e, lua_gettop(L))) {
			lua_pushliteral(L, ".<__pool_decode>");
			return step(e);
		}
		lua_pop(L, 1);
	}
	for (int i = 0; i < n; i++)
		if (!encode(e, base + i)) {
			lua_pushliteral(L, ".<__pool_encode>");
			return step(e);
		}
	lua_settop(L, base - 1);
	return true;
}

/* Pushes the metatable's raw field; true if it is there. */
static bool meta_field(lua_State *L, int metatable, const char *name)
{
	lua_pushstring(L, name);
	if (lua_rawget(L, metatable) != LUA_TNIL)
		return true;
	lua_pop(L, 1);
	return false;
}

static void open_keep(struct enc *e)
{
	if (!e->s->keep) { /* made before anything of this message: see lp_encode */
		lua_newtable(e->L);
		e->s->keep = lua_gettop(e->L);
	}
}

/* Elements 1 … n and then the pairs, in the order of one lua_next pass. Numbers of one kind in a row are
 * written as a block. */
static bool put_elements(struct enc *e, int index, size_t header)
{
	lua_State *L = e->L;
	uint32_t array = 0, pairs = 0, run = 0;
	size_t run_at = 0;
	enum lp_tag kind = LP_TNIL;
	bool in_array = true;
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
					unsigned char *p = room(e, 5);
					p[0] = (unsigned char)t;
					run_at = e->m->len - 4;
				}
				unsigned char *p = room(e, 8);
				if (whole) {
					int64_t x = (int64_t)lua_tointeger(L, value);
					memcpy(p, &x, 8);
				} else {
					double x = lua_tonumber(L, value);
					memcpy(p, &x, 8);
				}
				put_u32(e->m->data + run_at, ++run);
				lua_pop(L, 1);
				continue;
			}
			kind = LP_TNIL;
		} else {
			pairs++;
			if (!encode(e, key)) {
				lua_pushliteral(L, ".<key>");
				return step(e);
			}
		}
		if (!encode(e, value)) {
			push_key(L, key);
			return step(e);
		}
		lua_pop(L, 1);
	}
	put_u32(e->m->data + header + 5, array);
	put_u32(e->m->data + header + 9, pairs);
	return true;
}

static bool put_table(struct enc *e, int index)
{
	lua_State *L = e->L;
	const void *address = lua_topointer(L, index);
	if (met(e, address))
		return true;
	int metatable = lua_getmetatable(L, index) ? lua_gettop(L) : 0;
	/* Rows of data are no modules: only what stands near the top, or has a metatable, makes us look again. */
	if (e->depth <= 3 || metatable)
		names_once(e);
	if (address == e->v->globals) {
		lua_settop(L, metatable ? metatable - 1 : lua_gettop(L));
		unsigned char *p = room(e, 5);
		p[0] = LP_TGLOBALS;
		put_u32(p + 1, LP_NO_ORDINAL);
		return true;
	}
	if (lp_name_of(L, e->v, index)) {
		size_t n;
		const char *name = lua_tolstring(L, -1, &n);
		bool module = strlen(name) == n && n < 256; /* a field is only named as a metatable */
		if (module)
			put_module(e, name, n);
		lua_pop(L, 1);
		if (module) {
			lua_settop(L, metatable ? metatable - 1 : lua_gettop(L));
			return true;
		}
	}
	if (metatable && meta_field(L, metatable, "__pool_encode")) {
		if (!put_custom(e, index, metatable))
			return false;
		lua_settop(L, metatable - 1);
		return true;
	}
	bool named_meta = metatable && lp_name_of(L, e->v, metatable);
	if (named_meta)
		lua_pop(L, 1);
	if (metatable && meta_field(L, metatable, "__gc") && !named_meta) {
		lua_pushliteral(L, "cannot send a table with a finaliser (__gc in its metatable): give it __pool_encode and __pool_decode");
		return refuse(e);
	}
	if (metatable)
		lua_settop(L, metatable);
	size_t header = e->m->len;
	unsigned char *p = room(e, 13);
	p[0] = metatable ? LP_TTABLE | LP_META : LP_TTABLE;
	put_u32(p + 1, LP_NO_ORDINAL);
	if (!put_elements(e, index, header))
		return false;
	if (metatable) {
		if (!put_named(e, metatable) && !encode(e, metatable)) {
			lua_pushliteral(L, ".<metatable>");
			return step(e);
		}
		lua_pop(L, 1);
	}
	return true;
}

/* ---- functions ---- */

static bool put_upvalue(struct enc *e, int index, int i, size_t header)
{
	lua_State *L = e->L;
	const char *name = lua_getupvalue(L, index, i);
	if (lua_topointer(L, -1) == e->v->globals && lua_istable(L, -1)) {
		*room(e, 1) = LP_UP_GLOBALS;
		lua_pop(L, 1);
		return true;
	}
	bool fresh;
	struct lp_slot *s = lp_map_get(&e->s->map, lua_upvalueid(L, index, i), &fresh);
	if (!s)
		no_memory(e);
	if (!fresh) { /* shared with a function that was met before, whose header is at s->at */
		uint32_t ordinal = ordinal_at(e, s->at);
		unsigned char *p = room(e, 6);
		p[0] = LP_UP_SHARED;
		put_u32(p + 1, ordinal);
		p[5] = (unsigned char)s->extra;
		lua_pop(L, 1);
		return true;
	}
	s->at = header;
	s->extra = (uint32_t)i;
	*room(e, 1) = LP_UP_VALUE;
	if (!encode(e, lua_gettop(L))) {
		lua_pushfstring(L, ": upvalue '%s'", name && *name ? name : "?");
		return step(e);
	}
	lua_pop(L, 1);
	return true;
}

static bool put_function(struct enc *e, int index)
{
	lua_State *L = e->L;
	const void *address = lua_topointer(L, index);
	if (lua_iscfunction(L, index)) {
		if (!lp_maybe_named(e->v, address))
			names_once(e);
		if (put_named(e, index))
			return true;
		lua_pushliteral(L, "cannot send a C function that is no field of a loaded module: let the task require its module");
		return refuse(e);
	}
	if (lp_maybe_named(e->v, address) && put_named(e, index))
		return true;
	if (met(e, address))
		return true;
	struct lp_code *code = lp_code_of(L, e->v, index);
	uint32_t object;
	if (!lp_msg_add_obj(e->m, &code->obj, &object))
		no_memory(e);
	size_t header = e->m->len;
	unsigned char *p = room(e, 11);
	p[0] = LP_TFUNCTION;
	put_u32(p + 1, LP_NO_ORDINAL);
	put_u32(p + 5, object);
	p[9] = 0;
	p[10] = code->upvalues;
#if LP_LUAJIT
	lua_getfenv(L, index);
	if (lua_topointer(L, -1) != e->v->globals) {
		p[9] = LP_FENV;
		if (!encode(e, lua_gettop(L))) {
			lua_pushliteral(L, ": environment");
			return step(e);
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

static bool put_userdata(struct enc *e, int index)
{
	lua_State *L = e->L;
	struct lp_obj *o = lp_toobj(L, index);
	if (o) {
		uint32_t object;
		if (o->generation != lp_generation && o->cls->take) {
			lua_pushfstring(L, "cannot send a %s that belongs to the parent process", o->cls->name);
			return refuse(e);
		}
		if (!lp_msg_add_obj(e->m, o, &object))
			no_memory(e);
		unsigned char *p = room(e, 5);
		p[0] = LP_TOBJECT;
		put_u32(p + 1, object);
		return true;
	}
	if (lua_getmetatable(L, index)) {
		int metatable = lua_gettop(L);
		if (meta_field(L, metatable, "__pool_encode")) {
			names_once(e);
			if (met(e, lua_topointer(L, index)))
				return lua_settop(L, metatable - 1), true;
			if (!put_custom(e, index, metatable))
				return false;
			lua_settop(L, metatable - 1);
			return true;
		}
		lua_settop(L, metatable - 1);
	}
	names_once(e);
	if (put_named(e, index))
		return true;
	if (luaL_getmetafield(L, index, "__name") && lua_type(L, -1) == LUA_TSTRING)
		lua_pushfstring(L, "cannot send a userdata (%s)", lua_tostring(L, -1));
	else
		lua_pushliteral(L, "cannot send a userdata");
	return refuse(e);
}

#if LP_LUAJIT
/* Pushes a function: cdata -> kind (0 int64, 1 uint64), its 8 bytes; nothing for other cdata. */
static void push_cdata_reader(lua_State *L)
{
	static const char key;
	if (lua_rawgetp(L, LUA_REGISTRYINDEX, &key) == LUA_TFUNCTION)
		return;
	lua_pop(L, 1);
	if (luaL_loadstring(L, "local ffi = require 'ffi' local i64, u64 = ffi.typeof 'int64_t', ffi.typeof 'uint64_t'\n"
			       "return function(x)\n"
			       "  if ffi.istype(i64, x) then return 0, ffi.string(ffi.new('int64_t[1]', x), 8) end\n"
			       "  if ffi.istype(u64, x) then return 1, ffi.string(ffi.new('uint64_t[1]', x), 8) end\n"
			       "end") != LUA_OK)
		lua_error(L);
	lua_call(L, 0, 1);
	lua_pushvalue(L, -1);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &key);
}

static bool put_cdata(struct enc *e, int index)
{
	lua_State *L = e->L;
	push_cdata_reader(L);
	lua_pushvalue(L, index);
	lua_call(L, 1, 2);
	if (lua_isnil(L, -2)) {
		lua_pushliteral(L, "cannot send a cdata: only int64_t and uint64_t go by value");
		return refuse(e);
	}
	unsigned char *p = room(e, 10);
	p[0] = LP_TCDATA;
	p[1] = (unsigned char)lua_tointeger(L, -2);
	memcpy(p + 2, lua_tostring(L, -1), 8);
	lua_pop(L, 2);
	return true;
}
#endif

static bool deeper(struct enc *e, bool (*put)(struct enc *e, int index), int index)
{
	if (e->depth >= e->limit || !lua_checkstack(e->L, 16)) {
		lua_pushfstring(e->L, "nested deeper than %d levels", e->depth);
		return refuse(e);
	}
	e->depth++;
	bool ok = put(e, index);
	e->depth--;
	return ok;
}

static bool encode(struct enc *e, int index)
{
	lua_State *L = e->L;
	switch (lua_type(L, index)) {
	case LUA_TNIL:
		put_tag(e, LP_TNIL);
		return true;
	case LUA_TBOOLEAN:
		put_tag(e, lua_toboolean(L, index) ? LP_TTRUE : LP_TFALSE);
		return true;
	case LUA_TNUMBER:
		put_number(e, index);
		return true;
	case LUA_TSTRING:
		put_string(e, index);
		return true;
	case LUA_TLIGHTUSERDATA: {
		void *light = lua_touserdata(L, index);
		unsigned char *p = room(e, 1 + sizeof light);
		p[0] = LP_TLIGHT;
		memcpy(p + 1, &light, sizeof light);
		return true;
	}
	case LUA_TTABLE:
		return deeper(e, put_table, index);
	case LUA_TFUNCTION:
		return deeper(e, put_function, index);
	case LUA_TUSERDATA:
		return deeper(e, put_userdata, index);
#if LP_LUAJIT
	case LUA_TCDATA:
		return put_cdata(e, index);
#endif
	default:
		lua_pushfstring(L, "cannot send a %s", lua_type(L, index) == LUA_TTHREAD ? "coroutine" : luaL_typename(L, index));
		return refuse(e);
	}
}

/* ---- the contract ---- */

static bool is_scalar(lua_State *L, int index)
{
	int t = lua_type(L, index);
	return t == LUA_TNIL || t == LUA_TBOOLEAN || t == LUA_TNUMBER || t == LUA_TSTRING;
}

static int scratch_gc(lua_State *L)
{
	struct lp_scratch *s = lua_touserdata(L, 1);
	lp_map_free(&s->map);
	return 0;
}

/* A scratch for an encoding inside another: collected like any garbage, whatever happens. */
static struct lp_scratch *push_scratch(lua_State *L)
{
	struct lp_scratch *s = lua_newuserdatauv(L, sizeof *s, 0);
	memset(s, 0, sizeof *s);
	lua_newtable(L);
	lua_pushcfunction(L, scratch_gc);
	lua_setfield(L, -2, "__gc");
	lua_setmetatable(L, -2);
	return s;
}

bool lp_encode(lua_State *L, struct lp_values *v, struct lp_msg *m, int first, int n, const char *what, int number)
{
	int top = lua_gettop(L), i = 0;
	if (!lua_checkstack(L, 32)) {
		lua_pop(L, top > 0);
		lua_pushliteral(L, "too many values");
		return false;
	}
	struct enc e = {.L = L, .v = v, .m = m, .s = &v->scratch, .limit = -1};
	for (; i < n; i++) {
		if (!is_scalar(L, first + i)) {
			if (e.limit < 0) { /* only now there is something to prepare */
				size_t levels = lp_stack_left() / LP_FRAME;
				e.limit = levels < LP_DEPTH_MAX ? (int)levels : LP_DEPTH_MAX;
				if (v->in_user_code)
					e.s = push_scratch(L);
				lp_map_clear(&e.s->map);
				e.s->ordinals = 0;
				e.s->names_fresh = false;
				e.s->keep = 0;
				open_keep(&e);
			}
		}
		if (!encode(&e, first + i)) {
			lua_pushfstring(L, "%s #%d", what, number + i);
			lua_insert(L, -2); /* reason, what, path */
			lua_concat(L, 2);
			lua_pushliteral(L, ": ");
			lua_pushvalue(L, -3);
			lua_concat(L, 3);
			lua_replace(L, top + 1);
			lua_settop(L, top + 1);
			return false;
		}
		m->nvalues++;
	}
	lua_settop(L, top);
	return true;
}

static int describe(lua_State *L)
{
	luaL_tolstring(L, 1, NULL);
	return 1;
}

void lp_push_sendable(lua_State *L, struct lp_values *v, int index)
{
	if (is_scalar(L, index)) {
		lua_pushvalue(L, index);
		return;
	}
	/* A trial, into a message that a handle of a code object cannot leak: it is only ours. */
	struct lp_msg m;
	lp_msg_init(&m, NULL, 0);
	int top = lua_gettop(L);
	bool ok = lp_encode(L, v, &m, index, 1, "error", 1);
	lp_msg_clear(&m);
	if (ok) {
		lua_pushvalue(L, index);
		return;
	}
	lua_pushcfunction(L, describe);
	lua_pushvalue(L, index);
	if (lua_pcall(L, 1, 1, 0) != LUA_OK || !lua_isstring(L, -1)) {
		lua_pop(L, 1);
		lua_pushliteral(L, "?");
	}
	lua_pushfstring(L, "(error object is a %s and cannot be sent: %s; %s)",
		lua_type(L, index) == LUA_TTHREAD ? "coroutine" : luaL_typename(L, index), lua_tostring(L, -1), lua_tostring(L, top + 1));
	lua_replace(L, top + 1);
	lua_settop(L, top + 1);
}

static int values_gc(lua_State *L)
{
	struct lp_values *v = lua_touserdata(L, 1);
	lp_map_free(&v->scratch.map);
	lp_map_free(&v->named);
	return 0;
}

struct lp_values *lp_values_open(lua_State *L)
{
	static const char key;
	if (lua_rawgetp(L, LUA_REGISTRYINDEX, &key) == LUA_TUSERDATA) {
		struct lp_values *v = lua_touserdata(L, -1);
		lua_pop(L, 1);
		return v;
	}
	lua_pop(L, 1);
	struct lp_values *v = lua_newuserdatauv(L, sizeof *v, 0);
	memset(v, 0, sizeof *v);
	lua_newtable(L);
	lua_pushcfunction(L, values_gc);
	lua_setfield(L, -2, "__gc");
	lua_setmetatable(L, -2);
	lp_shortcut_test(L);
	lp_code_open(L, v);
	lua_newtable(L);
	v->names = luaL_ref(L, LUA_REGISTRYINDEX);
	lua_pushglobaltable(L);
	v->globals = lua_topointer(L, -1);
	lua_pop(L, 1);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &key);
	return v;
}
