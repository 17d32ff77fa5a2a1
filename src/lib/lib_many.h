/* lib_many: packs as Lua sees them. */
#ifndef LP_LIB_MANY_H
#define LP_LIB_MANY_H

#include "lib/lib_path.h"
#include "files/pack.h"

/* The pack at index, entered: the caller leaves. Raises if it is none, or if another thread is inside. */
struct lp_pack *lp_enter_pack(lua_State *L, int index);

/* The folder at index that paths may not leave; NULL: there is nil. */
struct lp_folder *lp_check_root(lua_State *L, int index);

/* The path of an entry. False: there is a zero byte in it. */
bool lp_entry_path(struct lp_entry *e, struct lp_folder *root, struct lp_path *path);

/* Leaves the pack, and raises what stopped a function that worked on it: ENOMEM or LP_IO_STOPPED. */
int lp_pack_raise(lua_State *L, struct lp_state *s, struct lp_pack *p, int err);

#endif
