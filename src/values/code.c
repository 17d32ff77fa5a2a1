/* code: the code of Lua functions: dumped once per prototype, shared by the process, loaded once per state.
 *
 * Sending. A weak table knows the code of functions that were sent before. For a new closure of a known
 * prototype a second one leads from the prototype to some function of it that still lives: as long
 * as one does, the prototype's address has not been given to another. Only then string.dump.
 *
 * Receiving. A function without upvalues is loaded once and used again. One with upvalues must have
 * fresh ones each time, and loading takes a microsecond: so a *factory* is loaded once (factory.c). */
#include <string.h>

#include "values/handle.h"
#include "values/values_int.h"

enum { BUCKETS = 1024, LOADED_MAX = 1024, FACTORY_MAX = 150 /* upvalues: each is a local of the template */ };

static lp_mutex registry_lock = LP_MUTEX_INIT(LP_RANK_CODE);
static struct lp_code *buckets[BUCKETS]; /* [registry_lock] counts are not held: entries leave when the last goes */

__attribute__((constructor)) static void code_open(void)
{
	lp_fork_guard(&registry_lock, LP_RANK_CODE);
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

bool lp_is_code(const struct lp_obj *o)
{
	return o->cls == &lp_code_class;
}

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

struct lp_code *lp_code_dump(lua_State *L, int index)
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
		lp_no_memory(L);
	return c;
}

struct lp_code *lp_code_of(lua_State *L, struct lp_values *v, int index)
{
	lua_rawgeti(L, LUA_REGISTRYINDEX, v->codes);
	lua_pushvalue(L, index);
	if (lua_rawget(L, -2) == LUA_TUSERDATA) { /* only our handles are in this table; empty ones while the state closes */
		struct lp_obj *c = ((struct lp_handle *)lua_touserdata(L, -1))->obj;
		if (c) {
			lua_pop(L, 2);
			return (struct lp_code *)c;
		}
	}
	lua_pop(L, 1);
	int codes = lua_gettop(L);
	struct lp_obj *c = NULL;
	const void *proto = lp_prototype(L, index);
	if (proto) {
		lua_rawgeti(L, LUA_REGISTRYINDEX, v->anchors);
		if (lua_rawgetp(L, -1, proto) == LUA_TFUNCTION && lua_rawget(L, codes) == LUA_TUSERDATA)
			c = lp_toobj(L, -1);
	}
	if (!c) {
		c = &lp_code_dump(L, index)->obj;
		lua_pushvalue(L, index);
		lua_pushvalue(L, -2);
		lua_rawset(L, codes);
		if (proto) {
			lua_rawgeti(L, LUA_REGISTRYINDEX, v->anchors);
			lua_pushvalue(L, index);
			lua_rawsetp(L, -2, proto);
		}
	}
	lua_settop(L, codes - 1);
	return (struct lp_code *)c;
}

/* Does it capture nothing that has to be sent? */
static bool is_plain(lua_State *L, struct lp_values *v, int index, struct lp_code *code)
{
	if (code->upvalues > (LP_LUAJIT ? 0 : 1))
		return false;
	if (!LP_LUAJIT && code->upvalues == 0)
		return true;
	if (!lua_checkstack(L, 1))
		return false;
#if LP_LUAJIT
	lua_getfenv(L, index);
#else
	lua_getupvalue(L, index, 1);
#endif
	bool globals = lua_topointer(L, -1) == v->globals;
	lua_pop(L, 1);
	return globals;
}

struct lp_code *lp_code_known(lua_State *L, struct lp_values *v, int index)
{
	const void *proto = lua_iscfunction(L, index) ? NULL : lp_prototype(L, index);
	if (!proto || v->known[lp_hash_pointer(proto) % LP_KNOWN].proto != proto)
		return NULL;
	struct lp_code *code = v->known[lp_hash_pointer(proto) % LP_KNOWN].code;
	return is_plain(L, v, index, code) ? code : NULL;
}

void lp_code_note(lua_State *L, struct lp_values *v, int index, struct lp_code *code)
{
	const void *proto = lp_prototype(L, index);
	uint32_t at = lp_hash_pointer(proto) % LP_KNOWN;
	if (!proto || v->known[at].proto == proto || !is_plain(L, v, index, code))
		return;
	struct lp_code *before = v->known[at].code;
	v->known[at].proto = NULL;
	v->known[at].code = NULL;
	lp_release(before);
	lua_rawgeti(L, LUA_REGISTRYINDEX, v->known_functions);
	lua_pushvalue(L, index);
	lua_rawseti(L, -2, (int)at + 1);
	lua_pop(L, 1);
	v->known[at].code = lp_retain(code);
	v->known[at].proto = proto;
}

/* ---- receiving ---- */

static void load_plain(lua_State *L, const unsigned char *p, size_t n)
{
	if (luaL_loadbuffer(L, (const char *)p, n, "=?") != LUA_OK)
		lua_error(L);
	/* Loading takes memory and never steps the collector: a state that does little else would grow without end. */
	lua_pushliteral(L, "");
	lua_pop(L, 1);
}

#if LP_LUAJIT
/* Has a task given the function on top another environment (setfenv, module)? Then it is not for the next one. */
static bool has_moved(lua_State *L, struct lp_values *v)
{
	lua_getfenv(L, -1);
	bool moved = lua_topointer(L, -1) != v->home;
	lua_pop(L, 1);
	return moved;
}

void lp_code_restore(lua_State *L, struct lp_values *v, struct lp_obj *code)
{
	if (((struct lp_code *)code)->upvalues > 0)
		return; /* it was loaded for this call */
	lua_rawgeti(L, LUA_REGISTRYINDEX, v->loaded);
	if (lua_rawgetp(L, -1, code) == LUA_TFUNCTION && has_moved(L, v)) {
		lua_rawgeti(L, LUA_REGISTRYINDEX, v->home_ref);
		lua_setfenv(L, -2);
	}
	lua_pop(L, 2);
}
#else
static bool has_moved(lua_State *L, struct lp_values *v)
{
	(void)L, (void)v; /* the environment is an upvalue: of a function that has one each call makes another */
	return false;
}
#endif

void lp_code_push(lua_State *L, struct lp_values *v, struct lp_code *code, bool fresh)
{
	bool factory = !LP_LUAJIT && code->upvalues > 0 && code->upvalues <= FACTORY_MAX && v->factories;
	if (!factory && (code->upvalues > 0 || fresh)) {
		load_plain(L, code->bytes, code->size);
		return;
	}
	uint32_t at = lp_hash_pointer(code) % LP_KNOWN;
	if (v->ready[at].code == code) {
		lua_rawgeti(L, LUA_REGISTRYINDEX, v->ready[at].ref);
		if (factory)
			lua_call(L, 0, 1);
		if (!has_moved(L, v))
			return;
		lua_pop(L, 1);
	}
	lua_rawgeti(L, LUA_REGISTRYINDEX, v->loaded);
	if (lua_rawgetp(L, -1, code) != LUA_TFUNCTION || has_moved(L, v)) {
		lua_pop(L, 1);
		if (v->nloaded >= LOADED_MAX) { /* a program that makes code as it goes: begin again */
			lua_pop(L, 1);
			for (int i = 0; i < LP_KNOWN; i++)
				v->ready[i].code = NULL;
			lua_newtable(L);
			lua_newtable(L);
			lua_rawseti(L, LUA_REGISTRYINDEX, v->held);
			lua_pushvalue(L, -1);
			lua_rawseti(L, LUA_REGISTRYINDEX, v->loaded);
			v->nloaded = 0;
		}
#if !LP_LUAJIT
		if (factory && !lp_factory_push(L, code)) {
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
	v->ready[at].code = NULL;
	lua_pushvalue(L, -1);
	if (v->ready[at].ref)
		lua_rawseti(L, LUA_REGISTRYINDEX, v->ready[at].ref);
	else
		v->ready[at].ref = luaL_ref(L, LUA_REGISTRYINDEX);
	v->ready[at].code = code;
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
	v->known_functions = new_table(L, NULL);
#if !LP_LUAJIT
	static _Atomic int works; /* 0 not tested, 1 yes, -1 no: the same interpreter in the whole process */
	int top = lua_gettop(L);
	if (!atomic_load(&works))
		atomic_store(&works, !lp_portable() && lp_factories_work(L) ? 1 : -1);
	lua_settop(L, top);
	v->factories = atomic_load(&works) > 0;
#endif
}
