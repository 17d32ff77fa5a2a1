/* element: see element.h. */
#include "data/element.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "values/cdata.h"

/* ---- from Lua ---- */

static bool refuse(lua_State *L, int index, enum lp_type type)
{
	const struct lp_type_info *t = &lp_types[type];
	char range[80];
	if (t->real)
		snprintf(range, sizeof range, "a number expected (%s)", t->name);
	else
		snprintf(range, sizeof range, "a whole number from %" PRId64 " to %" PRIu64 " expected (%s)", t->min, t->max, t->name);
	if (lua_type(L, index) == LUA_TNUMBER) {
		lua_pushvalue(L, index);
		lua_pushfstring(L, "%s, got %s", range, lua_tostring(L, -1)); /* converts the copy */
		lua_remove(L, -2);
	} else {
		lua_pushfstring(L, "%s, got %s", range, luaL_typename(L, index));
	}
	return false;
}

static bool fits(const struct lp_type_info *t, int64_t x)
{
	return x >= t->min && (x < 0 || (uint64_t)x <= t->max);
}

static bool whole_fits(enum lp_type type, double x, union lp_element *e)
{
	const struct lp_type_info *t = &lp_types[type];
	if (floor(x) != x || !(x >= (double)t->min && x <= (double)t->max))
		return false;
	/* The upper bounds of 64 bits are no doubles: the next power of two is. */
	if (type == LP_I64 ? x >= 9223372036854775808.0 : type == LP_U64 && x >= 18446744073709551616.0)
		return false;
	e->i = type == LP_U64 ? (int64_t)(uint64_t)x : (int64_t)x;
	return true;
}

bool lp_element_get(lua_State *L, int index, enum lp_type type, union lp_element *e)
{
	const struct lp_type_info *t = &lp_types[type];
	int kind = lua_type(L, index);
#if LP_LUAJIT
	if (kind == LUA_TCDATA) {
		uint64_t bits;
		enum lp_cdata_kind c = lp_cdata_get(L, index, &bits);
		if (c == LP_CDATA_NONE)
			return refuse(L, index, type);
		e->i = (int64_t)bits;
		if (t->real)
			e->f = c == LP_CDATA_I64 ? (double)(int64_t)bits : (double)bits;
		else if (c == LP_CDATA_U64 ? bits > t->max : !fits(t, (int64_t)bits))
			return refuse(L, index, type);
		return true;
	}
#endif
	if (kind != LUA_TNUMBER)
		return refuse(L, index, type);
	if (t->real) {
		e->f = lua_tonumber(L, index);
		return true;
	}
	if (lua_isinteger(L, index)) {
		e->i = (int64_t)lua_tointeger(L, index);
		return fits(t, e->i) || type == LP_U64 || refuse(L, index, type);
	}
	return whole_fits(type, lua_tonumber(L, index), e) || refuse(L, index, type);
}

union lp_element lp_element_check(lua_State *L, int index, enum lp_type type)
{
	union lp_element e = {0};
	if (!lp_element_get(L, index, type, &e))
		luaL_argerror(L, index, lua_tostring(L, -1));
	return e;
}

/* ---- to Lua ---- */

#define EXACT 9007199254740992 /* 2^53 */

void lp_push_i64(lua_State *L, int64_t x)
{
#if LP_LUAJIT
	if (x < -EXACT || x > EXACT)
		lp_cdata_push(L, LP_CDATA_I64, (uint64_t)x);
	else
		lua_pushnumber(L, (lua_Number)x);
#else
	lua_pushinteger(L, x);
#endif
}

void lp_push_u64(lua_State *L, uint64_t x)
{
#if LP_LUAJIT
	if (x > EXACT)
		lp_cdata_push(L, LP_CDATA_U64, x);
	else
		lua_pushnumber(L, (lua_Number)x);
#else
	lua_pushinteger(L, (lua_Integer)x);
#endif
}

/* A load of `type` as a C value. */
#define LOAD(ctype, p) __extension__({ ctype x_; __atomic_load((const ctype *)(p), &x_, __ATOMIC_RELAXED); x_; })
#define STORE(ctype, p, value)                                           \
	do {                                                             \
		ctype x_ = (ctype)(value);                               \
		__atomic_store((ctype *)(p), &x_, __ATOMIC_RELAXED);     \
	} while (0)

void lp_element_load(enum lp_type type, const void *p, union lp_element *e)
{
	switch (type) {
	case LP_I8: e->i = LOAD(int8_t, p); break;
	case LP_U8: e->i = LOAD(uint8_t, p); break;
	case LP_I16: e->i = LOAD(int16_t, p); break;
	case LP_U16: e->i = LOAD(uint16_t, p); break;
	case LP_I32: e->i = LOAD(int32_t, p); break;
	case LP_U32: e->i = LOAD(uint32_t, p); break;
	case LP_I64: e->i = LOAD(int64_t, p); break;
	case LP_U64: e->i = (int64_t)LOAD(uint64_t, p); break;
	case LP_F32: e->f = (double)LOAD(float, p); break;
	case LP_F64: e->f = LOAD(double, p); break;
	case LP_TYPES: break;
	}
}

void lp_element_push(lua_State *L, enum lp_type type, const void *p)
{
	union lp_element e = {0};
	lp_element_load(type, p, &e);
	if (type >= LP_F32)
		lua_pushnumber(L, e.f);
	else if (type == LP_U64)
		lp_push_u64(L, (uint64_t)e.i);
	else
		lp_push_i64(L, e.i);
}

void lp_element_put(enum lp_type type, void *p, union lp_element e)
{
	switch (type) {
	case LP_I8: STORE(int8_t, p, e.i); break;
	case LP_U8: STORE(uint8_t, p, e.i); break;
	case LP_I16: STORE(int16_t, p, e.i); break;
	case LP_U16: STORE(uint16_t, p, e.i); break;
	case LP_I32: STORE(int32_t, p, e.i); break;
	case LP_U32: STORE(uint32_t, p, e.i); break;
	case LP_I64: STORE(int64_t, p, e.i); break;
	case LP_U64: STORE(uint64_t, p, e.i); break;
	case LP_F32: STORE(float, p, e.f); break;
	case LP_F64: STORE(double, p, e.f); break;
	case LP_TYPES: break;
	}
}

bool lp_element_convert(enum lp_type from, enum lp_type to, union lp_element *e)
{
	const struct lp_type_info *t = &lp_types[to];
	int64_t i = e->i; /* a union: read before it is written */
	if (lp_types[from].real)
		return t->real || whole_fits(to, e->f, e);
	if (t->real)
		e->f = from == LP_U64 ? (double)(uint64_t)i : (double)i;
	else if (from == LP_U64)
		return (uint64_t)e->i <= t->max;
	else
		return fits(t, e->i);
	return true;
}

#define ADD(ctype) (__atomic_add_fetch((ctype *)p, (ctype)d, __ATOMIC_SEQ_CST))

void lp_element_add(enum lp_type type, void *p, int64_t d, union lp_element *result)
{
	switch (type) {
	case LP_I8: result->i = ADD(int8_t); break;
	case LP_U8: result->i = ADD(uint8_t); break;
	case LP_I16: result->i = ADD(int16_t); break;
	case LP_U16: result->i = ADD(uint16_t); break;
	case LP_I32: result->i = ADD(int32_t); break;
	case LP_U32: result->i = ADD(uint32_t); break;
	case LP_I64: result->i = ADD(int64_t); break;
	case LP_U64: result->i = (int64_t)ADD(uint64_t); break;
	default: break;
	}
}

/* Of the size of the type; what was there comes back in the type's own way. */
#define CAS(ctype)                                                                                               \
	__extension__({                                                                                          \
		ctype was = (ctype)expected->i;                                                                  \
		bool done_ = __atomic_compare_exchange_n((ctype *)p, &was, (ctype)new.i, false, __ATOMIC_SEQ_CST, \
			__ATOMIC_SEQ_CST);                                                                       \
		expected->i = (int64_t)was;                                                                      \
		done_;                                                                                           \
	})

bool lp_element_cas(enum lp_type type, void *p, union lp_element *expected, union lp_element new)
{
	switch (type) {
	case LP_I8: return CAS(int8_t);
	case LP_U8: return CAS(uint8_t);
	case LP_I16: return CAS(int16_t);
	case LP_U16: return CAS(uint16_t);
	case LP_I32: return CAS(int32_t);
	case LP_U32: return CAS(uint32_t);
	case LP_I64: return CAS(int64_t);
	case LP_U64: return CAS(uint64_t);
	default: return false;
	}
}

/* ---- places ---- */

/* The number at index if it is whole and fits 64 bits. */
static bool whole(lua_State *L, int index, int64_t *x)
{
	if (lua_type(L, index) != LUA_TNUMBER)
		return false;
	if (lua_isinteger(L, index)) {
		*x = (int64_t)lua_tointeger(L, index);
		return true;
	}
	double d = lua_tonumber(L, index);
	if (!(fabs(d) <= (double)EXACT) || floor(d) != d)
		return false;
	*x = (int64_t)d;
	return true;
}

static const char *shown(lua_State *L, int index)
{
	if (lua_type(L, index) == LUA_TSTRING)
		return lua_pushfstring(L, "\"%s\"", lua_tostring(L, index));
	if (lua_type(L, index) != LUA_TNUMBER)
		return luaL_typename(L, index);
	lua_pushvalue(L, index);
	return lua_tostring(L, -1);
}

/* "1 ... 10", or for nothing: "(empty)". */
static const char *bounds(lua_State *L, size_t n)
{
	char text[48];
	if (n == 0)
		return "an empty range";
	snprintf(text, sizeof text, "1 ... %zu", n);
	return lua_pushfstring(L, "%s", text);
}

size_t lp_check_place(lua_State *L, int index, size_t n)
{
	int64_t i;
	if (!whole(L, index, &i))
		luaL_error(L, "index %s is no whole number", shown(L, index));
	else if (i < 1 || (uint64_t)i > n)
		luaL_error(L, "index %s is outside of %s", shown(L, index), bounds(L, n));
	else
		return (size_t)i - 1;
	return 0;
}

/* An end of a range, counted from 1 (0 and n + 1 may be ends of empty ones). */
static int64_t check_end(lua_State *L, int index, size_t n, int64_t absent)
{
	int64_t i;
	if (lua_isnoneornil(L, index))
		return absent;
	if (!whole(L, index, &i))
		luaL_argerror(L, index, lua_pushfstring(L, "whole number expected, got %s", shown(L, index)));
	return i < 0 ? i + (int64_t)n + 1 : i;
}

size_t lp_check_range(lua_State *L, int first, size_t n, size_t *from)
{
	int64_t i = check_end(L, first, n, 1);
	int64_t j = check_end(L, first + 1, n, (int64_t)n);
	if (i < 1 || i > (int64_t)n + 1)
		luaL_argerror(L, first, lua_pushfstring(L, "%s is outside of %s", shown(L, first), bounds(L, n)));
	if (j < i - 1 || j > (int64_t)n)
		luaL_argerror(L, first + 1, lua_pushfstring(L, "%s is outside of %s", shown(L, first + 1), bounds(L, n)));
	*from = (size_t)(i - 1);
	return (size_t)(j - i + 1);
}

size_t lp_check_count(lua_State *L, int index)
{
	int64_t n;
	if (!whole(L, index, &n) || n < 0)
		luaL_argerror(L, index, lua_pushfstring(L, "a number of elements (whole, at least 0) expected, got %s", shown(L, index)));
	return (size_t)n;
}
