/* lib_named: pool.named for Lua: what is made once in the process, under a name.
 *
 * One table, one lock. A name that is being made has a place: a counted object with a mutex inside that its maker owns, so
 * that others wait for it as for any mutex (cancellable, dead-locks are found, and a maker whose task ends gives it
 * back). The table keeps a count of each object until its name is taken away, or the process ends. A forked child
 * begins with no names: most of the objects are of no use to it. */
#include <string.h>

#include "sync/channel.h"
#include "values/handle.h"
#include "lib/lib_sync.h"
#include "sync/mutex.h"

struct place {
	struct lp_mtx mutex;
	struct place *next;    /* [lock] in the bucket */
	struct lp_obj *object; /* [lock] counted; NULL: not made yet */
	bool listed;           /* [lock] it is in the table */
	size_t len;            /* [I] */
	char name[];           /* [I] */
};

enum { BUCKETS = 256 };
static lp_mutex lock = LP_MUTEX_INIT(LP_RANK_NAMED);
static struct place *buckets[BUCKETS]; /* [lock] counted */

static void forget(void)
{
	memset(buckets, 0, sizeof buckets);
}

__attribute__((constructor)) static void named_open(void)
{
	lp_fork_guard(&lock, LP_RANK_NAMED);
	lp_fork_child(LP_RANK_NAMED, forget);
}

static void place_destroy(struct lp_obj *o)
{
	lp_free(o);
}

static const struct lp_class place_class = {
	.name = "lua-pool.name",
	.destroy = place_destroy,
	.take = lp_mtx_take,
	.enqueue = lp_mtx_enqueue,
	.dequeue = lp_mtx_dequeue,
	.holder = lp_mtx_holder,
	.discard = lp_mtx_discard,
};

static struct place **find(const char *name, size_t len)
{
	unsigned hash = 5381;
	for (size_t i = 0; i < len; i++)
		hash = hash * 33 + (unsigned char)name[i];
	struct place **at = &buckets[hash % BUCKETS];
	while (*at && ((*at)->len != len || memcmp((*at)->name, name, len) != 0))
		at = &(*at)->next;
	return at;
}

static void release_object(struct lp_obj *o)
{
	if (o && o->cls == &lp_channel_class)
		lp_channel_handle_gone((struct lp_channel *)o); /* who waits for it alone has to hear of it */
	else
		lp_release(o);
}

/* Takes the place out of the table, unless it has an object and `made` is false. Its object is the caller's. */
static struct lp_obj *unlist(struct place *p, bool made)
{
	struct lp_obj *o = NULL;
	lp_lock(&lock);
	struct place **at = find(p->name, p->len);
	bool out = *at == p && (made || !p->object);
	if (out) {
		*at = p->next;
		p->listed = false;
		o = p->object;
		p->object = NULL;
	}
	lp_unlock(&lock);
	if (out)
		lp_release(p);
	return o;
}

/* The place of the name, counted; made if need be (NULL: no memory, or not wanted). *object: what it has, counted. */
static struct place *get(const char *name, size_t len, bool make, struct lp_obj **object)
{
	struct place *fresh = NULL;
	if (make && (fresh = lp_alloc(sizeof *fresh + len))) {
		lp_mtx_init(&fresh->mutex, &place_class);
		fresh->object = NULL;
		fresh->len = len;
		memcpy(fresh->name, name, len);
	}
	lp_lock(&lock);
	struct place **at = find(name, len), *p = *at;
	if (!p && fresh) {
		p = *at = fresh;
		p->next = NULL;
		p->listed = true;
		fresh = NULL;
	}
	*object = p && p->object ? lp_retain(p->object) : NULL;
	if (p)
		lp_retain(p);
	lp_unlock(&lock);
	lp_free(fresh);
	return p;
}

/* ---- for Lua ---- */

/* Pushes the handle of a counted object; its count is given back. */
static int push_object(lua_State *L, struct lp_obj *o)
{
	lp_push(L, o); /* out of memory here leaks one count of an object that has a name: accepted */
	release_object(o);
	return 1;
}

static int drop(lua_State *L, const char *name, size_t len)
{
	struct lp_obj *o;
	struct place *p = get(name, len, false, &o);
	struct lp_obj *named = o ? unlist(p, true) : NULL; /* one that is being made stays */
	lua_pushboolean(L, named != NULL);
	release_object(o);
	release_object(named);
	lp_release(p);
	return 1;
}

/* The stack: name, fn, handle of the place. */
static int entered(lua_State *L, struct lp_state *s, struct lp_node *n, int answer)
{
	struct place *p = (struct place *)n->obj;
	if (answer < 0)
		return lp_wait_failed(L, s, n, answer);
	lp_mtx_entered(&p->mutex, n->value);
	lp_lock(&lock);
	bool ours = p->listed && !p->object;
	lp_unlock(&lock);
	lua_pushnil(L);
	lua_pushvalue(L, 3);
	if (ours)
		return 2;
	lp_mtx_unlock(&p->mutex, n->value);
	lua_pushboolean(L, 1);
	return 3;
}

/* named_begin(name, fn) -> object or nil / nil, place: the caller is to run fn, then named_finish / nil, place, true:
 * it was made, or given up, meanwhile: look again. Blocks while another makes it; a cancellation point. */
static int named_begin(lua_State *L)
{
	size_t len;
	luaL_checktype(L, 1, LUA_TSTRING);
	const char *name = lua_tolstring(L, 1, &len);
	if (lua_isboolean(L, 2) && !lua_toboolean(L, 2))
		return drop(L, name, len);
	bool make = !lua_isnoneornil(L, 2);
	if (make && !lua_isfunction(L, 2)) {
		if (!luaL_getmetafield(L, 2, "__call"))
			luaL_argerror(L, 2, lua_pushfstring(L, "function expected, got %s", luaL_typename(L, 2)));
		lua_pop(L, 1);
	}
	lua_settop(L, 2);
	struct lp_state *s = lp_state(L);
	struct lp_actor *a = lp_sync_actor(L, s);
	struct lp_obj *o;
	struct lp_handle *h = lp_handle_new(L, &place_class);
	struct place *p = get(name, len, make, &o);
	h->obj = p ? &p->mutex.obj : NULL;
	if (o)
		return push_object(L, o);
	if (!make)
		return 0;
	if (!p)
		return luaL_error(L, "not enough memory");
	if (lp_mtx_owned(&p->mutex, a))
		return luaL_error(L, "the function that makes '%s' asks for this very name: it would wait for its own end", name);
	struct lp_node n = {.obj = &p->mutex.obj, .value = a};
	return lp_lock_then(L, s, &n, LP_FOREVER, entered);
}

/* named_finish(place, name, ok, object or error) -> object; raises the error. */
static int named_finish(lua_State *L)
{
	struct place *p = lp_check(L, 1, &place_class);
	struct lp_actor *a = lp_sync_actor(L, lp_state(L));
	bool ok = lua_toboolean(L, 3);
	struct lp_obj *o = ok ? lp_toobj(L, 4) : NULL;
	bool good = o && o->cls->destroy && o->generation == lp_generation;
	if (good) {
		lp_lock(&lock);
		bool listed = p->listed;
		if (listed)
			p->object = lp_retain(o);
		lp_unlock(&lock);
	} else {
		unlist(p, false);
	}
	if (lp_mtx_owned(&p->mutex, a))
		lp_mtx_unlock(&p->mutex, a);
	lua_settop(L, 4);
	if (!ok)
		return lua_error(L);
	if (!good)
		return luaL_error(L, "the function that makes '%s' must answer an object of lua-pool, not a %s", lua_tostring(L, 2),
			luaL_typename(L, 4));
	return 1;
}

void lp_open_named(lua_State *L, int state)
{
	static const char *const blocking[] = {"named_begin", NULL};
	static const luaL_Reg functions[] = {{"named_begin", named_begin}, {"named_finish", named_finish}, {NULL, NULL}};
	lua_pushvalue(L, state);
	lp_handle_class(L, &place_class, NULL, NULL, 1);
	lua_pushvalue(L, state);
	luaL_setfuncs(L, functions, 1);
	lp_blocking_fields(L, state, -1, blocking);
}
