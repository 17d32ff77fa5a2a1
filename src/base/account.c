/* account: see account.h. */
#include "base/account.h"

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include "base/os.h"

struct lp_account {
	_Atomic uint32_t refs;  /* one of who runs the task, one per block */
	_Atomic size_t bytes;   /* [A] added by the task's thread, taken off by anybody */
	size_t limit;           /* [I] */
	size_t more;            /* [the task's thread] beyond the limit */
	const size_t *state;    /* [the task's thread] */
};

/* Before each block. */
union header {
	struct {
		struct lp_account *_Atomic account; /* [A] to be taken away by whoever disowns it */
		size_t size;
	} is;
	max_align_t align;
};

_Thread_local struct lp_account *lp_account_mine;
static _Thread_local size_t refused;

struct lp_account *lp_account_new(size_t limit, const size_t *state)
{
	struct lp_account *a = lp_alloc(sizeof *a);
	if (!a)
		return NULL;
	atomic_init(&a->refs, 1);
	atomic_init(&a->bytes, 0);
	a->limit = limit;
	a->more = 0;
	a->state = state;
	return a;
}

void lp_account_release(struct lp_account *a)
{
	if (a && atomic_fetch_sub_explicit(&a->refs, 1, memory_order_acq_rel) == 1)
		lp_free(a);
}

bool lp_account_idle(const struct lp_account *a)
{
	return atomic_load_explicit(&a->refs, memory_order_acquire) == 1;
}

static bool charge(struct lp_account *a, size_t size)
{
	size_t before = atomic_fetch_add_explicit(&a->bytes, size, memory_order_relaxed), used = *a->state + before;
	size_t limit = a->limit + a->more;
	if (used < limit && size <= limit - used)
		return true;
	atomic_fetch_sub_explicit(&a->bytes, size, memory_order_relaxed);
	refused = a->limit;
	return false;
}

bool lp_account_charge(struct lp_account **a, size_t size)
{
	struct lp_account *mine = lp_account_mine;
	*a = NULL;
	refused = 0;
	if (!mine)
		return true;
	if (!charge(mine, size))
		return false;
	atomic_fetch_add_explicit(&mine->refs, 1, memory_order_relaxed);
	*a = mine;
	return true;
}

void lp_account_settle(struct lp_account *a, size_t size)
{
	if (!a)
		return;
	atomic_fetch_sub_explicit(&a->bytes, size, memory_order_relaxed);
	lp_account_release(a);
}

static void *allocate(size_t size, void *(*alloc)(size_t))
{
	struct lp_account *a;
	if (size > SIZE_MAX / 2 || !lp_account_charge(&a, size))
		return NULL;
	union header *h = alloc(sizeof *h + size);
	if (!h) {
		lp_account_settle(a, size);
		return NULL;
	}
	atomic_init(&h->is.account, a);
	h->is.size = size;
	return h + 1;
}

void *lp_alloc_counted(size_t size)
{
	return allocate(size, lp_alloc);
}

void *lp_zalloc_counted(size_t size)
{
	return allocate(size, lp_zalloc);
}

/* The new size is charged to who asks for it; what it was before comes off whomever it was charged to. */
void *lp_realloc_counted(void *p, size_t size)
{
	if (!p)
		return lp_alloc_counted(size);
	union header *h = (union header *)p - 1;
	struct lp_account *before = atomic_load_explicit(&h->is.account, memory_order_relaxed), *a;
	size_t old = h->is.size;
	if (before)
		atomic_fetch_sub_explicit(&before->bytes, old, memory_order_relaxed);
	if (size <= SIZE_MAX / 2 && lp_account_charge(&a, size)) {
		union header *grown = lp_realloc(h, sizeof *h + size);
		if (grown) {
			atomic_init(&grown->is.account, a);
			grown->is.size = size;
			lp_account_release(before);
			return grown + 1;
		}
		lp_account_settle(a, size);
	}
	if (before)
		atomic_fetch_add_explicit(&before->bytes, old, memory_order_relaxed);
	return NULL;
}

void lp_free_counted(void *p)
{
	if (!p)
		return;
	union header *h = (union header *)p - 1;
	lp_account_settle(atomic_load_explicit(&h->is.account, memory_order_relaxed), h->is.size);
	lp_free(h);
}

void lp_adopt_counted(void *p)
{
	union header *h = (union header *)p - 1;
	struct lp_account *mine = lp_account_mine;
	if (mine) {
		atomic_fetch_add_explicit(&mine->bytes, h->is.size, memory_order_relaxed);
		atomic_fetch_add_explicit(&mine->refs, 1, memory_order_relaxed);
	}
	lp_account_settle(atomic_exchange_explicit(&h->is.account, mine, memory_order_relaxed), h->is.size);
}

void lp_account_outcome(bool outcome)
{
	enum { MORE = 64 * 1024 };
	if (lp_account_mine)
		lp_account_mine->more = outcome ? MORE : 0;
}

size_t lp_account_refused(void)
{
	size_t limit = refused;
	refused = 0;
	return limit;
}
