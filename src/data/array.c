/* array: see array.h. */
#include "data/array.h"

#include "base/account.h"

struct lp_store {
	struct lp_obj obj; /* the memory follows, aligned */
};

const struct lp_type_info lp_types[LP_TYPES] = {
	[LP_I8] = {"i8", 1, false, INT8_MIN, INT8_MAX},
	[LP_U8] = {"u8", 1, false, 0, UINT8_MAX},
	[LP_I16] = {"i16", 2, false, INT16_MIN, INT16_MAX},
	[LP_U16] = {"u16", 2, false, 0, UINT16_MAX},
	[LP_I32] = {"i32", 4, false, INT32_MIN, INT32_MAX},
	[LP_U32] = {"u32", 4, false, 0, UINT32_MAX},
	[LP_I64] = {"i64", 8, false, INT64_MIN, INT64_MAX},
	[LP_U64] = {"u64", 8, false, 0, UINT64_MAX},
	[LP_F32] = {"f32", 4, true, 0, 0},
	[LP_F64] = {"f64", 8, true, 0, 0},
};

/* ---- stores ---- */

static void store_destroy(struct lp_obj *o)
{
	lp_free_counted(o);
}

static const struct lp_class store_class = {.name = "lua-pool.store", .destroy = store_destroy};

static struct lp_store *store_new(size_t size, unsigned char **data)
{
	if (size > LP_STORE_MAX)
		return NULL;
	struct lp_store *s = lp_zalloc_counted(sizeof *s + LP_STORE_ALIGN - 1 + size);
	if (!s)
		return NULL;
	lp_use_whole(s, size);
	lp_obj_init(&s->obj, &store_class);
	uintptr_t at = (uintptr_t)(s + 1);
	*data = (unsigned char *)(s + 1) + (-at & (LP_STORE_ALIGN - 1));
	return s;
}

/* ---- views ---- */

static struct lp_array *view_new(const struct lp_class *cls, enum lp_type type, size_t n)
{
	struct lp_array *a = lp_alloc(sizeof *a);
	if (!a)
		return NULL;
	lp_obj_init(&a->obj, cls);
	a->store = NULL;
	a->n = n;
	a->type = type;
	atomic_init(&a->data, NULL);
	atomic_init(&a->shared, false);
	atomic_init(&a->origin, NULL);
	return a;
}

static void view_destroy(struct lp_obj *o)
{
	struct lp_array *a = (struct lp_array *)o;
	struct lp_array *origin = atomic_exchange(&a->origin, NULL);
	if (origin) { /* nobody received it */
		atomic_store(&origin->data, atomic_load(&a->data));
		lp_release(origin);
	}
	lp_release(a->store);
	lp_free(a);
}

/* A message takes a count of it. */
static struct lp_obj *view_sent(struct lp_obj *o, const char **why)
{
	(void)why;
	atomic_store(&((struct lp_array *)o)->shared, true);
	return lp_retain(o);
}

/* A message was opened and gave a handle of it. */
static void view_received(struct lp_obj *o)
{
	struct lp_array *a = (struct lp_array *)o;
	struct lp_array *origin = atomic_exchange(&a->origin, NULL);
	if (!origin) {
		atomic_store(&a->shared, true); /* it was sent, or is received a second time */
		return;
	}
	lp_adopt_counted(a->store);
	/* The old view's count of the memory goes now and not when its handle is collected; but not if another
	 * state may be reading: it looked at `data` after `shared` was set, so we see one of the two. */
	if (!atomic_load(&origin->shared)) {
		lp_release(origin->store);
		origin->store = NULL;
	}
	lp_release(origin);
}

const struct lp_class lp_array_class = {
	.name = "lua-pool.array",
	.destroy = view_destroy,
	.sent = view_sent,
	.received = view_received,
	.forks = true,
};

const struct lp_class lp_buffer_class = {
	.name = "lua-pool.buffer",
	.destroy = view_destroy,
	.sent = view_sent,
	.received = view_received,
	.forks = true,
};

struct lp_array *lp_array_new(const struct lp_class *cls, enum lp_type type, size_t n)
{
	struct lp_array *a = view_new(cls, type, n);
	unsigned char *data;
	if (!a)
		return NULL;
	if (!(a->store = store_new(n * lp_types[type].size, &data))) {
		lp_free(a);
		return NULL;
	}
	atomic_init(&a->data, data);
	return a;
}

struct lp_array *lp_array_view(struct lp_array *a, const struct lp_class *cls, enum lp_type type, size_t offset, size_t n)
{
	unsigned char *data = lp_array_data(a);
	struct lp_array *v = data ? view_new(cls, type, n) : NULL;
	if (!v)
		return NULL;
	v->store = lp_retain(a->store);
	atomic_init(&v->data, data + offset);
	return v;
}

bool lp_array_span(struct lp_array *a, struct lp_span *span)
{
	span->data = lp_array_data(a);
	if (!span->data)
		return false;
	span->store = lp_retain(a->store);
	span->size = a->n * lp_types[a->type].size;
	return true;
}

/* ---- moving ---- */

static struct lp_obj *transfer_sent(struct lp_obj *o, const char **why)
{
	struct lp_array *a = ((struct lp_transfer *)o)->what;
	struct lp_array *v = view_new(a->obj.cls, a->type, a->n);
	if (!v) {
		*why = "not enough memory";
		return NULL;
	}
	unsigned char *data = atomic_exchange(&a->data, NULL);
	if (!data) {
		lp_free(v);
		*why = "cannot move what was moved already (pool.transfer)";
		return NULL;
	}
	v->store = lp_retain(a->store);
	atomic_init(&v->data, data);
	atomic_init(&v->origin, lp_retain(a));
	return &v->obj;
}

static void transfer_destroy(struct lp_obj *o)
{
	lp_release(((struct lp_transfer *)o)->what);
	lp_free(o);
}

const struct lp_class lp_transfer_class = {
	.name = "lua-pool.transfer",
	.destroy = transfer_destroy,
	.sent = transfer_sent,
	.forks = true,
};

struct lp_transfer *lp_transfer_new(struct lp_array *a)
{
	struct lp_transfer *t = lp_alloc(sizeof *t);
	if (!t)
		return NULL;
	lp_obj_init(&t->obj, &lp_transfer_class);
	t->what = lp_retain(a);
	return t;
}
