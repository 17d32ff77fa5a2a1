/* own: userdata of ours that are no handles: guards, records of waits, boxes ...
 *
 * Each begins with a mark made of its kind and its own address. A metatable proves nothing: the debug library gives any
 * userdata any, and hands out our metamethods to be called with whatever it likes. So whatever comes from the
 * stack is asked for its mark before it is touched. */
#ifndef LP_OWN_H
#define LP_OWN_H

#include "values/compat.h"

struct lp_own {
	uintptr_t mark; /* 0: it has ended */
};

static inline void lp_own_set(void *p, const void *kind)
{
	((struct lp_own *)p)->mark = (uintptr_t)kind ^ (uintptr_t)p;
}

/* The userdata at index if it is one of this kind and has not ended, else NULL. `kind`: the address of something static. */
static inline void *lp_own_test(lua_State *L, int index, size_t size, const void *kind)
{
	struct lp_own *own = lua_touserdata(L, index); /* a light userdata has no length */
	return own && lua_rawlen(L, index) >= size && own->mark == ((uintptr_t)kind ^ (uintptr_t)own) ? own : NULL;
}

/* For __gc: the same, and whoever asks next is told NULL. */
static inline void *lp_own_end(lua_State *L, int index, size_t size, const void *kind)
{
	struct lp_own *own = lp_own_test(L, index, size, kind);
	if (own)
		own->mark = 0;
	return own;
}

/* On top of the stack is a metatable of ours: getmetatable gives its name instead, and setmetatable refuses. */
static inline void lp_own_protect(lua_State *L, const char *name)
{
	lua_pushstring(L, name);
	lua_setfield(L, -2, "__metatable");
}

#endif
