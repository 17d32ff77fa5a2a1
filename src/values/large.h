/* large: strings of many MiB. */
#ifndef LP_LARGE_H
#define LP_LARGE_H

#include "values/compat.h"

/* lua_pushlstring. A string of many MiB gets memory in large pages if the system has them: most of the time that such
 * a string costs is for the faults of its small ones. May raise on memory, as that. */
void lp_push_large(lua_State *L, const char *p, size_t n);

#endif
