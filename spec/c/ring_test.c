/* Dead-lock detection: who closes a ring of untimed waits is told, and nobody else. The objects
 * are fakes that know their holder; real ones (mutex, future) only answer the same question. */
#include "test.h"

struct fake {
	struct lp_obj obj;
	lp_mutex lock;
	struct lp_link waiters;           /* [lock] */
	struct lp_exec *_Atomic holder;
};

static bool fake_take(struct lp_obj *o, struct lp_node *n)
{
	(void)n;
	return !atomic_load(&((struct fake *)o)->holder);
}

static void fake_enqueue(struct lp_obj *o, struct lp_node *n)
{
	struct fake *f = (struct fake *)o;
	lp_lock(&f->lock);
	if (atomic_load(&f->holder))
		lp_list_append(&f->waiters, &n->link);
	else if (lp_claim(n))
		lp_fire(n, NULL);
	lp_unlock(&f->lock);
}

static void fake_dequeue(struct lp_obj *o, struct lp_node *n)
{
	struct fake *f = (struct fake *)o;
	lp_lock(&f->lock);
	if (lp_linked(&n->link))
		lp_list_remove(&n->link);
	lp_unlock(&f->lock);
}

static _Atomic int holder_calls;

static struct lp_exec *fake_holder(struct lp_obj *o)
{
	atomic_fetch_add(&holder_calls, 1);
	return atomic_load(&((struct fake *)o)->holder);
}

static const struct lp_class fake_class = {
	.name = "test.fake", .take = fake_take, .enqueue = fake_enqueue, .dequeue = fake_dequeue, .holder = fake_holder};

static void fake_init(struct fake *f, struct lp_exec *holder)
{
	*f = (struct fake){.holder = holder};
	lp_obj_init(&f->obj, &fake_class);
	lp_lock_init(&f->lock, LP_RANK_TEST);
	lp_list_init(&f->waiters);
}

/* Everyone goes on, and the object is nobody's. */
static void fake_free(struct fake *f)
{
	struct lp_wakes wakes = LP_WAKES_INIT;
	lp_lock(&f->lock);
	atomic_store(&f->holder, NULL);
	while (!lp_list_empty(&f->waiters)) {
		struct lp_node *n = lp_entry(f->waiters.next, struct lp_node, link);
		if (lp_claim(n))
			lp_fire(n, &wakes);
	}
	lp_unlock(&f->lock);
	lp_wake_all(&wakes);
}

/* The first waiter becomes the holder and is not woken yet: a mutex's hand-over in slow motion. */
static void fake_hand_over(struct fake *f, struct lp_exec *to, struct lp_wakes *w)
{
	lp_lock(&f->lock);
	struct lp_node *n = lp_entry(f->waiters.next, struct lp_node, link);
	if (lp_claim(n)) {
		atomic_store(&f->holder, to);
		lp_fire(n, w);
	}
	lp_unlock(&f->lock);
}

static bool has_waiter(struct fake *f)
{
	lp_lock(&f->lock);
	bool yes = !lp_list_empty(&f->waiters);
	lp_unlock(&f->lock);
	return yes;
}

enum { RING = 5 };
static struct test_exec execs[RING];
static struct fake fakes[RING];
static int answers[RING];
static lp_time deadlines[RING];

static void reset(void)
{
	for (int i = 0; i < RING; i++) {
		test_exec_init(&execs[i]);
		fake_init(&fakes[i], &execs[i].exec);
		deadlines[i] = LP_FOREVER;
		answers[i] = -99;
	}
}

/* Number i waits for what i + 1 holds. */
static void *run(void *arg)
{
	int i = (int)(intptr_t)arg;
	struct lp_node n = {.obj = &fakes[(i + 1) % RING].obj};
	atomic_store(&execs[i].parker, lp_parker_self());
	answers[i] = lp_wait_one(&execs[i].exec, &n, deadlines[i]);
	fake_free(&fakes[i]); /* as the end of a task would */
	return NULL;
}

static void a_ring_of_one(void)
{
	reset();
	struct lp_node n = {.obj = &fakes[0].obj};
	CHECK(lp_wait_one(&execs[0].exec, &n, LP_FOREVER) == LP_DEADLOCK);
	CHECK(lp_wait_one(&execs[0].exec, &n, lp_now() + 1000000) == LP_TIMEOUT);
	struct lp_node two[2] = {{.obj = &fakes[0].obj}, {.obj = &fakes[0].obj}};
	CHECK(lp_wait_any(&execs[0].exec, two, 2, lp_now() + 1000000) == LP_TIMEOUT);
}

static void the_last_of_a_ring_is_told(void)
{
	reset();
	pthread_t t[RING];
	for (int i = 0; i < RING - 1; i++) {
		t[i] = test_start(run, (void *)(intptr_t)i);
		UNTIL(has_waiter(&fakes[i + 1]));
	}
	run((void *)(intptr_t)(RING - 1));
	CHECK(answers[RING - 1] == LP_DEADLOCK);
	for (int i = 0; i < RING - 1; i++) {
		pthread_join(t[i], NULL);
		CHECK(answers[i] == 0); /* the consequence: its turn came */
	}
}

static void all_at_once_exactly_one_is_told(void)
{
	for (int round = test_rounds(800); round-- > 0;) {
		reset();
		pthread_t t[RING];
		for (int i = 0; i < RING; i++)
			t[i] = test_start(run, (void *)(intptr_t)i);
		int told = 0, went = 0;
		for (int i = 0; i < RING; i++) {
			pthread_join(t[i], NULL);
			told += answers[i] == LP_DEADLOCK;
			went += answers[i] == 0;
		}
		/* None is told if the fifth came after a holder was... no: all five hold until told. */
		CHECK(told == 1 && went == RING - 1);
	}
}

static void a_timed_wait_is_no_part_of_a_ring(void)
{
	reset();
	deadlines[2] = lp_now() + 20000000;
	pthread_t t[RING];
	for (int i = 0; i < RING; i++)
		t[i] = test_start(run, (void *)(intptr_t)i);
	for (int i = 0; i < RING; i++) {
		pthread_join(t[i], NULL);
		CHECK(answers[i] == (i == 2 ? LP_TIMEOUT : 0));
	}
}

static void a_deadline_scope_is_a_time_limit_too(void)
{
	reset();
	struct lp_node n = {.obj = &fakes[0].obj};
	execs[0].actor.deadline = lp_now() + 1000000;
	CHECK(lp_wait_one(&execs[0].exec, &n, LP_FOREVER) == LP_CANCELLED);
}

/* B waits for A, which waits for a free end: no ring, however long the walk. */
static void a_chain_is_no_ring(void)
{
	reset();
	pthread_t t[RING];
	atomic_store(&fakes[RING - 1].holder, &execs[RING - 1].exec); /* who does not wait */
	for (int i = RING - 2; i >= 0; i--)
		t[i] = test_start(run, (void *)(intptr_t)i);
	for (int i = 0; i < RING - 1; i++)
		UNTIL(has_waiter(&fakes[i + 1]));
	fake_free(&fakes[RING - 1]);
	for (int i = 0; i < RING - 1; i++) {
		pthread_join(t[i], NULL);
		CHECK(answers[i] == 0);
	}
}

/* 0 was given fake 1 but has not woken up to leave the graph: it "waits for" what it holds. Who waits
 * for 0 now is in no ring, and the walk must end there, not at its safety bound: it is made under a
 * lock that every other waiter needs. */
static void a_handed_over_object_is_no_ring(void)
{
	reset();
	pthread_t t = test_start(run, (void *)(intptr_t)0);
	UNTIL(has_waiter(&fakes[1]));
	struct lp_wakes wakes = LP_WAKES_INIT;
	fake_hand_over(&fakes[1], &execs[0].exec, &wakes);
	atomic_store(&holder_calls, 0);
	pthread_t t4 = test_start(run, (void *)(intptr_t)4);
	UNTIL(has_waiter(&fakes[0]));
	CHECK(atomic_load(&holder_calls) < 10);
	lp_wake_all(&wakes);
	pthread_join(t, NULL);
	pthread_join(t4, NULL);
	CHECK(answers[0] == 0 && answers[4] == 0);
}

int main(void)
{
	test_begin();
	a_ring_of_one();
	the_last_of_a_ring_is_told();
	all_at_once_exactly_one_is_told();
	a_timed_wait_is_no_part_of_a_ring();
	a_deadline_scope_is_a_time_limit_too();
	a_chain_is_no_ring();
	a_handed_over_object_is_no_ring();
	return test_end();
}
