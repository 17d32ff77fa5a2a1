/* holdings: see holdings.h. */
#include "vm/holdings.h"

#include <errno.h>
#include <stdio.h>

#include "wait/blocking.h"
#include "values/handle.h"

enum {
	FIRST_ROOM = 64,    /* of the list, before it is looked through for what is over */
	HEARD_KIB = 16,     /* that the collector hears a descriptor as */
	SMALL_KIB = 512,    /* a state that is collected in one go */
	STEP_KIB = 8,
	TRIES = 10          /* after a collection, a millisecond apart: others collect as well */
};

/* Somebody has found no descriptor left: until then every worker collects what a task has left as soon as it has ended. */
static _Atomic lp_time short_until;

/* ---- the list: registry table with weak values, 1 ... s->held ---- */

static bool push_list(lua_State *L, struct lp_state *s, bool make)
{
	if (s->held_ref) {
		lua_rawgeti(L, LUA_REGISTRYINDEX, s->held_ref);
		if (lua_istable(L, -1))
			return true;
		lua_pop(L, 1); /* somebody has emptied the registry */
	}
	s->held = 0;
	s->held_ref = 0;
	if (!make)
		return false;
	lua_newtable(L);
	lua_newtable(L);
	lua_pushliteral(L, "v");
	lua_setfield(L, -2, "__mode");
	lua_setmetatable(L, -2);
	lua_pushvalue(L, -1);
	s->held_ref = luaL_ref(L, LUA_REGISTRYINDEX);
	s->held_room = FIRST_ROOM;
	return true;
}

enum { NOTHING, SHARED, OWN };

static int holds(lua_State *L, int index)
{
	struct lp_obj *o = lp_toobj(L, index);
	if (o) {
		if (o->generation != lp_generation || !o->cls->holds || !o->cls->holds(o))
			return NOTHING;
		return atomic_load(&o->refs) == 1 ? OWN : SHARED;
	}
	void *file = luaL_testudata(L, index, LUA_FILEHANDLE);
#if LP_LUAJIT
	return file && *(FILE **)file ? OWN : NOTHING;
#else
	return file && ((luaL_Stream *)file)->closef ? OWN : NOTHING;
#endif
}

/* Takes off the list what holds nothing any more. Answers how many hold something that nobody else has, and how many
 * others. The list is on top of the stack. */
static unsigned look_through(lua_State *L, struct lp_state *s, unsigned *shared)
{
	unsigned kept = 0, own = 0;
	for (unsigned i = 1; i <= s->held; i++) {
		lua_rawgeti(L, -1, (int)i);
		int how = holds(L, -1);
		own += how == OWN;
		if (how != NOTHING)
			lua_rawseti(L, -2, (int)++kept); /* kept <= i: there is a place for it */
		else
			lua_pop(L, 1);
	}
	s->held = kept;
	*shared = kept - own;
	return own;
}

static void list(lua_State *L, struct lp_state *s, int index)
{
	unsigned shared;
	index = lua_absindex(L, index);
	if (!s->worker) /* a host's state ends no tasks, and does not go idle */
		return;
	luaL_checkstack(L, 6, "too many values");
	push_list(L, s, true);
	if (s->held >= s->held_room) {
		look_through(L, s, &shared);
		s->held_room = s->held < FIRST_ROOM / 2 ? FIRST_ROOM : 2 * s->held;
	}
	lua_pushvalue(L, index);
	lua_rawseti(L, -2, (int)s->held + 1);
	s->held++;
	lua_pop(L, 1);
}

void lp_hold(lua_State *L, struct lp_state *s, int index)
{
	list(L, s, index);
	if (lua_gc(L, LUA_GCISRUNNING, 0))
		lua_gc(L, LUA_GCSTEP, HEARD_KIB);
}

void lp_hold_received(lua_State *L, int index)
{
	index = lua_absindex(L, index);
	luaL_checkstack(L, 2, "too many values");
	struct lp_state *s = lp_state_open(L);
	lua_pop(L, 1);
	list(L, s, index);
}

/* ---- collecting ---- */

struct collection {
	lp_stop_test *stop; /* NULL: does not stop */
	void *data;
	bool stopped;
};

/* Until a whole round has been made that began after this: what was garbage before is gone. */
static int collect(lua_State *L)
{
	struct collection *c = lua_touserdata(L, 1);
	if (!c->stop || lua_gc(L, LUA_GCCOUNT, 0) <= SMALL_KIB) {
		lua_gc(L, LUA_GCCOLLECT, 0);
		return 0;
	}
#if !LP_LUAJIT
	if (lua_gc(L, LUA_GCINC, 0, 0, 0) == LUA_GCGEN) { /* young rounds would leave what is old */
		lua_gc(L, LUA_GCCOLLECT, 0);
		lua_gc(L, LUA_GCGEN, 0, 0);
		return 0;
	}
#endif
	for (int rounds = 0; rounds < 2 && !(c->stopped = c->stop(c->data));) {
		int ended = lua_gc(L, LUA_GCSTEP, LP_LUAJIT ? STEP_KIB : 0);
		if (ended < 0)
			break;
		rounds += ended;
	}
	return 0;
}

/* Answers what lua_pcall does; an error's value is not kept. */
static int protected(lua_State *L, lua_CFunction f, void *data)
{
#if LP_LUAJIT
	int status = lua_cpcall(L, f, data);
#else
	lua_pushcfunction(L, f);
	lua_pushlightuserdata(L, data);
	int status = lua_pcall(L, 1, 0, 0);
#endif
	if (status != LUA_OK)
		lua_pop(L, 1);
	return status;
}

bool lp_collect_whole(lua_State *L, lp_stop_test *stop, void *data)
{
	struct collection collection = {stop, data, false}, *c = &collection;
	if (!lua_gc(L, LUA_GCISRUNNING, 0) || !lua_checkstack(L, 6))
		return false;
	/* A finaliser's error comes out of it on LuaJIT: then it goes on. */
	for (int i = 0; i < 100 && protected(L, collect, c) != LUA_OK; i++)
		;
	return !c->stopped;
}

struct look {
	struct lp_state *s;
	unsigned own, shared;
};

static int look(lua_State *L)
{
	struct look *l = lua_touserdata(L, 1);
	luaL_checkstack(L, 6, NULL);
	if (push_list(L, l->s, false))
		l->own = look_through(L, l->s, &l->shared);
	return 0;
}

unsigned lp_holdings_left(lua_State *L, struct lp_state *s, unsigned *shared)
{
	struct look l = {s, 0, 0};
	if (s->held && lua_checkstack(L, 8) && protected(L, look, &l) != LUA_OK)
		s->held = 0; /* out of memory: the state is about to end */
	*shared = l.shared;
	return l.own;
}

bool lp_holdings_short(void)
{
	return atomic_load(&short_until) && lp_now() < atomic_load(&short_until);
}


/* ---- none left ---- */

bool lp_hold_less_in(lua_State *L, struct lp_state *s, int err)
{
	if (err != EMFILE && err != ENFILE)
		return false;
	lua_State *calling = s->calling;
	atomic_store(&short_until, lp_now() + LP_SECOND);
	bool done = lp_collect_whole(L, NULL, NULL);
	s->calling = calling;
	return done;
}

bool lp_hold_less(struct lp_state *s, int err, int *tries)
{
	if (err != EMFILE && err != ENFILE)
		return false;
	if ((*tries)++ == 0 && lp_hold_less_in(s->calling, s, err))
		return true;
	if (*tries > TRIES || lp_block_over(s))
		return false;
	lp_nap(lp_now() + 1000000);
	return true;
}
