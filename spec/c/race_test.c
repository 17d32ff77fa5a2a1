/* Races of the waiting layer: random waits for random sets, with timeouts and cancellations that
 * fall into the same microseconds as the deliveries. What must hold: no permit is lost, none is made,
 * nobody waits for ever, and the answer names what was really consumed. */
#include "sync/event.h"
#include <sched.h>

#include "sync/semaphore.h"
#include "test.h"

#include <sched.h>

enum { THREADS = 4, OBJECTS = 5, PERMITS = 3 };

static struct lp_semaphore *sems[OBJECTS];
static struct test_exec execs[THREADS];
static _Atomic bool stop;
static _Atomic long got, gave_up, cancelled;
static int rounds;

static void *take_and_give(void *arg)
{
	int me = (int)(intptr_t)arg;
	struct test_exec *e = &execs[me];
	uint64_t seed = 88172645463325252ull + (uint64_t)me * 7919;
	atomic_store(&e->parker, lp_parker_self());
	for (int i = 0; i < rounds; i++) {
		struct lp_node nodes[8];
		int n = 1 + (int)(test_random(&seed) % 8);
		for (int k = 0; k < n; k++)
			nodes[k] = (struct lp_node){.obj = &sems[test_random(&seed) % OBJECTS]->obj};
		/* Never for ever: all permits may be in sets that nobody of us waits for. */
		lp_time d = lp_now() + (lp_time)(test_random(&seed) % 60000);
		int r = lp_wait_any(&e->exec, nodes, n, d);
		if (r >= 0) {
			atomic_fetch_add(&got, 1);
			if (r >= n)
				CHECK(r < n);
			lp_semaphore_release(sems[test_random(&seed) % OBJECTS], 1);
		} else if (r == LP_CANCELLED) {
			atomic_fetch_add(&cancelled, 1);
			test_uncancel(e);
		} else {
			atomic_fetch_add(&gave_up, 1);
			if (r != LP_TIMEOUT)
				CHECK(r == LP_TIMEOUT);
		}
		for (int k = 0; k < n; k++)
			if (lp_linked(&nodes[k].link))
				CHECK(!"a node is still linked");
	}
	return NULL;
}

static void *cancel_at_random(void *arg)
{
	(void)arg;
	uint64_t seed = 4711;
	while (!atomic_load(&stop)) {
		test_cancel(&execs[test_random(&seed) % THREADS]);
		for (uint32_t i = test_random(&seed) % 500; i; i--)
			lp_relax();
		sched_yield();
	}
	return NULL;
}

static void permits_survive(void)
{
	pthread_t t[THREADS];
	rounds = test_rounds(10000);
	for (int i = 0; i < OBJECTS; i++)
		sems[i] = lp_semaphore_new(i < PERMITS ? 1 : 0);
	for (int i = 0; i < THREADS; i++)
		test_exec_init(&execs[i]);
	for (int i = 0; i < THREADS; i++)
		t[i] = test_start(take_and_give, (void *)(intptr_t)i);
	pthread_t c = test_start(cancel_at_random, NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	atomic_store(&stop, true);
	pthread_join(c, NULL);
	uint32_t sum = 0;
	for (int i = 0; i < OBJECTS; i++) {
		sum += lp_semaphore_count(sems[i]);
		CHECK(lp_list_empty(&sems[i]->waiters));
		lp_release(sems[i]);
	}
	CHECK(sum == PERMITS);
	CHECK(atomic_load(&got) + atomic_load(&gave_up) + atomic_load(&cancelled) == (long)THREADS * rounds);
	printf("got %ld, timeouts %ld, cancelled %ld\n", atomic_load(&got), atomic_load(&gave_up),
		atomic_load(&cancelled));
}

/* One permit, two waiters that never time out: the permit goes round as long as it is not lost. */
static struct lp_semaphore *baton[2];

static void *runner(void *arg)
{
	int me = (int)(intptr_t)arg;
	struct test_exec e;
	test_exec_init(&e);
	for (int i = 0; i < rounds; i++) {
		/* The second node never fires: it is enqueued and dequeued each time. */
		struct lp_node nodes[2] = {{.obj = &baton[me]->obj}, {.obj = &baton[me]->obj}};
		int r = lp_wait_any(&e.exec, nodes, 1 + (i & 1), LP_FOREVER);
		if (r < 0)
			CHECK(r >= 0);
		lp_semaphore_release(baton[!me], 1);
	}
	return NULL;
}

static void a_baton_is_never_lost(void)
{
	rounds = test_rounds(20000);
	baton[0] = lp_semaphore_new(1);
	baton[1] = lp_semaphore_new(0);
	pthread_t a = test_start(runner, (void *)0), b = test_start(runner, (void *)1);
	pthread_join(a, NULL);
	pthread_join(b, NULL);
	CHECK(lp_semaphore_count(baton[0]) == 1 && lp_semaphore_count(baton[1]) == 0);
	lp_release(baton[0]), lp_release(baton[1]);
}

/* Several events are set at the same instant by several threads: one answer, every node unlinked, and
 * the memory of the wait is used again at once (a late waker would write into the next wait). */
static struct lp_event *events[3];
static _Atomic int go;

static void *setter(void *arg)
{
	int me = (int)(intptr_t)arg;
	for (int i = 1; i <= rounds; i++) {
		while (atomic_load(&go) < i)
			sched_yield(); /* more threads than cores */
		lp_event_set(events[me]);
	}
	return NULL;
}

static void simultaneous_sets(void)
{
	rounds = test_rounds(20000);
	pthread_t t[3];
	struct test_exec e;
	test_exec_init(&e);
	long by[3] = {0};
	for (int i = 0; i < 3; i++)
		events[i] = lp_event_new();
	for (int i = 0; i < 3; i++)
		t[i] = test_start(setter, (void *)(intptr_t)i);
	for (int i = 1; i <= rounds; i++) {
		struct lp_node nodes[3];
		for (int k = 0; k < 3; k++)
			nodes[k] = (struct lp_node){.obj = &events[(i + k) % 3]->obj};
		atomic_store(&go, i);
		int r = lp_wait_any(&e.exec, nodes, 3, LP_FOREVER);
		if (r < 0 || !lp_event_is_set((struct lp_event *)nodes[r].obj))
			CHECK(!"an answer without its event");
		else
			by[(i + r) % 3]++;
		for (int k = 0; k < 3; k++) { /* all three, before the next round */
			struct lp_node one = {.obj = &events[k]->obj};
			if (lp_wait_one(&e.exec, &one, LP_FOREVER) != 0)
				CHECK(!"an event that was set");
			lp_event_reset(events[k]);
		}
	}
	for (int i = 0; i < 3; i++) {
		pthread_join(t[i], NULL);
		lp_release(events[i]);
	}
	CHECK(by[0] + by[1] + by[2] == rounds);
}

int main(void)
{
	test_begin();
	permits_survive();
	a_baton_is_never_lost();
	simultaneous_sets();
	return test_end();
}
