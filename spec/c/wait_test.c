/* The waiting layer, one promise at a time: lock, parker, event, semaphore, wait-any, deadline,
 * cancellation. The races are in race_test.c, the rings in ring_test.c. */
#include "sync/event.h"
#include "sync/semaphore.h"
#include "test.h"

#define MS 1000000LL

/* ---- lp_mutex: exclusive ---- */

static lp_mutex counter_lock = LP_MUTEX_INIT(LP_RANK_TEST);
static long counter;

static void *count(void *rounds)
{
	for (long i = 0; i < (long)(intptr_t)rounds; i++) {
		lp_lock(&counter_lock);
		counter++;
		lp_unlock(&counter_lock);
	}
	return NULL;
}

static void a_lock_excludes(void)
{
	int rounds = test_rounds(400000);
	pthread_t t[4];
	for (int i = 0; i < 4; i++)
		t[i] = test_start(count, (void *)(intptr_t)rounds);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	CHECK(counter == 4L * rounds);
	CHECK(lp_trylock(&counter_lock));
	CHECK(!lp_trylock(&counter_lock));
	lp_unlock(&counter_lock);
}

/* ---- parkers ---- */

static void a_wakeup_is_stored(void)
{
	struct lp_parker *p = lp_parker_self();
	CHECK(p && p == lp_parker_self());
	lp_unpark(p);
	lp_unpark(p);
	lp_park(p, LP_FOREVER); /* returns at once */
	lp_time before = lp_now();
	lp_park(p, before + 5 * MS); /* both were one */
	CHECK(lp_now() >= before + 5 * MS);
}

static struct lp_parker *_Atomic ping, *_Atomic pong;
static _Atomic int turn;

static void *answer(void *rounds)
{
	atomic_store(&pong, lp_parker_self());
	for (int i = 0; i < (int)(intptr_t)rounds; i++) {
		while (atomic_load(&turn) != 1)
			lp_park(atomic_load(&pong), LP_FOREVER);
		atomic_store(&turn, 0);
		lp_unpark(atomic_load(&ping));
	}
	return NULL;
}

static void no_wakeup_is_lost_between_two(void)
{
	int rounds = test_rounds(20000);
	atomic_store(&ping, lp_parker_self());
	pthread_t t = test_start(answer, (void *)(intptr_t)rounds);
	UNTIL(atomic_load(&pong));
	for (int i = 0; i < rounds; i++) {
		atomic_store(&turn, 1);
		lp_unpark(atomic_load(&pong));
		while (atomic_load(&turn) != 0)
			lp_park(atomic_load(&ping), LP_FOREVER);
	}
	pthread_join(t, NULL);
	CHECK(atomic_load(&turn) == 0);
}

static void *own_parker(void *out)
{
	*(struct lp_parker **)out = lp_parker_self();
	return NULL;
}

static void a_parker_is_used_again(void)
{
	struct lp_parker *a, *b;
	pthread_join(test_start(own_parker, &a), NULL);
	pthread_join(test_start(own_parker, &b), NULL);
	CHECK(a == b && a != lp_parker_self());
}

/* ---- helpers ---- */

struct waiter {
	struct test_exec e;
	struct lp_node nodes[8];
	int n, answer;
	lp_time deadline;
};

static void *wait_run(void *arg)
{
	struct waiter *w = arg;
	atomic_store(&w->e.parker, lp_parker_self());
	w->answer = lp_wait_any(&w->e.exec, w->nodes, w->n, w->deadline);
	return NULL;
}

static void waiter_init(struct waiter *w, lp_time deadline)
{
	*w = (struct waiter){.deadline = deadline};
	test_exec_init(&w->e);
}

static void waiter_add(struct waiter *w, void *obj)
{
	w->nodes[w->n++] = (struct lp_node){.obj = obj};
}

static bool event_has_waiter(struct lp_event *e)
{
	lp_lock(&e->lock);
	bool yes = !lp_list_empty(&e->waiters);
	lp_unlock(&e->lock);
	return yes;
}

static unsigned permit_waiters(struct lp_semaphore *s)
{
	unsigned n = 0;
	lp_lock(&s->lock);
	for (struct lp_link *l = s->waiters.next; l != &s->waiters; l = l->next)
		n++;
	lp_unlock(&s->lock);
	return n;
}

/* ---- event ---- */

static void an_event_wakes_all(void)
{
	enum { N = 20 }; /* more than one handful of wakes */
	struct lp_event *ev = lp_event_new();
	struct waiter w[N];
	pthread_t t[N];
	for (int i = 0; i < N; i++) {
		waiter_init(&w[i], LP_FOREVER);
		waiter_add(&w[i], ev);
		t[i] = test_start(wait_run, &w[i]);
	}
	for (int n = 0; n < N; usleep(100)) {
		n = 0;
		lp_lock(&ev->lock);
		for (struct lp_link *l = ev->waiters.next; l != &ev->waiters; l = l->next)
			n++;
		lp_unlock(&ev->lock);
	}
	lp_event_set(ev);
	for (int i = 0; i < N; i++) {
		pthread_join(t[i], NULL);
		CHECK(w[i].answer == 0);
	}
	CHECK(!event_has_waiter(ev));
	struct waiter later;
	waiter_init(&later, LP_FOREVER);
	waiter_add(&later, ev);
	wait_run(&later);
	CHECK(later.answer == 0);
	lp_event_reset(ev);
	CHECK(!lp_event_is_set(ev));
	lp_release(ev);
}

/* ---- semaphore ---- */

static void permits_are_counted(void)
{
	struct lp_semaphore *s = lp_semaphore_new(2);
	CHECK(lp_semaphore_try_acquire(s) && lp_semaphore_try_acquire(s) && !lp_semaphore_try_acquire(s));
	CHECK(lp_semaphore_release(s, UINT32_MAX));
	CHECK(!lp_semaphore_release(s, 1));
	CHECK(lp_semaphore_release(s, 0));
	CHECK(lp_semaphore_count(s) == UINT32_MAX);
	lp_release(s);
}

static void permits_go_to_the_longest_wait(void)
{
	enum { N = 5 };
	struct lp_semaphore *s = lp_semaphore_new(0);
	struct waiter w[N];
	pthread_t t[N];
	for (unsigned i = 0; i < N; i++) {
		waiter_init(&w[i], LP_FOREVER);
		waiter_add(&w[i], s);
		t[i] = test_start(wait_run, &w[i]);
		UNTIL(permit_waiters(s) == i + 1);
	}
	for (unsigned i = 0; i < N; i++) {
		CHECK(lp_semaphore_release(s, 1));
		CHECK(!lp_semaphore_try_acquire(s)); /* it belongs to the waiter already */
		pthread_join(t[i], NULL);
		CHECK(w[i].answer == 0 && permit_waiters(s) == N - 1 - i);
	}
	CHECK(lp_semaphore_release(s, 3) && lp_semaphore_count(s) == 3);
	lp_release(s);
}

static void a_release_serves_waiters_then_counts(void)
{
	struct lp_semaphore *s = lp_semaphore_new(0);
	struct waiter w[2];
	pthread_t t[2];
	for (unsigned i = 0; i < 2; i++) {
		waiter_init(&w[i], LP_FOREVER);
		waiter_add(&w[i], s);
		t[i] = test_start(wait_run, &w[i]);
		UNTIL(permit_waiters(s) == i + 1);
	}
	CHECK(lp_semaphore_release(s, 7));
	CHECK(lp_semaphore_count(s) == 5);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	lp_release(s);
}

/* ---- wait-any ---- */

static void the_first_ready_one_wins(void)
{
	struct lp_semaphore *a = lp_semaphore_new(0), *b = lp_semaphore_new(1), *c = lp_semaphore_new(1);
	struct waiter w;
	waiter_init(&w, LP_FOREVER);
	waiter_add(&w, a);
	waiter_add(&w, b);
	waiter_add(&w, c);
	wait_run(&w);
	CHECK(w.answer == 1 && lp_semaphore_count(b) == 0 && lp_semaphore_count(c) == 1);
	lp_release(a), lp_release(b), lp_release(c);
}

static void one_of_many_fires_and_the_rest_is_left(void)
{
	struct lp_semaphore *s[4];
	struct waiter w;
	waiter_init(&w, LP_FOREVER);
	for (int i = 0; i < 4; i++)
		waiter_add(&w, s[i] = lp_semaphore_new(0));
	waiter_add(&w, s[0]); /* twice the same */
	pthread_t t = test_start(wait_run, &w);
	UNTIL(permit_waiters(s[0]) == 2 && permit_waiters(s[3]) == 1);
	lp_semaphore_release(s[2], 1);
	lp_semaphore_release(s[0], 2); /* too late: stays in the semaphore */
	pthread_join(t, NULL);
	CHECK(w.answer == 2);
	for (int i = 0; i < 4; i++) {
		CHECK(permit_waiters(s[i]) == 0);
		CHECK(lp_semaphore_count(s[i]) == (i == 0 ? 2 : 0));
		lp_release(s[i]);
	}
}

static void a_thousand_objects(void)
{
	enum { N = 1000 };
	struct lp_semaphore *s[N];
	struct lp_node *nodes = calloc(N, sizeof *nodes);
	struct test_exec e;
	test_exec_init(&e);
	for (int i = 0; i < N; i++)
		nodes[i].obj = &(s[i] = lp_semaphore_new(0))->obj;
	CHECK(lp_wait_any(&e.exec, nodes, N, lp_now() + 2 * MS) == LP_TIMEOUT);
	lp_semaphore_release(s[N - 1], 1);
	CHECK(lp_wait_any(&e.exec, nodes, N, LP_FOREVER) == N - 1);
	for (int i = 0; i < N; i++) {
		CHECK(permit_waiters(s[i]) == 0);
		lp_release(s[i]);
	}
	free(nodes);
}

/* ---- deadlines ---- */

static void deadlines(void)
{
	struct lp_semaphore *s = lp_semaphore_new(0);
	struct waiter w;
	waiter_init(&w, 0);
	waiter_add(&w, s);
	wait_run(&w);
	CHECK(w.answer == LP_TIMEOUT);
	w.deadline = lp_now() + 10 * MS;
	wait_run(&w);
	CHECK(w.answer == LP_TIMEOUT && lp_now() >= w.deadline && permit_waiters(s) == 0);
	/* A deadline scope of the actor ends the wait otherwise than its own timeout. */
	w.deadline = LP_FOREVER;
	w.e.actor.deadline = lp_now() + 5 * MS;
	wait_run(&w);
	CHECK(w.answer == LP_CANCELLED);
	w.deadline = lp_now() + 5 * MS;
	w.e.actor.deadline = lp_now() + 1000 * MS;
	wait_run(&w);
	CHECK(w.answer == LP_TIMEOUT);
	w.e.actor.deadline = 1; /* long past: set in a shield it counts, held back it does not */
	w.e.actor.shield = 1;
	w.deadline = lp_now() + 5 * MS;
	wait_run(&w);
	CHECK(w.answer == LP_CANCELLED);
	w.e.actor.hold = 1;
	w.deadline = lp_now() + 5 * MS;
	wait_run(&w);
	CHECK(w.answer == LP_TIMEOUT);
	lp_semaphore_release(s, 1);
	w.deadline = 0; /* a poll takes what is there */
	wait_run(&w);
	CHECK(w.answer == 0);
	lp_release(s);
}

/* ---- cancellation ---- */

static void a_wait_can_be_cancelled(void)
{
	struct lp_semaphore *s = lp_semaphore_new(0);
	struct waiter w;
	waiter_init(&w, LP_FOREVER);
	waiter_add(&w, s);
	pthread_t t = test_start(wait_run, &w);
	UNTIL(permit_waiters(s) == 1);
	CHECK(lp_cancel_ask(&w.e.actor));
	CHECK(!lp_cancel_ask(&w.e.actor));
	lp_unpark(atomic_load(&w.e.parker));
	pthread_join(t, NULL);
	CHECK(w.answer == LP_CANCELLED && permit_waiters(s) == 0);
	/* Nothing is consumed while a request is pending. */
	lp_semaphore_release(s, 1);
	wait_run(&w);
	CHECK(w.answer == LP_CANCELLED && lp_semaphore_count(s) == 1);
	lp_cancel_deliver(&w.e.actor); /* told once: clean-up may wait */
	wait_run(&w);
	CHECK(w.answer == 0 && lp_semaphore_count(s) == 0);
	lp_release(s);
}

static void a_shield_holds_it_back(void)
{
	struct lp_semaphore *s = lp_semaphore_new(0);
	struct waiter w;
	waiter_init(&w, LP_FOREVER);
	waiter_add(&w, s);
	w.e.actor.shield = 1;
	pthread_t t = test_start(wait_run, &w);
	UNTIL(permit_waiters(s) == 1);
	test_cancel(&w.e);
	usleep(2000);
	CHECK(permit_waiters(s) == 1);
	lp_semaphore_release(s, 1);
	pthread_join(t, NULL);
	CHECK(w.answer == 0);
	lp_release(s);
}

static _Atomic bool ctrl_c;
static bool signalled(struct lp_exec *e)
{
	(void)e;
	return atomic_load(&ctrl_c);
}

static void a_signal_interrupts_the_host(void)
{
	struct lp_semaphore *s = lp_semaphore_new(0);
	struct waiter w;
	waiter_init(&w, LP_FOREVER);
	waiter_add(&w, s);
	w.e.exec.signalled = signalled;
	pthread_t t = test_start(wait_run, &w);
	UNTIL(permit_waiters(s) == 1);
	atomic_store(&ctrl_c, true);
	lp_unpark(atomic_load(&w.e.parker));
	pthread_join(t, NULL);
	CHECK(w.answer == LP_INTERRUPTED);
	lp_release(s);
}

static int blocked, unblocked;
static void on_block(struct lp_exec *e)
{
	(void)e;
	blocked++;
}
static void on_unblock(struct lp_exec *e)
{
	(void)e;
	unblocked++;
}

static void block_is_told_of_sleep_only(void)
{
	struct lp_semaphore *s = lp_semaphore_new(1);
	struct waiter w;
	waiter_init(&w, LP_FOREVER);
	waiter_add(&w, s);
	w.e.exec.block = on_block;
	w.e.exec.unblock = on_unblock;
	wait_run(&w);
	w.deadline = 0;
	wait_run(&w);
	CHECK(blocked == 0 && unblocked == 0);
	w.deadline = lp_now() + MS;
	wait_run(&w);
	CHECK(blocked == 1 && unblocked == 1);
	lp_release(s);
}

int main(void)
{
	test_begin();
	a_lock_excludes();
	a_wakeup_is_stored();
	no_wakeup_is_lost_between_two();
	a_parker_is_used_again();
	an_event_wakes_all();
	permits_are_counted();
	permits_go_to_the_longest_wait();
	a_release_serves_waiters_then_counts();
	the_first_ready_one_wins();
	one_of_many_fires_and_the_rest_is_left();
	a_thousand_objects();
	deadlines();
	a_wait_can_be_cancelled();
	a_shield_holds_it_back();
	a_signal_interrupts_the_host();
	block_is_told_of_sleep_only();
	return test_end();
}
