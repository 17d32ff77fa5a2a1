/* vm: the lua_State of a worker: its memory limit, its libraries, the pool's setup. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wait/cancel.h"
#include "values/handle.h"
#include "values/values.h"
#include "sched/worker.h"

lua_CFunction lp_open_core;

/* LuaJIT's lua_newstate ends with SIGSEGV when one of its allocations but the first fails (it closes what it has not made
 * yet). So they all come out of one block, the nest, which either is there or is not. It takes 12 KiB (tried). */
enum { NEST = 24 * 1024 };

static bool in_nest(const struct lp_worker *w, const void *p)
{
	return w->nest && (const char *)p >= w->nest && (const char *)p < w->nest + NEST;
}

/* What lies in the nest stays there until the state closes. NULL: it has no room. */
static void *nest_alloc(struct lp_worker *w, size_t size)
{
	size = (size + 15) & ~(size_t)15;
	if (NEST - w->nest_used < size)
		return NULL;
	w->nest_used += size;
	return w->nest + w->nest_used - size;
}

static void *nest_realloc(struct lp_worker *w, void *p, size_t old, size_t size)
{
	if (in_nest(w, p) && size <= old)
		return p;
	void *q = w->nesting ? nest_alloc(w, size) : NULL;
	if (!q && !in_nest(w, p))
		return realloc(p, size);
	if (!q)
		q = malloc(size); /* out of the nest */
	if (q && p) {
		memcpy(q, p, old < size ? old : size);
		if (!in_nest(w, p))
			free(p);
	}
	return q;
}

/* Frees never fail and shrinking never does, so the state can always unwind. */
static void *limited_alloc(void *ud, void *p, size_t old, size_t size)
{
	struct lp_worker *w = ud;
	if (!p)
		old = 0; /* 5.4 passes the type of the object here */
	const bool nested = LP_LUAJIT && (w->nesting || in_nest(w, p));
	if (size == 0) {
		w->memory -= old;
		if (!nested || !in_nest(w, p))
			free(p);
		return NULL;
	}
	size_t limit = w->pool->opt.memory_limit;
	if (size > old && !(nested && w->nesting) && ((limit && w->memory - old + size > limit) || lp_fault()))
		return NULL;
	void *q = nested ? nest_realloc(w, p, old, size) : realloc(p, size);
	if (q)
		w->memory += size - old;
	return q;
}

static void free_nest(struct lp_worker *w)
{
	lp_free(w->nest);
	w->nest = NULL;
}

/* Every call into the state is protected, so this is not reached. Lua ends the process after it. */
static int vm_panic(lua_State *L)
{
	fprintf(stderr, "lua-pool: an error outside a protected call: %s\n", lp_text_of(L, -1));
	return 0;
}

#if !LP_LUAJIT
/* As that of luaL_newstate, for a state that was made without it: off until warn "@on", one write for a line. */
static void vm_warn(void *ud, const char *piece, int to_be_continued)
{
	struct lp_worker *w = ud;
	size_t used = strlen(w->warning), n = strlen(piece);
	if (used == 0 && !to_be_continued && piece[0] == '@') {
		if (strcmp(piece, "@on") == 0)
			w->warns = true;
		else if (strcmp(piece, "@off") == 0)
			w->warns = false;
		return;
	}
	if (n >= sizeof w->warning - used)
		n = sizeof w->warning - used - 1;
	memcpy(w->warning + used, piece, n);
	w->warning[used + n] = '\0';
	if (to_be_continued)
		return;
	if (w->warns)
		fprintf(stderr, "Lua warning: %s\n", w->warning);
	w->warning[0] = '\0';
}
#endif

static int vm_setup(lua_State *L)
{
	struct lp_worker *w = lua_touserdata(L, 1);
	lua_settop(L, 0);
	lp_run_open(L, w);
	luaL_openlibs(L);
#if LP_LUAJIT
	if (w->pool->opt.jit_checked) /* before any Lua code runs */
		luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
#endif
	w->state = lp_state_open(L);
	w->state->L = L;
	w->state->exec = &w->exec;
	w->state->worker = w;
	lp_names_watch(w->state->values, &w->renew);
	luaL_getsubtable(L, LUA_REGISTRYINDEX, "_PRELOAD");
	lua_pushcfunction(L, lp_open_core);
	lua_setfield(L, -2, "lua-pool.core");
#if LP_LUAJIT
	/* LuaJIT keeps package.preload itself under this name too. */
	lua_getglobal(L, "package");
	lua_getfield(L, -1, "preload");
	lua_pushcfunction(L, lp_open_core);
	lua_setfield(L, -2, "lua-pool.core");
#endif
	lua_settop(L, 0);
	lua_pushcfunction(L, lp_open_core); /* registers the classes: the setup may carry objects */
	lua_pushliteral(L, "lua-pool.core");
	lua_call(L, 1, 1);
	lua_getfield(L, LUA_REGISTRYINDEX, "_LOADED");
	lua_pushvalue(L, 1);
	lua_setfield(L, -2, "lua-pool.core");
	lua_settop(L, 1);
	int n = lp_decode(L, w->state->values, &w->pool->setup); /* prelude, its options */
	if (n == 0)
		return 0;
	lua_pushvalue(L, 1);
	lua_call(L, n, 2);
	if (lua_isfunction(L, -1))
		w->report_ref = luaL_ref(L, LUA_REGISTRYINDEX);
	else
		lua_pop(L, 1);
	if (lua_isfunction(L, -1))
		w->finish_ref = luaL_ref(L, LUA_REGISTRYINDEX);
	return 0;
}

static int vm_handler(lua_State *L)
{
	if (lua_type(L, 1) == LUA_TSTRING)
		luaL_traceback(L, L, lua_tostring(L, 1), 1);
	return 1;
}

/* The error at index 1 as a message of its own: the pool keeps it. Returns its text. */
static int vm_error(lua_State *L)
{
	struct lp_msg *m = lua_touserdata(L, 2);
	struct lp_values *v = lp_values_open(L);
	lp_push_sendable(L, v, 1);
	if (!lp_encode(L, v, m, lua_gettop(L), 1, "error", 1))
		lp_msg_clear(m);
	luaL_tolstring(L, 1, NULL); /* for reports */
	return 1;
}

static lua_State *new_state(struct lp_worker *w)
{
#if LP_LUAJIT
	if (!(w->nest = lp_alloc(NEST)))
		return NULL;
	w->nest_used = 0;
	w->nesting = true;
	lua_State *L = lua_newstate(limited_alloc, w);
	w->nesting = false;
	if (!L)
		free_nest(w);
	return L;
#else
	return lua_newstate(limited_alloc, w);
#endif
}

static void close_state(struct lp_worker *w, lua_State *L)
{
	lua_close(L);
	free_nest(w);
}

struct opening {
	struct lp_worker *w;
	struct lp_msg *error;
	char *text;
	bool done;
};

/* (opening): the setup, and what it failed with as a message. */
static int vm_open(lua_State *L)
{
	struct opening *o = lua_touserdata(L, 1);
	lua_settop(L, 0);
	lua_pushcfunction(L, vm_handler);
	lua_pushcfunction(L, vm_setup);
	lua_pushlightuserdata(L, o->w);
	int status = lua_pcall(L, 1, 0, 1);
	o->done = status == LUA_OK;
	if (o->done || status == LUA_ERRMEM || !(o->error = lp_alloc(sizeof *o->error)))
		return 0;
	lp_msg_init(o->error, NULL, 0);
	lua_pushcfunction(L, vm_error);
	lua_insert(L, -2);
	lua_pushlightuserdata(L, o->error);
	lua_call(L, 2, 1);
	size_t size;
	const char *text = lua_tolstring(L, -1, &size);
	if (text && (o->text = lp_alloc(size + 1)))
		memcpy(o->text, text, size + 1);
	return 0;
}

bool lp_vm_open(struct lp_worker *w, struct lp_msg **error, char **text)
{
	*error = NULL;
	*text = NULL;
	w->memory = 0;
	w->spare = NULL;
	w->finish_ref = w->report_ref = LUA_NOREF;
	lua_State *L = new_state(w);
	if (!L)
		return false;
	lua_atpanic(L, vm_panic);
#if !LP_LUAJIT
	w->warns = false;
	w->warning[0] = '\0';
	lua_setwarnf(L, vm_warn, w);
#endif
	/* Setup and init run as an actor of their own: they may wait, and are nobody's task. */
	struct lp_actor actor;
	lp_actor_init(&actor);
	lp_worker_push(w, &actor);
	struct opening o = {.w = w};
	int status = lp_protected(L, vm_open, &o);
	w->running = NULL; /* set by every pcall in it: for the signal handler a task alone runs */
	if (o.done) {
		lp_worker_pop(w);
		lua_settop(L, 0);
		w->L = L;
		return true;
	}
	if (o.error && status == LUA_OK && o.error->nvalues == 1) {
		*error = o.error;
		*text = o.text;
	} else if (o.error) {
		lp_msg_clear(o.error);
		lp_free(o.error);
		lp_free(o.text);
	}
	w->state = NULL;
	close_state(w, L);
	w->running = NULL;
	lp_worker_pop(w);
	return false;
}

static int call_finish(lua_State *L)
{
	struct lp_worker *w = lua_touserdata(L, 1);
	lua_rawgeti(L, LUA_REGISTRYINDEX, w->finish_ref);
	lua_call(L, 0, 0);
	return 0;
}

void lp_vm_close(struct lp_worker *w)
{
	lua_State *L = w->L;
	if (!L)
		return;
	struct lp_actor actor;
	lp_actor_init(&actor);
	lp_worker_push(w, &actor);
	if (w->finish_ref != LUA_NOREF && lp_protected(L, call_finish, w) != LUA_OK && !w->pool->opt.silent)
		fprintf(stderr, "lua-pool: error in finish: %s\n", lp_text_of(L, -1));
	close_state(w, L);
	w->running = NULL;
	lp_worker_pop(w);
	w->L = NULL;
	w->state = NULL;
	w->spare = NULL;
}
