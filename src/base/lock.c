/* lock: see lock.h. The checks of a build with CHECK=1; os.c has the slow paths. */
#include "base/lock.h"

#ifdef LP_CHECK

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[LP_RANKS] = {
	[LP_RANK_NONE] = "none", [LP_RANK_WATCH] = "watch", [LP_RANK_HOSTS] = "hosts", [LP_RANK_DICTS] = "dicts",
	[LP_RANK_GRAPH] = "graph", [LP_RANK_POOL] = "pool", [LP_RANK_QUEUE] = "queue", [LP_RANK_LIGHTS] = "lights",
	[LP_RANK_WORKER] = "worker", [LP_RANK_INSTALL] = "install", [LP_RANK_CHILDREN] = "children",
	[LP_RANK_ORPHANS] = "orphans", [LP_RANK_DEFAULT_POOL] = "default pool", [LP_RANK_POOLS] = "pools",
	[LP_RANK_NAMED] = "named", [LP_RANK_CODE] = "code", [LP_RANK_SITES] = "sites", [LP_RANK_PINS] = "pins",
	[LP_RANK_IDS] = "ids", [LP_RANK_CHANNEL] = "channel", [LP_RANK_EVENT] = "event",
	[LP_RANK_SEMAPHORE] = "semaphore", [LP_RANK_MUTEX] = "mutex", [LP_RANK_CONDITION] = "condition",
	[LP_RANK_RWLOCK] = "rwlock", [LP_RANK_BARRIER] = "barrier", [LP_RANK_FILE] = "file", [LP_RANK_SHARD] = "shard",
	[LP_RANK_GROUP] = "group", [LP_RANK_TASK] = "task", [LP_RANK_TOKEN] = "token", [LP_RANK_ENDS] = "ends", [LP_RANK_TIMERS] = "timers",
	[LP_RANK_MONITOR] = "monitor", [LP_RANK_PLACE] = "place", [LP_RANK_PACKETS] = "packets",
	[LP_RANK_INBOXES] = "inboxes", [LP_RANK_PARKERS] = "parkers", [LP_RANK_TEST] = "test", [LP_RANK_INBOX] = "inbox",
};
_Static_assert(LP_RANKS <= 64, "a bit for each rank");

/* Thread-local storage of a loaded library is scarce: sixteen bytes. */
static _Thread_local uint64_t held;      /* the ranks of the locks that this thread holds */
static _Thread_local uint16_t again;     /* how many more of the shards' rank, at a fork */
static _Thread_local uint16_t permit;    /* lp_check_permit */

#define BIT(rank) ((uint64_t)1 << (rank))
#define LEAFS ((BIT(LP_RANK_LAST_LEAF) - BIT(LP_RANK_FIRST_LEAF)) | BIT(LP_RANK_LAST_LEAF))

_Noreturn void lp_check_failed(const char *what, const char *file, int line)
{
	char text[400] = "";
	size_t at = 0;
	for (unsigned r = 0; r < LP_RANKS; r++)
		if ((held & BIT(r)) && at < sizeof text)
			at += (size_t)snprintf(text + at, sizeof text - at, "%s%s", at ? ", " : "", names[r] ? names[r] : "?");
	fprintf(stderr, "lua-pool: %s:%d: broken: %s (this thread holds: %s)\n", file, line, what, at ? text : "nothing");
	fflush(stderr);
	abort();
}

static _Noreturn void refuse(const lp_mutex *m, const char *why)
{
	char text[120];
	snprintf(text, sizeof text, "the lock '%s' is taken %s", m->rank < LP_RANKS && names[m->rank] ? names[m->rank] : "?", why);
	lp_check_failed(text, "lock", (int)m->rank);
}

void lp_check_lock(lp_mutex *m, bool same)
{
	if (m->rank == LP_RANK_NONE || m->rank >= LP_RANKS)
		refuse(m, "but has no rank");
	if (atomic_load_explicit(&m->owner, memory_order_relaxed) == &held)
		refuse(m, "a second time");
	if (held >> m->rank >> (same ? 1 : 0))
		refuse(m, "out of order: see the ranks in lock.h");
	if ((held & LEAFS) && !permit)
		refuse(m, "above a leaf");
}

void lp_check_locked(lp_mutex *m)
{
	if (held & BIT(m->rank))
		again++;
	held |= BIT(m->rank);
	atomic_store_explicit(&m->owner, &held, memory_order_relaxed);
}

void lp_check_unlock(lp_mutex *m)
{
	if (atomic_load_explicit(&m->owner, memory_order_relaxed) != &held)
		refuse(m, "by another thread, or not at all, and unlocked");
	atomic_store_explicit(&m->owner, NULL, memory_order_relaxed);
	if (m->rank == LP_RANK_SHARD && again)
		again--;
	else
		held &= ~BIT(m->rank);
}

bool lp_check_held(const lp_mutex *m)
{
	return atomic_load_explicit(&((lp_mutex *)(uintptr_t)m)->owner, memory_order_relaxed) == &held;
}

bool lp_check_no_leaf(void)
{
	return permit || !(held & (LEAFS | BIT(LP_RANK_POOL) | BIT(LP_RANK_TASK)));
}

bool lp_check_no_lock(void)
{
	return !held;
}

void lp_check_permit(bool begin)
{
	permit = begin;
}

void lp_check_forget(void)
{
	held = 0;
	again = permit = 0;
}

#endif
