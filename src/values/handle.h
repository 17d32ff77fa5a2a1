/* handle: a shared object as a Lua userdata.
 *
 * A handle holds one count of its object, from lp_handle_new's success to __gc. Any state may have any
 * number of handles of one object; they are == and, within one state, normally the same userdata. */
#ifndef LP_HANDLE_H
#define LP_HANDLE_H

#include "values/compat.h"
#include "wait/obj.h"
#include "values/own.h"

struct lp_handle {
	uintptr_t magic;     /* LP_HANDLE_MAGIC ^ its own address: tells ours from any other userdata */
	struct lp_obj *obj;  /* counted; NULL: empty (not yet filled, or finalised) */
};
#define LP_HANDLE_MAGIC ((uintptr_t)0x6c702d706f6f6c21u)

/* Registers the class in this state: its methods, with `upvalue` copies of the value on top of the stack
 * (popped) as first upvalue if nup is 1; __index, __gc, __eq, __name, __tostring unless given. */
void lp_handle_class(lua_State *L, const struct lp_class *cls, const luaL_Reg *methods, const luaL_Reg *meta, int nup);

/* Pushes the table class name -> table of methods, which the Lua parts add to. */
void lp_push_classes(lua_State *L);

/* Pushes an empty handle of the class (anchor first, fill after: style rule 1). A class without
 * methods in this state is an error ("require lua-pool first" cannot happen: core registers all). */
struct lp_handle *lp_handle_new(lua_State *L, const struct lp_class *cls);

/* The same for a class whose metatable has this registry reference: a third of the time. */
struct lp_handle *lp_handle_quick(lua_State *L, int metatable);

/* Pushes a handle of o: the state's own one if it has one (weak cache), else a new one with a
 * new count. May raise on memory; o's count is untouched then. */
void lp_push(lua_State *L, struct lp_obj *o);

/* The handle at index; NULL: not one of ours. */
static inline struct lp_handle *lp_tohandle(lua_State *L, int index)
{
	/* A light userdata has no length. */
	struct lp_handle *h = lua_touserdata(L, index);
	return h && lua_rawlen(L, index) >= sizeof *h && h->magic == (LP_HANDLE_MAGIC ^ (uintptr_t)h) ? h : NULL;
}

/* The object of the handle at index, of any class; NULL: not one of ours, or empty. */
static inline struct lp_obj *lp_toobj(lua_State *L, int index)
{
	struct lp_handle *h = lp_tohandle(L, index);
	return h ? h->obj : NULL;
}

/* For __gc: empties the handle and hands its count over; NULL: not one of ours, or empty. */
static inline void *lp_handle_end(lua_State *L, int index)
{
	struct lp_handle *h = lp_tohandle(L, index);
	struct lp_obj *o = h ? h->obj : NULL;
	if (o)
		h->obj = NULL;
	return o;
}

/* The object of class cls at argument index, or a Lua error that says what was expected; also
 * raises for an object of a process that forked us ("this channel belongs to the parent process"). */
void *lp_check(lua_State *L, int index, const struct lp_class *cls);
/* The same, NULL instead of an error for a value of another type. */
void *lp_test(lua_State *L, int index, const struct lp_class *cls);

#endif
