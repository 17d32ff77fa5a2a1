/* ids: every one once, the lowest first, none that is in use, and 0 when all are. */
#include "test.h"

#include "sched/ids.h"

static void all_of_them(void)
{
	for (unsigned i = 1; i <= LP_MOST_IDS; i++)
		if (lp_id_take() != i) {
			CHECK(!"the lowest that is free");
			return;
		}
	CHECK(LP_MOST_IDS >= 16384);
	CHECK(lp_id_take() == 0);
	CHECK(lp_id_take() == 0);
	lp_id_give(LP_MOST_IDS);
	lp_id_give(77);
	lp_id_give(3);
	CHECK(lp_id_take() == 3);
	CHECK(lp_id_take() == 77);
	CHECK(lp_id_take() == LP_MOST_IDS);
	CHECK(lp_id_take() == 0);
	for (unsigned i = 1; i <= LP_MOST_IDS; i++)
		lp_id_give(i);
	CHECK(lp_id_take() == 1);
	lp_id_give(1);
}

static _Atomic unsigned char used[LP_MOST_IDS + 1];
static _Atomic int twice;

static void *take_and_give(void *arg)
{
	uint64_t seed = (uint64_t)(uintptr_t)arg;
	unsigned mine[100], n = 0;
	for (int i = 0; i < test_rounds(100000); i++) {
		if (n < 100 && test_random(&seed) % 2) {
			mine[n] = lp_id_take();
			if (mine[n] == 0 || atomic_fetch_add(&used[mine[n]], 1))
				atomic_fetch_add(&twice, 1);
			n++;
		} else if (n) {
			unsigned id = mine[--n];
			atomic_fetch_sub(&used[id], 1);
			lp_id_give(id);
		}
	}
	while (n) {
		unsigned id = mine[--n];
		atomic_fetch_sub(&used[id], 1);
		lp_id_give(id);
	}
	return NULL;
}

static void by_many_threads(void)
{
	pthread_t threads[4];
	for (uintptr_t i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, take_and_give, (void *)(i + 1));
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	CHECK(twice == 0);
	CHECK(lp_id_take() == 1);
}

int main(void)
{
	alarm(60);
	all_of_them();
	by_many_threads();
	return test_end();
}
