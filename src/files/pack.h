/* pack: many names, and what was found out about each, as one object.
 *
 * It travels to a worker and back by its address: no name and no content is encoded, and contents are copied once
 * from the system into its memory and once into the string that a user gets. It belongs to whoever has entered it; the code
 * in lua-pool/fs sees to it that nobody has to wait. */
#ifndef LP_PACK_H
#define LP_PACK_H

#include <stdatomic.h>

#include "files/io.h"
#include "wait/obj.h"

/* One name. Followed by the name itself and a zero. Good until the next one is added. */
struct lp_entry {
	uint32_t len;    /* of the name */
	uint32_t before; /* bytes from the entry before to this one */
	int err;         /* 0, or why nothing is known */
	char letter;     /* of what it is: f d l p s c b ? */
	bool silent;     /* a folder that is not told, only looked into */
	bool known;      /* dev and ino are set */
	union {
		struct { size_t at, size; } data;     /* where its content lies in the pack's data */
		struct { uint64_t dev, ino; } id;
	};
};

static inline char *lp_entry_name(struct lp_entry *e)
{
	return (char *)(e + 1);
}

/* Entries one after another. */
struct lp_entries {
	struct lp_bytes b;
	size_t last; /* the place of the last one, if there is any */
	size_t count;
};

/* Appends one with the name dir + name, all else zero; NULL: no memory. */
struct lp_entry *lp_entry_add(struct lp_entries *list, const char *dir, size_t dir_len, const char *name, size_t len);
/* Appends a copy of e, which lies in another list. */
bool lp_entry_copy(struct lp_entries *list, struct lp_entry *e);
/* The one at *at, which goes on to the next; NULL: that is the end. */
struct lp_entry *lp_entry_next(struct lp_entries *list, size_t *at);
/* The last one; NULL: there is none. It is off the list with lp_entry_drop, and gone with the next that is added. */
struct lp_entry *lp_entry_last(struct lp_entries *list);
void lp_entry_drop(struct lp_entries *list);
void lp_entries_clear(struct lp_entries *list);

struct lp_pack {
	struct lp_obj obj;
	atomic_bool used;         /* somebody is inside: the rest is theirs */
	struct lp_entries given;  /* what to look at */
	struct lp_entries found;
	struct lp_entries left;   /* what others are to look at */
	struct lp_entries folder; /* what is in the folder that is looked at */
	struct lp_bytes data;
	size_t done;              /* so far `given` has been looked at */
	size_t told;              /* so far, of that or of `found`, the user was told */
};
extern const struct lp_class lp_pack_class;

struct lp_pack *lp_pack_new(void); /* NULL: no memory */
bool lp_pack_enter(struct lp_pack *p); /* false: another thread is inside */
void lp_pack_leave(struct lp_pack *p);
/* Empties it all, or what it has of data; memory of the usual size is kept for what comes next. */
void lp_pack_clear(struct lp_pack *p);
void lp_pack_empty(struct lp_bytes *b);

#endif
