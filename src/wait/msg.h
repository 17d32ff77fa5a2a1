/* msg: bytes plus the shared objects they refer to. What travels between states.
 *
 * A message owns one count of each object in `objs`; the bytes name them by index, so damaged
 * bytes can at worst name the wrong object, never a wild pointer. The buffer is the inline one it
 * was given (part of a task slot, say) until it must grow. */
#ifndef LP_MSG_H
#define LP_MSG_H

#include "wait/obj.h"

enum { LP_FEW = 2 };

struct lp_msg {
	unsigned char *data;
	size_t len, cap;
	unsigned char *inlined;  /* [I] the buffer it was born with; NULL: none */
	struct lp_obj **objs;    /* counted; `few` or allocated */
	struct lp_obj *few[LP_FEW]; /* most messages refer to their function's code only */
	uint32_t nobjs, capobjs;
	uint32_t inline_cap;     /* [I] */
	uint32_t nvalues;        /* how many values lp_encode has put in */
	uint32_t nrefs;          /* how many of what is in it are referred to a second time */
	bool calls;              /* opening it calls Lua functions (__pool_decode) */
	bool pins;               /* set by the owner: large strings stay with the sender until they are taken (pin.h) */
};

void lp_msg_init(struct lp_msg *m, void *inlined, uint32_t cap);
/* Makes room for n more bytes; false: out of memory, nothing changed. */
bool lp_msg_grow(struct lp_msg *m, size_t n);
/* Adds a count of o and returns its index in *index; false: out of memory. */
bool lp_msg_add_obj(struct lp_msg *m, struct lp_obj *o, uint32_t *index);
/* Empties it: objects released, length 0; keeps the inline buffer, frees a larger one. */
void lp_msg_clear(struct lp_msg *m);
/* Takes the first object out, with its count; the bytes that name others are no good any more. NULL: there is none. */
struct lp_obj *lp_msg_take_obj(struct lp_msg *m);
/* Moves the content; `to` must be empty. Inline bytes are copied (cannot fail if to's inline
 * buffer is as large; else false when out of memory and nothing moved). */
bool lp_msg_move(struct lp_msg *to, struct lp_msg *from);
/* A copy with counts of its own; `to` must be empty. False: out of memory, and it is empty again. */
bool lp_msg_copy(struct lp_msg *to, const struct lp_msg *from);

static inline bool lp_msg_room(struct lp_msg *m, size_t n)
{
	return m->cap - m->len >= n || lp_msg_grow(m, n);
}

#endif
