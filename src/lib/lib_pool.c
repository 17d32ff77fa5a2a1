/* lib_pool: async and its kin, and pools as objects. Options are checked in Lua (lua-pool/options.lua);
 * what arrives here is complete and right. */
#include <limits.h>
#include <math.h>
#include <string.h>

#include "sched/abandon.h"
#include "sched/close.h"
#include "values/handle.h"
#include "sched/ids.h"
#include "lib/lib.h"
#include "vm/signals.h"
#include "vm/suspend.h"
#include "values/values.h"

static const char make_default_key; /* registry: function that creates the default pool */
static const char early_key;        /* registry: function that says why no thread may start yet */

bool lp_spinning;

__attribute__((constructor)) static void spinning_open(void)
{
	lp_spinning = lp_cpu_count() > 1;
}

static void ref_destroy(struct lp_obj *o)
{
	struct lp_pool_ref *r = (struct lp_pool_ref *)o;
	if (r->pool && r->shared)
		lp_release(r->pool);
	else if (r->pool) {
		lp_pool_abandon(r->pool);
		lp_worker_close_inliners(r->pool);
		lp_release(r->pool);
	}
	lp_free(r);
}

const struct lp_class lp_pool_ref_class = {.name = "lua-pool.pool", .destroy = ref_destroy};

/* ---- which pool ---- */

struct lp_pool *lp_module_pool(lua_State *L, struct lp_state *s)
{
	if (s->worker)
		return s->worker->pool;
	if (!s->host) /* a finaliser that outlives ours: default_pool may be gone */
		luaL_error(L, "this Lua state is closing: it has no pool any more");
	if (s->default_pool && s->default_pool->obj.generation == lp_generation)
		return s->default_pool;
	lua_rawgetp(L, LUA_REGISTRYINDEX, &make_default_key);
	lua_call(L, 0, 1); /* a handle of a new pool, or of the one that there is */
	struct lp_pool_ref *r = lp_check(L, -1, &lp_pool_ref_class);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &lp_spinning);
	return s->default_pool = r->pool;
}

struct lp_pool *lp_check_pool(lua_State *L, int index)
{
	struct lp_pool_ref *r = lp_test(L, index, &lp_pool_ref_class);
	if (!r)
		r = lp_check(L, index, &lp_pool_ref_class);
	return r->pool; /* goes on after fork: no check of the generation */
}

/* ---- submitting ---- */

/* Where the Lua code calls us from, for tracebacks. */
static void note_caller(lua_State *L, struct lp_state *s, struct lp_task *t)
{
	const struct lp_site *site = lp_call_site(L, s);
	if (!site)
		return;
	t->source = site->name;
	t->line = site->line;
}

static int check_callable(lua_State *L, int index)
{
	if (lua_type(L, index) == LUA_TFUNCTION)
		return index;
	if (luaL_getmetafield(L, index, "__call")) {
		lua_pop(L, 1);
		return index;
	}
	return luaL_argerror(L, index, lua_pushfstring(L, "function expected, got %s", luaL_typename(L, index)));
}

/* Raises the error of the pool's `init`. */
static int raise_broken(lua_State *L, struct lp_state *s, struct lp_pool *p)
{
	lp_decode(L, s->values, p->init_error);
	return lua_error(L);
}

/* All its threads, and those that took their places, are in calls that do not come back. */
static int raise_hopeless(lua_State *L, struct lp_pool *p)
{
	char text[LP_ABANDON_TEXT];
	lp_abandon_why_stuck(p, text, sizeof text);
	return luaL_error(L, "%s", text);
}

/* A server that loads us before it forks its workers: a thread started now would be missing in all of them. The
 * function answers why not, or nil once that time is over; then it is asked no more. */
static void check_early(lua_State *L, struct lp_state *s)
{
	lua_rawgetp(L, LUA_REGISTRYINDEX, &early_key);
	lua_call(L, 0, 1);
	if (lua_isstring(L, -1))
		luaL_error(L, "%s", lua_tostring(L, -1));
	lua_pop(L, 1);
	s->early = false;
}

/* Results that futures of this thread hold are memory that their collection would free. */
static void tell_collector(lua_State *L)
{
	size_t bytes = lp_slots_untold();
	if (bytes && lua_gc(L, LUA_GCISRUNNING, 0))
		lua_gc(L, LUA_GCSTEP, (int)(bytes / 1024 < INT_MAX ? bytes / 1024 : INT_MAX));
}

/* The call was refused: its slot goes back at once, not when the collector finds the handle. */
static void give_up(struct lp_handle *h)
{
	struct lp_obj *t = h->obj;
	h->obj = NULL;
	lp_release(t);
}

/* The future, filled, is on top of the stack: it is the result. */
static int start(lua_State *L, struct lp_state *s, struct lp_handle *h, struct lp_group *g, enum lp_submit_mode mode, bool own)
{
	struct lp_task *t = (struct lp_task *)h->obj;
	struct lp_pool *p = t->pool;
	int results = mode == LP_GO || mode == LP_UNSEEN ? 0 : 1;
	bool served = false;
	if ((s->submits++ & 15) == 0)
		t->submitted = lp_now();
	t->sweeps = atomic_load_explicit(&p->sweeps, memory_order_relaxed);
	if (g) {
		t->grouped = true;
		if (!lp_group_join(g, t)) { /* its time will come: then it is no more in the queue than others of this pool */
			lp_pool_leave_room(p, t);
			if (mode == LP_UNSEEN)
				give_up(h);
			return results;
		}
	}
	if (mode == LP_GO)
		lp_host_detached_begin(t->host);
	switch (lp_pool_submit(p, t, own)) {
	case LP_CLOSED_POOL:
		if (g && !lp_task_stop_pending(t)) { /* who awaits the group has begun it already */
			lp_pool_took_tombstone(p);
			break;
		}
		if (t->has_room)
			lp_semaphore_release(&p->room, 1);
		if (mode == LP_GO)
			lp_host_detached_end(t->host);
		lua_pushfstring(L, "pool '%s' is closed: it takes no more tasks", p->opt.name);
		give_up(h);
		return luaL_error(L, "%s", lua_tostring(L, -1));
	case LP_RUN_INLINE:
		if (s->host)
			lp_host_begin_wait(s);
		lp_worker_serve(p, s->exec);
		served = s->host;
		break;
	case LP_SUBMITTED:
		break;
	}
	if (mode == LP_UNSEEN) /* nobody will ever see the future: its count goes now */
		give_up(h);
	if (served && s->exec->signalled && s->exec->signalled(s->exec)) /* Ctrl-C meanwhile */
		lp_run_host_hook(L, s);
	return results;
}

static int found_room(lua_State *L, struct lp_state *s, struct lp_node *n, int answer)
{
	if (answer == LP_TIMEOUT) { /* try_async */
		give_up(lua_touserdata(L, -2));
		lua_pushnil(L);
		lua_pushliteral(L, "full");
		return 2;
	}
	if (answer < 0)
		return lp_wait_raise(L, s, n, answer);
	struct lp_handle *h = lua_touserdata(L, -2);
	enum lp_submit_mode mode = (enum lp_submit_mode)lua_tointeger(L, -1);
	lua_pop(L, 1);
	((struct lp_task *)h->obj)->has_room = true;
	return start(L, s, h, lp_test(L, 1, &lp_group_class), mode, false);
}

int lp_submit(lua_State *L, struct lp_state *s, struct lp_pool *p, struct lp_group *g, int first, enum lp_submit_mode mode)
{
	check_callable(L, first);
	tell_collector(L);
	if (atomic_load_explicit(&p->broken, memory_order_relaxed))
		return raise_broken(L, s, p);
	if (atomic_load_explicit(&p->hopeless, memory_order_relaxed))
		return raise_hopeless(L, p);
	if (s->early)
		check_early(L, s);
	int last = lua_gettop(L);
	struct lp_handle *h = lp_handle_quick(L, s->future_meta); /* the anchor of all that follows */
	struct lp_task *t = lp_task_new();
	if (!t)
		return luaL_error(L, "not enough memory");
	h->obj = &t->obj;
	t->msg.pins = true;
	if (!lp_encode(L, s->values, &t->msg, first, last - first + 1, "argument", 1)) {
		give_up(h);
		return luaL_error(L, "%s", lua_tostring(L, -1));
	}
	struct lp_task *parent = lp_current_task(s);
	struct lp_host *host = parent ? parent->host : s->worker ? s->worker->acting : s->host;
	if (!host && s->worker)
		return luaL_error(L, "no task runs here: init, finish and finalisers of a closing worker cannot start tasks");
	bool lasting = mode == LP_GO || (parent && parent->lasting);
	if (!host || (!lasting && atomic_load_explicit(&host->closing, memory_order_relaxed)))
		return luaL_error(L, "this Lua state is closing: no task can be started");
	t->host = lp_retain(host);
	t->pool = lp_retain(p);
	t->detached = mode == LP_GO;
	t->lasting = lasting;
	if (g) {
		t->parent = lp_retain(&g->token);
		t->wants_id = g->ids;
	} else if (parent && mode != LP_GO) {
		struct lp_token *k = lp_task_token(parent);
		if (!k)
			return luaL_error(L, "not enough memory");
		t->parent = lp_retain(k);
	}
	note_caller(L, s, t);
	if (p->opt.workers == 0 && lp_worker_too_deep())
		return luaL_error(L, "C stack overflow: tasks of a pool without threads are nested too deep");
	bool own = s->worker && s->worker->pool == p;
	if (!p->opt.queue_limit || own)
		return start(L, s, h, g, mode, own);
	if (lp_semaphore_try_acquire(&p->room)) {
		t->has_room = true;
		return start(L, s, h, g, mode, own);
	}
	lua_pushinteger(L, mode);
	struct lp_node node = {.obj = &p->room.obj};
	return lp_wait_then(L, s, &node, mode == LP_TRY ? 0 : LP_FOREVER, found_room);
}

/* pool.async(fn, ...) -> future. Runs fn(...) on a worker. Blocks only while the queue is full. */
static int module_async(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	return lp_submit(L, s, lp_module_pool(L, s), NULL, 1, LP_ASYNC);
}

/* pool.try_async(fn, ...) -> future / nil, "full". Never blocks. */
static int module_try_async(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	return lp_submit(L, s, lp_module_pool(L, s), NULL, 1, LP_TRY);
}

/* pool.go(fn, ...): detached; its failure goes to on_error. */
static int module_go(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	return lp_submit(L, s, lp_module_pool(L, s), NULL, 1, LP_GO);
}

static int pool_async(lua_State *L)
{
	return lp_submit(L, lp_state(L), lp_check_pool(L, 1), NULL, 2, LP_ASYNC);
}

static int pool_try_async(lua_State *L)
{
	return lp_submit(L, lp_state(L), lp_check_pool(L, 1), NULL, 2, LP_TRY);
}

static int pool_go(lua_State *L)
{
	return lp_submit(L, lp_state(L), lp_check_pool(L, 1), NULL, 2, LP_GO);
}

/* ---- the life of a pool ---- */

static lua_Number field_number(lua_State *L, int t, const char *name)
{
	lua_getfield(L, t, name);
	lua_Number x = lua_tonumber(L, -1);
	lua_pop(L, 1);
	return x;
}

static lp_time field_duration(lua_State *L, int t, const char *name)
{
	lua_getfield(L, t, name);
	lp_time d = LP_FOREVER;
	if (!lua_isnil(L, -1)) {
		lua_Number x = lua_tonumber(L, -1) * 1e9;
		d = x >= 9e18 ? LP_FOREVER : (lp_time)x;
	}
	lua_pop(L, 1);
	return d;
}

static bool field_true(lua_State *L, int t, const char *name)
{
	lua_getfield(L, t, name);
	bool b = lua_toboolean(L, -1);
	lua_pop(L, 1);
	return b;
}

/* new_pool(options, prelude, config) -> pool. `prelude(core, config)` opens a worker state. */
static int new_pool(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	luaL_checktype(L, 1, LUA_TTABLE);
	struct lp_pool_options o = {
		.workers = (unsigned)field_number(L, 1, "workers"),
		.max_threads = (unsigned)field_number(L, 1, "max_threads"),
		.queue_limit = (unsigned)field_number(L, 1, "queue_limit"),
		.stack_size = (size_t)field_number(L, 1, "stack_size"),
		.nice = (int)field_number(L, 1, "nice"),
		.memory_limit = (size_t)field_number(L, 1, "memory_limit"),
		.idle_timeout = field_duration(L, 1, "idle_timeout"),
		.cancel_grace = field_duration(L, 1, "cancel_grace"),
		.exit_timeout = field_duration(L, 1, "exit_timeout"),
		.task_timeout = field_duration(L, 1, "task_timeout"),
		.jit_checked = field_true(L, 1, "jit_checked"),
		.silent = field_true(L, 1, "silent"),
		.reports = field_true(L, 1, "reports"),
	};
	lua_getfield(L, 1, "name");
	strncpy(o.name, lua_isstring(L, -1) ? lua_tostring(L, -1) : "", sizeof o.name - 1);
	lua_settop(L, 3);
	/* The setup is encoded into a task's message: a handle anchors it. */
	struct lp_handle *anchor = lp_handle_new(L, &lp_task_class);
	struct lp_task *t = lp_task_new();
	if (!t)
		return luaL_error(L, "not enough memory");
	anchor->obj = &t->obj;
	struct lp_handle *h = lp_handle_new(L, &lp_pool_ref_class);
	if (!lp_encode(L, s->values, &t->msg, 2, 2, "setup", 1))
		return luaL_error(L, "%s", lua_tostring(L, -1));
	struct lp_pool_ref *r = lp_alloc(sizeof *r);
	if (!r)
		return luaL_error(L, "not enough memory");
	lp_obj_init(&r->obj, &lp_pool_ref_class);
	r->pool = NULL;
	r->shared = false;
	h->obj = &r->obj;
	if (!(r->pool = lp_pool_new(&o, &t->msg)))
		return luaL_error(L, "not enough memory");
	return 1;
}

/* Pushes a handle that does not drain the pool when it goes; takes over the count of p. */
static int push_shared(lua_State *L, struct lp_pool *p)
{
	struct lp_pool_ref *r = lp_alloc(sizeof *r);
	if (!r) {
		lp_release(p);
		return luaL_error(L, "not enough memory");
	}
	lp_obj_init(&r->obj, &lp_pool_ref_class);
	r->pool = p;
	r->shared = true;
	lp_push(L, &r->obj); /* out of memory here leaks 32 bytes and one count: accepted */
	lp_release(r);
	return 1;
}

/* share_default(pool) -> pool: makes it the default pool of the process, or answers the one there is. */
static int share_default(lua_State *L)
{
	struct lp_pool_ref *r = lp_check(L, 1, &lp_pool_ref_class);
	struct lp_pool *p = lp_set_default_pool(r->pool);
	if (p == r->pool) {
		r->shared = true;
		lp_release(p);
		lua_settop(L, 1);
		return 1;
	}
	return push_shared(L, p);
}

/* has_default() -> boolean: was the default pool created? Too late to configure it then. */
static int has_default(lua_State *L)
{
	struct lp_pool *p = lp_default_pool();
	lua_pushboolean(L, p != NULL);
	lp_release(p);
	return 1;
}

static int on_default(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TFUNCTION);
	lua_settop(L, 1);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &make_default_key);
	return 0;
}

/* on_early(fn): asks fn before each submission, until it answers nil, whether it is too early for threads. */
static int on_early(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	luaL_checktype(L, 1, LUA_TFUNCTION);
	lua_settop(L, 1);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &early_key);
	s->early = true;
	return 0;
}

/* default() -> the handle of the pool that the module's functions use (not in a worker). */
static int get_default(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	if (s->worker)
		return push_shared(L, lp_retain(s->worker->pool));
	lp_module_pool(L, s);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &lp_spinning);
	return 1;
}

static int closed(lua_State *L, struct lp_state *s, struct lp_node *n, int answer)
{
	if (answer < 0)
		return lp_wait_failed(L, s, n, answer);
	struct lp_pool *p = lp_check_pool(L, 1);
	lp_pool_reap(p);
	lp_worker_close_inliners(p);
	lua_pushboolean(L, 1);
	return 1;
}

/* pool:close([timeout]) -> true / nil, "timeout". Finishes what is queued, joins the threads. */
static int pool_close(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	struct lp_pool *p = lp_check_pool(L, 1);
	lp_time deadline = lp_check_timeout(L, 2);
	if (s->worker && s->worker->pool == p)
		return luaL_error(L, "a task cannot close the pool that runs it: it would wait for itself");
	lp_pool_drain(p);
	struct lp_node node = {.obj = &p->ended.obj};
	return lp_wait_then(L, s, &node, deadline, closed);
}

/* pool:cancel_all(): everything that is queued or runs, detached tasks too. Does not wait. */
static int pool_cancel_all(lua_State *L)
{
	struct lp_pool *p = lp_check_pool(L, 1);
	lp_pool_cancel_all(p);
	return 0;
}

/* pool:resize(n): how many tasks run at once from now on. */
static int pool_resize(lua_State *L)
{
	struct lp_pool *p = lp_check_pool(L, 1);
	lua_Integer n = lp_check_int(L, 2, 1, LP_MOST_WORKERS);
	if (p->opt.workers == 0)
		return luaL_error(L, "a pool with workers = 0 has no threads to resize");
	lp_pool_resize(p, (unsigned)n);
	return 0;
}

static void set_count(lua_State *L, const char *name, double n)
{
	lua_pushnumber(L, n);
#if !LP_LUAJIT
	lua_pop(L, 1);
	lua_pushinteger(L, (lua_Integer)n);
#endif
	lua_setfield(L, -2, name);
}

static void histogram(lua_State *L, const char *name, _Atomic uint64_t *buckets)
{
	lua_createtable(L, 32, 0);
	for (int i = 0; i < 32; i++) {
		lua_pushnumber(L, (lua_Number)atomic_load_explicit(&buckets[i], memory_order_relaxed));
		lua_rawseti(L, -2, i + 1);
	}
	lua_setfield(L, -2, name);
}

struct sum {
	struct lp_counts counts;
	unsigned running;
};

static void sum_worker(struct lp_worker *w, void *data)
{
	struct sum *sum = data;
	lp_counts_add(&sum->counts, &w->counts);
	lp_lock(&w->lock);
	for (struct lp_actor *a = w->exec.actor; a; a = a->outer)
		sum->running += a->is_task && !lp_task_ended(lp_entry(a, struct lp_task, actor));
	lp_unlock(&w->lock);
}

static int pool_stats(lua_State *L)
{
	struct lp_pool *p = lp_check_pool(L, 1);
	struct sum sum;
	memset(&sum, 0, sizeof sum);
	lp_counts_add(&sum.counts, &p->totals);
	lp_pool_each_worker(p, sum_worker, &sum);
	lp_lock(&p->lock);
	unsigned threads = p->threads, idle = p->idle_count, stuck = p->apart + p->lost;
	lp_unlock(&p->lock);
	lua_createtable(L, 0, 14);
	set_count(L, "workers", atomic_load(&p->limit));
	set_count(L, "threads", threads);
	set_count(L, "idle", idle);
	set_count(L, "running", sum.running);
	set_count(L, "queued", lp_pool_queued(p));
	set_count(L, "done", (double)sum.counts.done);
	set_count(L, "failed", (double)sum.counts.failed);
	set_count(L, "cancelled", (double)sum.counts.cancelled);
	set_count(L, "inlined", (double)sum.counts.inlined);
	set_count(L, "abandoned", (double)atomic_load(&p->abandoned));
	set_count(L, "stuck", stuck);
	histogram(L, "wait_ns_log2", sum.counts.wait);
	histogram(L, "run_ns_log2", sum.counts.run);
	return 1;
}

static int pool_tostring(lua_State *L)
{
	struct lp_pool *p = lp_check_pool(L, 1);
	lua_pushfstring(L, "lua-pool.pool: %p ('%s', %d workers%s)", (void *)p, p->opt.name, (int)atomic_load(&p->limit),
		atomic_load(&p->closed) ? ", closed" : "");
	return 1;
}

/* `<close>`: left by an error, what is queued and running is cancelled first. */
static int pool_end(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	if (lp_is_unwinding(L, s)) { /* os.exit(n, true): what holds for the end of the program */
		lp_host_end_pool(s->host, lp_check_pool(L, 1));
		return 0;
	}
	if (!lua_isnoneornil(L, 2))
		pool_cancel_all(L);
	lua_settop(L, 1);
	return pool_close(L);
}

static int pool_eq(lua_State *L)
{
	struct lp_pool_ref *a = lp_test(L, 1, &lp_pool_ref_class), *b = lp_test(L, 2, &lp_pool_ref_class);
	lua_pushboolean(L, a && b && a->pool == b->pool);
	return 1;
}

static int worker_id(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	lua_pushinteger(L, s->worker ? (lua_Integer)s->worker->id : 0);
	return 1;
}

static int id_count(lua_State *L)
{
	lua_pushinteger(L, LP_MOST_IDS + 1);
	return 1;
}

static int cpu_count(lua_State *L)
{
	lua_pushinteger(L, (lua_Integer)lp_cpu_count());
	return 1;
}

void lp_open_pool(lua_State *L, int state)
{
	static const luaL_Reg methods[] = {{"async", pool_async}, {"try_async", pool_try_async}, {"go", pool_go},
		{"close", pool_close}, {"cancel_all", pool_cancel_all}, {"resize", pool_resize},
		{"stats", pool_stats}, {NULL, NULL}};
	static const char *const blocking[] = {"async", "go", "close", NULL}, *const submits[] = {"async", "go", NULL};
	static const luaL_Reg meta[] = {
		{"__tostring", pool_tostring}, {"__close", pool_end}, {"__eq", pool_eq}, {NULL, NULL}};
	static const luaL_Reg functions[] = {{"async", module_async}, {"try_async", module_try_async},
		{"go", module_go}, {"new_pool", new_pool}, {"share_default", share_default},
		{"has_default", has_default}, {"on_default", on_default}, {"on_early", on_early}, {"default", get_default},
		{"worker_id", worker_id}, {"id_count", id_count}, {"cpu_count", cpu_count}, {NULL, NULL}};
	lua_pushvalue(L, state);
	lp_handle_class(L, &lp_pool_ref_class, methods, meta, 1);
	lp_blocking_methods(L, state, &lp_pool_ref_class, blocking);
	lua_pushvalue(L, state);
	luaL_setfuncs(L, functions, 1);
	lp_blocking_fields(L, state, -1, submits);
}
