/* values: Lua values to messages and back, and the code of functions.
 *
 * struct lp_values is what one Lua state keeps for that: the code caches, the names of library
 * functions, scratch memory. It is anchored in the registry and used by that state alone.
 *
 * Files: encode*.c, decode.c, map.c (which values were met), pin.c (large strings are copied once), code.c (function
 * code: dump once, load once per state), factory.c (closures without loading), names.c (C functions and library tables by
 * name), shortcut.c, numbers.c, records.c, changes.c (knowledge of the interpreter's internals, self-tested at load, off with
 * LUA_POOL_PORTABLE=1). */
#ifndef LP_VALUES_H
#define LP_VALUES_H

#include "values/compat.h"
#include "wait/msg.h"

struct lp_values;

/* Creates it for this state (once), anchored in the registry; raises on memory. */
struct lp_values *lp_values_open(lua_State *L);

/* Encodes the n values that start at stack index `first` and appends them to m (m->nvalues += n).
 * `what` and `number` name them in errors: ("argument", 2) -> "argument #2: ...".
 * On success true, the stack is unchanged. A value that cannot be sent: false, and the reason with
 * its path is pushed (m may hold part of the encoding: lp_msg_clear it). Raises on memory errors only,
 * or lets through what a __pool_encode metamethod raises as `false` with the path. m must be anchored:
 * owned by something that a Lua error does not leak. */
bool lp_encode(lua_State *L, struct lp_values *v, struct lp_msg *m, int first, int n, const char *what, int number);

/* Pushes all m->nvalues values (fresh copies; m is unchanged and can be decoded again, by any state).
 * Returns how many. Raises if out of memory, if the stack cannot hold them, if a module by name
 * cannot be required here, if a __pool_decode raises, if the bytes are damaged. */
int lp_decode(lua_State *L, struct lp_values *v, const struct lp_msg *m);

/* How many modules and fields of modules were looked at to know the names of what was sent. */
size_t lp_names_looked(const struct lp_values *v);

/* ---- shortcut.c ---- */
/* Where a Lua function stands: pointers that tell it from all others, of which none is followed later. Other code could
 * only be taken for it if all of them were reused for a function with the same lines of the same chunk. */
struct lp_spot {
	const void *pc, *proto, *code, *lines, *source;
	int first, last; /* the lines it is defined at */
};
/* Of the activation that lua_getstack found; false: not a Lua function, or the layout is not known. */
bool lp_spot_of(const lua_Debug *ar, struct lp_spot *spot);

/* Is it the code of a function? Messages refer to it. */
bool lp_is_code(const struct lp_obj *o);

#if LP_LUAJIT
/* A call of this code has ended on top of another that may be of the same function: gives that its environment back. */
void lp_code_restore(lua_State *L, struct lp_values *v, struct lp_obj *code);
/* A task begins in this thread: its global environment is the state's own. */
void lp_go_home(lua_State *L, struct lp_values *v);
#endif

/* In a worker: the registry key of the table of modules that package.loaded had when the state was opened. A task may have
 * emptied package.loaded: then they are taken from there, and *lost becomes true. */
extern const char lp_standard_modules;
void lp_names_watch(struct lp_values *v, bool *lost);
void lp_names_lost(struct lp_values *v);

/* A message of so many bytes came or went: LuaJIT's collector counts its steps by allocations, however large, and would
 * let some forty large strings pile up before it is round. Does nothing on Lua 5.4. Never raises. */
void lp_collect(lua_State *L, size_t bytes);

/* There was no memory. If that is because the task has reached its pool's memory_limit, a whole collection may make room: true, try
 * once more. Never raises. */
bool lp_make_room(lua_State *L);
/* Raises what there is to say when there was no memory, or none within the limit. */
int lp_no_memory(lua_State *L);
int lp_no_memory_for(lua_State *L, const char *what); /* "for ..." */

/* Pushes `error value` in a form that can always be sent: itself if it can be encoded, else a string that
 * tells its type and text and why it is a string. Used for task errors. Index must be absolute. */
void lp_push_sendable(lua_State *L, struct lp_values *v, int index);

#endif
