/* state: what lua-pool keeps for one Lua state, and the helpers that every lib_*.c uses.
 *
 * It is a full userdata anchored in the registry and the first upvalue of every C function of ours, so that
 * a call finds it in a few nanoseconds: `struct lp_state *s = lp_state(L)`. */
#ifndef LP_STATE_H
#define LP_STATE_H

#include "values/compat.h"
#include "values/values.h"
#include "wait/wait.h"

struct lp_pool;
struct lp_host;
struct lp_worker;
struct lp_inbox;

/* A place in the code of Lua, and its name for people. */
enum { LP_SITES = 16 };
struct lp_site {
	struct lp_spot spot;
	const char *name;  /* of the chunk; never freed */
	int line;          /* 0: nothing is known; negative: a part of ours (site.c) */
};

struct lp_state {
	lua_State *L;              /* [I] its main thread */
	lua_State *current;        /* the coroutine that `exec` is right for; NULL: to be asked each time (light.c) */
	struct lp_values *values;  /* [I] */
	struct lp_exec *exec;      /* who waits: the worker's, the host's, or that of a light thread of the host */
	struct lp_inbox *inbox;    /* of a host under an event loop; made on first use */
	bool asks_main;            /* a loop may run code on the main thread (some phases of nginx) */
	bool loops;                /* lua-pool/loop.lua has given its functions: an event loop may be in charge */
	bool under_loop;           /* an event loop has run a coroutine that called us */
	struct lp_host *host;      /* [I] a state of the host program; NULL in a worker */
	struct lp_worker *worker;  /* [I] NULL in a state of the host program */
	struct lp_pool *default_pool; /* what pool.async means here, once known; kept by the registry */
	lua_State *calling;        /* whose C function called lp_block_begin last */
	int held_ref;              /* holdings.c: registry reference of the list; 0: none */
	unsigned held, held_room;  /* ... its length, and when it is looked through */
	lp_time tidy_after;        /* ... when it may collect again after a task */
	unsigned submits;          /* counts, to time a sample of the tasks */
	bool early;                /* a server may be in its init phase, before it forks (lib_pool.c: on_early) */
	int future_meta;           /* [I] registry reference of the metatable of futures */
	const char *source, *chunk_name; /* the chunk that was asked for last, and its name */
	struct lp_site last_site, sites[LP_SITES];
	struct lp_site hint;       /* the place for the next call from a part of ours (lp_hint_place); line 0: none */
};

/* Outside all coroutines? */
static inline bool lp_is_main(lua_State *L, const struct lp_state *s)
{
#if LP_LUAJIT
	(void)s; /* 5.1 does not tell what the main thread is, only whether this is it */
	bool is = lua_pushthread(L);
	lua_pop(L, 1);
	return is;
#else
	return L == s->L;
#endif
}

/* Are we a `__close` that lua_close calls, or a host's C code outside all functions? Then nobody is there to wait for what does
 * not end: the end of the state has begun, and its bounds hold. */
static inline bool lp_is_unwinding(lua_State *L, const struct lp_state *s)
{
	lua_Debug caller;
	return !LP_LUAJIT && s->host && lp_is_main(L, s) && !lua_getstack(L, 1, &caller);
}

void lp_state_switch(lua_State *L, struct lp_state *s);

/* Only in C functions registered with the state as upvalue 1 (lp_handle_class with nup = 1, or
 * luaL_setfuncs(L, l, 1)). */
static inline struct lp_state *lp_state(lua_State *L)
{
	struct lp_state *s = lua_touserdata(L, lua_upvalueindex(1));
	if (__builtin_expect(s->current != L, 0))
		lp_state_switch(L, s);
	return s;
}

/* Creates the state's record if it has none, and pushes it. Raises on memory. */
struct lp_state *lp_state_open(lua_State *L);

/* An optional timeout in seconds at argument `index` as a deadline: none or nil is LP_FOREVER, 0 and
 * less poll. NaN and other types are argument errors that say "timeout in seconds". */
lp_time lp_check_timeout(lua_State *L, int index);

/* lp_wait_any for a Lua function: answers an index >= 0 or LP_TIMEOUT, and raises for the rest:
 * CANCELLED, TIMEOUT of a deadline scope, "dead-lock: ...", "interrupted!", out of memory. Whoever calls
 * it holds nothing that a Lua error would leak, and anchors the objects (they are arguments of
 * the running C function, say). */
int lp_wait(lua_State *L, struct lp_state *s, struct lp_node *nodes, int n, lp_time deadline);

/* Where the Lua function of the user's that called the running C function stands; NULL: not known. Good until the next call. */
const struct lp_site *lp_call_site(lua_State *L, struct lp_state *s);
/* For a part of ours that calls again and again on behalf of one call of the user's: that one's place, found once (0: not
 * known), is the one of the next call from a part of ours. */
int64_t lp_caller_place(lua_State *L, struct lp_state *s);
void lp_hint_place(struct lp_state *s, int64_t place);
/* The same without raising, in a state that is open. LP_RAISED: a signal handler's hook did, and its error is on the
 * stack. A hook that does not raise lets the wait go on, or, if it can be done `once` only, answers LP_AGAIN. */
int lp_wait_blocking(lua_State *L, struct lp_state *s, struct lp_node *nodes, int n, lp_time deadline, bool once);
/* Pushes the error of an LP_DEADLOCK, at once: its text is the thread's. */
void lp_push_deadlock(lua_State *L);
/* Raises what a negative answer other than LP_TIMEOUT means. `node`: what was waited for, or NULL. */
int lp_wait_raise(lua_State *L, struct lp_state *s, const struct lp_node *node, int answer);
/* Before a wait: who waits, for the report (wait.h). */
void lp_note_code(lua_State *L, struct lp_state *s);

/* Pushes nil, "timeout"; returns 2. */
int lp_push_timeout(lua_State *L);

/* Number argument that is an integer in [min, max], else an argument error that names the range. */
lua_Integer lp_check_int(lua_State *L, int index, lua_Integer min, lua_Integer max);

/* Each lib_*.c: registers its class(es) and puts its functions into the table on top of the stack. The
 * record is at stack index `state` (push it before luaL_setfuncs / lp_handle_class with nup = 1). */
void lp_open_future(lua_State *L, int state);
void lp_open_pool(lua_State *L, int state);
void lp_open_ends(lua_State *L, int state);   /* for lua-pool/futures.lua */
void lp_open_event(lua_State *L, int state);
void lp_open_channel(lua_State *L, int state);
void lp_open_counter(lua_State *L, int state);
void lp_open_dict(lua_State *L, int state);
void lp_open_array(lua_State *L, int state);   /* array, buffer, transfer */
void lp_open_sync(lua_State *L, int state);   /* mutex, condition, semaphore, rwlock, barrier, once */
void lp_open_clock(lua_State *L, int state);
void lp_open_select(lua_State *L, int state);
void lp_open_group(lua_State *L, int state);
void lp_open_timer(lua_State *L, int state);
void lp_open_report(lua_State *L, int state);
void lp_open_named(lua_State *L, int state);
void lp_open_worker(lua_State *L, int state);
void lp_open_cancel(lua_State *L, int state);
void lp_open_jit(lua_State *L, int state);    /* nothing on Lua 5.4 */
void lp_open_misc(lua_State *L, int state);
void lp_open_batch(lua_State *L, int state);  /* for lua-pool/batch.lua */
void lp_open_meet(lua_State *L, int state);
void lp_open_fs(lua_State *L, int state);      /* files and paths */
void lp_open_run(lua_State *L, int state);     /* subprocesses */
void lp_open_light(lua_State *L);
void lp_open_suspend(lua_State *L, int state);
void lp_open_loop(lua_State *L, int state);
void lp_open_pollfd(lua_State *L, int state);

#endif
