/* factory: a function that makes a new closure of the user's code at each call, with upvalues of its own: 100 ns, where
 * loading it takes a microsecond. It is a compiled template whose inner function is replaced, in the dump, by the
 * user's. Self-tested at load; a dump that is not as expected has no factory and is loaded each time. */
#include <string.h>

#include "values/values_int.h"

#if !LP_LUAJIT

/* What of a 5.4 dump we walk over. Anything unexpected ends the walk, and there is no factory. */
struct walk {
	const unsigned char *p, *end;
	bool bad;
};

enum { HEADER = 31 }; /* signature, version, format, data, three sizes, two samples */

static size_t walk_bytes(struct walk *w, size_t n)
{
	if (w->bad || (size_t)(w->end - w->p) < n)
		w->bad = true;
	else
		w->p += n;
	return n;
}

static unsigned walk_byte(struct walk *w)
{
	const unsigned char *p = w->p;
	walk_bytes(w, 1);
	return w->bad ? 0 : *p;
}

static size_t walk_size(struct walk *w)
{
	size_t x = 0;
	for (int i = 0; i < 10 && !w->bad; i++) {
		unsigned b = walk_byte(w);
		x = x << 7 | (b & 0x7f);
		if (b & 0x80)
			return x;
	}
	w->bad = true;
	return 0;
}

static void walk_string(struct walk *w)
{
	size_t n = walk_size(w);
	if (n > 1)
		walk_bytes(w, n - 1);
}

/* Up to and including the number of upvalues; their descriptions (3 bytes each) follow. */
static size_t walk_to_upvalues(struct walk *w)
{
	walk_string(w);
	walk_size(w);
	walk_size(w);
	walk_bytes(w, 3);
	walk_bytes(w, walk_size(w) * 4);
	for (size_t n = walk_size(w); n > 0 && !w->bad; n--) {
		switch (walk_byte(w)) {
		case 0x00: case 0x01: case 0x11: break;       /* nil, false, true */
		case 0x03: case 0x13: walk_bytes(w, 8); break; /* integer, float */
		case 0x04: case 0x14: walk_string(w); break;
		default: w->bad = true;
		}
	}
	return walk_size(w);
}

static void walk_function(struct walk *w, int depth)
{
	size_t n = walk_to_upvalues(w);
	walk_bytes(w, n * 3);
	if (depth > 100)
		w->bad = true;
	for (n = walk_size(w); n > 0 && !w->bad; n--)
		walk_function(w, depth + 1);
	walk_bytes(w, walk_size(w));      /* line info */
	for (n = walk_size(w); n > 0 && !w->bad; n--) {
		walk_size(w);
		walk_size(w);
	}
	for (n = walk_size(w); n > 0 && !w->bad; n--) {
		walk_string(w);
		walk_size(w);
		walk_size(w);
	}
	for (n = walk_size(w); n > 0 && !w->bad; n--)
		walk_string(w);
}

/* The dump of "local a1 … an return function() return a1, … end"; pushes its handle. */
static struct lp_code *template(lua_State *L, int n)
{
	luaL_Buffer b;
	luaL_buffinit(L, &b);
	for (int pass = 0; pass < 2; pass++) {
		luaL_addstring(&b, pass ? " return function() return " : "local ");
		for (int i = 1; i <= n; i++) {
			lua_pushfstring(L, i > 1 ? ",a%d" : "a%d", i);
			luaL_addvalue(&b);
		}
	}
	luaL_addstring(&b, " end");
	luaL_pushresult(&b);
	if (luaL_loadstring(L, lua_tostring(L, -1)) != LUA_OK)
		lua_error(L);
	return lp_code_dump(L, lua_gettop(L));
}

bool lp_factory_push(lua_State *L, struct lp_code *code)
{
	int top = lua_gettop(L);
	struct lp_code *outside = template(L, code->upvalues); /* stays on the stack as long as t is used */
	const unsigned char *t = outside->bytes;
	size_t size = outside->size;
	struct walk outer = {.p = t + HEADER + 1, .end = t + size, .bad = size < HEADER + 1};
	walk_bytes(&outer, walk_to_upvalues(&outer) * 3);
	if (walk_size(&outer) != 1)
		outer.bad = true;
	const unsigned char *child = outer.p;
	struct walk inner = {.p = child, .end = outer.end, .bad = outer.bad};
	size_t inner_n = walk_to_upvalues(&inner);
	const unsigned char *captures = inner.p; /* from the locals of the template */
	walk_function(&outer, 0);
	const unsigned char *tail = outer.p;

	struct walk user = {.p = code->bytes + HEADER + 1, .end = code->bytes + code->size, .bad = code->size < HEADER + 1};
	const unsigned char *body = user.p;
	size_t n = walk_to_upvalues(&user);
	const unsigned char *described = user.p;
	walk_bytes(&user, n * 3);
	if (outer.bad || inner.bad || user.bad || n != code->upvalues || inner_n != n) {
		lua_settop(L, top);
		return false;
	}
	size_t head = (size_t)(child - t), end = (size_t)(t + size - tail);
	size_t whole = head + (size_t)(code->bytes + code->size - body) + end;
	unsigned char *out = lua_newuserdatauv(L, whole, 0), *p = out;
	memcpy(p, t, head);
	p += head;
	memcpy(p, body, (size_t)(described - body));
	p += described - body;
	for (size_t i = 0; i < n; i++) { /* captured from where, by whom; the kind stays the user's */
		*p++ = captures[i * 3];
		*p++ = captures[i * 3 + 1];
		*p++ = described[i * 3 + 2];
	}
	memcpy(p, user.p, (size_t)(user.end - user.p));
	p += user.end - user.p;
	memcpy(p, tail, end);
	int status = luaL_loadbuffer(L, (const char *)out, whole, "=factory");
	if (status != LUA_OK) {
		lua_settop(L, top);
		return false;
	}
	lua_replace(L, top + 1);
	lua_settop(L, top + 1);
	return true;
}

bool lp_factories_work(lua_State *L)
{
	static const char text[] =
		"local a, b, c = 1, 2, 3\n"
		"return function(x) a = (a or 0) + x local function f() b = a return b, c end return f() end";
	if (luaL_loadstring(L, text) != LUA_OK)
		return false;
	lua_call(L, 0, 1);
	struct lp_code *code = lp_code_dump(L, lua_gettop(L));
	if (!lp_factory_push(L, code))
		return false;
	int factory = lua_gettop(L);
	for (int i = 0; i < 2; i++) {
		lua_pushvalue(L, factory);
		if (lua_pcall(L, 0, 1, 0) != LUA_OK || !lua_isfunction(L, -1))
			return false;
		const char *names[] = {"a", "b", "c"};
		for (int k = 0; k < 3; k++) {
			lua_pushinteger(L, 10 * (k + 1));
			const char *name = lua_setupvalue(L, -2, k + 1);
			if (!name || strcmp(name, names[k]) != 0)
				return false;
		}
		lua_pushinteger(L, i + 1);
		if (lua_pcall(L, 1, 2, 0) != LUA_OK || lua_tointeger(L, -2) != 11 + i || lua_tointeger(L, -1) != 30)
			return false;
		lua_settop(L, factory);
	}
	return true;
}
#endif
