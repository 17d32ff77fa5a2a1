/* decode: a message to Lua values. The bytes are not trusted: every length is compared with what is left,
 * and what they say of sizes is a hint that is cut to what the bytes could hold. */
#include <string.h>

#include "values/cdata.h"
#include "values/handle.h"
#include "values/pin.h"
#include "values/values_int.h"

struct dec {
	lua_State *L;
	struct lp_values *v;
	const struct lp_msg *m;
	const unsigned char *p, *end;
	int refs; /* stack index of the table of what is referred to, nil until it is made; 0: nothing is */
	int depth, limit;
	const unsigned char *nothing; /* the __pool_decode that gave nil or NaN last: where it stands in the message; NULL: none did */
	size_t budget; /* bytes of the message that no table has claimed yet: an element takes one at least, a pair two */
};

static void decode(struct dec *d);

static void damaged(struct dec *d)
{
	luaL_error(d->L, "damaged message");
}

static const unsigned char *take(struct dec *d, size_t n)
{
	if ((size_t)(d->end - d->p) < n)
		damaged(d);
	const unsigned char *p = d->p;
	d->p += n;
	return p;
}

static uint32_t take_u32(struct dec *d)
{
	uint32_t x;
	memcpy(&x, take(d, 4), 4);
	return x;
}

/* Keeps the value on top for references. */
static void mark(struct dec *d, uint32_t ordinal)
{
	lua_State *L = d->L;
	if (!d->refs)
		damaged(d);
	if (lua_isnil(L, d->refs)) {
		lua_newtable(L);
		lua_replace(L, d->refs);
	}
	if (ordinal >= (1u << 30))
		damaged(d);
	lua_pushvalue(L, -1);
	lua_rawseti(L, d->refs, (int)ordinal + 1);
}

static const char nil_mark; /* stands for nil, which only a __pool_decode can make, among what is referred to */

static void push_ref(struct dec *d, uint32_t ordinal)
{
	if (!d->refs || !lua_istable(d->L, d->refs) || ordinal >= (1u << 30))
		damaged(d);
	int type = lua_rawgeti(d->L, d->refs, (int)ordinal + 1);
	if (__builtin_expect(type > LUA_TLIGHTUSERDATA, 1))
		return;
	if (type == LUA_TNIL)
		damaged(d);
	if (type == LUA_TLIGHTUSERDATA && lua_touserdata(d->L, -1) == &nil_mark) {
		lua_pop(d->L, 1);
		lua_pushnil(d->L);
	}
}

/* ---- what a __pool_decode gave and cannot be used ---- */

static bool is_nothing(lua_State *L)
{
	return lua_isnil(L, -1) || (lua_type(L, -1) == LUA_TNUMBER && lua_tonumber(L, -1) != lua_tonumber(L, -1));
}

/* The __pool_decode of an object whose maker (a function or a metatable) is on top takes its place; nil: there is none. */
static void find_decoder(lua_State *L)
{
	if (!lua_istable(L, -1))
		return;
	lua_pushliteral(L, "__pool_decode");
	lua_rawget(L, -2);
	lua_remove(L, -2);
}

/* It is on top. `at`: where the maker stands in the message; NULL: not known. */
static void unusable(struct dec *d, const unsigned char *at, const char *needed)
{
	lua_State *L = d->L;
	const char *what = lua_type(L, -1) == LUA_TNUMBER && is_nothing(L) ? "NaN" : luaL_typename(L, -1);
	if (!d->m->calls)
		damaged(d);
	lua_Debug ar = {.linedefined = -1};
	if (at) {
		d->p = at;
		decode(d);
		find_decoder(L);
		if (lua_isfunction(L, -1))
			lua_getinfo(L, ">S", &ar);
	}
	if (ar.linedefined > 0)
		luaL_error(L, "the __pool_decode at %s:%d gave %s where %s is needed", ar.short_src, ar.linedefined, what, needed);
	luaL_error(L, "a __pool_decode gave %s where %s is needed", what, needed);
}

/* A value that has to be a table, as it was when it was sent: only a __pool_decode can have made something else of it. */
static void decode_table(struct dec *d, const char *needed)
{
	const unsigned char *at = d->p;
	decode(d);
	if (!lua_istable(d->L, -1))
		unusable(d, (*at & ~LP_MARK) == LP_TCUSTOM ? at + 9 : NULL, needed);
}

static struct lp_obj *take_object(struct dec *d)
{
	uint32_t i = take_u32(d);
	if (i >= d->m->nobjs)
		damaged(d);
	return d->m->objs[i];
}

static void push_int(lua_State *L, const unsigned char *p)
{
	int64_t x;
	memcpy(&x, p, 8);
#if LP_LUAJIT
	lua_pushnumber(L, (lua_Number)x);
#else
	lua_pushinteger(L, (lua_Integer)x);
#endif
}

static void push_float(lua_State *L, const unsigned char *p)
{
	double x;
	memcpy(&x, p, 8);
	lua_pushnumber(L, x);
}

/* A block of numbers as elements from `at` on of the table on top; answers how many. */
static uint32_t block(struct dec *d, enum lp_tag tag, uint32_t at, uint32_t most)
{
	uint32_t n = take_u32(d);
	if (n > most)
		damaged(d);
	const unsigned char *p = take(d, (size_t)n * 8);
	lua_State *L = d->L;
	if (lp_set_numbers(L, tag, p, at, n))
		return n;
	if (tag == LP_TINTS)
		for (uint32_t i = 0; i < n; i++, p += 8) {
			push_int(L, p);
			lua_rawseti(L, -2, (int)(at + i));
		}
	else
		for (uint32_t i = 0; i < n; i++, p += 8) {
			push_float(L, p);
			lua_rawseti(L, -2, (int)(at + i));
		}
	return n;
}

static void table(struct dec *d, unsigned tag)
{
	lua_State *L = d->L;
	uint32_t ordinal = take_u32(d), array = take_u32(d), pairs = take_u32(d);
	size_t claimed = (size_t)array + 2 * (size_t)pairs;
	if (claimed > d->budget || claimed > (size_t)(d->end - d->p) || array > INT32_MAX - 1)
		damaged(d);
	d->budget -= claimed;
	lua_createtable(L, (int)array, (int)pairs);
	if (tag & LP_MARK)
		mark(d, ordinal);
	for (uint32_t i = 1; i <= array;) {
		if (d->p < d->end && (*d->p == LP_TINTS || *d->p == LP_TFLOATS)) {
			uint32_t n = block(d, *d->p++, i, array - i + 1);
			if (n == 0)
				damaged(d);
			i += n;
		} else {
			decode(d);
			lua_rawseti(L, -2, (int)i++);
		}
	}
	for (uint32_t i = 0; i < pairs; i++) {
		unsigned key = d->p < d->end ? *d->p & ~LP_MARK : LP_TNIL;
		decode(d);
		if (key != LP_TSHORT && (key != LP_TREF || d->nothing) && is_nothing(L))
			unusable(d, d->nothing, "the key of a table");
		decode(d);
		lua_rawset(L, -3);
	}
	if (tag & LP_META) {
		decode_table(d, "a metatable");
		lua_setmetatable(L, -2);
	}
}

static void function(struct dec *d, unsigned tag)
{
	lua_State *L = d->L;
	uint32_t ordinal = take_u32(d);
	struct lp_obj *o = take_object(d);
	const unsigned char *p = take(d, 2);
	unsigned flags = p[0], n = p[1];
	struct lp_code *code = (struct lp_code *)o;
	if (o->cls != &lp_code_class || n != code->upvalues)
		damaged(d);
	lp_code_push(L, d->v, code, flags & LP_FENV);
	if (tag & LP_MARK)
		mark(d, ordinal);
	int f = lua_gettop(L);
#if LP_LUAJIT
	if (flags & LP_FENV) {
		decode_table(d, "the environment of a function");
		lua_setfenv(L, f);
	}
#endif
	for (unsigned i = 1; i <= n; i++) {
		switch (*take(d, 1)) {
		case LP_UP_GLOBALS:
			lua_pushglobaltable(L);
			break;
		case LP_UP_VALUE:
			decode(d);
			break;
		case LP_UP_SHARED: {
			push_ref(d, take_u32(d));
			int at = *take(d, 1);
			if (!lua_isfunction(L, -1) || lua_iscfunction(L, -1) || !lua_getupvalue(L, -1, at))
				damaged(d);
			lua_pop(L, 1);
			lua_upvaluejoin(L, f, (int)i, lua_gettop(L), at);
			lua_pop(L, 1);
			continue;
		}
		default:
			damaged(d);
		}
		if (!lua_setupvalue(L, f, (int)i)) /* a stripped function has unnamed ones: they are set all the same */
			lua_pop(L, 1);
	}
}

static void custom(struct dec *d, unsigned tag)
{
	lua_State *L = d->L;
	uint32_t ordinal = take_u32(d), n = take_u32(d);
	if (n > (size_t)(d->end - d->p))
		damaged(d);
	const unsigned char *at = d->p;
	decode(d);
	find_decoder(L);
	if (lua_isnil(L, -1))
		luaL_error(L, "the metatable of a received object has no __pool_decode here");
	if (n > INT32_MAX / 2 || !lua_checkstack(L, (int)n + 8))
		luaL_error(L, "a __pool_encode gave %d values: too many for the stack of the Lua state that receives them", (int)n);
	for (uint32_t i = 0; i < n; i++)
		decode(d);
	lua_call(L, (int)n, 1);
	if (is_nothing(L))
		d->nothing = at;
	if (tag & LP_MARK) {
		bool nil = lua_isnil(L, -1);
		if (nil)
			lua_pushlightuserdata(L, (void *)&nil_mark);
		mark(d, ordinal);
		lua_pop(L, nil);
	}
}

#if LP_LUAJIT
static void cdata(struct dec *d)
{
	const unsigned char *p = take(d, 9);
	uint64_t bits;
	memcpy(&bits, p + 1, 8);
	lp_cdata_push(d->L, p[0] & 1 ? LP_CDATA_U64 : LP_CDATA_I64, bits);
}
#endif

static void compound(struct dec *d, unsigned tag)
{
	switch (tag & ~(LP_MARK | LP_META)) {
	case LP_TTABLE: table(d, tag); break;
	case LP_TFUNCTION: function(d, tag); break;
	case LP_TCUSTOM: custom(d, tag); break;
	}
}

#if LP_LUAJIT
/* As in encode.c: a C function has 8,000 places, so another goes on. */
enum { LEVELS_OF_A_FUNCTION = 1000 };

struct below {
	struct dec *d;
	unsigned tag;
};

/* (references, struct below) -> the value */
static int go_on(lua_State *L)
{
	struct below *b = lua_touserdata(L, 2);
	int refs = b->d->refs;
	b->d->refs = refs ? 1 : 0;
	compound(b->d, b->tag);
	b->d->refs = refs;
	return 1;
}

static void compound_below(struct dec *d, unsigned tag)
{
	struct below b = {d, tag};
	lua_State *L = d->L;
	if (d->refs && lua_isnil(L, d->refs)) {
		lua_newtable(L);
		lua_replace(L, d->refs);
	}
	lua_pushcfunction(L, go_on);
	if (d->refs)
		lua_pushvalue(L, d->refs);
	else
		lua_pushnil(L);
	lua_pushlightuserdata(L, &b);
	lua_call(L, 2, 1);
}
#endif

static void nested(struct dec *d, unsigned tag)
{
	if (d->depth >= d->limit || !lua_checkstack(d->L, 12))
		luaL_error(d->L, "nested deeper than %d levels", d->depth);
	d->depth++;
#if LP_LUAJIT
	if (d->depth % LEVELS_OF_A_FUNCTION == 0)
		compound_below(d, tag);
	else
#endif
		compound(d, tag);
	d->depth--;
}

static void decode(struct dec *d)
{
	lua_State *L = d->L;
	unsigned tag = *take(d, 1);
	const unsigned char *p;
	switch (tag & ~(LP_MARK | LP_META)) {
	case LP_TNIL: lua_pushnil(L); break;
	case LP_TFALSE: lua_pushboolean(L, 0); break;
	case LP_TTRUE: lua_pushboolean(L, 1); break;
	case LP_TBYTE: lua_pushinteger(L, (int8_t)*take(d, 1)); break;
	case LP_TINT: push_int(L, take(d, 8)); break;
	case LP_TFLOAT: push_float(L, take(d, 8)); break;
	case LP_TSHORT: {
		p = take(d, 5);
		uint32_t ordinal;
		memcpy(&ordinal, p, 4);
		size_t n = p[4];
		lua_pushlstring(L, (const char *)take(d, n), n);
		if (tag & LP_MARK)
			mark(d, ordinal);
		break;
	}
	case LP_TLONG: {
		uint64_t n;
		uint32_t ordinal = take_u32(d);
		memcpy(&n, take(d, 8), 8);
		if (n > (size_t)(d->end - d->p))
			damaged(d);
		lua_pushlstring(L, (const char *)take(d, (size_t)n), (size_t)n);
		if (tag & LP_MARK)
			mark(d, ordinal);
		break;
	}
	case LP_TREF: push_ref(d, take_u32(d)); break;
	case LP_TTABLE:
	case LP_TFUNCTION:
	case LP_TCUSTOM: nested(d, tag); break;
	case LP_TMODULE: {
		p = take(d, 5);
		uint32_t ordinal;
		memcpy(&ordinal, p, 4);
		size_t n = p[4];
		lp_push_named(L, (const char *)take(d, n), n, NULL, 0);
		if (tag & LP_MARK)
			mark(d, ordinal);
		break;
	}
	case LP_TFIELD: {
		size_t n = *take(d, 1);
		p = take(d, n);
		size_t m = *take(d, 1);
		lp_push_named(L, (const char *)p, n, (const char *)take(d, m), m);
		break;
	}
	case LP_TGLOBALS: {
		uint32_t ordinal = take_u32(d);
		lua_pushglobaltable(L);
		if (tag & LP_MARK)
			mark(d, ordinal);
		break;
	}
	case LP_TLIGHT: {
		void *light;
		memcpy(&light, take(d, sizeof light), sizeof light);
		lua_pushlightuserdata(L, light);
		break;
	}
	case LP_TOBJECT: {
		struct lp_obj *o = take_object(d);
		if (o->cls == &lp_code_class || o->cls == &lp_pin_class)
			damaged(d);
		lp_push(L, o);
		if (o->cls->received)
			o->cls->received(o);
		break;
	}
	case LP_TPINNED: {
		uint32_t ordinal = take_u32(d);
		struct lp_obj *o = take_object(d);
		if (o->cls != &lp_pin_class)
			damaged(d);
		lp_pin_push(L, o);
		if (tag & LP_MARK)
			mark(d, ordinal);
		break;
	}
#if LP_LUAJIT
	case LP_TCDATA: cdata(d); break;
#endif
	default: damaged(d);
	}
}

int lp_decode(lua_State *L, struct lp_values *v, const struct lp_msg *m)
{
	uint32_t n = m->nvalues;
	if (n == 0)
		return 0;
	if (n > (1u << 20) || !lua_checkstack(L, (int)n + 12))
		return luaL_error(L, "too many values (%d)", (int)n);
	if (v->pins && lp_pins_dead(v->pins))
		lp_pins_sweep(L, v->pins);
	struct dec d = {.L = L, .v = v, .m = m, .p = m->data, .end = m->data + m->len, .budget = m->len,
		.limit = m->len > 64 ? lp_depth_left(2 * LP_DEPTH_MAX) : 64};
	/* The place of the references lies below the values, and is taken away when they are complete. */
	if (m->nrefs) {
		lua_pushnil(L);
		d.refs = lua_gettop(L);
	}
	for (uint32_t i = 0; i < n; i++)
		decode(&d);
	if (m->nrefs)
		lua_remove(L, d.refs);
	lp_collect(L, m->len);
	return (int)n;
}
