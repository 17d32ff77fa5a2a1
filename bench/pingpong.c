/* pingpong: what the machine itself needs, for the table of bench/run.lua. Prints "name nanoseconds":
 *   same    a round trip between two threads on one core, each woken by a futex
 *   other   the same between two cores (0 if there is only one)
 *   line    the same between two cores that spin: what moving one cache line there and back takes (0 if there is one)
 *   memcpy  1 MiB into fresh memory, which is freed again
 * Each is the median of several runs. */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 4000, RUNS = 9, COPIES = 200, MIB = 1 << 20 };

static _Atomic uint32_t ball; /* 0: with the first thread, 1: with the second */
static int cores[CPU_SETSIZE], ncores;

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void await(uint32_t mine)
{
	while (atomic_load(&ball) != mine)
		syscall(SYS_futex, &ball, FUTEX_WAIT_PRIVATE, !mine, NULL, NULL, 0);
}

static void pass(uint32_t to)
{
	atomic_store(&ball, to);
	syscall(SYS_futex, &ball, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void pin(int core)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(core, &set);
	pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

static int spinning; /* written while there is one thread */

static void await_spinning(uint32_t mine)
{
	while (atomic_load_explicit(&ball, memory_order_acquire) != mine) {
#if defined(__x86_64__)
		__builtin_ia32_pause();
#endif
	}
}

static void turn(uint32_t mine)
{
	if (spinning) {
		await_spinning(mine);
		atomic_store_explicit(&ball, !mine, memory_order_release);
	} else {
		await(mine);
		pass(!mine);
	}
}

static void *second(void *core)
{
	pin(*(int *)core);
	for (int i = 0; i < ROUNDS; i++)
		turn(1);
	return NULL;
}

static double round_trip(int core)
{
	pthread_t t;
	pin(cores[0]);
	atomic_store(&ball, 0);
	if (pthread_create(&t, NULL, second, &cores[core]))
		exit(1);
	double start = now();
	for (int i = 0; i < ROUNDS; i++)
		turn(0);
	if (spinning)
		await_spinning(0);
	else
		await(0);
	double took = now() - start;
	pthread_join(t, NULL);
	return took / ROUNDS;
}

static double spinning_round_trip(int core)
{
	spinning = 1;
	double took = round_trip(core);
	spinning = 0;
	return took;
}

static double copy(int unused)
{
	static char *from;
	static volatile char sink;
	(void)unused;
	if (!from && (from = malloc(MIB)))
		memset(from, 'x', MIB);
	double start = now();
	for (int i = 0; i < COPIES; i++) {
		char *to = malloc(MIB);
		if (!to)
			exit(1);
		memcpy(to, from, MIB);
		sink = to[i];
		free(to);
	}
	(void)sink;
	return (now() - start) / COPIES;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void report(const char *name, double (*measure)(int), int arg)
{
	double all[RUNS];
	measure(arg);
	for (int i = 0; i < RUNS; i++)
		all[i] = measure(arg);
	qsort(all, RUNS, sizeof *all, ascending);
	printf("%s %.1f\n", name, all[RUNS / 2]);
}

int main(void)
{
	cpu_set_t set;
	sched_getaffinity(0, sizeof set, &set);
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &set))
			cores[ncores++] = i;
	report("same", round_trip, 0);
	if (ncores > 1) {
		report("other", round_trip, 1);
		report("line", spinning_round_trip, 1);
	} else {
		puts("other 0\nline 0");
	}
	report("memcpy", copy, 0);
	return 0;
}
