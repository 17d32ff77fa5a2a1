/* Groups without Lua: members that come, run, fail and are cancelled on several threads. The pool is a list here, and
 * cancelling walks that list: what is tested is the group's own counting, its limit and its counts of objects. */
#include <sched.h>

#include "sched/group.h"
#include "sched/stop.h"
#include "sched/worker.h"
#include "test.h"

enum { ADDERS = 2, RUNNERS = 3, MAX_FOUND = 64 };

static struct lp_pool *pool;
static struct test_exec me;
static struct lp_group *group;
static _Atomic bool stop;
static _Atomic int running, most, ran, refused, failed;
static _Atomic unsigned refuse_one_in, fail_one_in;
static int rounds;

/* ---- the pool ---- */

static lp_mutex lock = LP_MUTEX_INIT(LP_RANK_TEST);
static struct lp_task *first, **last = &first; /* [lock] counted */

enum lp_submitted lp_pool_submit(struct lp_pool *p, struct lp_task *t, bool own)
{
	static _Atomic unsigned n;
	(void)p, (void)own;
	unsigned one_in = atomic_load(&refuse_one_in);
	if (one_in && atomic_fetch_add(&n, 1) % one_in == 0) {
		atomic_fetch_add(&refused, 1);
		return LP_CLOSED_POOL;
	}
	lp_lock(&lock);
	t->next = NULL;
	*last = lp_retain(t);
	last = &t->next;
	lp_unlock(&lock);
	return LP_SUBMITTED;
}

bool lp_on_monitor(void)
{
	return false;
}

void lp_worker_serve_here(struct lp_pool *p)
{
	(void)p;
	abort();
}

static struct lp_task *take(void)
{
	lp_lock(&lock);
	struct lp_task *t = first;
	if (t && !(first = t->next))
		last = &first;
	lp_unlock(&lock);
	return t;
}

void lp_token_request_cancel(struct lp_token *k)
{
	(void)k;
	struct lp_task *found[MAX_FOUND];
	int n;
	do {
		n = 0;
		lp_lock(&lock);
		for (struct lp_task *t = first; t && n < MAX_FOUND; t = t->next)
			if (lp_task_state(t) == LP_PENDING && lp_task_orphaned(t))
				found[n++] = lp_retain(t);
		lp_unlock(&lock);
		for (int i = 0; i < n; i++) {
			lp_task_stop_pending(found[i]);
			lp_release(found[i]);
		}
	} while (n);
}

static void pool_destroy(struct lp_obj *o)
{
	free(o);
}

static const struct lp_class pool_class = {.name = "pool", .destroy = pool_destroy};

/* ---- the threads ---- */

static struct lp_task *add_one(struct lp_group *g)
{
	struct lp_task *t = lp_task_new();
	t->pool = lp_retain(pool);
	t->parent = lp_retain(&g->token);
	t->grouped = true;
	if (lp_group_join(g, t) && lp_pool_submit(pool, t, true) == LP_CLOSED_POOL)
		lp_task_stop_pending(t);
	return t;
}

static void *add(void *arg)
{
	uint64_t seed = 88172645463325252ull + (uint64_t)(intptr_t)arg * 7919;
	for (int i = 0; i < rounds; i++) {
		struct lp_task *t = add_one(group);
		if (test_random(&seed) % 8 == 0)
			lp_task_stop_pending(t);
		if (test_random(&seed) % 16 == 0) {
			struct lp_task *p = lp_group_next_pending(group); /* as one who awaits does */
			lp_release(p);
		}
		lp_release(t);
	}
	return NULL;
}

static void run_one(struct lp_task *t, uint64_t *seed)
{
	if (lp_task_begin(t)) {
		int now = atomic_fetch_add(&running, 1) + 1, before = atomic_load(&most);
		while (now > before && !atomic_compare_exchange_weak(&most, &before, now))
			;
		for (uint32_t i = test_random(seed) % 50; i; i--)
			lp_relax();
		atomic_fetch_sub(&running, 1);
		atomic_fetch_add(&ran, 1);
		unsigned one_in = atomic_load(&fail_one_in);
		bool fails = one_in && test_random(seed) % one_in == 0;
		bool stopped = lp_task_orphaned(t);
		atomic_fetch_add(&failed, fails && !stopped);
		lp_task_end(t, stopped ? LP_STOPPED : fails ? LP_FAILED : LP_DONE);
	}
	lp_release(t);
}

static void *run(void *arg)
{
	uint64_t seed = 31337 + (uint64_t)(intptr_t)arg;
	while (!atomic_load(&stop)) {
		struct lp_task *t = take();
		if (t)
			run_one(t, &seed);
		else
			sched_yield();
	}
	return NULL;
}

static int await(struct lp_group *g)
{
	struct lp_node n = {.obj = &g->token.obj};
	return lp_wait_one(&me.exec, &n, LP_FOREVER);
}

/* limit 0: none. */
static void crowd(uint32_t limit, unsigned refuse, unsigned fail, bool cancel)
{
	pthread_t adders[ADDERS], runners[RUNNERS];
	group = lp_group_new(pool, NULL, limit, false);
	atomic_store(&refuse_one_in, refuse);
	atomic_store(&fail_one_in, fail);
	atomic_store(&most, 0);
	atomic_store(&ran, 0);
	int failed_before = atomic_load(&failed);
	atomic_store(&stop, false);
	rounds = test_rounds(10000);
	for (int i = 0; i < RUNNERS; i++)
		runners[i] = test_start(run, (void *)(intptr_t)i);
	for (int i = 0; i < ADDERS; i++)
		adders[i] = test_start(add, (void *)(intptr_t)i);
	if (cancel) {
		UNTIL(atomic_load(&ran) > rounds / 4 || lp_group_over(group)); /* a failure may come first and end it */
		lp_group_cancel(group);
	}
	for (int i = 0; i < 20; i++)
		CHECK(await(group) == 0);
	for (int i = 0; i < ADDERS; i++)
		pthread_join(adders[i], NULL);
	CHECK(await(group) == 0);
	atomic_store(&stop, true);
	for (int i = 0; i < RUNNERS; i++)
		pthread_join(runners[i], NULL);
	for (struct lp_task *t; (t = take()); lp_release(t)) /* tombstones */
		CHECK(lp_task_state(t) != LP_PENDING);
	CHECK(lp_group_left(group) == 0 && group->out == 0 && !group->held && group->nheld == 0);
	CHECK(!group->pending && lp_list_empty(&group->waiters));
	CHECK(!limit || (uint32_t)atomic_load(&most) <= limit);
	CHECK(cancel || fail || refuse || atomic_load(&ran) > 0);
	struct lp_task *t = lp_group_failed(group);
	CHECK(!t || (lp_task_state(t) == LP_FAILED && lp_group_over(group)));
	CHECK(!t == (atomic_load(&failed) == failed_before)); /* the cancel may have come first */
	lp_release(t);
	CHECK(atomic_load(&group->token.obj.refs) == 1); /* nobody else: no circle is left */
	lp_release(group);
}

static void an_error_outlives_the_group(void)
{
	struct lp_group *g = lp_group_new(pool, NULL, 0, false);
	struct lp_task *t = add_one(g);
	uint64_t seed = 1;
	atomic_store(&fail_one_in, 1);
	run_one(take(), &seed);
	CHECK(lp_group_left(g) == 0 && lp_group_over(g));
	lp_release(g); /* the member holds it now, for its parent */
	CHECK(lp_task_state(t) == LP_FAILED && t->parent == &g->token);
	CHECK(atomic_load(&g->token.obj.refs) == 1 && !g->failed);
	lp_release(t);
	atomic_store(&fail_one_in, 0);
}

static void held_ones_go_in_order(void)
{
	struct lp_group *g = lp_group_new(pool, NULL, 1, false);
	struct lp_task *t[4];
	for (int i = 0; i < 4; i++)
		t[i] = add_one(g);
	CHECK(g->nheld == 3 && lp_group_left(g) == 4);
	CHECK(lp_task_stop_pending(t[1]) && lp_group_left(g) == 3);
	uint64_t seed = 1;
	static const int order[] = {0, 2, 3};
	for (int i = 0; i < 3; i++) {
		struct lp_task *next = take();
		CHECK(next == t[order[i]] && !first);
		run_one(next, &seed);
	}
	CHECK(lp_group_left(g) == 0);
	for (int i = 0; i < 4; i++)
		lp_release(t[i]);
	CHECK(atomic_load(&g->token.obj.refs) == 1);
	lp_release(g);
}

int main(void)
{
	test_begin();
	test_exec_init(&me);
	pool = calloc(1, sizeof *pool);
	lp_obj_init(&pool->obj, &pool_class);
	an_error_outlives_the_group();
	held_ones_go_in_order();
	crowd(0, 0, 0, false);
	crowd(2, 0, 0, false);
	crowd(1, 37, 0, false);
	crowd(2, 0, 0, true);
	crowd(0, 0, 0, true);
	crowd(2, 50, 500, false);
	crowd(0, 0, 500, true);
	CHECK(atomic_load(&refused) > 0 && atomic_load(&failed) > 0);
	CHECK(atomic_load(&pool->obj.refs) == 1);
	lp_release(pool);
	return test_end();
}
