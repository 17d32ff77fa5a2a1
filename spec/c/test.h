/* test: what the C tests share. A test is a program: it prints "N passed, N failed" and its exit
 * status says the same. A hang is a failure too: the alarm ends the program. */
#ifndef LP_TEST_H
#define LP_TEST_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "wait/cancel.h"
#include "wait/wait.h"

static _Atomic int test_passed, test_failed;

#define CHECK(cond)                                                                                  \
	do {                                                                                         \
		if (cond) {                                                                          \
			atomic_fetch_add(&test_passed, 1);                                           \
		} else {                                                                             \
			atomic_fetch_add(&test_failed, 1);                                           \
			fprintf(stderr, "%s:%d: %s: not so: %s\n", __FILE__, __LINE__, __func__, #cond); \
		}                                                                                    \
	} while (0)

/* Rounds of a random test: fewer under a sanitizer, more by TEST_SCALE (percent). */
static inline int test_rounds(int n)
{
	const char *s = getenv("TEST_SCALE");
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
	n /= 4;
#endif
	return s ? (int)((double)n * atof(s) / 100) + 1 : n;
}

static inline uint32_t test_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return (uint32_t)(*seed >> 32);
}

/* A thread of execution with its actor, as a worker or a host state has. */
struct test_exec {
	struct lp_exec exec;
	struct lp_actor actor;
	struct lp_parker *_Atomic parker; /* for who cancels it */
};

static inline void test_exec_init(struct test_exec *e)
{
	e->exec = (struct lp_exec){.actor = &e->actor};
	lp_lock_init(&e->exec.place_lock, LP_RANK_PLACE);
	lp_actor_init(&e->actor);
	atomic_store(&e->actor.exec, &e->exec);
	atomic_store(&e->parker, NULL);
}

static inline void test_cancel(struct test_exec *e)
{
	lp_cancel_ask(&e->actor);
	struct lp_parker *p = atomic_load(&e->parker);
	if (p)
		lp_unpark(p);
}

/* Makes it as if nothing had been asked. */
static inline void test_uncancel(struct test_exec *e)
{
	atomic_store(&e->actor.cancel, 0);
}

static inline pthread_t test_start(void *(*run)(void *), void *arg)
{
	pthread_t t;
	if (pthread_create(&t, NULL, run, arg) != 0)
		abort();
	return t;
}

/* Until another thread really sleeps (or whatever cond says); the alarm bounds it. */
#define UNTIL(cond)                                \
	while (!(cond))                            \
		usleep(100)

static inline int test_end(void)
{
	printf("%d passed, %d failed\n", atomic_load(&test_passed), atomic_load(&test_failed));
	return atomic_load(&test_failed) != 0;
}

static inline void test_begin(void)
{
	alarm(300);
}

#endif
