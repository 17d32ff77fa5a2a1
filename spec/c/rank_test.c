/* The order of locks: a fork takes what is guarded in the order of ranks, whatever the order in which it was registered;
 * and a build with CHECK=1 refuses each lock that is taken out of order. */
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "test.h"

/* ---- fork ---- */

static char taken[16], given[16];

static void note(char *list, char what)
{
	size_t n = strlen(list);
	if (n == 15) /* of later forks */
		return;
	list[n] = what;
	list[n + 1] = '\0';
}

static void take_watch(void) { note(taken, 'w'); }
static void give_watch(void) { note(given, 'w'); }
static void take_graph(void) { note(taken, 'g'); }
static void give_graph(void) { note(given, 'g'); }
static void take_test(void) { note(taken, 't'); }
static void give_test(void) { note(given, 't'); }
static void nothing(void) {}

static char renewed[16];
static void renew_watch(void) { note(renewed, 'w'); }
static void renew_test(void) { note(renewed, 't'); }

static int run_child(void (*f)(void)) /* its wait status */
{
	int status = 0;
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		f();
		_exit(0);
	}
	waitpid(pid, &status, 0);
	return status;
}

static void renewed_in_order(void)
{
	if (strcmp(renewed, "wt") != 0)
		_exit(1);
}

static void a_fork_takes_guards_by_rank(void)
{
	lp_fork_guards(LP_RANK_TEST, take_test, give_test, nothing);
	lp_fork_guards(LP_RANK_WATCH, take_watch, give_watch, nothing);
	lp_fork_guards(LP_RANK_GRAPH, take_graph, give_graph, nothing);
	lp_fork_child(LP_RANK_TEST, renew_test);
	lp_fork_child(LP_RANK_WATCH, renew_watch);
	CHECK(run_child(renewed_in_order) == 0);
	CHECK(strncmp(taken, "wgt", 3) == 0);
	CHECK(strncmp(given, "tgw", 3) == 0);
}

/* ---- what a build with CHECK=1 refuses ---- */

#ifdef LP_CHECK
static lp_mutex graph = LP_MUTEX_INIT(LP_RANK_GRAPH), worker = LP_MUTEX_INIT(LP_RANK_WORKER), pool = LP_MUTEX_INIT(LP_RANK_POOL);
static lp_mutex leaf = LP_MUTEX_INIT(LP_RANK_CHANNEL), inner = LP_MUTEX_INIT(LP_RANK_PARKERS), other = LP_MUTEX_INIT(LP_RANK_CHANNEL);
static lp_mutex shards[3] = {LP_MUTEX_INIT(LP_RANK_SHARD), LP_MUTEX_INIT(LP_RANK_SHARD), LP_MUTEX_INIT(LP_RANK_SHARD)};
static lp_mutex nameless, inbox = LP_MUTEX_INIT(LP_RANK_INBOX);
static struct lp_parker parker;

static void in_order(void)
{
	lp_lock(&graph);
	lp_lock(&worker);
	lp_unpark(&parker); /* neither is a leaf */
	lp_lock(&leaf);
	lp_assert_held(&leaf);
	lp_assert_held(&graph);
	lp_unlock(&leaf);
	lp_lock(&inner);
	lp_unlock(&inner);
	lp_lock(&inbox);
	lp_notice_send(-1, true);
	lp_unlock(&inbox);
	lp_unlock(&graph); /* in any order */
	lp_unlock(&worker);
	lp_lock(&leaf);
	lp_unlock(&leaf);
}

static void as_a_fork_does(void)
{
	lp_check_permit(true);
	lp_lock(&graph);
	lp_lock(&leaf);
	for (int i = 0; i < 3; i++)
		lp_lock_next(&shards[i]);
	lp_lock(&inner);
	lp_unlock(&inner);
	for (int i = 3; i-- > 0;) {
		lp_assert_held(&shards[i]);
		lp_unlock(&shards[i]);
	}
	lp_unlock(&leaf);
	lp_unlock(&graph);
	lp_check_permit(false);
	lp_lock(&graph);
	lp_unlock(&graph);
}

static void backwards(void) { lp_lock(&worker); lp_lock(&graph); }
static void backwards_at_a_fork(void) { lp_check_permit(true); lp_lock(&inner); lp_lock(&graph); }
static void same_rank(void) { lp_check_permit(true); lp_lock(&leaf); lp_lock(&other); }
static void twice(void) { lp_lock(&graph); lp_lock(&graph); }
static void above_a_leaf(void) { lp_lock(&leaf); lp_lock(&inner); }
static void inbox_above_a_leaf(void) { lp_lock(&leaf); lp_lock(&inbox); }
static void without_a_rank(void) { lp_lock(&nameless); }
static void not_mine(void) { lp_unlock(&graph); }
static void call_under_a_leaf(void) { lp_lock(&leaf); lp_unpark(&parker); }
static void call_under_a_pool(void) { lp_lock(&pool); lp_unpark(&parker); }
static void sleep_under_a_lock(void) { lp_lock(&graph); lp_park(&parker, 0); }
static void not_held(void) { lp_assert_held(&leaf); }
static void broken(void) { lp_assert(1 + 1 == 3); }
static void guard_of_another_rank(void) { lp_fork_guard(&leaf, LP_RANK_GRAPH); }

static void bad_orders_are_refused(void)
{
	static void (*const bad[])(void) = {backwards, backwards_at_a_fork, same_rank, twice, above_a_leaf, inbox_above_a_leaf,
		without_a_rank, not_mine, call_under_a_leaf, call_under_a_pool, sleep_under_a_lock, not_held, broken,
		guard_of_another_rank};
	CHECK(run_child(in_order) == 0);
	CHECK(run_child(as_a_fork_does) == 0);
	if (!freopen("/dev/null", "w", stderr)) /* what they say */
		abort();
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		int status = run_child(bad[i]);
		bool refused = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
		if (!refused)
			printf("number %u was not refused\n", (unsigned)i);
		CHECK(refused);
	}
}
#else
static void bad_orders_are_refused(void)
{
	CHECK(sizeof(lp_mutex) == 4); /* no check, and no cost */
}
#endif

int main(void)
{
	test_begin();
	a_fork_takes_guards_by_rank();
	bad_orders_are_refused();
	return test_end();
}
