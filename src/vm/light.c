/* light: light threads: the coroutines that an event loop runs, each with an actor of its own.
 *
 * Two requests of one server that lock one mutex must wait for each other, and a deadline scope of one must not end
 * waits of the other. So under a loop it is not the Lua state that waits, owns and is told, but each coroutine that the
 * loop runs, together with the generators that it uses. A light thread is made when its coroutine first calls us, as
 * a userdata in a table with weak keys. When its coroutine has ended, what it still holds is given back as
 * abandoned: by the first of its state that wants it, or when it is collected.
 *
 * `state->exec` is always that of the caller: lp_state() compares one pointer, and comes here when another
 * coroutine of the state has called. The one that it is right for is anchored, so that no new coroutine can have its
 * address.
 *
 * A loop may use a coroutine again for another job (nginx does, for another request). What matters of a light thread then
 * is what it has left: locks and scopes. So before it gets one, the job is noted (lp_light_note); and while it has
 * any, each call looks whether the job is still the same. Those that have none pay nothing. */
#include <string.h>

#include "sched/host.h"
#include "sync/mutex.h"
#include "values/own.h"
#include "vm/suspend.h"

struct light {
	struct lp_own own;
	struct lp_exec exec;
	struct lp_actor actor;
	struct lp_state *s;
	uint32_t generation;
};

static const char lights_key, threads_key, lives_key, current_key, light_key, light_maker;

static bool light_signalled(struct lp_exec *e)
{
	struct lp_state *s = lp_entry(e, struct light, exec)->s;
	return s->host && (void *)lua_gethook(s->L) != s->host->hook;
}

/* Gives back what it has left. */
static void clear(struct light *light)
{
	if (light->generation == lp_generation) /* else the locks are those of the parent process */
		lp_held_release(&light->actor);
	light->actor.deadline = LP_FOREVER;
	light->actor.shield = 0;
	light->actor.hold = 0;
	light->actor.told = 0;
}

void lp_light_clear(struct lp_exec *e)
{
	if (e->host)
		clear(lp_entry(e, struct light, exec));
}

static bool has_left(struct light *light)
{
	struct lp_actor *a = &light->actor;
	return !lp_list_empty(&a->held) || a->deadline != LP_FOREVER || a->shield || a->hold;
}

static int light_gc(lua_State *L)
{
	struct light *light = lp_own_end(L, 1, sizeof *light, &light_key);
	if (!light)
		return 0;
	struct lp_state *s = light->s;
	clear(light);
	lp_host_remove_light(&light->exec);
	atomic_store_explicit(&light->actor.exec, NULL, memory_order_release);
	lp_graph_lock(); /* nobody looks at it any more */
	lp_graph_unlock();
	if (s->exec == &light->exec) {
		s->exec = s->host ? &s->host->exec : NULL;
		s->current = NULL;
	}
	return 0;
}

void lp_push_light(lua_State *L)
{
	lua_rawgetp(L, LUA_REGISTRYINDEX, &lights_key);
	lua_insert(L, -2);
	lua_rawget(L, -2);
	lua_remove(L, -2);
}

/* (coroutine) -> its light thread. */
static struct light *make_light(lua_State *L, struct lp_state *s)
{
	struct light *light = lua_newuserdatauv(L, sizeof *light, 0);
	memset(light, 0, sizeof *light);
	lp_own_set(light, &light_key);
	lp_actor_init(&light->actor);
	atomic_store(&light->actor.exec, &light->exec);
	light->exec.actor = &light->actor;
	lp_lock_init(&light->exec.place_lock, LP_RANK_PLACE);
	light->exec.coroutine = lua_topointer(L, -2);
	lp_list_init(&light->exec.suspended);
	lp_host_add_light(s->host, &light->exec);
	light->exec.signalled = light_signalled;
	light->s = s;
	light->generation = lp_generation;
	lua_rawgetp(L, LUA_REGISTRYINDEX, &light_key);
	lua_setmetatable(L, -2);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &lights_key);
	lua_pushvalue(L, -3);
	lua_pushvalue(L, -3);
	lua_rawset(L, -3);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &threads_key);
	lua_pushvalue(L, -4);
	lua_rawsetp(L, -2, &light->exec);
	lua_pop(L, 2);
	lua_remove(L, -2);
	return light;
}

/* Pushes the table coroutine -> job. */
static void push_lives(lua_State *L)
{
	lua_rawgetp(L, LUA_REGISTRYINDEX, &lives_key);
}

/* The coroutine at `thread` may do another job than the one that was noted; then what the light thread has is that one's.
 * False: its loop knows no jobs. */
static bool look_at_job(lua_State *L, struct light *light, int thread)
{
	lua_rawgetp(L, LUA_REGISTRYINDEX, &lp_loop_life);
	lua_call(L, 0, 1);
	if (lua_isnil(L, -1)) {
		lua_pop(L, 1);
		return false;
	}
	push_lives(L);
	lua_pushvalue(L, thread);
	lua_rawget(L, -2); /* life, lives, noted */
	if (!lua_rawequal(L, -1, -3)) {
		clear(light);
		lua_pushvalue(L, thread);
		lua_pushvalue(L, -4);
		lua_rawset(L, -4);
	}
	lua_pop(L, 3);
	return true;
}

/* (state record as light userdata): notes the caller's job. */
static int note(lua_State *L)
{
	struct lp_state *s = lua_touserdata(L, 1);
	lua_settop(L, 0);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &current_key);
	look_at_job(L, lp_entry(s->exec, struct light, exec), 1);
	return 0;
}

void lp_light_note(lua_State *L, struct lp_state *s)
{
	if (!s->exec || !s->exec->host || has_left(lp_entry(s->exec, struct light, exec)))
		return; /* no light thread; or noted when it got what it has */
	lua_pushcfunction(L, note);
	lua_pushlightuserdata(L, s);
	lua_call(L, 1, 0);
	s->current = NULL; /* the next call looks what has become of it */
}

/* (state record as light userdata) -> true if the answer holds for this coroutine as long as it is the last one to
 * call. Called protected. */
static int choose(lua_State *L)
{
	struct lp_state *s = lua_touserdata(L, 1);
	bool holds = true;
	struct lp_exec *e = &s->host->exec;
	lua_rawgetp(L, LUA_REGISTRYINDEX, &lp_loop_ask);
	lua_call(L, 0, 2); /* adapter, thread */
	if (!lua_isnil(L, 2)) {
		if (lua_toboolean(L, 3))
			s->under_loop = true;
		if (!lua_isthread(L, 3)) { /* not run by the loop at this moment: a light thread of its own all the same */
			lua_settop(L, 2);
			lua_pushthread(L);
		}
		holds = lua_tothread(L, 3) == L;
		lua_pushvalue(L, 3);
		lp_push_light(L);
		struct light *light = lp_own_test(L, -1, sizeof *light, &light_key);
		if (!light) {
			lua_pushvalue(L, 3);
			light = make_light(L, s);
		}
		if (!lp_list_empty(&light->exec.suspended)) /* in a wait, and yet it calls: was it killed in it? */
			lp_give_up_gone(L, &light->exec, L);
		if (has_left(light) && look_at_job(L, light, 3))
			holds = holds && !has_left(light);
		e = &light->exec;
		lua_pushvalue(L, 3);
		lua_rawsetp(L, LUA_REGISTRYINDEX, &current_key);
	}
	s->exec = e;
	lua_pushboolean(L, holds);
	return 1;
}

void lp_leave_coroutine(lua_State *L, struct lp_state *s)
{
	s->current = NULL;
	lua_pushnil(L);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &current_key);
}

/* ---- the ends of light threads ---- */

bool lp_is_dead(lua_State *L, lua_State *co)
{
	lua_Debug ar;
	if (co == L || lua_status(co) == LUA_YIELD)
		return false;
	return lua_status(co) != LUA_OK || (!lua_getstack(co, 0, &ar) && lua_gettop(co) == 0);
}

/* Those of our light threads that hold something, whose memory only we can free. */
struct ours {
	struct lp_exec *host, *list[8];
	unsigned n;
};

static void note_ours(struct lp_exec *holder, void *data)
{
	struct ours *ours = data;
	if (holder->host == ours->host && ours->n < sizeof ours->list / sizeof *ours->list)
		ours->list[ours->n++] = holder;
}

bool lp_bury(lua_State *L, struct lp_state *s, struct lp_obj *o)
{
	if ((!o->cls->holder && !o->cls->holders) || o->generation != lp_generation || !lua_checkstack(L, 2))
		return false;
	struct ours ours = {.host = &s->host->exec};
	lp_graph_lock(); /* keeps the memory of a worker's */
	lp_holders(o, note_ours, &ours);
	lp_graph_unlock();
	bool any = false;
	for (unsigned i = 0; i < ours.n; i++) {
		/* It holds something, so it was not finalised yet; its coroutine may have been collected. */
		lua_rawgetp(L, LUA_REGISTRYINDEX, &threads_key);
		lua_rawgetp(L, -1, ours.list[i]);
		lua_State *co = lua_tothread(L, -1);
		bool dead = !co || lp_is_dead(L, co);
		lua_pop(L, 2);
		if (dead)
			lp_held_release(ours.list[i]->actor);
		any |= dead;
	}
	return any;
}

static int sweep(lua_State *L)
{
	struct lp_state *s = lua_touserdata(L, 1);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &threads_key);
	/* Only this thread changes the list. */
	for (struct lp_link *l = s->host->lights.next; l != &s->host->lights; l = l->next) {
		struct lp_exec *e = lp_entry(l, struct lp_exec, light);
		if (lp_list_empty(&e->suspended))
			continue;
		lua_rawgetp(L, 2, e);
		lp_give_up_gone(L, e, lua_tothread(L, -1));
		lua_pop(L, 1);
	}
	lua_rawgetp(L, LUA_REGISTRYINDEX, &lp_loop_sweep);
	lua_call(L, 0, 0);
	return 0;
}

void lp_sweep_lights(lua_State *L, struct lp_state *s)
{
	if (!s->host || !s->loops || !lua_checkstack(L, LUA_MINSTACK))
		return;
	lua_pushcfunction(L, sweep);
	lua_pushlightuserdata(L, s);
	if (lua_pcall(L, 1, 0, 0) != LUA_OK)
		lua_pop(L, 1);
}

void lp_state_switch(lua_State *L, struct lp_state *s)
{
	if (!s->host) {
		s->current = s->worker ? L : NULL;
		return;
	}
	s->exec = &s->host->exec;
	if (!s->loops || lp_is_main(L, s)) {
		s->current = L;
		return;
	}
	s->current = NULL;
	/* What a finaliser calls at the end of a full stack belongs to the state, as all that cannot be told apart. */
	if (!lua_checkstack(L, LUA_MINSTACK))
		return;
	int top = lua_gettop(L);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &light_maker);
	lua_pushlightuserdata(L, s);
	if (lua_pcall(L, 1, 1, 0) == LUA_OK && lua_toboolean(L, -1))
		s->current = L;
	lua_settop(L, top);
}

static void new_weak_table(lua_State *L, const char *mode, const void *key)
{
	lua_newtable(L);
	lua_newtable(L);
	lua_pushstring(L, mode);
	lua_setfield(L, -2, "__mode");
	lua_setmetatable(L, -2);
	lua_rawsetp(L, LUA_REGISTRYINDEX, key);
}

void lp_open_light(lua_State *L)
{
	new_weak_table(L, "k", &lights_key);
	new_weak_table(L, "v", &threads_key);
	new_weak_table(L, "kv", &lives_key);
	lua_newtable(L);
	lua_pushcfunction(L, light_gc);
	lua_setfield(L, -2, "__gc");
	lua_rawsetp(L, LUA_REGISTRYINDEX, &light_key);
	lua_pushcfunction(L, choose);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &light_maker);
}
