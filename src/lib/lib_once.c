/* lib_once: pool.once(fn) for Lua: a function that runs once in the whole process.
 *
 * The object carries the function as a message; its first caller decodes and runs it, those who come
 * meanwhile wait for a mutex inside, and everybody later gets a copy of the results. If the function fails
 * or its task ends, the next caller tries again. Who holds the mutex is known, so a function that
 * calls itself, or waits for somebody who waits for it, is told so. */
#include "values/handle.h"
#include "lib/lib_sync.h"
#include "sync/mutex.h"
#include "values/values.h"

struct lp_once {
	struct lp_mtx mutex;
	_Atomic bool done;       /* written by the owner of the mutex; then the results never change */
	struct lp_msg fn;        /* [the owner] empty when done */
	struct lp_msg results;   /* [the owner] until done */
};

static void once_destroy(struct lp_obj *obj)
{
	struct lp_once *o = (struct lp_once *)obj;
	lp_msg_clear(&o->fn);
	lp_msg_clear(&o->results);
	lp_free(o);
}

static const struct lp_class once_class = {
	.name = "lua-pool.once",
	.destroy = once_destroy,
	.take = lp_mtx_take,
	.enqueue = lp_mtx_enqueue,
	.dequeue = lp_mtx_dequeue,
	.discard = lp_mtx_discard,
	.holder = lp_mtx_holder,
};

static bool is_done(struct lp_once *o)
{
	return atomic_load_explicit(&o->done, memory_order_acquire);
}

/* pool.once(fn) -> once. fn is sent as a task's function is: a copy with its upvalues. */
static int once_new(lua_State *L)
{
	if (!lua_isfunction(L, 1) && !(lua_istable(L, 1) && luaL_getmetafield(L, 1, "__call")))
		luaL_argerror(L, 1, lua_pushfstring(L, "function expected, got %s", luaL_typename(L, 1)));
	lua_settop(L, 1);
	struct lp_handle *h = lp_handle_new(L, &once_class);
	struct lp_once *o = lp_alloc(sizeof *o);
	if (!o)
		return luaL_error(L, "not enough memory");
	lp_mtx_init(&o->mutex, &once_class);
	atomic_init(&o->done, false);
	lp_msg_init(&o->fn, NULL, 0);
	lp_msg_init(&o->results, NULL, 0);
	h->obj = &o->mutex.obj;
	if (!lp_encode(L, lp_state(L)->values, &o->fn, 1, 1, "argument", 1))
		return lp_error_on_top(L);
	return 1;
}

static int begun(lua_State *L, struct lp_state *s, struct lp_node *n, int answer)
{
	struct lp_once *o = (struct lp_once *)n->obj;
	if (answer < 0)
		return lp_wait_failed(L, s, n, answer);
	lp_mtx_entered(&o->mutex, n->value);
	if (is_done(o)) {
		lp_mtx_unlock(&o->mutex, n->value);
		return 0;
	}
	lua_pushboolean(L, 1);
	return 1;
}

/* begin(once) -> true: the caller is to run it, and owns it until `finish`. Blocks while another runs it. */
static int once_begin(lua_State *L)
{
	struct lp_once *o = lp_check(L, 1, &once_class);
	struct lp_state *s = lp_state(L);
	if (is_done(o))
		return 0;
	struct lp_actor *a = lp_sync_actor(L, s);
	if (lp_mtx_owned(&o->mutex, a))
		return luaL_error(L, "the function of a once object calls that object itself: it would wait for its own end");
	struct lp_node n = {.obj = &o->mutex.obj, .value = a};
	return lp_lock_then(L, s, &n, LP_FOREVER, begun);
}

/* load(once) -> its function. */
static int once_load(lua_State *L)
{
	struct lp_once *o = lp_check(L, 1, &once_class);
	return lp_decode(L, lp_state(L)->values, &o->fn);
}

/* keep(once, ...) -> ...: its results from now on. */
static int once_keep(lua_State *L)
{
	struct lp_once *o = lp_check(L, 1, &once_class);
	if (!lp_mtx_owned(&o->mutex, lp_sync_actor(L, lp_state(L)))) /* its task was given up: another runs the function */
		return luaL_error(L, "this task was abandoned while it ran the function of a once object");
	lp_msg_clear(&o->results); /* of an attempt that failed half-way */
	if (!lp_encode(L, lp_state(L)->values, &o->results, 2, lua_gettop(L) - 1, "result", 1))
		return lp_error_on_top(L);
	return lua_gettop(L) - 1;
}

/* finish(once, ok, ...) -> ..., or raises the error. */
static int once_finish(lua_State *L)
{
	struct lp_once *o = lp_check(L, 1, &once_class);
	struct lp_actor *a = lp_sync_actor(L, lp_state(L));
	bool ok = lua_toboolean(L, 2);
	if (lp_mtx_owned(&o->mutex, a)) {
		if (ok) {
			lp_msg_clear(&o->fn); /* and what it has caught */
			atomic_store_explicit(&o->done, true, memory_order_release);
		}
		lp_mtx_unlock(&o->mutex, a);
	}
	if (ok)
		return lua_gettop(L) - 2;
	lua_settop(L, 3);
	return lua_error(L);
}

static int once_results(lua_State *L)
{
	struct lp_once *o = lp_check(L, 1, &once_class);
	return lp_decode(L, lp_state(L)->values, &o->results);
}

static int once_is_done(lua_State *L)
{
	lua_pushboolean(L, is_done(lp_check(L, 1, &once_class)));
	return 1;
}

static int once_tostring(lua_State *L)
{
	struct lp_once *o = lp_check(L, 1, &once_class);
	lua_pushfstring(L, "lua-pool.once: %p (%s)", (void *)o,
		is_done(o) ? "done" : lp_mtx_owned(&o->mutex, NULL) ? "not yet run" : "running");
	return 1;
}

static int once_gc(lua_State *L)
{
	struct lp_once *o = lp_test(L, 1, &once_class);
	if (!o)
		return 0;
	lp_handle_end(L, 1);
	if (o->mutex.obj.generation == lp_generation)
		lp_mtx_handle_gone(&o->mutex, lp_state(L)->exec);
	lp_release(o);
	return 0;
}

/* once:call(...), once(...) -> the results. In Lua so that the function may yield. The pcall of this moment is
 * the standard one, which also sees the end of the task: a worker replaces it later. A task that is
 * stopped between two of these calls gives the mutex back when it ends. */
static void push_call(lua_State *L, int state)
{
	static const char text[] = "local pcall, begin, load, keep, finish, results = ... "
		"local function run(once, ...) return keep(once, load(once)(...)) end "
		"return function(once, ...) "
		"if begin(once) then return finish(once, pcall(run, once, ...)) end "
		"return results(once) end";
	static const lua_CFunction parts[] = {once_begin, once_load, once_keep, once_finish, once_results};
	if (luaL_loadbuffer(L, text, sizeof text - 1, LP_CHUNK) != 0)
		lua_error(L);
	lua_getglobal(L, "pcall");
	for (int i = 0; i < 5; i++) {
		lua_pushvalue(L, state);
		lua_pushcclosure(L, parts[i], 1);
		if (i == 0)
			lp_blocking(L, state);
	}
	lua_call(L, 6, 1);
}

void lp_open_once(lua_State *L, int state)
{
	static const luaL_Reg methods[] = {{"is_done", once_is_done}, {NULL, NULL}};
	static const luaL_Reg meta[] = {{"__tostring", once_tostring}, {"__gc", once_gc}, {NULL, NULL}};
	static const luaL_Reg functions[] = {{"once", once_new}, {NULL, NULL}};
	lua_pushvalue(L, state);
	lp_handle_class(L, &once_class, methods, meta, 1);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &once_class);
	lua_getfield(L, -1, "__index");
	push_call(L, state);
	lua_pushvalue(L, -1);
	lua_setfield(L, -3, "call");
	lua_setfield(L, -3, "__call");
	lua_pop(L, 2);
	lua_pushvalue(L, state);
	luaL_setfuncs(L, functions, 1);
}
