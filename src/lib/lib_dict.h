/* lib_dict: what the two files of pool.dict share. */
#ifndef LP_LIB_DICT_H
#define LP_LIB_DICT_H

#include "data/dict.h"
#include "values/handle.h"
#include "vm/state.h"
#include "values/values.h"

/* ---- keys ---- (lib_dict_all.c) */
/* The value at index as a key, which points into a string that stays where it is. NULL, or why it is none (on the stack). */
const char *lp_to_key(lua_State *L, int index, struct lp_dict_key *key);
/* The same, or an argument error. */
struct lp_dict_key lp_check_key(lua_State *L, int index);
void lp_push_key(lua_State *L, const struct lp_dict_key *key);

/* ---- anchors ----
 * What a value's count belongs to while Lua may raise: a handle of a blob. Each function keeps one as its second
 * upvalue, and makes another when that is in use: by an outer call, or because an error has left it. */
struct lp_handle *lp_take_anchor(lua_State *L); /* pushes it, empty */
static inline void lp_drop_anchor(struct lp_handle *h)
{
	struct lp_obj *o = h->obj;
	h->obj = NULL;
	lp_release(o);
}

/* Pushes a value; the count of its blob is given back, also if this raises. h: an empty anchor that is on the stack. */
void lp_push_value(lua_State *L, struct lp_state *s, struct lp_handle *h, struct lp_dict_value *value);

extern const luaL_Reg lp_dict_all_methods[]; /* lib_dict_all.c */

/* Registers functions with the state and an anchor as upvalues into the table on top of the stack. */
void lp_set_anchored(lua_State *L, int state, const luaL_Reg *functions);
int lp_dict_pairs(lua_State *L);

#endif
