/* msg: see msg.h. */
#include "wait/msg.h"

#include <string.h>

#include "base/account.h"

void lp_msg_init(struct lp_msg *m, void *inlined, uint32_t cap)
{
	memset(m, 0, sizeof *m);
	m->inlined = m->data = inlined;
	m->inline_cap = cap;
	m->cap = cap;
	m->objs = m->few;
	m->capobjs = LP_FEW;
}

bool lp_msg_grow(struct lp_msg *m, size_t n)
{
	if (n > SIZE_MAX / 2 - m->len)
		return false;
	size_t cap = m->cap < 128 ? 256 : m->cap * 2;
	if (cap < m->len + n)
		cap = m->len + n;
	unsigned char *data;
	if (m->data == m->inlined) {
		if (!(data = lp_alloc_counted(cap)))
			return false;
		if (m->len)
			memcpy(data, m->data, m->len);
	} else if (!(data = lp_realloc_counted(m->data, cap))) {
		return false;
	}
	m->data = data;
	m->cap = cap;
	return true;
}

bool lp_msg_add_obj(struct lp_msg *m, struct lp_obj *o, uint32_t *index)
{
	if (m->nobjs == m->capobjs) {
		uint32_t cap = m->capobjs * 4;
		struct lp_obj **objs = lp_realloc_counted(m->objs == m->few ? NULL : m->objs, cap * sizeof *objs);
		if (!objs)
			return false;
		if (m->objs == m->few)
			memcpy(objs, m->few, m->nobjs * sizeof *objs);
		m->objs = objs;
		m->capobjs = cap;
	}
	*index = m->nobjs;
	m->objs[m->nobjs++] = lp_retain(o);
	return true;
}

void lp_msg_clear(struct lp_msg *m)
{
	/* Emptied first: the last count of an object may run code that looks at the message's owner. */
	struct lp_obj *few[LP_FEW], **objs = m->objs;
	uint32_t n = m->nobjs;
	if (objs == m->few && n)
		objs = memcpy(few, m->few, sizeof few);
	if (m->data != m->inlined)
		lp_free_counted(m->data);
	m->objs = m->few;
	m->nobjs = 0;
	m->capobjs = LP_FEW;
	m->data = m->inlined;
	m->cap = m->inline_cap;
	m->len = 0;
	m->nvalues = m->nrefs = 0;
	m->pins = m->calls = false;
	for (uint32_t i = 0; i < n; i++)
		lp_release(objs[i]);
	if (objs != few && objs != m->few)
		lp_free_counted(objs);
}

struct lp_obj *lp_msg_take_obj(struct lp_msg *m)
{
	if (m->nobjs == 0)
		return NULL;
	struct lp_obj *o = m->objs[0];
	m->objs[0] = m->objs[--m->nobjs];
	return o;
}

bool lp_msg_move(struct lp_msg *to, struct lp_msg *from)
{
	if (from->data == from->inlined) {
		if (!lp_msg_room(to, from->len))
			return false;
		if (from->len)
			memcpy(to->data, from->data, from->len);
	} else {
		to->data = from->data;
		to->cap = from->cap;
	}
	to->len = from->len;
	if (from->objs == from->few) {
		memcpy(to->few, from->few, sizeof to->few);
	} else {
		to->objs = from->objs;
		to->capobjs = from->capobjs;
	}
	to->nobjs = from->nobjs;
	to->nvalues = from->nvalues;
	to->nrefs = from->nrefs;
	to->calls = from->calls;
	from->data = from->inlined;
	from->cap = from->inline_cap;
	from->len = 0;
	from->objs = from->few;
	from->capobjs = LP_FEW;
	from->nobjs = from->nvalues = from->nrefs = 0;
	return true;
}

bool lp_msg_copy(struct lp_msg *to, const struct lp_msg *from)
{
	uint32_t index;
	if (!lp_msg_room(to, from->len))
		return false;
	for (uint32_t i = 0; i < from->nobjs; i++)
		if (!lp_msg_add_obj(to, from->objs[i], &index)) {
			lp_msg_clear(to);
			return false;
		}
	if (from->len)
		memcpy(to->data, from->data, from->len);
	to->len = from->len;
	to->nvalues = from->nvalues;
	to->nrefs = from->nrefs;
	to->calls = from->calls;
	return true;
}
