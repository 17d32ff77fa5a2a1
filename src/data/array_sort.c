/* array_sort: sorting, searching and merging of numbers; see array_ops.h for the order.
 *
 * Every element has a *key*, an unsigned number of its width that has the order we want: the sign bit of whole
 * numbers turned; of floats, all bits of negative ones turned, and NaN the greatest. The sort is a radix sort
 * from the lowest byte up: it counts all bytes in one pass, then moves the elements between the array and
 * a copy, once per byte that is not the same everywhere. What is moved is the element, so NaNs keep their
 * bits. Without memory for the copy it is a heap sort in place. */
#include "data/array_ops.h"

#include <string.h>

enum { SMALL = 48 /* below, insertion is faster than counting */ };

static inline uint8_t key_u8(uint8_t b) { return b; }
static inline uint16_t key_u16(uint16_t b) { return b; }
static inline uint32_t key_u32(uint32_t b) { return b; }
static inline uint64_t key_u64(uint64_t b) { return b; }
static inline uint8_t key_i8(uint8_t b) { return b ^ 0x80; }
static inline uint16_t key_i16(uint16_t b) { return b ^ 0x8000; }
static inline uint32_t key_i32(uint32_t b) { return b ^ 0x80000000u; }
static inline uint64_t key_i64(uint64_t b) { return b ^ 0x8000000000000000u; }

static inline uint32_t key_f32(uint32_t b)
{
	uint32_t key = b ^ ((b >> 31 ? 0x7fffffffu : 0) | 0x80000000u);
	return b << 1 > 0xff000000u ? UINT32_MAX : key;
}

static inline uint64_t key_f64(uint64_t b)
{
	uint64_t key = b ^ ((b >> 63 ? 0x7fffffffffffffffu : 0) | 0x8000000000000000u);
	return b << 1 > 0xffe0000000000000u ? UINT64_MAX : key;
}

static inline uint8_t bits_i8(union lp_element e) { return (uint8_t)e.i; }
static inline uint8_t bits_u8(union lp_element e) { return (uint8_t)e.i; }
static inline uint16_t bits_i16(union lp_element e) { return (uint16_t)e.i; }
static inline uint16_t bits_u16(union lp_element e) { return (uint16_t)e.i; }
static inline uint32_t bits_i32(union lp_element e) { return (uint32_t)e.i; }
static inline uint32_t bits_u32(union lp_element e) { return (uint32_t)e.i; }
static inline uint64_t bits_i64(union lp_element e) { return (uint64_t)e.i; }
static inline uint64_t bits_u64(union lp_element e) { return (uint64_t)e.i; }

static inline uint64_t bits_f64(union lp_element e)
{
	uint64_t b;
	memcpy(&b, &e.f, sizeof b);
	return b;
}

static inline uint32_t bits_f32(union lp_element e)
{
	float f = (float)e.f;
	uint32_t b;
	memcpy(&b, &f, sizeof b);
	return b;
}

/* Elements are read as unsigned numbers of their width, whatever they are. */
typedef uint8_t any8 __attribute__((may_alias));
typedef uint16_t any16 __attribute__((may_alias));
typedef uint32_t any32 __attribute__((may_alias));
typedef uint64_t any64 __attribute__((may_alias));

/* t: the type; U: how it is read. */
#define SORT(t, U)                                                                                             \
	static void insertion_##t(U *x, size_t n)                                                              \
	{                                                                                                      \
		for (size_t i = 1; i < n; i++) {                                                               \
			U e = x[i], key = key_##t(e);                                                          \
			size_t k = i;                                                                          \
			for (; k > 0 && key_##t(x[k - 1]) > key; k--)                                          \
				x[k] = x[k - 1];                                                               \
			x[k] = e;                                                                              \
		}                                                                                              \
	}                                                                                                      \
                                                                                                               \
	static void sift_##t(U *x, size_t i, size_t n)                                                         \
	{                                                                                                      \
		U e = x[i], key = key_##t(e);                                                                  \
		for (size_t child; (child = 2 * i + 1) < n; i = child) {                                       \
			if (child + 1 < n && key_##t(x[child + 1]) > key_##t(x[child]))                        \
				child++;                                                                       \
			if (key_##t(x[child]) <= key)                                                          \
				break;                                                                         \
			x[i] = x[child];                                                                       \
		}                                                                                              \
		x[i] = e;                                                                                      \
	}                                                                                                      \
                                                                                                               \
	static void in_place_##t(U *x, size_t n)                                                               \
	{                                                                                                      \
		for (size_t i = n / 2; i-- > 0;)                                                               \
			sift_##t(x, i, n);                                                                     \
		for (size_t end = n; end-- > 1;) {                                                             \
			U e = x[end];                                                                          \
			x[end] = x[0];                                                                         \
			x[0] = e;                                                                              \
			sift_##t(x, 0, end);                                                                   \
		}                                                                                              \
	}                                                                                                      \
                                                                                                               \
	void lp_sort_##t(void *at, size_t n)                                                                   \
	{                                                                                                      \
		enum { BYTES = sizeof(U) };                                                                    \
		U *x = at;                                                                                     \
		if (n <= SMALL) {                                                                              \
			insertion_##t(x, n);                                                                   \
			return;                                                                                \
		}                                                                                              \
		U *copy = lp_alloc(n * sizeof *copy);                                                          \
		if (!copy) {                                                                                   \
			in_place_##t(x, n);                                                                    \
			return;                                                                                \
		}                                                                                              \
		lp_use_whole(copy, n * sizeof *copy);                                                          \
		size_t count[BYTES][256];                                                                      \
		memset(count, 0, sizeof count);                                                                \
		for (size_t i = 0; i < n; i++) {                                                               \
			uint64_t key = key_##t(x[i]);                                                          \
			for (int b = 0; b < BYTES; b++)                                                        \
				count[b][key >> 8 * b & 255]++;                                                \
		}                                                                                              \
		U *from = x, *to = copy;                                                                       \
		for (int b = 0; b < BYTES; b++) {                                                              \
			size_t place[256], sum = 0;                                                            \
			if (count[b][(uint64_t)key_##t(from[0]) >> 8 * b & 255] == n)                          \
				continue;                                                                      \
			for (int d = 0; d < 256; d++) {                                                        \
				place[d] = sum;                                                                \
				sum += count[b][d];                                                            \
			}                                                                                      \
			for (size_t i = 0; i < n; i++) {                                                       \
				U e = from[i];                                                                 \
				to[place[(uint64_t)key_##t(e) >> 8 * b & 255]++] = e;                          \
			}                                                                                      \
			U *swap = from;                                                                        \
			from = to;                                                                             \
			to = swap;                                                                             \
		}                                                                                              \
		if (from != x)                                                                                 \
			memcpy(x, from, n * sizeof *x);                                                        \
		lp_free(copy);                                                                                 \
	}                                                                                                      \
                                                                                                               \
	size_t lp_lower_##t(const void *at, size_t n, union lp_element v)                                      \
	{                                                                                                      \
		const U *x = at;                                                                               \
		U key = key_##t(bits_##t(v));                                                                  \
		size_t low = 0;                                                                                \
		while (low < n) {                                                                              \
			size_t middle = low + (n - low) / 2;                                                   \
			if (key_##t(x[middle]) < key)                                                          \
				low = middle + 1;                                                              \
			else                                                                                   \
				n = middle;                                                                    \
		}                                                                                              \
		return low;                                                                                    \
	}                                                                                                      \
                                                                                                               \
	void lp_merge_##t(void *target, const void *a, size_t nx, const void *b, size_t ny)                    \
	{                                                                                                      \
		const U *x = a, *y = b, *xend = x + nx, *yend = y + ny;                                        \
		U *to = target;                                                                                \
		while (x < xend && y < yend) { /* without a branch that would be guessed wrong half the time */ \
			bool second = key_##t(*y) < key_##t(*x);                                               \
			*to++ = second ? *y : *x;                                                              \
			x += !second;                                                                          \
			y += second;                                                                           \
		}                                                                                              \
		memcpy(to, x, (size_t)(xend - x) * sizeof *x);                                                 \
		memcpy(to + (xend - x), y, (size_t)(yend - y) * sizeof *y);                                    \
	}

SORT(i8, any8)
SORT(u8, any8)
SORT(i16, any16)
SORT(u16, any16)
SORT(i32, any32)
SORT(u32, any32)
SORT(i64, any64)
SORT(u64, any64)
SORT(f32, any32)
SORT(f64, any64)

void lp_sort_in_place_f64(void *x, size_t n)
{
	in_place_f64(x, n);
}
