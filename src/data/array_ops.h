/* array_ops: loops over the elements of arrays, one set per type. Plain C that the compiler vectorises: this file
 * pair and array_loops.h are compiled with -O3. They are ordinary accesses to memory: see array.h on races.
 *
 * Whole numbers wrap around in 64 bits (sum, dot) or in their own (scale, axpy). Sums of f32 and f64 are made
 * in double precision in a fixed order: 16 running sums over each block of 1,024 elements, then the blocks
 * pairwise. The result depends on the numbers and on how many they are, not on the machine, and its error
 * grows with the logarithm of their number. */
#ifndef LP_ARRAY_OPS_H
#define LP_ARRAY_OPS_H

#include "data/array.h"

struct lp_array_ops {
	void (*fill)(void *to, union lp_element v, size_t n);
	union lp_element (*sum)(const void *x, size_t n);
	union lp_element (*dot)(const void *x, const void *y, size_t n);
	void (*scale)(void *x, union lp_element k, size_t n);                 /* x[i] *= k */
	void (*axpy)(void *y, union lp_element k, const void *x, size_t n);  /* y[i] += k * x[i], from the first on */
	bool (*equal)(const void *x, const void *y, size_t n);                /* as == has it: NaN differs from itself */
	/* The least, or the greatest; NaN counts for nothing. False: there is none. */
	bool (*extreme)(const void *x, size_t n, bool greatest, union lp_element *e);
	size_t (*find)(const void *x, size_t n, union lp_element v);          /* the first that is == v; n: none */

	/* In ascending order, NaN at the end, -0 before 0. Of the same order are what lower and merge are given. */
	void (*sort)(void *x, size_t n);
	size_t (*lower)(const void *x, size_t n, union lp_element v);         /* how many stand before v */
	void (*merge)(void *to, const void *x, size_t nx, const void *y, size_t ny); /* `to` overlaps neither */
};
extern const struct lp_array_ops lp_array_ops[LP_TYPES];

/* array_sort.c */
#define LP_SORT_TYPES(X) X(i8) X(u8) X(i16) X(u16) X(i32) X(u32) X(i64) X(u64) X(f32) X(f64)
#define LP_SORT_DECLARE(t)                                                                    \
	void lp_sort_##t(void *x, size_t n);                                                  \
	size_t lp_lower_##t(const void *x, size_t n, union lp_element v);                     \
	void lp_merge_##t(void *to, const void *x, size_t nx, const void *y, size_t ny);
LP_SORT_TYPES(LP_SORT_DECLARE)
/* For tests: sorts in place, as sort does when there is no memory for a second copy. */
void lp_sort_in_place_f64(void *x, size_t n);

#endif
