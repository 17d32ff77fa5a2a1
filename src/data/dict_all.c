/* dict_all: what looks at all entries of a dict, shard by shard; see dict.h. */
#include "data/dict_int.h"

#include <string.h>

size_t lp_dict_len(struct lp_dict *d)
{
	size_t n = 0;
	for (unsigned i = 0; i < d->nshards; i++) {
		struct lp_shard *s = &d->shards[i];
		struct lp_entry *garbage = NULL;
		lp_lock(&s->lock);
		lp_dict_sweep(d, s, s->nbuckets, &garbage);
		n += s->count;
		lp_unlock(&s->lock);
		lp_dict_free(garbage);
	}
	return n;
}

void lp_dict_clear(struct lp_dict *d)
{
	for (unsigned i = 0; i < d->nshards; i++) {
		struct lp_shard *s = &d->shards[i];
		struct lp_entry *garbage = NULL;
		lp_lock(&s->lock);
		for (size_t b = 0; b < s->nbuckets; b++)
			while (s->buckets[b])
				lp_dict_unlink(d, s, s->buckets[b], &garbage);
		lp_unlock(&s->lock);
		lp_dict_free(garbage);
	}
}

void lp_dict_stats(struct lp_dict *d, struct lp_dict_stats *stats)
{
	memset(stats, 0, sizeof *stats);
	stats->shards = d->nshards;
	for (unsigned i = 0; i < d->nshards; i++) {
		struct lp_shard *s = &d->shards[i];
		lp_lock(&s->lock);
		stats->items += s->count;
		stats->bytes += s->bytes;
		stats->hits += s->hits;
		stats->misses += s->misses;
		stats->evicted += s->evicted;
		stats->expired += s->expired;
		lp_unlock(&s->lock);
	}
}

/* ---- snapshots ---- */

/* A record: this, the key's bytes if it is a string, the value's bytes or the number of its blob. */
struct record {
	uint64_t bits;      /* a string's length */
	uint32_t object;    /* of a blob */
	uint8_t kind;
	uint8_t n;          /* bytes of the value; BLOB: it is a blob */
};
enum { BLOB = 255 };

static bool put_record(struct lp_msg *m, const struct lp_entry *e, bool values)
{
	size_t len = e->key.kind == LP_KEY_STRING ? e->key.len : 0;
	struct record r = {.kind = (uint8_t)e->key.kind, .bits = len ? len : e->key.bits};
	if (e->key.kind == LP_KEY_STRING)
		r.bits = len;
	if (values && e->value.blob) {
		r.n = BLOB;
		if (!lp_msg_add_obj(m, &e->value.blob->obj, &r.object))
			return false;
	} else if (values) {
		r.n = e->value.n;
	}
	size_t n = r.n == BLOB ? 0 : r.n;
	if (!lp_msg_room(m, sizeof r + len + n))
		return false;
	unsigned char *p = m->data + m->len;
	memcpy(p, &r, sizeof r);
	memcpy(p + sizeof r, e->bytes, len);
	memcpy(p + sizeof r + len, e->value.bytes, n);
	m->len += sizeof r + len + n;
	return true;
}

bool lp_dict_snapshot(struct lp_dict *d, struct lp_blob *snapshot, bool values)
{
	bool ok = true;
	for (unsigned i = 0; i < d->nshards && ok; i++) {
		struct lp_shard *s = &d->shards[i];
		lp_lock(&s->lock);
		lp_time now = s->timed ? lp_now() : 0;
		for (size_t b = 0; b < s->nbuckets && ok; b++)
			for (struct lp_entry *e = s->buckets[b]; e && ok; e = e->next)
				if (e->expires > now)
					ok = put_record(&snapshot->msg, e, values);
		lp_unlock(&s->lock);
	}
	return ok;
}

bool lp_dict_record(const struct lp_blob *snapshot, size_t *at, struct lp_dict_key *key, struct lp_dict_value *value)
{
	const struct lp_msg *m = &snapshot->msg;
	struct record r;
	if (*at >= m->len)
		return false;
	const unsigned char *p = m->data + *at;
	memcpy(&r, p, sizeof r);
	p += sizeof r;
	*key = (struct lp_dict_key){.kind = r.kind, .bits = r.bits, .bytes = p};
	if (r.kind == LP_KEY_STRING) {
		key->len = (size_t)r.bits;
		p += r.bits;
	}
	value->blob = r.n == BLOB ? (struct lp_blob *)m->objs[r.object] : NULL;
	value->n = r.n == BLOB ? 0 : r.n;
	memcpy(value->bytes, p, value->n);
	*at = (size_t)(p + value->n - m->data);
	return true;
}
