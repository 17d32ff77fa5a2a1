/* element: one number of an array between Lua and memory: what fits, and how it is read. */
#ifndef LP_ELEMENT_H
#define LP_ELEMENT_H

#include "data/array.h"
#include "values/compat.h"

/* The value at index as an element. False: it does not fit, and the reason ("a whole number from -128 to 127
 * expected, got 300") is pushed. Whole floats are whole numbers. f32 rounds. u64 on Lua 5.4: negative
 * integers stand for the numbers from 2^63 on, as they do in Lua's own math.ult and %x. */
bool lp_element_get(lua_State *L, int index, enum lp_type type, union lp_element *e);
/* The same as an argument, or an argument error. */
union lp_element lp_element_check(lua_State *L, int index, enum lp_type type);

/* Pushes a whole number of 64 bits. LuaJIT: beyond 2^53 as int64_t or uint64_t. */
void lp_push_i64(lua_State *L, int64_t x);
void lp_push_u64(lua_State *L, uint64_t x);

/* Element at p: read or written at once (relaxed atomics). */
void lp_element_push(lua_State *L, enum lp_type type, const void *p);
void lp_element_put(enum lp_type type, void *p, union lp_element e);
void lp_element_load(enum lp_type type, const void *p, union lp_element *e);
/* The number e of one type as one of another; false: it does not fit. */
bool lp_element_convert(enum lp_type from, enum lp_type to, union lp_element *e);

/* Whole numbers only, atomic: adds d and answers the new value (wraps around); puts `new` in if *expected is
 * there, else answers false and what is there in *expected. */
void lp_element_add(enum lp_type type, void *p, int64_t d, union lp_element *result);
bool lp_element_cas(enum lp_type type, void *p, union lp_element *expected, union lp_element new);

/* The whole number at index, from 1 to n, or an error that names both: a[i]. */
size_t lp_check_place(lua_State *L, int index, size_t n);
/* i and j at indexes `first` and `first` + 1, as for string.sub: absent are 1 and n, negative count from the
 * end. Answers how many elements that is and sets *from (counted from 0). Outside of 1 ... n is an error, but
 * for an empty range: j == i - 1. */
size_t lp_check_range(lua_State *L, int first, size_t n, size_t *from);
/* A number of elements from 0 on. */
size_t lp_check_count(lua_State *L, int index);

#endif
