/* lib_array_bulk: methods of arrays and buffers that go over many elements at once. They return the array itself
 * where there is nothing else to return. None blocks; none can be stopped in the middle. */
#include <string.h>

#include "data/array_ops.h"
#include "lib/lib_array.h"

/* What most of them begin with. */
struct self {
	struct lp_array *a;
	unsigned char *data;
	size_t n, size;
	const struct lp_type_info *type;
	const struct lp_array_ops *ops;
};

static struct self check_at(lua_State *L, int index)
{
	struct self s;
	s.a = lp_check_array(L, index, &s.data);
	s.n = s.a->n;
	s.size = lp_array_size(s.a);
	s.type = &lp_types[s.a->type];
	s.ops = &lp_array_ops[s.a->type];
	return s;
}

/* Another array of the same type as s. */
static struct self check_like(lua_State *L, int index, const struct self *s)
{
	struct self other = check_at(L, index);
	if (other.a->type != s->a->type)
		luaL_argerror(L, index, lua_pushfstring(L, "array of %s expected, got %s (pool.array(\"%s\", x) converts)", s->type->name,
			other.type->name, s->type->name));
	return other;
}

static struct self check_as_long(lua_State *L, int index, const struct self *s)
{
	struct self other = check_like(L, index, s);
	if (other.n != s->n)
		luaL_argerror(L, index, lua_pushfstring(L, "array of %d elements expected, got %d", (int)s->n, (int)other.n));
	return other;
}

static int push_number(lua_State *L, const struct self *s, union lp_element e)
{
	if (s->type->real)
		lua_pushnumber(L, e.f);
	else if (s->type->min == 0)
		lp_push_u64(L, (uint64_t)e.i);
	else
		lp_push_i64(L, e.i);
	return 1;
}

static int push_self(lua_State *L)
{
	lua_pushvalue(L, 1);
	return 1;
}

/* ---- to and from ---- */

/* array:string([i [, j]]) -> the bytes of elements i to j, in the machine's order. */
static int array_string(lua_State *L)
{
	struct self s = check_at(L, 1);
	size_t from, n = lp_check_range(L, 2, s.n, &from);
	lua_pushlstring(L, (char *)s.data + from * s.size, n * s.size);
	return 1;
}

/* array:table([i [, j]]) -> table with the numbers i to j. */
static int array_table(lua_State *L)
{
	struct self s = check_at(L, 1);
	size_t from, n = lp_check_range(L, 2, s.n, &from);
	if (n > INT32_MAX - 1)
		return luaL_error(L, "more elements than a table can hold: take them in parts, array:table(i, j)");
	lua_createtable(L, (int)n, 0);
	for (size_t i = 0; i < n; i++) {
		lp_element_push(L, s.a->type, s.data + (from + i) * s.size);
		lua_rawseti(L, -2, (int)i + 1);
	}
	return 1;
}

/* array:fill(v [, i [, j]]) -> array: elements i to j become v. */
static int array_fill(lua_State *L)
{
	struct self s = check_at(L, 1);
	union lp_element v = lp_element_check(L, 2, s.a->type);
	size_t from, n = lp_check_range(L, 3, s.n, &from);
	s.ops->fill(s.data + from * s.size, v, n);
	return push_self(L);
}

/* array:copy(source [, at [, i [, j]]]) -> array: its elements from `at` (1) on become elements i to j of the source, an
 * array of the same type, which may overlap; or a string's bytes, which must be whole elements. */
static int array_copy(lua_State *L)
{
	struct self s = check_at(L, 1);
	size_t len, from, n, at = 0;
	const unsigned char *source;
	if (lua_type(L, 2) == LUA_TSTRING) {
		source = (const unsigned char *)lua_tolstring(L, 2, &len);
		if (len % s.size)
			luaL_argerror(L, 2, lua_pushfstring(L, "%d bytes are no whole number of %s (%d bytes each)", (int)len, s.type->name,
				(int)s.size));
		len /= s.size;
	} else {
		struct self other = check_like(L, 2, &s);
		source = other.data;
		len = other.n;
	}
	n = lp_check_range(L, 4, len, &from);
	if (!lua_isnoneornil(L, 3)) {
		at = lp_check_count(L, 3);
		if (at < 1 || at > s.n + 1)
			luaL_argerror(L, 3, lua_pushfstring(L, "%d is outside of 1 ... %d", (int)at, (int)s.n));
		at--;
	}
	if (n > s.n - at)
		return luaL_error(L, "%d elements from index %d on do not fit into %d", (int)n, (int)at + 1, (int)s.n);
	memmove(s.data + at * s.size, source + from * s.size, n * s.size);
	return push_self(L);
}

/* ---- arithmetic ---- */

/* array:sum() -> number; 0 for none. f32 and f64: see array_ops.h for the order; whole numbers wrap around in 64 bits. */
static int array_sum(lua_State *L)
{
	struct self s = check_at(L, 1);
	return push_number(L, &s, s.ops->sum(s.data, s.n));
}

/* array:dot(other) -> the sum of the products. */
static int array_dot(lua_State *L)
{
	struct self s = check_at(L, 1), x = check_as_long(L, 2, &s);
	return push_number(L, &s, s.ops->dot(s.data, x.data, s.n));
}

/* array:scale(k) -> array, each element k times as large. */
static int array_scale(lua_State *L)
{
	struct self s = check_at(L, 1);
	s.ops->scale(s.data, lp_element_check(L, 2, s.type->real ? LP_F64 : LP_I64), s.n);
	return push_self(L);
}

/* array:axpy(k, x) -> array, k times x added to it. */
static int array_axpy(lua_State *L)
{
	struct self s = check_at(L, 1);
	union lp_element k = lp_element_check(L, 2, s.type->real ? LP_F64 : LP_I64);
	struct self x = check_as_long(L, 3, &s);
	s.ops->axpy(s.data, k, x.data, s.n);
	return push_self(L);
}

/* array:equal(other) -> boolean: of the same type, and all numbers equal. */
static int array_equal(lua_State *L)
{
	struct self s = check_at(L, 1), x = check_at(L, 2);
	lua_pushboolean(L, s.a->type == x.a->type && s.n == x.n && s.ops->equal(s.data, x.data, s.n));
	return 1;
}

/* ---- the least and the greatest ---- */

static int push_extreme(lua_State *L, bool greatest, bool place)
{
	struct self s = check_at(L, 1);
	union lp_element e = {0};
	if (s.ops->extreme(s.data, s.n, greatest, &e)) {
		if (!place)
			return push_number(L, &s, e);
		lua_pushinteger(L, (lua_Integer)s.ops->find(s.data, s.n, e) + 1);
	} else if (place || s.n == 0) {
		lua_pushnil(L);
	} else { /* nothing but NaN */
		lp_element_push(L, s.a->type, s.data);
	}
	return 1;
}

/* array:min(), max() -> number / nil (it is empty). NaN counts only if there is nothing else. */
static int array_min(lua_State *L)
{
	return push_extreme(L, false, false);
}

static int array_max(lua_State *L)
{
	return push_extreme(L, true, false);
}

/* array:argmin(), argmax() -> the first index of it / nil (it is empty, or all is NaN). */
static int array_argmin(lua_State *L)
{
	return push_extreme(L, false, true);
}

static int array_argmax(lua_State *L)
{
	return push_extreme(L, true, true);
}

/* ---- order ---- */

/* array:sort() -> array, ascending, NaN at the end. Takes as much memory again if it is there. */
static int array_sort(lua_State *L)
{
	struct self s = check_at(L, 1);
	s.ops->sort(s.data, s.n);
	return push_self(L);
}

/* array:search(v) -> the first index whose element is not less than v, #array + 1 if there is none. The array is sorted. */
static int array_search(lua_State *L)
{
	struct self s = check_at(L, 1);
	lua_pushinteger(L, (lua_Integer)s.ops->lower(s.data, s.n, lp_element_check(L, 2, s.a->type)) + 1);
	return 1;
}

static bool overlap(const struct self *a, const struct self *b)
{
	return a->data < b->data + b->n * b->size && b->data < a->data + a->n * a->size;
}

/* array:merge(x, y) -> array, which becomes what is in x and y, two sorted arrays that are together as long. */
static int array_merge(lua_State *L)
{
	struct self s = check_at(L, 1), x = check_like(L, 2, &s), y = check_like(L, 3, &s);
	if (x.n + y.n != s.n)
		return luaL_error(L, "%d and %d elements cannot be merged into %d", (int)x.n, (int)y.n, (int)s.n);
	if (overlap(&s, &x) || overlap(&s, &y))
		return luaL_error(L, "an array cannot be merged into itself");
	s.ops->merge(s.data, x.data, x.n, y.data, y.n);
	return push_self(L);
}

const luaL_Reg lp_array_bulk[] = {{"string", array_string}, {"table", array_table}, {"fill", array_fill}, {"copy", array_copy},
	{"sum", array_sum}, {"dot", array_dot}, {"scale", array_scale}, {"axpy", array_axpy}, {"equal", array_equal},
	{"min", array_min}, {"max", array_max}, {"argmin", array_argmin}, {"argmax", array_argmax}, {"sort", array_sort},
	{"search", array_search}, {"merge", array_merge}, {NULL, NULL}};
