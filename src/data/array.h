/* array: numbers of one type in memory that several Lua states share. A buffer is the same for bytes.
 *
 * A *store* is the memory, counted. A *view* (an array, a buffer, a slice of either) is the object that
 * handles and messages know: a part of a store and the type in which it is read. Sending a view sends a
 * count, whatever its size.
 *
 * Nothing here locks. Single elements are read and written with relaxed atomics, so a race over an element
 * gives one of the values and is no undefined behaviour; loops over many elements (array_ops.h) are
 * ordinary memory accesses: who shares has to agree on who writes when, as in C.
 *
 * Moving (pool.transfer): the message gets a view of its own, and the sender's view is empty from then on.
 * If that message is thrown away before anybody has received the view, the sender's view has its
 * memory back: so a send that fails leaves things as they were, and no sending function needs to know. */
#ifndef LP_ARRAY_H
#define LP_ARRAY_H

#include "wait/obj.h"

enum lp_type { LP_I8, LP_U8, LP_I16, LP_U16, LP_I32, LP_U32, LP_I64, LP_U64, LP_F32, LP_F64, LP_TYPES };

struct lp_type_info {
	const char *name;
	uint8_t size;     /* bytes of an element */
	bool real;        /* f32, f64 */
	int64_t min;      /* of whole numbers */
	uint64_t max;
};
extern const struct lp_type_info lp_types[LP_TYPES];

/* A number that fits some type: `i` for whole numbers (u64: its bits), `f` for f32 and f64. */
union lp_element {
	int64_t i;
	double f;
};

struct lp_store; /* an lp_obj */

struct lp_array {
	struct lp_obj obj;
	struct lp_store *store;       /* counted; NULL once it was moved away and nobody else can be reading it */
	unsigned char *_Atomic data;  /* [A] NULL: moved away. Aligned for its type */
	size_t n;                     /* [I] elements */
	enum lp_type type;            /* [I] */
	_Atomic bool shared;          /* [A] another state may have a handle */
	struct lp_array *_Atomic origin; /* [A] counted: the view it was moved out of, until it is received */
};

extern const struct lp_class lp_array_class, lp_buffer_class;

/* What pool.transfer returns: stands for a view that is to be moved. */
struct lp_transfer {
	struct lp_obj obj;
	struct lp_array *what; /* [I] counted */
};
extern const struct lp_class lp_transfer_class;

enum { LP_STORE_ALIGN = 64 };
/* More bytes than this are refused without asking the system. */
#define LP_STORE_MAX ((size_t)1 << 46)

/* n elements, all zero; n * size <= LP_STORE_MAX. Count 1; NULL: out of memory. */
struct lp_array *lp_array_new(const struct lp_class *cls, enum lp_type type, size_t n);
/* A view of class cls of `n` elements of `type` from byte `offset` of a on, which lie inside and are aligned
 * (a->data + offset). NULL: out of memory, or a was moved away. */
struct lp_array *lp_array_view(struct lp_array *a, const struct lp_class *cls, enum lp_type type, size_t offset, size_t n);
struct lp_transfer *lp_transfer_new(struct lp_array *a); /* NULL: out of memory */

/* Where the elements are; NULL: moved away. Good while a is kept and this thread does not send it away: so
 * not over a wait. */
static inline void *lp_array_data(struct lp_array *a)
{
	return atomic_load(&a->data);
}

/* For whoever keeps the address longer (a read from a file, say): the memory with a count of its own. */
struct lp_span {
	struct lp_obj *store;  /* counted: give it to lp_release */
	unsigned char *data;
	size_t size;           /* bytes */
};
bool lp_array_span(struct lp_array *a, struct lp_span *span); /* false: moved away */

#endif
