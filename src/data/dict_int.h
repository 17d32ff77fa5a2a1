/* dict_int: the inside of a dict, for the dict*.c files. */
#ifndef LP_DICT_INT_H
#define LP_DICT_INT_H

#include "data/dict.h"

struct lp_entry {
	struct lp_entry *next;       /* [lock] in its bucket, or in a list of what is to be freed */
	struct lp_link used;         /* [lock] by use, the latest first; only with a limit */
	uint64_t hash;               /* [I] */
	uint64_t version;            /* [lock] another with every change */
	lp_time expires;             /* [lock] */
	const void *writer;          /* [lock] who changed it last: only compared */
	struct lp_dict_value value;  /* [lock] */
	struct lp_dict_key key;      /* [I] its bytes follow */
	unsigned char bytes[];
};

struct lp_shard {
	lp_mutex lock;
	struct lp_entry **buckets;   /* [lock] */
	size_t nbuckets, count;      /* [lock] nbuckets: 0 or a power of 2 */
	size_t timed;                /* [lock] entries that will expire */
	size_t hand;                 /* [lock] the bucket that is looked at next for such */
	size_t bytes;                /* [lock] */
	uint64_t version;            /* [lock] of the last change; never 0 for an entry */
	struct lp_link by_use;       /* [lock] */
	struct lp_link waiters;      /* [lock] nodes */
	uint64_t hits, misses, evicted, expired; /* [lock] */
} __attribute__((aligned(128)));

struct lp_dict {
	struct lp_obj obj;
	struct lp_dict_options options; /* [I] */
	struct lp_link all;             /* [all_lock] */
	uint64_t seed;                  /* [I] */
	bool limited;                   /* [I] */
	unsigned nshards;               /* [I] a power of 2 */
	_Atomic uint64_t items, bytes;  /* [A] kept only with a limit */
	struct lp_shard *shards;        /* [I] aligned */
	void *memory;                   /* [I] of the shards */
};

uint64_t lp_dict_hash(const struct lp_dict *d, const struct lp_dict_key *key);

static inline struct lp_shard *lp_dict_shard(const struct lp_dict *d, uint64_t hash)
{
	return &d->shards[(hash >> 56) & (d->nshards - 1)];
}

/* The entry, if it is there and its time is not over; one that is over goes to *garbage. */
struct lp_entry *lp_dict_find(struct lp_dict *d, struct lp_shard *s, const struct lp_dict_key *key, uint64_t hash,
	struct lp_entry **garbage);
/* Takes it out, to *garbage. */
void lp_dict_unlink(struct lp_dict *d, struct lp_shard *s, struct lp_entry *e, struct lp_entry **garbage);
/* Frees what was collected; with no lock held. */
void lp_dict_free(struct lp_entry *garbage);
/* Entries whose time is over: in `buckets` buckets from the hand on. */
void lp_dict_sweep(struct lp_dict *d, struct lp_shard *s, size_t buckets, struct lp_entry **garbage);

size_t lp_dict_entry_size(const struct lp_dict_key *key, const struct lp_dict_value *v); /* bytes */
/* A key has come: those who wait for it get its value. */
void lp_dict_arrived(struct lp_shard *s, struct lp_entry *e, struct lp_wakes *wakes);

static inline void lp_dict_copy_value(struct lp_dict_value *to, const struct lp_dict_value *from)
{
	*to = *from;
	if (to->blob)
		lp_retain(to->blob);
}

#endif
