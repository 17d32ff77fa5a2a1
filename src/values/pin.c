/* pin: see pin.h. */
#include "values/pin.h"

#include <string.h>

#include "base/list.h"
#include "wait/msg.h"

struct lp_pins {
	lp_mutex lock;
	uint32_t refs;          /* [lock] one for the state, one per pin */
	uint32_t generation;    /* [I] */
	int table;              /* [I] pin -> its string */
	unsigned readers;       /* [lock] who copies out of a string of the state just now */
	bool closed;            /* [lock] what the pins have are copies */
	struct lp_link live;    /* [lock] */
	struct lp_link dead;    /* [lock] the strings may be let go */
	_Atomic bool any_dead;
};

struct lp_pin {
	struct lp_obj obj;
	struct lp_pins *home;   /* [I] counted */
	struct lp_link link;    /* [home's lock] live or dead */
	const char *bytes;      /* [home's lock] NULL: not filled, or there was no memory to copy it */
	size_t len;             /* [I] */
};

/* Under the lock, which it gives up. */
static void release_home(struct lp_pins *s)
{
	lp_assert_held(&s->lock);
	lp_assert(s->refs > 0);
	bool last = --s->refs == 0;
	lp_unlock(&s->lock);
	if (last)
		lp_free(s);
}

static void pin_destroy(struct lp_obj *o)
{
	struct lp_pin *p = (struct lp_pin *)o;
	struct lp_pins *s = p->home;
	if (o->generation != lp_generation) /* a child process: nobody knows in which condition the lock was copied */
		return;
	lp_lock(&s->lock);
	lp_list_remove(&p->link);
	if (!s->closed && p->bytes) {
		lp_list_append(&s->dead, &p->link); /* its address is a key of the table until the state has looked */
		atomic_store_explicit(&s->any_dead, true, memory_order_relaxed);
		lp_unlock(&s->lock);
		return;
	}
	char *copy = s->closed ? (char *)p->bytes : NULL;
	release_home(s);
	lp_free(copy);
	lp_free(p);
}

const struct lp_class lp_pin_class = {.name = "lua-pool.string", .destroy = pin_destroy};

struct lp_pins *lp_pins_new(int table)
{
	struct lp_pins *s = lp_alloc(sizeof *s);
	if (!s)
		return NULL;
	memset(s, 0, sizeof *s);
	lp_lock_init(&s->lock, LP_RANK_PINS);
	s->refs = 1;
	s->generation = lp_generation;
	s->table = table;
	lp_list_init(&s->live);
	lp_list_init(&s->dead);
	return s;
}

bool lp_pins_dead(const struct lp_pins *s)
{
	return atomic_load_explicit(&s->any_dead, memory_order_relaxed);
}

void lp_pins_sweep(lua_State *L, struct lp_pins *s)
{
	struct lp_link dead;
	if (s->generation != lp_generation || !lua_checkstack(L, 4))
		return;
	lp_list_init(&dead);
	lp_lock(&s->lock);
	atomic_store_explicit(&s->any_dead, false, memory_order_relaxed);
	lp_list_splice(&dead, &s->dead);
	lp_unlock(&s->lock);
	lua_rawgeti(L, LUA_REGISTRYINDEX, s->table);
	for (struct lp_link *l; (l = lp_list_take_first(&dead));) {
		struct lp_pin *p = lp_entry(l, struct lp_pin, link);
		lua_pushnil(L);
		lua_rawsetp(L, -2, p); /* of a key that is there: takes no memory */
		lp_lock(&s->lock);
		release_home(s);
		lp_free(p);
	}
	lua_pop(L, 1);
}

bool lp_pin_string(lua_State *L, struct lp_pins *s, int index, struct lp_msg *m, uint32_t *object)
{
	if (s->generation != lp_generation || !lua_checkstack(L, 4))
		return false;
	struct lp_pin *p = lp_alloc(sizeof *p);
	if (!p)
		return false;
	lp_obj_init(&p->obj, &lp_pin_class);
	p->home = s;
	p->bytes = NULL;
	p->len = 0;
	lp_lock(&s->lock);
	bool closed = s->closed;
	if (!closed) {
		s->refs++;
		lp_list_append(&s->live, &p->link);
	}
	lp_unlock(&s->lock);
	if (closed) {
		lp_free(p);
		return false;
	}
	bool added = lp_msg_add_obj(m, &p->obj, object);
	lp_release(p);
	if (!added)
		return false;
	lua_rawgeti(L, LUA_REGISTRYINDEX, s->table);
	lua_pushvalue(L, index);
	lua_rawsetp(L, -2, p); /* may raise: the message has the pin, which is still empty */
	lua_pop(L, 1);
	size_t len;
	const char *bytes = lua_tolstring(L, index, &len);
	lp_lock(&s->lock);
	p->bytes = bytes;
	p->len = len;
	lp_unlock(&s->lock);
	return true;
}

/* ---- reading ---- */

struct view {
	const char *bytes;
	size_t len;
};

static int push_view(lua_State *L)
{
	struct view *view = lua_touserdata(L, 1);
	lua_pushlstring(L, view->bytes, view->len);
	return 1;
}

void lp_pin_push(lua_State *L, struct lp_obj *o)
{
	struct lp_pin *p = (struct lp_pin *)o;
	struct lp_pins *s = p->home;
	struct view view;
	luaL_checkstack(L, 3, "too many values");
	lua_pushcfunction(L, push_view); /* LuaJIT's may raise: before we count as a reader */
	lua_pushlightuserdata(L, &view);
	lp_lock(&s->lock);
	s->readers++;
	view.bytes = p->bytes;
	view.len = p->len;
	lp_unlock(&s->lock);
	int status = LUA_OK;
	if (view.bytes)
		status = lua_pcall(L, 1, 1, 0);
	lp_lock(&s->lock);
	s->readers--;
	lp_unlock(&s->lock);
	if (!view.bytes)
		luaL_error(L, "not enough memory");
	if (status != LUA_OK)
		lua_error(L);
}

/* ---- the end of the state ---- */

void lp_pins_close(struct lp_pins *s)
{
	if (s->generation != lp_generation)
		return;
	lp_lock(&s->lock);
	while (s->readers) {
		lp_unlock(&s->lock);
		lp_nap(lp_now() + 20000);
		lp_lock(&s->lock);
	}
	s->closed = true;
	for (struct lp_link *l = s->live.next; l != &s->live; l = l->next) {
		struct lp_pin *p = lp_entry(l, struct lp_pin, link);
		char *copy = p->bytes ? lp_alloc(p->len) : NULL;
		if (copy)
			memcpy(copy, p->bytes, p->len);
		p->bytes = copy;
	}
	for (struct lp_link *l; (l = lp_list_take_first(&s->dead));) {
		s->refs--;
		lp_free(lp_entry(l, struct lp_pin, link));
	}
	release_home(s);
}
