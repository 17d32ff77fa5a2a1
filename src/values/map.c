/* map: the identity map: addresses to places in a message. Cleared without touching it. See values_int.h. */
#include <string.h>

#include "values/values_int.h"

enum { STRINGS = 128 };

static void forget_all(struct lp_map *m)
{
	if (m->slots)
		memset(m->slots, 0, m->cap * sizeof *m->slots);
	if (m->strings)
		memset(m->strings, 0, STRINGS * sizeof *m->strings);
	m->epoch = 1;
}

void lp_map_clear(struct lp_map *m)
{
	/* A large one is not kept for the sake of one large message. */
	if (m->cap > 65536 && m->used < m->cap / 16) {
		lp_free(m->slots);
		m->slots = NULL;
		m->cap = 0;
	}
	m->used = 0;
	if (++m->epoch == 0)
		forget_all(m);
}

void lp_map_free(struct lp_map *m)
{
	lp_free(m->slots);
	lp_free(m->strings);
	memset(m, 0, sizeof *m);
}

static struct lp_slot *probe(struct lp_map *m, const void *key)
{
	for (uint32_t i = lp_hash_pointer(key);; i++) {
		struct lp_slot *s = &m->slots[i & (m->cap - 1)];
		if (s->epoch != m->epoch || s->key == key)
			return s;
	}
}

static bool grow(struct lp_map *m)
{
	struct lp_map old = *m;
	uint32_t cap = old.cap ? old.cap * 2 : 64;
	struct lp_slot *slots = cap > old.cap ? lp_alloc(cap * sizeof *slots) : NULL;
	if (!slots)
		return false;
	memset(slots, 0, cap * sizeof *slots);
	m->slots = slots;
	m->cap = cap;
	for (uint32_t i = 0; i < old.cap; i++)
		if (old.slots[i].epoch == old.epoch)
			*probe(m, old.slots[i].key) = old.slots[i];
	lp_free(old.slots);
	return true;
}

struct lp_slot *lp_map_get(struct lp_map *m, const void *key, bool *fresh)
{
	if (m->used >= m->cap / 8 * 5 && !grow(m))
		return NULL;
	struct lp_slot *s = probe(m, key);
	*fresh = s->epoch != m->epoch;
	if (*fresh) {
		*s = (struct lp_slot){.key = key, .epoch = m->epoch};
		m->used++;
	}
	return s;
}

struct lp_slot *lp_map_string(struct lp_map *m, const void *string)
{
	if (!m->strings && !(m->strings = lp_zalloc(STRINGS * sizeof *m->strings)))
		return NULL;
	return &m->strings[lp_hash_pointer(string) % STRINGS];
}
