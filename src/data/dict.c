/* dict: see dict.h. This file: making and finding entries, limits, time, waiting. dict_ops.c: what users call. */
#include "data/dict.h"
#include "data/dict_int.h"

#include <string.h>

#include "base/account.h"

/* ---- blobs ---- */

static void blob_destroy(struct lp_obj *o)
{
	lp_msg_clear(&((struct lp_blob *)o)->msg);
	lp_free(o);
}

const struct lp_class lp_blob_class = {.name = "lua-pool.value", .destroy = blob_destroy, .forks = true};

struct lp_blob *lp_blob_new(void)
{
	struct lp_blob *b = lp_alloc(sizeof *b);
	if (b) {
		lp_obj_init(&b->obj, &lp_blob_class);
		lp_msg_init(&b->msg, NULL, 0);
	}
	return b;
}

/* ---- all dicts: a fork must find their locks free ---- */

static lp_mutex all_lock = LP_MUTEX_INIT(LP_RANK_DICTS);
static struct lp_link all = {&all, &all}; /* [all_lock] */

/* In the order of the list, and of each dict. */
static void each_lock(void (*f)(lp_mutex *))
{
	for (struct lp_link *l = all.next; l != &all; l = l->next) {
		struct lp_dict *d = lp_entry(l, struct lp_dict, all);
		for (unsigned i = 0; i < d->nshards; i++)
			f(&d->shards[i].lock);
	}
}

static void take_shards(void)
{
	each_lock(lp_lock_next);
}

static void give_shards(void)
{
	each_lock(lp_unlock);
}

/* A forked child: those who wait, or sleep for a lock, are not here. */
static void free_shards(void)
{
	for (struct lp_link *l = all.next; l != &all; l = l->next) {
		struct lp_dict *d = lp_entry(l, struct lp_dict, all);
		for (unsigned i = 0; i < d->nshards; i++) {
			lp_list_init(&d->shards[i].waiters);
			lp_lock_init(&d->shards[i].lock, LP_RANK_SHARD);
		}
	}
}

__attribute__((constructor)) static void dict_open(void)
{
	lp_fork_guard(&all_lock, LP_RANK_DICTS);
	lp_fork_guards(LP_RANK_SHARD, take_shards, give_shards, free_shards);
}

/* ---- keys ---- */

static uint64_t mix(uint64_t h)
{
	h = (h ^ (h >> 32)) * 0xd6e8feb86659fd93u;
	h = (h ^ (h >> 32)) * 0xd6e8feb86659fd93u;
	return h ^ (h >> 32);
}

uint64_t lp_dict_hash(const struct lp_dict *d, const struct lp_dict_key *key)
{
	uint64_t h = d->seed ^ ((uint64_t)key->kind << 56);
	if (key->kind != LP_KEY_STRING)
		return mix(h ^ key->bits);
	const unsigned char *p = key->bytes;
	size_t n = key->len;
	uint64_t word = 0;
	for (; n >= 8; n -= 8, p += 8) {
		memcpy(&word, p, 8);
		h = (h ^ word) * 0x9fb21c651e98df25u;
		h ^= h >> 29;
	}
	word = 0;
	memcpy(&word, p, n);
	return mix(h ^ word ^ (uint64_t)key->len << 48);
}

static bool same_key(const struct lp_dict_key *a, const struct lp_dict_key *b)
{
	if (a->kind != b->kind)
		return false;
	if (a->kind != LP_KEY_STRING)
		return a->bits == b->bits;
	return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

/* ---- entries ---- */

void lp_dict_free(struct lp_entry *garbage)
{
	while (garbage) {
		struct lp_entry *next = garbage->next;
		lp_release(garbage->value.blob);
		lp_free_counted(garbage);
		garbage = next;
	}
}

static struct lp_entry **place_of(struct lp_shard *s, const struct lp_entry *e)
{
	struct lp_entry **p = &s->buckets[e->hash & (s->nbuckets - 1)];
	while (*p != e)
		p = &(*p)->next;
	return p;
}

size_t lp_dict_entry_size(const struct lp_dict_key *key, const struct lp_dict_value *v)
{
	size_t size = sizeof(struct lp_entry) + (key->kind == LP_KEY_STRING ? key->len : 0);
	if (v->blob)
		size += sizeof *v->blob + v->blob->msg.cap + v->blob->msg.capobjs * sizeof(void *);
	return size;
}

void lp_dict_unlink(struct lp_dict *d, struct lp_shard *s, struct lp_entry *e, struct lp_entry **garbage)
{
	lp_assert_held(&s->lock);
	size_t size = lp_dict_entry_size(&e->key, &e->value);
	*place_of(s, e) = e->next;
	s->count--;
	s->bytes -= size;
	s->timed -= e->expires != LP_FOREVER;
	if (d->limited) {
		lp_list_remove(&e->used);
		atomic_fetch_sub(&d->items, 1);
		atomic_fetch_sub(&d->bytes, size);
	}
	e->next = *garbage;
	*garbage = e;
}

struct lp_entry *lp_dict_find(struct lp_dict *d, struct lp_shard *s, const struct lp_dict_key *key, uint64_t hash,
	struct lp_entry **garbage)
{
	lp_assert_held(&s->lock);
	if (s->nbuckets == 0)
		return NULL;
	for (struct lp_entry *e = s->buckets[hash & (s->nbuckets - 1)]; e; e = e->next) {
		if (e->hash != hash || !same_key(&e->key, key))
			continue;
		if (e->expires != LP_FOREVER && e->expires <= lp_now()) {
			s->expired++;
			lp_dict_unlink(d, s, e, garbage);
			return NULL;
		}
		if (d->limited) {
			lp_list_remove(&e->used);
			lp_list_prepend(&s->by_use, &e->used);
		}
		return e;
	}
	return NULL;
}

void lp_dict_sweep(struct lp_dict *d, struct lp_shard *s, size_t buckets, struct lp_entry **garbage)
{
	lp_assert_held(&s->lock);
	if (s->timed == 0)
		return;
	lp_time now = lp_now();
	for (size_t i = 0; i < buckets && i < s->nbuckets; i++) {
		struct lp_entry *next, *e = s->buckets[s->hand++ & (s->nbuckets - 1)];
		for (; e; e = next) {
			next = e->next;
			if (e->expires <= now) {
				s->expired++;
				lp_dict_unlink(d, s, e, garbage);
			}
		}
	}
}

/* ---- waiting for a key ---- */

static bool dict_take(struct lp_obj *o, struct lp_node *n)
{
	struct lp_dict_wait *w = n->value;
	return lp_dict_get((struct lp_dict *)o, &w->key, &w->value, NULL);
}

static void dict_enqueue(struct lp_obj *o, struct lp_node *n)
{
	struct lp_dict *d = (struct lp_dict *)o;
	struct lp_dict_wait *w = n->value;
	struct lp_entry *garbage = NULL;
	uint64_t hash = lp_dict_hash(d, &w->key);
	struct lp_shard *s = lp_dict_shard(d, hash);
	lp_lock(&s->lock);
	struct lp_entry *e = lp_dict_find(d, s, &w->key, hash, &garbage);
	if (!e) {
		lp_list_append(&s->waiters, &n->link);
	} else if (lp_claim(n)) { /* else another object of the same wait was first */
		lp_dict_copy_value(&w->value, &e->value);
		lp_fire(n, NULL);
	}
	lp_unlock(&s->lock);
	lp_dict_free(garbage);
}

static void dict_dequeue(struct lp_obj *o, struct lp_node *n)
{
	struct lp_dict *d = (struct lp_dict *)o;
	struct lp_dict_wait *w = n->value;
	struct lp_shard *s = lp_dict_shard(d, lp_dict_hash(d, &w->key));
	lp_lock(&s->lock);
	if (lp_linked(&n->link))
		lp_list_remove(&n->link);
	lp_unlock(&s->lock);
}

void lp_dict_arrived(struct lp_shard *s, struct lp_entry *e, struct lp_wakes *wakes)
{
	lp_assert_held(&s->lock);
	struct lp_link *next;
	for (struct lp_link *l = s->waiters.next; l != &s->waiters; l = next) {
		struct lp_node *n = lp_entry(l, struct lp_node, link);
		struct lp_dict_wait *w = n->value;
		next = l->next;
		if (same_key(&w->key, &e->key) && lp_claim(n)) {
			lp_dict_copy_value(&w->value, &e->value);
			lp_fire(n, wakes);
		}
	}
}

/* ---- the dict ---- */

static void dict_destroy(struct lp_obj *o)
{
	struct lp_dict *d = (struct lp_dict *)o;
	lp_dict_clear(d);
	lp_lock(&all_lock);
	lp_list_remove(&d->all);
	lp_unlock(&all_lock);
	for (unsigned i = 0; i < d->nshards; i++)
		lp_free(d->shards[i].buckets);
	lp_free(d->memory);
	lp_free(d);
}

const struct lp_class lp_dict_class = {
	.name = "lua-pool.dict",
	.destroy = dict_destroy,
	.take = dict_take,
	.enqueue = dict_enqueue,
	.dequeue = dict_dequeue,
	.forks = true,
};

enum { MAX_SHARDS = 64, ITEMS_PER_SHARD = 256, BYTES_PER_SHARD = 1 << 18 };

static unsigned shards_for(const struct lp_dict_options *o)
{
	unsigned n = MAX_SHARDS;
	while (n > 1 && o->max_items && o->max_items / n < ITEMS_PER_SHARD)
		n /= 2;
	while (n > 1 && o->max_bytes && o->max_bytes / n < BYTES_PER_SHARD)
		n /= 2;
	return n;
}

struct lp_dict *lp_dict_new(const struct lp_dict_options *o)
{
	struct lp_dict *d = lp_alloc(sizeof *d);
	if (!d)
		return NULL;
	lp_obj_init(&d->obj, &lp_dict_class);
	d->options = *o;
	d->limited = o->max_items || o->max_bytes;
	d->nshards = shards_for(o);
	d->seed = mix((uint64_t)(uintptr_t)d ^ (uint64_t)lp_now());
	atomic_init(&d->items, 0);
	atomic_init(&d->bytes, 0);
	size_t align = _Alignof(struct lp_shard);
	if (!(d->memory = lp_zalloc(d->nshards * sizeof *d->shards + align - 1))) {
		lp_free(d);
		return NULL;
	}
	d->shards = (struct lp_shard *)(void *)((char *)d->memory + (-(uintptr_t)d->memory & (align - 1)));
	for (unsigned i = 0; i < d->nshards; i++) {
		lp_lock_init(&d->shards[i].lock, LP_RANK_SHARD);
		lp_list_init(&d->shards[i].by_use);
		lp_list_init(&d->shards[i].waiters);
	}
	lp_lock(&all_lock);
	lp_list_append(&all, &d->all);
	lp_unlock(&all_lock);
	return d;
}

const struct lp_dict_options *lp_dict_options(const struct lp_dict *d)
{
	return &d->options;
}
