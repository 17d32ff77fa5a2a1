/* site: where the Lua code calls us from, for "async called at". Asking Lua takes as long as half of async, so the answer
 * is kept for each place of the code (an lp_spot, where the layout of the interpreter is known). */
#include <string.h>

#include "vm/state.h"
#include "values/values.h"

/* ---- names of chunks ---- */

/* Kept for ever: there are as many as a program has files; past the bound all others share one. */
enum { MAX_NAMES = 4096 };
static lp_mutex names_lock = LP_MUTEX_INIT(LP_RANK_SITES);
static struct {
	const char *name;
	unsigned hash;
} names[2 * MAX_NAMES]; /* [names_lock] open addressing */
static unsigned nnames;

__attribute__((constructor)) static void names_open(void)
{
	lp_fork_guard(&names_lock, LP_RANK_SITES);
}

static unsigned hash_of(const char *name)
{
	unsigned hash = 5381;
	for (const char *p = name; *p; p++)
		hash = hash * 33 + (unsigned char)*p;
	return hash;
}

static const char *intern(const char *name)
{
	unsigned hash = hash_of(name);
	const char *found = NULL;
	lp_lock(&names_lock);
	for (unsigned i = hash;; i++) {
		unsigned at = i % (2 * MAX_NAMES);
		if (!names[at].name) {
			size_t size = strlen(name) + 1;
			char *copy = nnames < MAX_NAMES ? lp_alloc(size) : NULL;
			if (copy) {
				memcpy(copy, name, size);
				names[at].name = copy;
				names[at].hash = hash;
				nnames++;
			}
			found = copy;
			break;
		}
		if (names[at].hash == hash && strcmp(names[at].name, name) == 0) {
			found = names[at].name;
			break;
		}
	}
	lp_unlock(&names_lock);
	return found ? found : "?";
}

/* ---- places ---- */

enum { OURS = -1 }; /* lp_site.line: of our own Lua parts (lp_own_source), whose caller is meant */

static struct lp_site *ask(lua_State *L, struct lp_state *s, lua_Debug *ar, struct lp_site *site)
{
	if (!lua_getinfo(L, "Sl", ar))
		return NULL;
	if (s->source != ar->source || !s->chunk_name || strcmp(s->chunk_name, ar->short_src) != 0) {
		if (lp_own_source(ar->source)) {
			site->line = OURS;
			return site;
		}
		if (ar->currentline <= 0)
			return NULL;
		s->source = ar->source;
		s->chunk_name = intern(ar->short_src);
	}
	if (ar->currentline <= 0)
		return NULL;
	site->name = s->chunk_name;
	site->line = ar->currentline;
	return site;
}

enum { DEEPEST = 24 }; /* no more frames of ours lie between a user's and a call */

/* LuaJIT: nearly always the caller is the function around one that waits, which need not be asked for its line. */
static inline int first_level(lua_State *L)
{
#if LP_LUAJIT
	lua_Debug ar;
	return lua_getstack(L, 1, &ar) && lua_getinfo(L, "S", &ar) && strcmp(ar.source, LP_CHUNK) == 0 ? 2 : 1;
#else
	(void)L;
	return 1;
#endif
}

static const struct lp_site *walk_up(lua_State *L, struct lp_state *s)
{
	lua_Debug ar;
	struct lp_spot spot;
	bool hinted = s->hint.line != 0;
	for (int level = first_level(L); level < DEEPEST && lua_getstack(L, level, &ar); level++) {
		struct lp_site *site = &s->last_site;
		if (lp_spot_of(&ar, &spot)) { /* else a C function, or a layout that we do not know */
			site = &s->sites[(uintptr_t)spot.pc / 4 % LP_SITES];
			if (site->line && memcmp(&site->spot, &spot, sizeof spot) == 0) {
				if (site->line > 0)
					return site;
				if (!hinted)
					continue;
				break;
			}
			site->line = 0;
			site->spot = spot;
		}
		site = ask(L, s, &ar, site);
		if (site && site->line > 0)
			return site;
		if (site && hinted)
			break;
	}
	if (!hinted)
		return NULL;
	s->last_site = s->hint;
	s->hint.line = 0;
	return &s->last_site;
}

const struct lp_site *lp_call_site(lua_State *L, struct lp_state *s)
{
#if !LP_LUAJIT /* nearly always the caller is the user's code, and its place is known */
	lua_Debug ar;
	struct lp_spot spot;
	if (lua_getstack(L, 1, &ar) && lp_spot_of(&ar, &spot)) {
		const struct lp_site *site = &s->sites[(uintptr_t)spot.pc / 4 % LP_SITES];
		if (site->line > 0 && memcmp(&site->spot, &spot, sizeof spot) == 0)
			return site;
	}
#endif
	return walk_up(L, s);
}

/* A place as a whole number: where in `names`, and the line. */
enum { LINE_BITS = 24 };

int64_t lp_caller_place(lua_State *L, struct lp_state *s)
{
	s->hint.line = 0;
	const struct lp_site *site = lp_call_site(L, s);
	if (!site || site->line >= 1 << LINE_BITS)
		return 0;
	int64_t at = -1;
	lp_lock(&names_lock);
	for (unsigned i = hash_of(site->name); at < 0 && names[i % (2 * MAX_NAMES)].name; i++)
		if (names[i % (2 * MAX_NAMES)].name == site->name)
			at = i % (2 * MAX_NAMES);
	lp_unlock(&names_lock);
	return at < 0 ? 0 : at << LINE_BITS | site->line;
}

void lp_hint_place(struct lp_state *s, int64_t place)
{
	unsigned at = (unsigned)(place >> LINE_BITS) % (2 * MAX_NAMES);
	lp_lock(&names_lock);
	const char *name = names[at].name;
	lp_unlock(&names_lock);
	s->hint.name = name;
	s->hint.line = name ? (int)(place & ((1 << LINE_BITS) - 1)) : 0;
}

/* ---- where a wait sleeps ---- */

/* About to sleep: where the innermost Lua function of the user's stands. Raises nothing. */
static void note_place(struct lp_exec *e)
{
	lua_State *L = e->code;
	lua_Debug ar;
	for (int level = 0; level < DEEPEST && lua_getstack(L, level, &ar); level++) {
		struct lp_site site, *found = ask(L, e->state, &ar, &site);
		if (!found || found->line < 0)
			continue;
		e->place = (struct lp_place){site.name, site.line};
		return;
	}
}

void lp_note_code(lua_State *L, struct lp_state *s)
{
	s->exec->code = L;
	s->exec->state = s;
	s->exec->note = note_place;
}
