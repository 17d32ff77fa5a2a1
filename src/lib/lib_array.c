/* lib_array: pool.array(), pool.buffer() and pool.transfer() for Lua: making them, elements, views. Both kinds have
 * the same methods; a buffer is an array of bytes that reads and writes strings. None of these functions
 * blocks, and none is a cancellation point: a long one ends before its task can be stopped. */
#include <stdio.h>
#include <string.h>

#include "lib/lib_array.h"

/* ---- arguments ---- */

struct lp_array *lp_test_array(lua_State *L, int index)
{
	struct lp_obj *o = lp_toobj(L, index);
	return o && (o->cls == &lp_array_class || o->cls == &lp_buffer_class) ? (struct lp_array *)o : NULL;
}

static const char *kind_of(const struct lp_array *a)
{
	return a->obj.cls == &lp_buffer_class ? "buffer" : "array";
}

struct lp_array *lp_check_array(lua_State *L, int index, unsigned char **data)
{
	struct lp_array *a = lp_test_array(L, index);
	if (!a) {
		luaL_argerror(L, index, lua_pushfstring(L, "array or buffer expected, got %s", luaL_typename(L, index)));
		return NULL;
	}
	if (!(*data = lp_array_data(a)))
		luaL_error(L, "this %s is empty: it was moved away (pool.transfer), and whoever received it has it", kind_of(a));
	return a;
}

static enum lp_type check_type(lua_State *L, int index)
{
	const char *name = lua_type(L, index) == LUA_TSTRING ? lua_tostring(L, index) : NULL;
	for (int t = 0; name && t < LP_TYPES; t++)
		if (strcmp(lp_types[t].name, name) == 0)
			return (enum lp_type)t;
	luaL_argerror(L, index, lua_pushfstring(L, "type expected (i8, u8, i16, u16, i32, u32, i64, u64, f32 or f64), got %s",
		name ? name : luaL_typename(L, index)));
	return LP_TYPES;
}

/* ---- making them ---- */

/* The collector does not see this memory, only a handle of some bytes: it is told that so much was allocated. */
static void tell_collector(lua_State *L, size_t bytes)
{
	size_t kb = bytes / 1024;
	if (kb > 0 && lua_gc(L, LUA_GCISRUNNING, 0))
		lua_gc(L, LUA_GCSTEP, kb > 1 << 20 ? 1 << 20 : (int)kb);
}

struct lp_array *lp_push_array(lua_State *L, const struct lp_class *cls, enum lp_type type, size_t n)
{
	struct lp_handle *h = lp_handle_new(L, cls);
	size_t size = lp_types[type].size;
	struct lp_array *a = n <= LP_STORE_MAX / size ? lp_array_new(cls, type, n) : NULL;
	if (!a && n <= LP_STORE_MAX / size && lp_make_room(L)) /* arrays that nobody has any more count until they are collected */
		a = lp_array_new(cls, type, n);
	if (!a) {
		char text[64];
		snprintf(text, sizeof text, "for %zu elements of %s", n, lp_types[type].name);
		lp_no_memory_for(L, text);
		return NULL;
	}
	h->obj = &a->obj;
	tell_collector(L, n * size);
	return a;
}

bool lp_convert(enum lp_type to_type, void *to, enum lp_type from_type, const void *from, size_t n, size_t *at)
{
	const struct lp_type_info *t = &lp_types[to_type];
	size_t step = t->size, from_step = lp_types[from_type].size;
	for (size_t i = 0; i < n; i++) {
		union lp_element e;
		lp_element_load(from_type, (const char *)from + i * from_step, &e);
		if (!lp_element_convert(from_type, to_type, &e)) {
			*at = i;
			return false;
		}
		lp_element_put(to_type, (char *)to + i * step, e);
	}
	return true;
}

/* Fills a new array, which is on top of the stack, with what is at index 2. */
static void fill_from_table(lua_State *L, struct lp_array *a)
{
	unsigned char *p = lp_array_data(a);
	for (size_t i = 0; i < a->n; i++, p += lp_array_size(a)) {
		union lp_element e;
		lua_rawgeti(L, 2, (lua_Integer)i + 1);
		if (!lp_element_get(L, -1, a->type, &e))
			luaL_argerror(L, 2, lua_pushfstring(L, "element #%d: %s", (int)i + 1, lua_tostring(L, -1)));
		lp_element_put(a->type, p, e);
		lua_pop(L, 1);
	}
}

static void fill_from_array(lua_State *L, struct lp_array *a)
{
	unsigned char *data;
	struct lp_array *from = lp_check_array(L, 2, &data);
	size_t at;
	if (from->type == a->type)
		memcpy(lp_array_data(a), data, a->n * lp_array_size(a));
	else if (!lp_convert(a->type, lp_array_data(a), from->type, data, a->n, &at)) {
		lp_element_push(L, from->type, data + at * lp_array_size(from));
		luaL_argerror(L, 2, lua_pushfstring(L, "element #%d (%s) does not fit %s", (int)at + 1, lua_tostring(L, -1),
			lp_types[a->type].name));
	}
}

/* pool.array(type, n) -> array of n zeros; pool.array(type, table | array | buffer) -> array with these numbers;
 * pool.array(type, string) -> array with these bytes, in the machine's order. An element that does not fit is
 * an error, and so is a size that the system has no memory for. */
static int array_new(lua_State *L)
{
	enum lp_type type = check_type(L, 1);
	size_t len, size = lp_types[type].size;
	const char *bytes;
	unsigned char *data;
	switch (lua_type(L, 2)) {
	case LUA_TTABLE:
		fill_from_table(L, lp_push_array(L, &lp_array_class, type, lua_rawlen(L, 2)));
		return 1;
	case LUA_TUSERDATA:
		fill_from_array(L, lp_push_array(L, &lp_array_class, type, lp_check_array(L, 2, &data)->n));
		return 1;
	case LUA_TSTRING:
		bytes = lua_tolstring(L, 2, &len);
		if (len % size)
			luaL_argerror(L, 2, lua_pushfstring(L, "%d bytes are no whole number of %s (%d bytes each)", (int)len,
				lp_types[type].name, (int)size));
		memcpy(lp_array_data(lp_push_array(L, &lp_array_class, type, len / size)), bytes, len);
		return 1;
	case LUA_TNUMBER:
		lp_push_array(L, &lp_array_class, type, lp_check_count(L, 2));
		return 1;
	default:
		return luaL_argerror(L, 2, lua_pushfstring(L, "number of elements, table, string or array expected, got %s",
			luaL_typename(L, 2)));
	}
}

/* pool.buffer(n) -> buffer of n bytes, all zero; pool.buffer(string) -> buffer with these bytes. */
static int buffer_new(lua_State *L)
{
	size_t n;
	if (lua_type(L, 1) == LUA_TNUMBER) {
		lp_push_array(L, &lp_buffer_class, LP_U8, lp_check_count(L, 1));
		return 1;
	}
	if (lua_type(L, 1) != LUA_TSTRING)
		luaL_argerror(L, 1, lua_pushfstring(L, "number of bytes or string expected, got %s", luaL_typename(L, 1)));
	const char *bytes = lua_tolstring(L, 1, &n);
	memcpy(lp_array_data(lp_push_array(L, &lp_buffer_class, LP_U8, n)), bytes, n);
	return 1;
}

/* ---- elements ---- */

/* a[i] -> number; a.name -> method. i is a whole number from 1 to #a, all else is an error. */
static int array_index(lua_State *L)
{
	unsigned char *data;
	if (lua_type(L, 2) == LUA_TSTRING) {
		lua_pushvalue(L, 2);
		lua_gettable(L, lua_upvalueindex(2));
		if (lua_isnil(L, -1))
			return luaL_error(L, "an array has no method '%s' (and elements are numbered, not named)", lua_tostring(L, 2));
		return 1;
	}
	struct lp_array *a = lp_check_array(L, 1, &data);
	lp_element_push(L, a->type, data + lp_check_place(L, 2, a->n) * lp_array_size(a));
	return 1;
}

/* a[i] = number, which must fit. */
static int array_newindex(lua_State *L)
{
	unsigned char *data;
	union lp_element e;
	struct lp_array *a = lp_check_array(L, 1, &data);
	size_t i = lp_check_place(L, 2, a->n);
	if (!lp_element_get(L, 3, a->type, &e))
		return luaL_error(L, "%s", lua_tostring(L, -1));
	lp_element_put(a->type, data + i * lp_array_size(a), e);
	return 0;
}

static int array_len(lua_State *L)
{
	unsigned char *data;
	lua_pushinteger(L, (lua_Integer)lp_check_array(L, 1, &data)->n);
	return 1;
}

static int array_next(lua_State *L)
{
	unsigned char *data;
	struct lp_array *a = lp_check_array(L, 1, &data);
	lua_Integer i = lua_tointeger(L, 2);
	if (i < 0 || (size_t)i >= a->n)
		return 0;
	lua_pushinteger(L, i + 1);
	lp_element_push(L, a->type, data + (size_t)i * lp_array_size(a));
	return 2;
}

/* for i, v in a:pairs() do; Lua 5.4 also: in pairs(a). What others write meanwhile may be seen. */
static int array_pairs(lua_State *L)
{
	unsigned char *data;
	lp_check_array(L, 1, &data);
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_pushcclosure(L, array_next, 1);
	lua_pushvalue(L, 1);
	lua_pushinteger(L, 0);
	return 3;
}

/* array:add(i [, d]) -> the new value; d is 1 if absent. Whole numbers only; atomic; wraps around. */
static int array_add(lua_State *L)
{
	unsigned char *data;
	struct lp_array *a = lp_check_array(L, 1, &data);
	const struct lp_type_info *t = &lp_types[a->type];
	void *p = data + lp_check_place(L, 2, a->n) * t->size;
	if (t->real)
		return luaL_error(L, "add is for whole numbers (i8 ... u64), not for %s", t->name);
	int64_t d = lua_isnoneornil(L, 3) ? 1 : lp_element_check(L, 3, LP_I64).i;
	union lp_element e;
	lp_element_add(a->type, p, d, &e);
	if (a->type == LP_U64)
		lp_push_u64(L, (uint64_t)e.i);
	else
		lp_push_i64(L, e.i);
	return 1;
}

/* array:cas(i, expected, new) -> true / false, the value that it has instead. Whole numbers only; atomic. */
static int array_cas(lua_State *L)
{
	unsigned char *data;
	struct lp_array *a = lp_check_array(L, 1, &data);
	const struct lp_type_info *t = &lp_types[a->type];
	void *p = data + lp_check_place(L, 2, a->n) * t->size;
	if (t->real)
		return luaL_error(L, "cas is for whole numbers (i8 ... u64), not for %s", t->name);
	union lp_element expected = lp_element_check(L, 3, a->type);
	bool done = lp_element_cas(a->type, p, &expected, lp_element_check(L, 4, a->type));
	lua_pushboolean(L, done);
	if (done)
		return 1;
	if (a->type == LP_U64)
		lp_push_u64(L, (uint64_t)expected.i);
	else
		lp_push_i64(L, expected.i);
	return 2;
}

/* ---- views ---- */

static int push_view(lua_State *L, struct lp_array *a, const struct lp_class *cls, enum lp_type type, size_t offset, size_t n)
{
	struct lp_handle *h = lp_handle_new(L, cls);
	struct lp_array *v = lp_array_view(a, cls, type, offset, n);
	if (!v)
		return luaL_error(L, "not enough memory");
	h->obj = &v->obj;
	return 1;
}

/* array:slice([i [, j]]) -> elements i to j, in the same memory, which lives as long as any part of it. Negative
 * i and j count from the end, as in string.sub. */
static int array_slice(lua_State *L)
{
	unsigned char *data;
	struct lp_array *a = lp_check_array(L, 1, &data);
	size_t from, n = lp_check_range(L, 2, a->n, &from);
	return push_view(L, a, a->obj.cls, a->type, from * lp_array_size(a), n);
}

/* array:array(type [, i [, j]]) -> the memory of elements (bytes) i to j as an array of that type. */
static int array_array(lua_State *L)
{
	unsigned char *data;
	struct lp_array *a = lp_check_array(L, 1, &data);
	enum lp_type type = check_type(L, 2);
	size_t from, size = lp_types[type].size, bytes = lp_check_range(L, 3, a->n, &from) * lp_array_size(a);
	from *= lp_array_size(a);
	if (bytes % size)
		return luaL_error(L, "%d bytes are no whole number of %s (%d bytes each)", (int)bytes, lp_types[type].name, (int)size);
	if ((uintptr_t)(data + from) % size)
		return luaL_error(L, "an array of %s must begin at a multiple of %d bytes", lp_types[type].name, (int)size);
	return push_view(L, a, &lp_array_class, type, from, bytes / size);
}

/* array:buffer() -> the same memory as a buffer. */
static int array_buffer(lua_State *L)
{
	unsigned char *data;
	struct lp_array *a = lp_check_array(L, 1, &data);
	return push_view(L, a, &lp_buffer_class, LP_U8, 0, a->n * lp_array_size(a));
}

/* array:pointer() -> light userdata, for ffi.cast("double *", a:pointer()) and for C. Good while the array is
 * kept; whoever uses it keeps to the bounds by himself. */
static int array_pointer(lua_State *L)
{
	unsigned char *data;
	lp_check_array(L, 1, &data);
	lua_pushlightuserdata(L, data);
	return 1;
}

/* pool.transfer(array | buffer) -> what to send in its stead: the receiver gets the memory, and the array is empty
 * here once it is on its way. If the send fails, or what was sent is thrown away unread, it is as before. */
static int transfer_new(lua_State *L)
{
	unsigned char *data;
	struct lp_array *a = lp_check_array(L, 1, &data);
	struct lp_handle *h = lp_handle_new(L, &lp_transfer_class);
	struct lp_transfer *t = lp_transfer_new(a);
	if (!t)
		return luaL_error(L, "not enough memory");
	h->obj = &t->obj;
	return 1;
}

/* ---- names and kinds ---- */

static int array_type(lua_State *L)
{
	unsigned char *data;
	lua_pushstring(L, lp_types[lp_check_array(L, 1, &data)->type].name);
	return 1;
}

static int array_tostring(lua_State *L)
{
	struct lp_array *a = lp_test_array(L, 1);
	char text[64];
	if (!a)
		return luaL_argerror(L, 1, "array or buffer expected");
	if (!lp_array_data(a))
		snprintf(text, sizeof text, "moved away");
	else if (a->obj.cls == &lp_buffer_class)
		snprintf(text, sizeof text, "%zu bytes", a->n);
	else
		snprintf(text, sizeof text, "%s, %zu elements", lp_types[a->type].name, a->n);
	lua_pushfstring(L, "%s: %p (%s)", a->obj.cls->name, (void *)a, text);
	return 1;
}

/* a == b: the same elements of the same memory. Whether the numbers are equal says a:equal(b). */
static int array_eq(lua_State *L)
{
	struct lp_array *a = lp_test_array(L, 1), *b = lp_test_array(L, 2);
	bool same = a && a == b;
	if (a && b && !same && a->obj.cls == b->obj.cls) {
		unsigned char *data = lp_array_data(a);
		same = data && data == lp_array_data(b) && a->n == b->n && a->type == b->type;
	}
	lua_pushboolean(L, same);
	return 1;
}

/* The class with an __index that knows numbers and methods. */
static void open_class(lua_State *L, int state, const struct lp_class *cls)
{
	static const luaL_Reg methods[] = {{"add", array_add}, {"cas", array_cas}, {"slice", array_slice}, {"array", array_array},
		{"buffer", array_buffer}, {"pointer", array_pointer}, {"type", array_type}, {"pairs", array_pairs}, {NULL, NULL}};
	static const luaL_Reg meta[] = {{"__newindex", array_newindex}, {"__len", array_len}, {"__pairs", array_pairs},
		{"__tostring", array_tostring}, {"__eq", array_eq}, {NULL, NULL}};
	lua_pushvalue(L, state);
	lp_handle_class(L, cls, methods, meta, 1);
	lua_rawgetp(L, LUA_REGISTRYINDEX, cls);
	lua_getfield(L, -1, "__index");
	lua_pushvalue(L, state);
	luaL_setfuncs(L, lp_array_bulk, 1);
	lua_pushvalue(L, state);
	lua_insert(L, -2);
	lua_pushcclosure(L, array_index, 2); /* the state, the methods */
	lua_setfield(L, -2, "__index");
	lua_pop(L, 1);
}

void lp_open_array(lua_State *L, int state)
{
	static const luaL_Reg functions[] = {{"array", array_new}, {"buffer", buffer_new}, {"transfer", transfer_new}, {NULL, NULL}};
	open_class(L, state, &lp_array_class);
	open_class(L, state, &lp_buffer_class);
	lua_pushvalue(L, state);
	lp_handle_class(L, &lp_transfer_class, NULL, NULL, 1);
	lua_pushvalue(L, state);
	luaL_setfuncs(L, functions, 1);
}
