/* pack: see pack.h. */
#include "files/pack.h"

#include <string.h>

#include "base/account.h"

/* ---- entries ---- */

static struct lp_entry *entry_at(struct lp_entries *list, size_t at)
{
	return (struct lp_entry *)(void *)(list->b.p + at);
}

static size_t size_of(size_t len)
{
	const size_t align = _Alignof(struct lp_entry);
	return (sizeof(struct lp_entry) + len + 1 + align - 1) & ~(align - 1);
}

struct lp_entry *lp_entry_add(struct lp_entries *list, const char *dir, size_t dir_len, const char *name, size_t len)
{
	size_t size = size_of(dir_len + len), at = list->b.len;
	if (dir_len + len > UINT32_MAX || !lp_bytes_room(&list->b, size))
		return NULL;
	struct lp_entry *e = entry_at(list, at);
	*e = (struct lp_entry){.len = (uint32_t)(dir_len + len), .before = (uint32_t)(at - list->last)};
	memcpy(lp_entry_name(e), dir, dir_len);
	memcpy(lp_entry_name(e) + dir_len, name, len);
	lp_entry_name(e)[dir_len + len] = '\0';
	list->b.len += size;
	list->last = at;
	list->count++;
	return e;
}

bool lp_entry_copy(struct lp_entries *list, struct lp_entry *e)
{
	struct lp_entry *copy = lp_entry_add(list, lp_entry_name(e), e->len, "", 0);
	if (!copy)
		return false;
	uint32_t before = copy->before;
	*copy = *e;
	copy->before = before;
	return true;
}

struct lp_entry *lp_entry_next(struct lp_entries *list, size_t *at)
{
	if (*at == list->b.len)
		return NULL;
	struct lp_entry *e = entry_at(list, *at);
	*at += size_of(e->len);
	return e;
}

struct lp_entry *lp_entry_last(struct lp_entries *list)
{
	return list->count ? entry_at(list, list->last) : NULL;
}

void lp_entry_drop(struct lp_entries *list)
{
	uint32_t before = entry_at(list, list->last)->before;
	list->b.len = list->last;
	list->last -= before;
	list->count--;
}

/* ---- packs ---- */

enum { KEEP = 1 << 20 };

void lp_pack_empty(struct lp_bytes *b)
{
	if (b->cap > KEEP) {
		lp_free_counted(b->p);
		*b = (struct lp_bytes){0};
	}
	b->len = 0;
}

void lp_entries_clear(struct lp_entries *list)
{
	lp_pack_empty(&list->b);
	list->last = list->count = 0;
}

void lp_pack_clear(struct lp_pack *p)
{
	lp_entries_clear(&p->given);
	lp_entries_clear(&p->found);
	lp_entries_clear(&p->left);
	lp_entries_clear(&p->folder);
	lp_pack_empty(&p->data);
	p->done = p->told = 0;
}

static void pack_destroy(struct lp_obj *o)
{
	struct lp_pack *p = (struct lp_pack *)o;
	lp_free_counted(p->given.b.p);
	lp_free_counted(p->found.b.p);
	lp_free_counted(p->left.b.p);
	lp_free_counted(p->folder.b.p);
	lp_free_counted(p->data.p);
	lp_free(p);
}

const struct lp_class lp_pack_class = {.name = "lua-pool.pack", .destroy = pack_destroy};

struct lp_pack *lp_pack_new(void)
{
	struct lp_pack *p = lp_zalloc(sizeof *p);
	if (p)
		lp_obj_init(&p->obj, &lp_pack_class);
	return p;
}

bool lp_pack_enter(struct lp_pack *p)
{
	return !atomic_exchange_explicit(&p->used, true, memory_order_acquire);
}

void lp_pack_leave(struct lp_pack *p)
{
	atomic_store_explicit(&p->used, false, memory_order_release);
}
