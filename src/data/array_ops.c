/* array_ops: see array_ops.h. The loops are in array_loops.h, which is read once per type. */
#include "data/array_ops.h"

#include <math.h>
#include <string.h>

enum {
	LANES = 16,    /* running sums side by side: more than one addition is under way at a time */
	BLOCK = 1024,  /* elements whose running sums are added up together */
};

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)

#define NAME(f) JOIN(f, i8)
#define T int8_t
#define WIDE int32_t
#define REAL 0
#include "data/array_loops.h"

#define NAME(f) JOIN(f, u8)
#define T uint8_t
#define WIDE uint32_t
#define REAL 0
#include "data/array_loops.h"

#define NAME(f) JOIN(f, i16)
#define T int16_t
#define WIDE int32_t
#define REAL 0
#include "data/array_loops.h"

#define NAME(f) JOIN(f, u16)
#define T uint16_t
#define WIDE uint32_t
#define REAL 0
#include "data/array_loops.h"

#define NAME(f) JOIN(f, i32)
#define T int32_t
#define WIDE int64_t
#define REAL 0
#include "data/array_loops.h"

#define NAME(f) JOIN(f, u32)
#define T uint32_t
#define WIDE uint64_t
#define REAL 0
#include "data/array_loops.h"

#define NAME(f) JOIN(f, i64)
#define T int64_t
#define WIDE uint64_t
#define REAL 0
#include "data/array_loops.h"

#define NAME(f) JOIN(f, u64)
#define T uint64_t
#define WIDE uint64_t
#define REAL 0
#include "data/array_loops.h"

#define NAME(f) JOIN(f, f32)
#define T float
#define WIDE double
#define REAL 1
#include "data/array_loops.h"

#define NAME(f) JOIN(f, f64)
#define T double
#define WIDE double
#define REAL 1
#include "data/array_loops.h"

#define OPS(t) {fill_##t, sum_##t, dot_##t, scale_##t, axpy_##t, equal_##t, extreme_##t, find_##t, lp_sort_##t, \
	lp_lower_##t, lp_merge_##t},

const struct lp_array_ops lp_array_ops[LP_TYPES] = {LP_SORT_TYPES(OPS)};
