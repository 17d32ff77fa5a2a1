/* The locks of Lua programs without Lua: mutex, condition, rwlock, barrier; owners that end; random use with
 * timeouts and cancellations. */
#include <sched.h>

#include "sync/barrier.h"
#include "sync/condition.h"
#include "sync/rwlock.h"
#include "test.h"

enum { THREADS = 4 };
static struct test_exec execs[THREADS], me;
static _Atomic bool stop;
static int rounds;

static int take(struct test_exec *e, struct lp_mtx *m, lp_time deadline)
{
	struct lp_node n = {.obj = &m->obj, .value = &e->actor};
	int r = lp_wait_one(&e->exec, &n, deadline);
	if (r < 0)
		return r;
	lp_mtx_entered(m, &e->actor);
	return n.result; /* 1: abandoned */
}

static void *cancel_at_random(void *arg)
{
	(void)arg;
	uint64_t seed = 31337;
	while (!atomic_load(&stop)) {
		test_cancel(&execs[test_random(&seed) % THREADS]);
		for (uint32_t i = test_random(&seed) % 500; i; i--)
			lp_relax();
		sched_yield();
	}
	return NULL;
}

static void crowd(void *(*run)(void *), bool cancel)
{
	pthread_t t[THREADS], c;
	atomic_store(&stop, false);
	for (int i = 0; i < THREADS; i++)
		test_exec_init(&execs[i]);
	for (int i = 0; i < THREADS; i++)
		t[i] = test_start(run, (void *)(intptr_t)i);
	if (cancel)
		c = test_start(cancel_at_random, NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	atomic_store(&stop, true);
	if (cancel)
		pthread_join(c, NULL);
}

/* ---- mutex ---- */

static struct lp_mtx *mutex;
static long guarded, done;

static void *lock_and_count(void *arg)
{
	int self = (int)(intptr_t)arg;
	struct test_exec *e = &execs[self];
	uint64_t seed = 5 + (uint64_t)self;
	atomic_store(&e->parker, lp_parker_self());
	long mine = 0;
	for (int i = 0; i < rounds; i++) {
		uint32_t dice = test_random(&seed);
		lp_time d = dice % 3 == 0 ? LP_FOREVER : dice % 3 == 1 ? 0 : lp_now() + (lp_time)(dice % 50000);
		int r = take(e, mutex, d);
		if (r == LP_CANCELLED)
			test_uncancel(e);
		if (r < 0)
			continue;
		guarded++;
		mine++;
		if (dice % 16 == 0)
			sched_yield();
		if (dice % 5 == 0)
			lp_held_release(&e->actor); /* as the end of a task */
		else
			lp_mtx_unlock(mutex, &e->actor);
	}
	__atomic_fetch_add(&done, mine, __ATOMIC_SEQ_CST);
	return NULL;
}

static void a_mutex_excludes(void)
{
	rounds = test_rounds(100000);
	mutex = lp_mtx_new();
	crowd(lock_and_count, true);
	CHECK(guarded == done && done > 0);
	CHECK(lp_mtx_owned(mutex, NULL) && lp_list_empty(&mutex->waiters));
	CHECK(atomic_load(&mutex->obj.refs) == 1);
	lp_release(mutex);
}

static void abandoned_is_told_once(void)
{
	struct test_exec gone;
	test_exec_init(&gone);
	mutex = lp_mtx_new();
	CHECK(take(&gone, mutex, 0) == 0 && take(&me, mutex, 0) == LP_TIMEOUT);
	CHECK(lp_mtx_holder(&mutex->obj) == &gone.exec);
	lp_held_release(&gone.actor);
	CHECK(take(&me, mutex, 0) == 1);
	lp_mtx_unlock(mutex, &me.actor);
	CHECK(take(&me, mutex, 0) == 0);
	/* The last handle goes while it is locked: nobody is left who could unlock it. */
	lp_mtx_handle_gone(mutex, &me.exec);
	CHECK(lp_list_empty(&me.actor.held) && atomic_load(&mutex->obj.refs) == 1);
	lp_release(mutex);
	/* Another one holds it still: stays locked, and lives until its owner ends. */
	mutex = lp_mtx_new();
	CHECK(take(&gone, mutex, 0) == 0);
	lp_mtx_handle_gone(mutex, &me.exec);
	lp_release(mutex);
	CHECK(!lp_list_empty(&gone.actor.held));
	lp_held_release(&gone.actor);
}

/* ---- a ring of two mutexes ---- */

static struct lp_mtx *forks[2];
static _Atomic int has_one, dead_locks;

static void *dine(void *arg)
{
	int self = (int)(intptr_t)arg;
	struct test_exec e;
	test_exec_init(&e);
	CHECK(take(&e, forks[self], LP_FOREVER) == 0);
	atomic_fetch_add(&has_one, 1);
	UNTIL(atomic_load(&has_one) == 2);
	int r = take(&e, forks[!self], LP_FOREVER);
	if (r == LP_DEADLOCK)
		atomic_fetch_add(&dead_locks, 1);
	lp_held_release(&e.actor);
	return NULL;
}

static void two_forks(void)
{
	for (int i = test_rounds(200); i-- > 0;) {
		atomic_store(&has_one, 0);
		forks[0] = lp_mtx_new(), forks[1] = lp_mtx_new();
		pthread_t a = test_start(dine, (void *)0), b = test_start(dine, (void *)1);
		pthread_join(a, NULL);
		pthread_join(b, NULL);
		CHECK(atomic_exchange(&dead_locks, 0) == 1);
		lp_release(forks[0]), lp_release(forks[1]);
	}
}

/* ---- condition ---- */

static struct lp_condition *changed;
static int ball;

static void wait_changed(struct test_exec *e)
{
	struct lp_condition_wait cw = {.m = mutex, .actor = &e->actor};
	struct lp_node n = {.obj = &changed->obj, .value = &cw};
	if (lp_wait_one(&e->exec, &n, LP_FOREVER) != 0 || !cw.released)
		CHECK(!"woken by a signal");
	if (take(e, mutex, LP_FOREVER) < 0)
		CHECK(!"locked again");
}

static void *play(void *arg)
{
	int self = (int)(intptr_t)arg;
	struct test_exec e;
	test_exec_init(&e);
	for (int i = 0; i < rounds; i++) {
		take(&e, mutex, LP_FOREVER);
		while (ball != self)
			wait_changed(&e);
		ball = !self;
		lp_condition_signal(changed, false);
		lp_mtx_unlock(mutex, &e.actor);
	}
	return NULL;
}

static void no_signal_is_lost(void)
{
	rounds = test_rounds(20000);
	mutex = lp_mtx_new();
	changed = lp_condition_new();
	CHECK(lp_condition_signal(changed, true) == 0);
	pthread_t a = test_start(play, (void *)0), b = test_start(play, (void *)1);
	pthread_join(a, NULL);
	pthread_join(b, NULL);
	CHECK(ball == 0 && lp_list_empty(&changed->waiters));
	lp_release(mutex), lp_release(changed);
}

/* ---- rwlock ---- */

static struct lp_rwlock *rwlock;
static _Atomic int readers, writers;

static void *read_and_write(void *arg)
{
	int self = (int)(intptr_t)arg;
	struct test_exec *e = &execs[self];
	uint64_t seed = 77 + (uint64_t)self;
	atomic_store(&e->parker, lp_parker_self());
	for (int i = 0; i < rounds; i++) {
		uint32_t dice = test_random(&seed);
		bool writes = dice % 4 == 0;
		struct lp_rwhold *h = lp_rwhold_new(rwlock, &e->actor, writes);
		struct lp_node n = {.obj = &rwlock->obj, .value = h};
		int r = lp_wait_one(&e->exec, &n, dice % 3 ? LP_FOREVER : lp_now() + (lp_time)(dice % 40000));
		if (r == LP_CANCELLED)
			test_uncancel(e);
		if (r < 0) {
			lp_free(h);
			continue;
		}
		lp_rwlock_entered(h);
		atomic_fetch_add(writes ? &writers : &readers, 1);
		if (dice % 8 == 0)
			sched_yield();
		if (atomic_load(&writers) > writes || (writes && atomic_load(&readers)))
			CHECK(!"readers or one writer");
		atomic_fetch_sub(writes ? &writers : &readers, 1);
		if (dice % 5 == 0)
			lp_held_release(&e->actor);
		else
			lp_rwlock_unlock(lp_rwlock_find(rwlock, &e->actor));
	}
	return NULL;
}

static void readers_or_a_writer(void)
{
	rounds = test_rounds(60000);
	rwlock = lp_rwlock_new();
	crowd(read_and_write, true);
	struct lp_rwcounts c = lp_rwlock_counts(rwlock);
	CHECK(c.readers == 0 && !c.writer && c.waiting == 0);
	CHECK(atomic_load(&rwlock->obj.refs) == 1);
	lp_release(rwlock);
}

static struct lp_rwhold *enter(struct test_exec *e, bool writes, lp_time deadline)
{
	struct lp_rwhold *h = lp_rwhold_new(rwlock, &e->actor, writes);
	struct lp_node n = {.obj = &rwlock->obj, .value = h};
	if (lp_wait_one(&e->exec, &n, deadline) < 0) {
		lp_free(h);
		return NULL;
	}
	lp_rwlock_entered(h);
	return h;
}

static void *write_soon(void *arg)
{
	struct test_exec *e = arg;
	CHECK(!enter(e, true, lp_now() + 30000000));
	return NULL;
}

/* A reader waits behind a waiting writer, and goes on when that gives up. */
static void a_writer_that_gives_up_lets_readers_in(void)
{
	struct test_exec writer, reader;
	test_exec_init(&writer), test_exec_init(&reader);
	rwlock = lp_rwlock_new();
	CHECK(enter(&me, false, 0));
	pthread_t t = test_start(write_soon, &writer);
	UNTIL(lp_rwlock_counts(rwlock).waiting == 1);
	CHECK(!enter(&reader, false, 0));
	CHECK(enter(&reader, false, LP_FOREVER));
	pthread_join(t, NULL);
	CHECK(lp_rwlock_counts(rwlock).readers == 2);
	lp_held_release(&me.actor);
	lp_held_release(&reader.actor);
	CHECK(enter(&writer, true, 0) && !enter(&me, false, 0));
	lp_held_release(&writer.actor); /* ended inside */
	CHECK(lp_rwlock_counts(rwlock).abandoned);
	CHECK(enter(&me, false, 0) && lp_rwlock_counts(rwlock).abandoned);
	lp_held_release(&me.actor);
	CHECK(enter(&me, true, 0) && !lp_rwlock_counts(rwlock).abandoned);
	lp_rwlock_handle_gone(rwlock, &me.exec);
	CHECK(lp_list_empty(&me.actor.held));
	lp_release(rwlock);
}

/* ---- barrier ---- */

static struct lp_barrier *barrier;
static _Atomic int passed[THREADS + 1];

static void *pass_all(void *arg)
{
	int self = (int)(intptr_t)arg;
	struct test_exec *e = &execs[self];
	uint64_t seed = 3 + (uint64_t)self;
	for (int i = 0; i < rounds;) {
		struct lp_node n = {.obj = &barrier->obj};
		uint32_t dice = test_random(&seed);
		lp_wait_one(&e->exec, &n, dice % 2 ? LP_FOREVER : lp_now() + (lp_time)(dice % 30000));
		if (!n.result)
			continue; /* has not come: once more */
		atomic_fetch_add(&passed[n.result], 1);
		i++;
	}
	return NULL;
}

static void all_pass_the_barrier(void)
{
	rounds = test_rounds(10000);
	barrier = lp_barrier_new(THREADS);
	crowd(pass_all, false);
	for (int i = 1; i <= THREADS; i++)
		CHECK(atomic_load(&passed[i]) == rounds);
	CHECK(atomic_load(&barrier->here) == 0 && lp_list_empty(&barrier->waiters));
	lp_release(barrier);
	barrier = lp_barrier_new(1);
	struct lp_node n = {.obj = &barrier->obj};
	CHECK(lp_wait_one(&me.exec, &n, 0) == 0 && n.result == 1);
	lp_release(barrier);
}

int main(void)
{
	test_begin();
	test_exec_init(&me);
	a_mutex_excludes();
	abandoned_is_told_once();
	two_forks();
	no_signal_is_lost();
	readers_or_a_writer();
	a_writer_that_gives_up_lets_readers_in();
	all_pass_the_barrier();
	return test_end();
}
