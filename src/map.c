/* map: the identity map: addresses to places in a message. Cleared without touching it. See values_int.h. */
#include <string.h>

#include "values_int.h"

static uint32_t hash_pointer(const void *p)
{
	uint64_t x = (uint64_t)(uintptr_t)p;
	return (uint32_t)((x * 0x9e3779b97f4a7c15u) >> 32); /* Fibonacci hashing (Knuth 6.4) */
}

void lp_map_clear(struct lp_map *m)
{
	/* A large one is not kept for the sake of one large message. */
	if (m->cap > 65536 && m->used < m->cap / 16)
		lp_map_free(m);
	m->used = 0;
	if (++m->epoch == 0 && m->slots) {
		memset(m->slots, 0, m->cap * sizeof *m->slots);
		m->epoch = 1;
	}
}

void lp_map_free(struct lp_map *m)
{
	lp_free(m->slots);
	m->slots = NULL;
	m->cap = m->used = 0;
}

static struct lp_slot *probe(struct lp_map *m, const void *key)
{
	for (uint32_t i = hash_pointer(key);; i++) {
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
	if (m->epoch == 0)
		m->epoch = 1;
	for (uint32_t i = 0; i < old.cap; i++)
		if (old.slots[i].epoch == old.epoch)
			*probe(m, old.slots[i].key) = old.slots[i];
	lp_free(old.slots);
	return true;
}

struct lp_slot *lp_map_find(struct lp_map *m, const void *key)
{
	if (!m->cap)
		return NULL;
	struct lp_slot *s = probe(m, key);
	return s->epoch == m->epoch ? s : NULL;
}

struct lp_slot *lp_map_get(struct lp_map *m, const void *key, bool *fresh)
{
	if (m->used >= m->cap / 2 && !grow(m))
		return NULL;
	struct lp_slot *s = probe(m, key);
	*fresh = s->epoch != m->epoch;
	if (*fresh) {
		*s = (struct lp_slot){.key = key, .epoch = m->epoch};
		m->used++;
	}
	return s;
}
