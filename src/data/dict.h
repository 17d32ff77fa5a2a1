/* dict: a map from scalars to values that several Lua states share.
 *
 * Keys are spread over shards by their hash; a shard is a hash table with a lock of its own, so two writers of
 * different keys hardly ever meet. A value is a message of one Lua value, never changed once it is in: small
 * ones without objects lie in the entry, others are a counted *blob* that readers take a count of. So a value is
 * encoded before the lock and decoded after it, and what is under the lock is some copying of bytes.
 *
 * With a limit, each shard also keeps its entries in the order of their use, and whoever puts one in too many throws
 * the longest unused one of its shard away. A small dict has one shard, so that this is the longest unused of
 * all. Entries whose time is over are dropped when somebody meets them, and by each insertion in passing. */
#ifndef LP_DICT_H
#define LP_DICT_H

#include "wait/msg.h"
#include "wait/wait.h"

enum lp_key_kind { LP_KEY_BOOLEAN, LP_KEY_INTEGER, LP_KEY_FLOAT, LP_KEY_STRING, LP_KEY_LIGHT, LP_KEY_INT64, LP_KEY_UINT64 };

struct lp_dict_key {
	enum lp_key_kind kind;
	uint64_t bits;               /* of all but strings */
	const unsigned char *bytes;  /* of a string; whoever made the key keeps it */
	size_t len;
};

struct lp_blob {
	struct lp_obj obj;
	struct lp_msg msg; /* [I] once it is shared */
};
extern const struct lp_class lp_blob_class;
struct lp_blob *lp_blob_new(void); /* NULL: out of memory */

enum { LP_DICT_INLINE = 47 };
struct lp_dict_value {
	struct lp_blob *blob; /* counted; NULL: the bytes are the message */
	uint8_t n;
	unsigned char bytes[LP_DICT_INLINE];
};

struct lp_dict; /* an lp_obj; to be waited for: node->value is a struct lp_dict_wait */
extern const struct lp_class lp_dict_class;

struct lp_dict_options {
	uint64_t max_items, max_bytes; /* 0: no limit */
	double ttl;                    /* seconds; 0: for ever */
	bool keep;                     /* full: refuse, instead of dropping the longest unused */
};
struct lp_dict *lp_dict_new(const struct lp_dict_options *o); /* NULL: out of memory */
const struct lp_dict_options *lp_dict_options(const struct lp_dict *d);

/* *value gets a count of its blob, to be released. *version (may be NULL): what lp_dict_put compares; 0: absent. */
bool lp_dict_get(struct lp_dict *d, const struct lp_dict_key *key, struct lp_dict_value *value, uint64_t *version);

enum lp_dict_mode { LP_DICT_SET, LP_DICT_ADD /* only if absent */, LP_DICT_IF_VERSION };
enum lp_dict_answer { LP_DICT_OK, LP_DICT_EXISTS, LP_DICT_CHANGED, LP_DICT_FULL, LP_DICT_NO_NUMBER, LP_DICT_NO_MEMORY };
struct lp_dict_change {
	enum lp_dict_mode mode;
	uint64_t version;       /* of IF_VERSION */
	lp_time expires;        /* LP_FOREVER: never */
	bool keep_time;         /* an entry that is there keeps its own */
	const void *writer;     /* who changes it: noted */
	const void *last_writer;/* out, if the answer is CHANGED and it is there: who did */
};
/* Takes counts of its own of the value's blob. */
enum lp_dict_answer lp_dict_put(struct lp_dict *d, const struct lp_dict_key *key, const struct lp_dict_value *value,
	struct lp_dict_change *change);
/* Removes it; with `value` its value comes out with the count. IF_VERSION as above. OK, CHANGED, or EXISTS: it is absent. */
enum lp_dict_answer lp_dict_remove(struct lp_dict *d, const struct lp_dict_key *key, struct lp_dict_value *value,
	struct lp_dict_change *change);

struct lp_number {
	bool whole;
	int64_t i;
	double f;
};
/* Adds `by` to the number there, or to *number if it is absent; *number becomes the result. */
enum lp_dict_answer lp_dict_incr(struct lp_dict *d, const struct lp_dict_key *key, struct lp_number by,
	struct lp_number *number, struct lp_dict_change *change);

bool lp_dict_expire(struct lp_dict *d, const struct lp_dict_key *key, lp_time expires); /* false: absent */
bool lp_dict_expires(struct lp_dict *d, const struct lp_dict_key *key, lp_time *expires);
size_t lp_dict_len(struct lp_dict *d);
void lp_dict_clear(struct lp_dict *d);

struct lp_dict_stats {
	uint64_t items, bytes, hits, misses, evicted, expired, shards;
};
void lp_dict_stats(struct lp_dict *d, struct lp_dict_stats *stats);

/* All entries, each shard at one moment, as records in snapshot->msg; false: out of memory. lp_dict_record reads the one at *at
 * and moves on; false: the end. Key and value point into the snapshot. */
bool lp_dict_snapshot(struct lp_dict *d, struct lp_blob *snapshot, bool values);
bool lp_dict_record(const struct lp_blob *snapshot, size_t *at, struct lp_dict_key *key, struct lp_dict_value *value);

/* A wait for a key to be there. */
struct lp_dict_wait {
	uintptr_t mark; /* lib_dict_all.c's: own.h */
	struct lp_dict_key key;
	struct lp_dict_value value; /* out, with the count, when the wait has ended so */
};

#endif
