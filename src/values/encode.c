/* encode: Lua values to a message. See values_int.h for the format, encode_int.h for the rules. */
#include "values/encode_int.h"

#include "values/pin.h"

/* ---- writing ---- */

void lp_enc_no_memory(struct enc *e)
{
	lp_no_memory(e->L);
	__builtin_unreachable();
}

void lp_enc_grow(struct enc *e, size_t n)
{
	if (!lp_msg_grow(e->m, n) && !(lp_make_room(e->L) && lp_msg_grow(e->m, n)))
		lp_enc_no_memory(e);
}

/* ---- references ---- */

uint32_t lp_enc_ordinal(struct enc *e, size_t at)
{
	unsigned char *tag = e->m->data + at;
	uint32_t ordinal;
	if (*tag & LP_MARK) {
		memcpy(&ordinal, tag + 1, 4);
		return ordinal;
	}
	ordinal = e->s->ordinals++;
	e->m->nrefs++;
	*tag |= LP_MARK;
	lp_put_u32(tag + 1, ordinal);
	return ordinal;
}

bool lp_enc_again(struct enc *e, struct lp_slot *s)
{
	uint32_t ordinal = lp_enc_ordinal(e, s->at);
	unsigned char *p = lp_enc_room(e, 5);
	*p = LP_TREF;
	lp_put_u32(p + 1, ordinal);
	return true;
}

/* The reader makes an object of what its __pool_encode gave: that cannot refer to what it is not yet. */
static bool leads_back(struct enc *e, size_t at)
{
	for (const struct lp_open *o = e->open; o; o = o->outer)
		if (o->at == at)
			return true;
	return false;
}

enum lp_met lp_enc_met(struct enc *e, const void *key)
{
	bool fresh;
	struct lp_slot *s = lp_map_get(&e->s->map, key, &fresh);
	if (!s)
		lp_enc_no_memory(e);
	if (fresh) {
		s->at = e->m->len;
		return LP_NEW;
	}
	if (e->open && leads_back(e, s->at)) {
		lua_pushliteral(e->L, "__pool_encode leads back to its own object, which is made of what it gives");
		lp_enc_refuse(e);
		return LP_REFUSED;
	}
	lp_enc_again(e, s);
	return LP_WRITTEN;
}

/* ---- scalars ---- */

void lp_enc_short(struct enc *e, const char *str, size_t n)
{
	/* Short strings are interned: one address, one string, as long as it lives. What __pool_encode made may
	 * have died and its address be another's by now: so the bytes are compared. */
	if (e->depth > 0) {
		struct lp_map *map = &e->s->map;
		struct lp_slot *s = lp_map_string(map, str);
		if (!s)
			lp_enc_no_memory(e);
		if (s->key == str && s->epoch == map->epoch) {
			const unsigned char *first = e->m->data + s->at;
			if (first[5] == n && memcmp(first + 6, str, n) == 0) {
				lp_enc_again(e, s);
				return;
			}
		}
		*s = (struct lp_slot){.key = str, .at = e->m->len, .epoch = map->epoch};
	}
	unsigned char *p = lp_enc_room(e, 6 + n);
	p[0] = LP_TSHORT;
	lp_put_u32(p + 1, 0);
	p[5] = (unsigned char)n;
	memcpy(p + 6, str, n);
}

/* Is the string that begins at this place of the message this one? Its address may be another's by now (see lp_enc_short), but not
 * that of one that is pinned. */
static bool is_long_at(struct enc *e, size_t at, const char *str, size_t n)
{
	const unsigned char *first = e->m->data + at;
	uint64_t len;
	if ((*first & ~LP_MARK) == LP_TPINNED)
		return true;
	memcpy(&len, first + 5, 8);
	return len == n && memcmp(first + 13, str, n) == 0;
}

/* Was it sent already? Else notes that it begins here. A key is an address inside the string, so that no other value has it. */
static bool met_long(struct enc *e, const char *str, size_t n)
{
	struct lp_map *map = &e->s->map;
	bool fresh;
	struct lp_slot *s;
	if (n >= LP_SURE_MIN) {
		s = lp_map_get(map, str + 1, &fresh);
	} else {
		s = lp_map_string(map, str + 1);
		fresh = s && (s->key != str + 1 || s->epoch != map->epoch);
	}
	if (!s)
		lp_enc_no_memory(e);
	if (!fresh && is_long_at(e, s->at, str, n))
		return lp_enc_again(e, s);
	*s = (struct lp_slot){.key = str + 1, .at = e->m->len, .epoch = map->epoch};
	return false;
}

static bool prepare(struct enc *e);

static void put_long(struct enc *e, int index, const char *str, size_t n)
{
	uint32_t object;
	/* Of several values at the top a large one may come again. */
	if (e->limit < 0 && e->many && n >= LP_SURE_MIN)
		prepare(e);
	if (e->limit >= 0 && met_long(e, str, n))
		return;
	if (n >= LP_PIN_MIN && e->m->pins && e->v->pins && lp_pin_string(e->L, e->v->pins, index, e->m, &object)) {
		unsigned char *p = lp_enc_room(e, 9);
		*p = LP_TPINNED;
		lp_put_u32(p + 1, LP_NO_ORDINAL);
		lp_put_u32(p + 5, object);
		return;
	}
	unsigned char *p = lp_enc_room(e, 13 + n);
	uint64_t len = n;
	*p = LP_TLONG;
	lp_put_u32(p + 1, LP_NO_ORDINAL);
	memcpy(p + 5, &len, 8);
	memcpy(p + 13, str, n);
}

static void put_string(struct enc *e, int index)
{
	size_t n;
	const char *str = lua_tolstring(e->L, index, &n);
	if (n > LP_SHORT_MAX)
		put_long(e, index, str, n);
	else
		lp_enc_short(e, str, n);
}

void lp_enc_integer(struct enc *e, int64_t x)
{
	if (x >= -128 && x < 128) {
		unsigned char *p = lp_enc_room(e, 2);
		p[0] = LP_TBYTE;
		p[1] = (unsigned char)(int8_t)x;
	} else {
		unsigned char *p = lp_enc_room(e, 9);
		p[0] = LP_TINT;
		memcpy(p + 1, &x, 8);
	}
}

static void put_tag(struct enc *e, enum lp_tag tag)
{
	*lp_enc_room(e, 1) = (unsigned char)tag;
}

void lp_enc_float(struct enc *e, double x)
{
	unsigned char *p = lp_enc_room(e, 9);
	p[0] = LP_TFLOAT;
	memcpy(p + 1, &x, 8);
}

static void put_number(struct enc *e, int index)
{
	if (lua_isinteger(e->L, index)) {
		lp_enc_integer(e, (int64_t)lua_tointeger(e->L, index));
		return;
	}
	lp_enc_float(e, lua_tonumber(e->L, index));
}

/* ---- by name ---- */

void lp_enc_module(struct enc *e, const char *name, size_t n)
{
	unsigned char *p = lp_enc_room(e, 6 + n);
	p[0] = LP_TMODULE;
	lp_put_u32(p + 1, LP_NO_ORDINAL);
	p[5] = (unsigned char)n;
	memcpy(p + 6, name, n);
}

static void put_field(struct enc *e, const char *module, size_t n, const char *field, size_t m)
{
	unsigned char *p = lp_enc_room(e, 3 + n + m);
	p[0] = LP_TFIELD;
	p[1] = (unsigned char)n;
	memcpy(p + 2, module, n);
	p[2 + n] = (unsigned char)m;
	memcpy(p + 3 + n, field, m);
}

bool lp_enc_named(struct enc *e, int index)
{
	if (!lp_name_of(e->L, e->v, index))
		return false;
	size_t n;
	const char *name = lua_tolstring(e->L, -1, &n);
	size_t module = strlen(name);
	bool fits = module < 256 && n - module < 256;
	if (fits && module == n)
		lp_enc_module(e, name, n);
	else if (fits)
		put_field(e, name, module, name + module + 1, n - module - 1);
	lua_pop(e->L, 1);
	return fits;
}

void lp_enc_names(struct enc *e)
{
	if (!e->s->names_fresh) {
		e->s->names_fresh = true;
		lp_names_refresh(e->L, e->v);
	}
}

bool lp_enc_search(struct enc *e, int index, bool fields, bool must)
{
	bool *done = fields ? &e->s->searched_fields : &e->s->searched;
	if (*done && !must)
		return false;
	*done = true;
	return lp_names_search(e->L, e->v, index, fields, must);
}

/* ---- any value ---- */

#if LP_LUAJIT
/* LuaJIT gives a C function 8,000 places on the stack, and a level takes two or more of them: so every thousand levels
 * another function goes on. */
enum { LEVELS_OF_A_FUNCTION = 1000 };

struct below {
	struct enc *e;
	bool (*put)(struct enc *e, int index);
	bool ok;
};

/* (value, keep, struct below) -> nothing, or reason and path. */
static int go_on(lua_State *L)
{
	struct below *b = lua_touserdata(L, 3);
	struct lp_scratch *s = b->e->s;
	int keep = s->keep;
	s->keep = 2;
	b->ok = b->put(b->e, 1);
	s->keep = keep;
	return b->ok ? 0 : 2;
}

static bool put_below(struct enc *e, bool (*put)(struct enc *e, int index), int index)
{
	struct below b = {e, put, false};
	lua_State *L = e->L;
	if (lua_isnil(L, e->s->keep)) { /* both functions keep in the same table */
		lua_newtable(L);
		lua_replace(L, e->s->keep);
	}
	lua_pushcfunction(L, go_on);
	lua_pushvalue(L, index);
	lua_pushvalue(L, e->s->keep);
	lua_pushlightuserdata(L, &b);
	lua_call(L, 3, LUA_MULTRET);
	return b.ok;
}
#endif

static bool deeper(struct enc *e, bool (*put)(struct enc *e, int index), int index)
{
	if (e->depth >= e->limit || !lua_checkstack(e->L, 16)) {
		lua_pushfstring(e->L, "nested deeper than %d levels", e->depth);
		return lp_enc_refuse(e);
	}
	e->depth++;
#if LP_LUAJIT
	bool ok = e->depth % LEVELS_OF_A_FUNCTION == 0 ? put_below(e, put, index) : put(e, index);
#else
	bool ok = put(e, index);
#endif
	e->depth--;
	return ok;
}

bool lp_enc_value(struct enc *e, int index)
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
		unsigned char *p = lp_enc_room(e, 1 + sizeof light);
		p[0] = LP_TLIGHT;
		memcpy(p + 1, &light, sizeof light);
		return true;
	}
	case LUA_TTABLE:
		return deeper(e, lp_enc_table, index);
	case LUA_TFUNCTION:
		return deeper(e, lp_enc_function, index);
	case LUA_TUSERDATA:
		return deeper(e, lp_enc_userdata, index);
#if LP_LUAJIT
	case LUA_TCDATA:
		return lp_enc_cdata(e, index);
#endif
	default:
		lua_pushfstring(L, "cannot send a %s", lua_type(L, index) == LUA_TTHREAD ? "coroutine" : luaL_typename(L, index));
		return lp_enc_refuse(e);
	}
}

/* ---- the contract ---- */

static const char scratch_key;

static int scratch_gc(lua_State *L)
{
	struct lp_scratch *s = lp_own_test(L, 1, sizeof *s, &scratch_key);
	if (s)
		lp_map_free(&s->map);
	return 0;
}

/* A scratch for an encoding inside another: collected like any garbage, whatever happens. */
static struct lp_scratch *push_scratch(lua_State *L)
{
	struct lp_scratch *s = lua_newuserdatauv(L, sizeof *s, 0);
	memset(s, 0, sizeof *s);
	lp_own_set(s, &scratch_key);
	lua_newtable(L);
	lua_pushcfunction(L, scratch_gc);
	lua_setfield(L, -2, "__gc");
	lua_setmetatable(L, -2);
	return s;
}

/* The first value that is more than a scalar: only now there is something to prepare. False: there is no room on the stack. */
static bool prepare(struct enc *e)
{
	lua_State *L = e->L;
	if (!lua_checkstack(L, 32))
		return false;
	e->top = lua_gettop(L);
	e->limit = lp_depth_left(LP_DEPTH_MAX);
	if (e->v->in_user_code)
		e->s = push_scratch(L);
	lp_map_clear(&e->s->map);
	e->s->ordinals = 0;
	e->s->names_fresh = e->s->searched = e->s->searched_fields = false;
	e->v->message++;
	if (e->early) {
		bool fresh;
		struct lp_slot *s = lp_map_get(&e->s->map, e->early, &fresh);
		if (!s)
			lp_enc_no_memory(e);
		s->at = e->early_at;
	}
	lua_pushnil(L); /* its place below all else, so that it stays until the end */
	e->s->keep = lua_gettop(L);
	return true;
}

bool lp_encode(lua_State *L, struct lp_values *v, struct lp_msg *m, int first, int n, const char *what, int number)
{
	if (v->pins && lp_pins_dead(v->pins))
		lp_pins_sweep(L, v->pins);
	struct enc e = {.L = L, .v = v, .m = m, .s = &v->scratch, .limit = -1, .many = n > 1};
	for (int i = 0; i < n; i++) {
		int type = lua_type(L, first + i);
		if (type == LUA_TNUMBER) {
			put_number(&e, first + i);
		} else if (type == LUA_TSTRING) {
			put_string(&e, first + i);
		} else if (type == LUA_TFUNCTION && i == 0 && lp_enc_plain_function(&e, first)) {
			; /* as in most calls */
		} else {
			if (type != LUA_TNIL && type != LUA_TBOOLEAN && e.limit < 0 && !prepare(&e)) {
				lua_pop(L, lua_gettop(L) > 0);
				lua_pushliteral(L, "too many values");
				return false;
			}
			if (!lp_enc_value(&e, first + i)) {
				lua_pushfstring(L, "%s #%d", what, number + i);
				lua_insert(L, -2); /* reason, what, path */
				lua_concat(L, 2);
				lua_pushliteral(L, ": ");
				lua_pushvalue(L, -3);
				lua_concat(L, 3);
				lua_replace(L, e.top + 1);
				lua_settop(L, e.top + 1);
				return false;
			}
		}
		m->nvalues++;
	}
	if (e.limit >= 0)
		lua_settop(L, e.top);
	return true;
}
