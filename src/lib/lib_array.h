/* lib_array: what the files of arrays and buffers share. */
#ifndef LP_LIB_ARRAY_H
#define LP_LIB_ARRAY_H

#include "data/array.h"
#include "data/element.h"
#include "values/handle.h"
#include "vm/state.h"

/* The array or buffer at index and where its memory is, or an error that says what was expected, or that it was
 * moved away. The address is good while the value is on the stack and nothing is waited for. */
struct lp_array *lp_check_array(lua_State *L, int index, unsigned char **data);
/* NULL if it is no array and no buffer. */
struct lp_array *lp_test_array(lua_State *L, int index);

static inline size_t lp_array_size(const struct lp_array *a) /* bytes of an element */
{
	return lp_types[a->type].size;
}

/* Pushes a new array or buffer, all zero. Raises if there is no memory. */
struct lp_array *lp_push_array(lua_State *L, const struct lp_class *cls, enum lp_type type, size_t n);

/* Copies n elements from `from`, which is of another type. False: element *at of the source does not fit. */
bool lp_convert(enum lp_type to_type, void *to, enum lp_type from_type, const void *from, size_t n, size_t *at);

/* The methods of lib_array_bulk.c, a list that ends with {NULL, NULL}. */
extern const luaL_Reg lp_array_bulk[];

#endif
