/* site: where the Lua code calls us from, for "async called at". Asking Lua takes as long as half of async, so the answer
 * is kept for each place of the code (an lp_spot, where the layout of the interpreter is known). */
#include <string.h>

#include "state.h"
#include "values.h"

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

static const char *intern(const char *name)
{
	unsigned hash = 5381;
	for (const char *p = name; *p; p++)
		hash = hash * 33 + (unsigned char)*p;
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

static struct lp_site *ask(lua_State *L, struct lp_state *s, lua_Debug *ar, struct lp_site *site)
{
	if (!lua_getinfo(L, "Sl", ar) || ar->currentline <= 0)
		return NULL;
	if (s->source != ar->source || !s->chunk_name || strcmp(s->chunk_name, ar->short_src) != 0) {
		s->source = ar->source;
		s->chunk_name = intern(ar->short_src);
	}
	site->name = s->chunk_name;
	site->line = ar->currentline;
	return site;
}

const struct lp_site *lp_call_site(lua_State *L, struct lp_state *s)
{
	lua_Debug ar;
	struct lp_spot spot;
	if (!lua_getstack(L, lp_caller_level(L), &ar))
		return NULL;
	if (!lp_spot_of(&ar, &spot)) /* a C function, or a layout that we do not know */
		return ask(L, s, &ar, &s->last_site);
	struct lp_site *site = &s->sites[(uintptr_t)spot.pc / 4 % LP_SITES];
	if (site->line && memcmp(&site->spot, &spot, sizeof spot) == 0)
		return site;
	site->line = 0;
	site->spot = spot;
	return ask(L, s, &ar, site);
}

/* ---- where a wait sleeps ---- */

/* About to sleep: where the innermost Lua function of the user's stands. Raises nothing. */
static void note_place(struct lp_exec *e)
{
	lua_State *L = e->code;
	lua_Debug ar;
	for (int level = 0; level < 12 && lua_getstack(L, level, &ar); level++) {
		struct lp_site site, *found = ask(L, e->state, &ar, &site);
		if (!found || lp_own_source(ar.source)) /* a frame of our own Lua parts says nothing to users */
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
