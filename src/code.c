/* code: the code of Lua functions: dumped once per prototype, shared by the process, loaded once per state.
 *
 * Sending. A weak table knows the code of functions that were sent before. For a new closure of a known
 * prototype a second one leads from the prototype to some function of it that still lives: as long
 * as one does, the prototype's address has not been given to another. Only then string.dump.
 *
 * Receiving. A function without upvalues is loaded once and used again. One with upvalues must have
 * fresh ones each time, and loading takes a microsecond: so a *factory* is loaded once, a function that
 * makes a new closure at each call. It is a compiled template whose inner function is replaced, in the
 * dump, by the user's. */
#include <string.h>

#include "handle.h"
#include "values_int.h"

enum { BUCKETS = 1024, LOADED_MAX = 1024, FACTORY_MAX = 150 /* upvalues: each is a local of the template */ };

static lp_mutex registry_lock;
static struct lp_code *buckets[BUCKETS]; /* [registry_lock] counts are not held: entries leave when the last goes */

__attribute__((constructor)) static void code_open(void)
{
	lp_fork_guard(&registry_lock);
}

static void code_destroy(struct lp_obj *o)
{
	struct lp_code *c = (struct lp_code *)o;
	lp_lock(&registry_lock);
	struct lp_code **at = &buckets[c->hash % BUCKETS];
	while (*at && *at != c)
		at = &(*at)->next;
	if (*at)
		*at = c->next;
	lp_unlock(&registry_lock);
	lp_free(c);
}

const struct lp_class lp_code_class = {.name = "lua-pool.code", .destroy = code_destroy};

/* FNV-1a; equal hashes are compared byte by byte. */
static uint64_t hash_of(const unsigned char *p, size_t n)
{
	uint64_t h = 0xcbf29ce484222325u;
	for (size_t i = 0; i < n; i++)
		h = (h ^ p[i]) * 0x100000001b3u;
	return h;
}

/* Takes over `fresh`; answers it, or the same code that was there before, counted for the caller. */
static struct lp_code *share(struct lp_code *fresh)
{
	lp_lock(&registry_lock);
	struct lp_code **bucket = &buckets[fresh->hash % BUCKETS], *c = *bucket;
	for (; c; c = c->next) {
		if (c->hash != fresh->hash || c->size != fresh->size || memcmp(c->bytes, fresh->bytes, c->size) != 0)
			continue;
		uint32_t refs = atomic_load(&c->obj.refs);
		while (refs && !atomic_compare_exchange_weak(&c->obj.refs, &refs, refs + 1))
			;
		if (refs) /* else it waits for our lock to leave */
			break;
	}
	if (!c) {
		fresh->next = *bucket;
		*bucket = fresh;
	}
	lp_unlock(&registry_lock);
	if (!c)
		return fresh;
	lp_free(fresh);
	return c;
}

/* ---- sending ---- */

static int write_msg(lua_State *L, const void *p, size_t n, void *data)
{
	struct lp_msg *m = data;
	(void)L;
	if (!lp_msg_room(m, n))
		return 1;
	memcpy(m->data + m->len, p, n);
	m->len += n;
	return 0;
}

static int count_upvalues(lua_State *L, int index)
{
	lua_Debug ar;
	lua_pushvalue(L, index);
	lua_getinfo(L, ">u", &ar);
	return ar.nups;
}

/* Pushes a handle of the code. */
static struct lp_code *dump(lua_State *L, int index)
{
	struct lp_handle *h = lp_handle_new(L, &lp_code_class);
	struct lp_msg m;
	lp_msg_init(&m, NULL, 0);
	int upvalues = count_upvalues(L, index);
	lua_pushvalue(L, index);
	/* The writer does not raise, and lua_dump allocates nothing in Lua. */
	int failed = lp_dump(L, write_msg, &m);
	lua_pop(L, 1);
	struct lp_code *c = failed ? NULL : lp_alloc(sizeof *c + m.len);
	if (c) {
		lp_obj_init(&c->obj, &lp_code_class);
		memcpy(c->bytes, m.data, m.len);
		c->size = m.len;
		c->upvalues = (uint8_t)upvalues;
		c->hash = hash_of(c->bytes, c->size);
		c = share(c);
		h->obj = &c->obj;
	}
	lp_msg_clear(&m);
	if (!c)
		luaL_error(L, "not enough memory");
	return c;
}

struct lp_code *lp_code_of(lua_State *L, struct lp_values *v, int index)
{
	lua_rawgeti(L, LUA_REGISTRYINDEX, v->codes);
	int codes = lua_gettop(L);
	lua_pushvalue(L, index);
	struct lp_obj *c = lua_rawget(L, codes) == LUA_TUSERDATA ? lp_toobj(L, -1) : NULL;
	if (!c) {
		const void *proto = lp_prototype(L, index);
		if (proto) {
			lua_rawgeti(L, LUA_REGISTRYINDEX, v->anchors);
			if (lua_rawgetp(L, -1, proto) == LUA_TFUNCTION && lua_rawget(L, codes) == LUA_TUSERDATA)
				c = lp_toobj(L, -1);
		}
		if (!c) {
			c = &dump(L, index)->obj;
			lua_pushvalue(L, index);
			lua_pushvalue(L, -2);
			lua_rawset(L, codes);
			if (proto) {
				lua_rawgeti(L, LUA_REGISTRYINDEX, v->anchors);
				lua_pushvalue(L, index);
				lua_rawsetp(L, -2, proto);
			}
		}
	}
	lua_settop(L, codes - 1);
	return (struct lp_code *)c;
}

/* ---- receiving ---- */

static void load_plain(lua_State *L, const unsigned char *p, size_t n)
{
	if (luaL_loadbuffer(L, (const char *)p, n, "=?") != LUA_OK)
		lua_error(L);
}

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
	return dump(L, lua_gettop(L));
}

/* Pushes the factory and returns true, or pushes nothing. */
static bool push_factory(lua_State *L, struct lp_code *code)
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

/* Does a factory make functions that work, each with upvalues of its own? */
static bool factories_work(lua_State *L)
{
	static const char text[] =
		"local a, b, c = 1, 2, 3\n"
		"return function(x) a = (a or 0) + x local function f() b = a return b, c end return f() end";
	if (luaL_loadstring(L, text) != LUA_OK)
		return false;
	lua_call(L, 0, 1);
	struct lp_code *code = dump(L, lua_gettop(L));
	if (!push_factory(L, code))
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

void lp_code_push(lua_State *L, struct lp_values *v, struct lp_code *code, bool fresh)
{
	bool factory = !LP_LUAJIT && code->upvalues > 0 && code->upvalues <= FACTORY_MAX && v->factories;
	if (!factory && (code->upvalues > 0 || fresh)) {
		load_plain(L, code->bytes, code->size);
		return;
	}
	lua_rawgeti(L, LUA_REGISTRYINDEX, v->loaded);
	if (lua_rawgetp(L, -1, code) != LUA_TFUNCTION) {
		lua_pop(L, 1);
		if (v->nloaded >= LOADED_MAX) { /* a program that makes code as it goes: begin again */
			lua_pop(L, 1);
			lua_newtable(L);
			lua_newtable(L);
			lua_rawseti(L, LUA_REGISTRYINDEX, v->held);
			lua_pushvalue(L, -1);
			lua_rawseti(L, LUA_REGISTRYINDEX, v->loaded);
			v->nloaded = 0;
		}
#if !LP_LUAJIT
		if (factory && !push_factory(L, code)) {
			lua_pop(L, 1);
			load_plain(L, code->bytes, code->size);
			return;
		}
#endif
		if (!factory)
			load_plain(L, code->bytes, code->size);
		/* Kept before it is known by its address: the address must stay its own. */
		lua_rawgeti(L, LUA_REGISTRYINDEX, v->held);
		struct lp_handle *h = lp_handle_new(L, &lp_code_class);
		h->obj = lp_retain(code);
		lua_rawsetp(L, -2, code);
		lua_pop(L, 1);
		lua_pushvalue(L, -1);
		lua_rawsetp(L, -3, code);
		v->nloaded++;
	}
	lua_remove(L, -2);
	if (factory)
		lua_call(L, 0, 1);
}

static int new_table(lua_State *L, const char *mode)
{
	lua_newtable(L);
	if (mode) {
		lua_newtable(L);
		lua_pushstring(L, mode);
		lua_setfield(L, -2, "__mode");
		lua_setmetatable(L, -2);
	}
	return luaL_ref(L, LUA_REGISTRYINDEX);
}

void lp_code_open(lua_State *L, struct lp_values *v)
{
	lp_handle_class(L, &lp_code_class, NULL, NULL, 0);
	v->codes = new_table(L, "k");
	v->anchors = new_table(L, "v");
	v->loaded = new_table(L, NULL);
	v->held = new_table(L, NULL);
#if !LP_LUAJIT
	static _Atomic int works; /* 0 not tested, 1 yes, -1 no: the same interpreter in the whole process */
	int top = lua_gettop(L);
	if (!atomic_load(&works))
		atomic_store(&works, !lp_portable() && factories_work(L) ? 1 : -1);
	lua_settop(L, top);
	v->factories = atomic_load(&works) > 0;
#endif
}
