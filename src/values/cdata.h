/* cdata: LuaJIT's int64_t and uint64_t as C sees them. The C API does not know cdata, so Lua functions that the
 * registry keeps do the work; slow, but there is no other way. */
#ifndef LP_CDATA_H
#define LP_CDATA_H

#include "values/compat.h"

#if LP_LUAJIT
enum lp_cdata_kind { LP_CDATA_NONE = -1, LP_CDATA_I64, LP_CDATA_U64 };

/* What the cdata at index is; its 64 bits. NONE: another cdata, or none. Raises on memory. */
enum lp_cdata_kind lp_cdata_get(lua_State *L, int index, uint64_t *bits);
/* Pushes one. Raises on memory, or where there is no FFI. */
void lp_cdata_push(lua_State *L, enum lp_cdata_kind kind, uint64_t bits);
#endif

#endif
