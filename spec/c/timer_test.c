/* Timers without Lua and without the monitor: the heap, several waits for one timer, times that go by, and waits, closing
 * and setting at random on several threads. A thread of the test rings. */
#include <sched.h>

#include "sched/stop.h"
#include "sync/timer.h"
#include "test.h"

enum { THREADS = 3, TIMERS = 9 };
static const lp_time MS = 1000000;

static struct test_exec me, execs[THREADS];
static struct lp_timer *timers[TIMERS];
static _Atomic bool stop;
static _Atomic long looks, got, closed;
static int rounds;

bool lp_monitor_look(void)
{
	atomic_fetch_add(&looks, 1);
	return true;
}

void lp_monitor_may_leave(void)
{
}

static int wait_for(struct test_exec *e, struct lp_timer *t, lp_time deadline)
{
	struct lp_node n = {.obj = &t->obj};
	int r = lp_wait_one(&e->exec, &n, deadline);
	return r < 0 ? r : n.result;
}

static void *ring(void *arg)
{
	(void)arg;
	while (!atomic_load(&stop)) {
		lp_timers_ring(lp_now());
		sched_yield();
	}
	return NULL;
}

static void once_and_again(void)
{
	lp_time now = lp_now();
	struct lp_timer *t = lp_timer_new(now - MS, 0);
	CHECK(wait_for(&me, t, 0) == 1 && wait_for(&me, t, 0) == 1); /* due for everyone, and stays so */
	lp_timer_set(t, now - 10 * MS, 4 * MS);
	int n = wait_for(&me, t, 0);
	CHECK(n >= 3); /* now, and 4 and 8 ms later */
	CHECK(t->due == now - 10 * MS + n * 4 * MS);
	lp_timer_set(t, LP_FOREVER, 0);
	CHECK(wait_for(&me, t, 0) == LP_TIMEOUT);
	lp_timer_close(t);
	CHECK(wait_for(&me, t, LP_FOREVER) == LP_TIMER_CLOSED);
	lp_release(t);
	CHECK(!lp_timers_exist());
}

/* Enqueued in a mixed order: they ring in the order of their times, and only when they are due. */
static void the_heap_is_in_order(void)
{
	enum { N = 40 };
	struct lp_timer *t[N];
	struct lp_node nodes[N];
	struct lp_wait waits[N];
	lp_time base = lp_now() + 1000 * LP_SECOND;
	for (int i = 0; i < N; i++) {
		t[i] = lp_timer_new(base + (i * 17 % N) * MS, 0);
		waits[i] = (struct lp_wait){.parker = lp_parker_self()};
		nodes[i] = (struct lp_node){.obj = &t[i]->obj, .wait = &waits[i]};
		lp_timer_class.enqueue(&t[i]->obj, &nodes[i]);
	}
	for (int i = 0; i < N; i += 3) { /* some leave */
		lp_timer_class.dequeue(&t[i]->obj, &nodes[i]);
		CHECK(t[i]->slot == 0);
	}
	for (int k = 0; k < N; k++) {
		lp_time next = lp_timers_ring(base + k * MS);
		CHECK(next > base + k * MS);
		for (int i = 0; i < N; i++) {
			bool due = i % 3 != 0 && i * 17 % N <= k;
			CHECK((atomic_load(&waits[i].state) >= LP_FIRED) == due);
		}
	}
	CHECK(lp_timers_ring(base + N * MS) == LP_FOREVER);
	for (int i = 0; i < N; i++)
		lp_release(t[i]);
}

static void *use(void *arg)
{
	struct test_exec *e = &execs[(intptr_t)arg];
	uint64_t seed = 4711 + (uint64_t)(intptr_t)arg * 7919;
	for (int i = 0; i < rounds; i++) {
		struct lp_timer *t = timers[test_random(&seed) % TIMERS];
		lp_time now = lp_now();
		switch (test_random(&seed) % 6) {
		case 0:
			lp_timer_set(t, now + (lp_time)(test_random(&seed) % 200000), test_random(&seed) % 2 ? MS / 10 : 0);
			break;
		case 1:
			lp_timer_close(t);
			break;
		default: {
			struct lp_node nodes[3];
			for (int k = 0; k < 3; k++)
				nodes[k] = (struct lp_node){.obj = &timers[test_random(&seed) % TIMERS]->obj};
			int r = lp_wait_any(&e->exec, nodes, 3, now + (lp_time)(test_random(&seed) % 100000));
			if (r >= 0 && nodes[r].result == LP_TIMER_CLOSED)
				atomic_fetch_add(&closed, 1);
			else if (r >= 0)
				atomic_fetch_add(&got, 1);
			else if (r != LP_TIMEOUT)
				CHECK(r == LP_TIMEOUT);
			for (int k = 0; k < 3; k++)
				if (lp_linked(&nodes[k].link))
					CHECK(!"a node is still linked");
		}
		}
	}
	return NULL;
}

static void random_use(void)
{
	pthread_t t[THREADS], r = test_start(ring, NULL);
	rounds = test_rounds(20000);
	for (int i = 0; i < TIMERS; i++)
		timers[i] = lp_timer_new(lp_now() + MS, i % 2 ? MS / 5 : 0);
	for (int i = 0; i < THREADS; i++) {
		test_exec_init(&execs[i]);
		t[i] = test_start(use, (void *)(intptr_t)i);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	/* One that the thread rings, with nobody else to look at the clock. */
	lp_timer_set(timers[0], lp_now() + MS, 0);
	CHECK(wait_for(&me, timers[0], LP_FOREVER) == 1);
	atomic_store(&stop, true);
	pthread_join(r, NULL);
	CHECK(atomic_load(&got) > 0 && atomic_load(&closed) > 0 && atomic_load(&looks) > 0);
	for (int i = 0; i < TIMERS; i++) {
		CHECK(timers[i]->slot == 0 && lp_list_empty(&timers[i]->waiters));
		lp_release(timers[i]);
	}
	CHECK(!lp_timers_exist());
	CHECK(lp_timers_ring(LP_FOREVER - 1) == LP_FOREVER);
}

int main(void)
{
	test_begin();
	test_exec_init(&me);
	once_and_again();
	the_heap_is_in_order();
	random_use();
	return test_end();
}
