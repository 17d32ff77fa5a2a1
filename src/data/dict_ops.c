/* dict_ops: what is done with a dict; see dict.h. Every function takes one shard's lock at a time, and gives
 * back counts only when it holds none. */
#include "data/dict_int.h"

#include <string.h>

#include "base/account.h"
#include "values/values_int.h"

/* ---- one entry ---- */

bool lp_dict_get(struct lp_dict *d, const struct lp_dict_key *key, struct lp_dict_value *value, uint64_t *version)
{
	struct lp_entry *garbage = NULL;
	uint64_t hash = lp_dict_hash(d, key);
	struct lp_shard *s = lp_dict_shard(d, hash);
	lp_lock(&s->lock);
	struct lp_entry *e = lp_dict_find(d, s, key, hash, &garbage);
	if (e) {
		s->hits++;
		lp_dict_copy_value(value, &e->value);
	} else {
		s->misses++;
	}
	if (version)
		*version = e ? e->version : 0;
	lp_unlock(&s->lock);
	lp_dict_free(garbage);
	return e != NULL;
}

/* Room for one more. Without memory the chains become longer, that is all; but the first buckets must be there. */
static bool grow(struct lp_shard *s)
{
	if (s->count < s->nbuckets)
		return true;
	size_t n = s->nbuckets ? s->nbuckets * 2 : 8;
	struct lp_entry **buckets = lp_zalloc(n * sizeof(struct lp_entry *));
	if (!buckets)
		return s->nbuckets > 0;
	for (size_t i = 0; i < s->nbuckets; i++) {
		struct lp_entry *next;
		for (struct lp_entry *e = s->buckets[i]; e; e = next) {
			next = e->next;
			e->next = buckets[e->hash & (n - 1)];
			buckets[e->hash & (n - 1)] = e;
		}
	}
	lp_free(s->buckets);
	s->buckets = buckets;
	s->nbuckets = n;
	return true;
}

/* ---- limits ---- */

static bool over(struct lp_dict *d)
{
	const struct lp_dict_options *o = &d->options;
	return (o->max_items && atomic_load(&d->items) > o->max_items) || (o->max_bytes && atomic_load(&d->bytes) > o->max_bytes);
}

/* Drops the longest unused of the shard while there is too much; never `except`. */
static void evict(struct lp_dict *d, struct lp_shard *s, struct lp_entry *except, struct lp_entry **garbage)
{
	while (over(d) && !lp_list_empty(&s->by_use)) {
		struct lp_entry *e = lp_entry(s->by_use.prev, struct lp_entry, used);
		if (e == except)
			break;
		s->evicted++;
		lp_dict_unlink(d, s, e, garbage);
	}
}

/* Its own shard had nothing to give. */
static void evict_elsewhere(struct lp_dict *d, struct lp_shard *not_here, struct lp_entry **garbage)
{
	for (unsigned i = 0; i < d->nshards && over(d); i++) {
		struct lp_shard *s = &d->shards[i];
		if (s == not_here)
			continue;
		lp_lock(&s->lock);
		evict(d, s, NULL, garbage);
		lp_unlock(&s->lock);
	}
}

/* Counts a growth by so much; false: the dict is full, and nothing was counted. */
static bool admit(struct lp_dict *d, struct lp_shard *s, uint64_t items, size_t more, size_t less)
{
	const struct lp_dict_options *o = &d->options;
	if (d->limited) {
		if (o->max_bytes && more > o->max_bytes)
			return false; /* it alone is too much */
		atomic_fetch_add(&d->items, items);
		atomic_fetch_add(&d->bytes, more - less);
		if (o->keep && over(d)) {
			atomic_fetch_sub(&d->items, items);
			atomic_fetch_sub(&d->bytes, more - less);
			return false;
		}
	}
	s->bytes += more - less;
	return true;
}

static void set_time(struct lp_shard *s, struct lp_entry *e, lp_time expires)
{
	s->timed += (expires != LP_FOREVER) - (size_t)(e->expires != LP_FOREVER);
	e->expires = expires;
}

/* ---- changes ---- */

/* A new entry with this value. */
static enum lp_dict_answer insert(struct lp_dict *d, struct lp_shard *s, const struct lp_dict_key *key, uint64_t hash,
	const struct lp_dict_value *value, lp_time expires, struct lp_entry **made)
{
	size_t len = key->kind == LP_KEY_STRING ? key->len : 0;
	struct lp_entry *e = lp_alloc_counted(sizeof *e + len);
	if (!e || !grow(s)) {
		lp_free_counted(e);
		return LP_DICT_NO_MEMORY;
	}
	if (!admit(d, s, 1, lp_dict_entry_size(key, value), 0)) {
		lp_free_counted(e);
		return LP_DICT_FULL;
	}
	e->hash = hash;
	e->key = *key;
	if (len)
		memcpy(e->bytes, key->bytes, len);
	e->key.bytes = e->bytes;
	e->expires = LP_FOREVER;
	set_time(s, e, expires);
	lp_dict_copy_value(&e->value, value);
	struct lp_entry **bucket = &s->buckets[hash & (s->nbuckets - 1)];
	e->next = *bucket;
	*bucket = e;
	s->count++;
	if (d->limited)
		lp_list_prepend(&s->by_use, &e->used);
	*made = e;
	return LP_DICT_OK;
}

/* Another value for an entry; *old gets the former one's count. */
static enum lp_dict_answer replace(struct lp_dict *d, struct lp_shard *s, struct lp_entry *e, const struct lp_dict_value *value,
	struct lp_blob **old)
{
	if (!admit(d, s, 0, lp_dict_entry_size(&e->key, value), lp_dict_entry_size(&e->key, &e->value)))
		return LP_DICT_FULL;
	*old = e->value.blob;
	lp_dict_copy_value(&e->value, value);
	return LP_DICT_OK;
}

static bool changed(const struct lp_entry *e, struct lp_dict_change *c)
{
	if (c->mode != LP_DICT_IF_VERSION || (e ? e->version : 0) == c->version)
		return false;
	c->last_writer = e ? e->writer : NULL;
	return true;
}

enum lp_dict_answer lp_dict_remove(struct lp_dict *d, const struct lp_dict_key *key, struct lp_dict_value *value,
	struct lp_dict_change *c)
{
	struct lp_entry *garbage = NULL;
	enum lp_dict_answer answer = LP_DICT_OK;
	uint64_t hash = lp_dict_hash(d, key);
	struct lp_shard *s = lp_dict_shard(d, hash);
	lp_lock(&s->lock);
	struct lp_entry *e = lp_dict_find(d, s, key, hash, &garbage);
	if (changed(e, c)) {
		answer = LP_DICT_CHANGED;
	} else if (!e) {
		answer = LP_DICT_EXISTS;
	} else {
		if (value) {
			*value = e->value;
			e->value.blob = NULL;
			size_t size = lp_dict_entry_size(key, value) - lp_dict_entry_size(key, &e->value);
			s->bytes -= size;
			if (d->limited)
				atomic_fetch_sub(&d->bytes, size);
		}
		lp_dict_unlink(d, s, e, &garbage);
	}
	lp_unlock(&s->lock);
	lp_dict_free(garbage);
	return answer;
}

/* ---- numbers ---- */

static bool number_of(const struct lp_dict_value *v, struct lp_number *x)
{
	int8_t byte;
	if (v->blob || v->n < 2)
		return false;
	switch (v->bytes[0]) {
	case LP_TBYTE:
		memcpy(&byte, v->bytes + 1, 1);
		*x = (struct lp_number){.whole = true, .i = byte};
		return true;
	case LP_TINT:
		x->whole = true;
		memcpy(&x->i, v->bytes + 1, 8);
		return true;
	case LP_TFLOAT:
		x->whole = false;
		memcpy(&x->f, v->bytes + 1, 8);
		return true;
	default:
		return false;
	}
}

/* As Lua adds: whole numbers wrap around, and one float makes a float of it. */
static void add(struct lp_number *x, const struct lp_number *by)
{
	if (x->whole && by->whole) {
		x->i = (int64_t)((uint64_t)x->i + (uint64_t)by->i);
		return;
	}
	x->f = (x->whole ? (double)x->i : x->f) + (by->whole ? (double)by->i : by->f);
	x->whole = false;
}

static void value_of(struct lp_dict_value *v, const struct lp_number *x)
{
	v->blob = NULL;
	v->n = 9;
	v->bytes[0] = x->whole ? LP_TINT : LP_TFLOAT;
	memcpy(v->bytes + 1, x->whole ? (const void *)&x->i : (const void *)&x->f, 8);
}

/* ---- writing ---- */

struct writing {
	struct lp_dict_change *change;
	const struct lp_dict_value *value;   /* what is to be put; NULL: the sum of these two */
	const struct lp_number *by;
	struct lp_number *number;            /* in: if it is absent; out: the sum */
	/* What is left to do without the lock. */
	struct lp_entry *garbage;
	struct lp_blob *old;
	struct lp_wakes wakes;
};

static enum lp_dict_answer attempt(struct lp_dict *d, struct lp_shard *s, const struct lp_dict_key *key, uint64_t hash,
	struct writing *w)
{
	struct lp_dict_change *c = w->change;
	struct lp_dict_value sum;
	const struct lp_dict_value *value = w->value;
	struct lp_entry *e = lp_dict_find(d, s, key, hash, &w->garbage);
	if (e && c->mode == LP_DICT_ADD)
		return LP_DICT_EXISTS;
	if (changed(e, c))
		return LP_DICT_CHANGED;
	if (!value) {
		struct lp_number x = *w->number;
		if (e && !number_of(&e->value, &x))
			return LP_DICT_NO_NUMBER;
		add(&x, w->by);
		value_of(&sum, &x);
		value = &sum;
	}
	bool was_there = e != NULL;
	enum lp_dict_answer answer = e ? replace(d, s, e, value, &w->old) : insert(d, s, key, hash, value, c->expires, &e);
	if (answer != LP_DICT_OK)
		return answer;
	if (!was_there)
		lp_dict_arrived(s, e, &w->wakes);
	else if (!c->keep_time)
		set_time(s, e, c->expires);
	if (!w->value)
		number_of(value, w->number);
	e->version = ++s->version;
	e->writer = c->writer;
	if (d->limited)
		evict(d, s, e, &w->garbage);
	return LP_DICT_OK;
}

static enum lp_dict_answer write_entry(struct lp_dict *d, const struct lp_dict_key *key, struct writing *w)
{
	uint64_t hash = lp_dict_hash(d, key);
	struct lp_shard *s = lp_dict_shard(d, hash);
	lp_lock(&s->lock);
	lp_dict_sweep(d, s, 4, &w->garbage);
	enum lp_dict_answer answer = attempt(d, s, key, hash, w);
	if (answer == LP_DICT_FULL && s->timed) { /* perhaps only with what is over */
		lp_dict_sweep(d, s, s->nbuckets, &w->garbage);
		answer = attempt(d, s, key, hash, w);
	}
	lp_unlock(&s->lock);
	lp_wake_all(&w->wakes);
	if (answer == LP_DICT_OK && d->limited && over(d))
		evict_elsewhere(d, s, &w->garbage);
	lp_dict_free(w->garbage);
	lp_release(w->old);
	return answer;
}

enum lp_dict_answer lp_dict_put(struct lp_dict *d, const struct lp_dict_key *key, const struct lp_dict_value *value,
	struct lp_dict_change *change)
{
	struct writing w = {.change = change, .value = value};
	return write_entry(d, key, &w);
}

enum lp_dict_answer lp_dict_incr(struct lp_dict *d, const struct lp_dict_key *key, struct lp_number by,
	struct lp_number *number, struct lp_dict_change *change)
{
	struct writing w = {.change = change, .by = &by, .number = number};
	return write_entry(d, key, &w);
}

/* ---- time ---- */

bool lp_dict_expire(struct lp_dict *d, const struct lp_dict_key *key, lp_time expires)
{
	struct lp_entry *garbage = NULL;
	uint64_t hash = lp_dict_hash(d, key);
	struct lp_shard *s = lp_dict_shard(d, hash);
	lp_lock(&s->lock);
	struct lp_entry *e = lp_dict_find(d, s, key, hash, &garbage);
	if (e)
		set_time(s, e, expires);
	lp_unlock(&s->lock);
	lp_dict_free(garbage);
	return e != NULL;
}

bool lp_dict_expires(struct lp_dict *d, const struct lp_dict_key *key, lp_time *expires)
{
	struct lp_entry *garbage = NULL;
	uint64_t hash = lp_dict_hash(d, key);
	struct lp_shard *s = lp_dict_shard(d, hash);
	lp_lock(&s->lock);
	struct lp_entry *e = lp_dict_find(d, s, key, hash, &garbage);
	if (e)
		*expires = e->expires;
	lp_unlock(&s->lock);
	lp_dict_free(garbage);
	return e != NULL;
}
