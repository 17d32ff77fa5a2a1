/* ids: see ids.h. A bit for each. */
#include "sched/ids.h"

#include <string.h>

#include "base/os.h"

static lp_mutex lock = LP_MUTEX_INIT(LP_RANK_IDS);
static uint64_t taken[LP_MOST_IDS / 64]; /* [lock] */
static unsigned full;                    /* [lock] words before it have no free bit */

static void renew(void)
{
	memset(taken, 0, sizeof taken);
	full = 0;
}

__attribute__((constructor)) static void ids_open(void)
{
	lp_fork_guard(&lock, LP_RANK_IDS);
	lp_fork_child(LP_RANK_IDS, renew);
}

unsigned lp_id_take(void)
{
	if (lp_fault())
		return 0;
	unsigned id = 0;
	lp_lock(&lock);
	while (full < LP_MOST_IDS / 64 && taken[full] == UINT64_MAX)
		full++;
	if (full < LP_MOST_IDS / 64) {
		unsigned bit = (unsigned)__builtin_ctzll(~taken[full]);
		taken[full] |= 1ull << bit;
		id = full * 64 + bit + 1;
	}
	lp_unlock(&lock);
	return id;
}

void lp_id_give(unsigned id)
{
	unsigned word = (id - 1) / 64;
	lp_lock(&lock);
	taken[word] &= ~(1ull << (id - 1) % 64);
	if (word < full)
		full = word;
	lp_unlock(&lock);
}
