/* os: Linux with glibc. Futexes, threads, the clock, the count of usable cores, fork. */
#define _GNU_SOURCE
#include "base/os.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

/* ---- time ---- */

lp_time lp_now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (lp_time)ts.tv_sec * LP_SECOND + ts.tv_nsec;
}

lp_time lp_deadline_in(double seconds)
{
	if (!(seconds > 0))
		return 0;
	if (seconds >= 9e9) /* 285 years: LP_FOREVER less any possible uptime */
		return LP_FOREVER;
	double ns = seconds * 1e9;
	lp_time now = lp_now();
	return ns >= (double)(LP_FOREVER - now) ? LP_FOREVER : now + (lp_time)ceil(ns);
}

static struct timespec to_timespec(lp_time t)
{
	if (t < 0)
		t = 0;
	return (struct timespec){.tv_sec = t / LP_SECOND, .tv_nsec = t % LP_SECOND};
}

void lp_nap(lp_time until)
{
	lp_assert_no_lock();
	struct timespec ts = to_timespec(until);
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
}

/* ---- memory ---- */

#ifdef LP_FAULTS
_Atomic long lp_faults_left = -1;
static bool faults_stay;

__attribute__((constructor)) static void read_fault(void)
{
	const char *s = getenv("LUA_POOL_FAULT");
	if (s) {
		atomic_store(&lp_faults_left, atol(s));
		faults_stay = strchr(s, '+') != NULL;
	}
}

bool lp_fault(void)
{
	long left = atomic_load(&lp_faults_left);
	if (left < 0)
		return false;
	if (left == 0 && faults_stay)
		return true;
	return atomic_fetch_sub(&lp_faults_left, 1) == 0;
}
#endif

void *lp_alloc(size_t size)
{
	return lp_fault() ? NULL : malloc(size);
}

void *lp_zalloc(size_t size)
{
	return lp_fault() ? NULL : calloc(1, size);
}

void *lp_realloc(void *p, size_t size)
{
	return lp_fault() ? NULL : realloc(p, size);
}

void lp_free(void *p)
{
	free(p);
}

void lp_use_whole(void *p, size_t size)
{
#ifdef MADV_HUGEPAGE
	enum { PAGE = 4096, LARGE = 2 << 20 };
	uintptr_t from = ((uintptr_t)p + PAGE - 1) & ~(uintptr_t)(PAGE - 1), end = ((uintptr_t)p + size) & ~(uintptr_t)(PAGE - 1);
	if (size >= 2 * LARGE)
		(void)madvise((void *)from, end - from, MADV_HUGEPAGE); /* only a wish */
#else
	(void)p, (void)size;
#endif
}

/* ---- futex, lock, parking ---- */

static long futex(_Atomic uint32_t *word, int op, uint32_t value, const struct timespec *until)
{
	return syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, until, NULL, FUTEX_BITSET_MATCH_ANY);
}

/* Drepper, "Futexes Are Tricky", mutex 2, with a short spin: our sections are some tens of
 * nanoseconds, a sleep and its wake-up some tens of microseconds. */
void lp_lock_slow(lp_mutex *m)
{
	for (int i = 0; i < 100; i++) {
		if (atomic_load_explicit(&m->word, memory_order_relaxed) == 0 &&
			atomic_compare_exchange_strong_explicit(&m->word, &(uint32_t){0}, 1, memory_order_acquire, memory_order_relaxed))
			return;
		lp_relax();
	}
	while (atomic_exchange_explicit(&m->word, 2, memory_order_acquire) != 0)
		futex(&m->word, FUTEX_WAIT_BITSET, 2, NULL);
}

void lp_unlock_slow(lp_mutex *m)
{
	futex(&m->word, FUTEX_WAKE, 1, NULL);
}

static lp_mutex parkers_lock = LP_MUTEX_INIT(LP_RANK_PARKERS);
static struct lp_parker *free_parkers; /* [parkers_lock] */
static pthread_key_t thread_key;
static _Thread_local struct lp_parker *my_parker;

void lp_parker_give(struct lp_parker *p)
{
	lp_lock(&parkers_lock);
	p->next_free = free_parkers;
	free_parkers = p;
	lp_unlock(&parkers_lock);
}

static void thread_gone(void *parker)
{
	my_parker = NULL;
	lp_parker_give(parker);
}

static void renew_parkers(void)
{
	/* The other threads are gone; their parkers are not worth the risk. */
	free_parkers = NULL;
	if (my_parker)
		atomic_store(&my_parker->word, 0);
}

__attribute__((constructor)) static void parkers_open(void)
{
	pthread_key_create(&thread_key, thread_gone);
	lp_fork_guard(&parkers_lock, LP_RANK_PARKERS);
	lp_fork_child(LP_RANK_PARKERS, renew_parkers);
}

struct lp_parker *lp_parker_new(void)
{
	lp_lock(&parkers_lock);
	struct lp_parker *p = free_parkers;
	if (p)
		free_parkers = p->next_free;
	lp_unlock(&parkers_lock);
	if (!p && (p = lp_alloc(sizeof *p))) {
		atomic_init(&p->word, 0);
		p->text[0] = '\0';
	}
	return p;
}

void lp_parker_adopt(struct lp_parker *p)
{
	my_parker = p;
	if (pthread_setspecific(thread_key, p) != 0) {
		/* Out of memory for the key: usable, but not given back when the thread ends. */
	}
}

struct lp_parker *lp_parker_self(void)
{
	struct lp_parker *p = my_parker ? NULL : lp_parker_new();
	if (p)
		lp_parker_adopt(p);
	return my_parker;
}

void lp_park(struct lp_parker *p, lp_time deadline)
{
	lp_assert_no_lock();
	uint32_t empty = 0;
	if (!atomic_compare_exchange_strong(&p->word, &empty, 2)) {
		atomic_exchange(&p->word, 0); /* a stored wake-up: consume it, and see what its sender did before */
		return;
	}
	/* Always with a time: a wait without one is restarted by the kernel after a handler with SA_RESTART
	 * (that of Ctrl-C in the `lua` program, say), and nobody would look at what the handler did. */
	struct timespec ts = to_timespec(deadline);
	futex(&p->word, FUTEX_WAIT_BITSET, 2, &ts);
	atomic_exchange(&p->word, 0);
}

void lp_unpark(struct lp_parker *p)
{
	lp_assert_no_leaf(); /* I5, too */
	if (atomic_exchange(&p->word, 1) == 2)
		futex(&p->word, FUTEX_WAKE, 1, NULL);
}

/* ---- threads ---- */

/* Left open in workers: the signals that a fault raises in the thread itself, and our own. */
static void worker_mask(sigset_t *set)
{
	static const int open[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS, SIGTRAP, SIGURG};
	sigfillset(set);
	for (size_t i = 0; i < sizeof open / sizeof *open; i++)
		sigdelset(set, open[i]);
}

int lp_thread_start(lp_thread *t, void *(*run)(void *), void *arg, size_t stack_size)
{
	lp_assert_no_leaf();
	if (lp_fault())
		return EAGAIN;
	pthread_attr_t attr;
	int err = pthread_attr_init(&attr);
	if (err)
		return err;
	if (stack_size) {
		size_t page = (size_t)sysconf(_SC_PAGESIZE);
		size_t least = (size_t)PTHREAD_STACK_MIN;
		stack_size = (stack_size < least ? least : stack_size) + page - 1;
		err = pthread_attr_setstacksize(&attr, stack_size - stack_size % page);
	}
	/* Blocked before the thread exists, so that it never runs a handler of the host. */
	sigset_t mask, old;
	worker_mask(&mask);
	if (!err)
		err = pthread_sigmask(SIG_SETMASK, &mask, &old);
	if (!err) {
		err = pthread_create(t, &attr, run, arg);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
	}
	pthread_attr_destroy(&attr);
	return err;
}

void lp_thread_join(lp_thread t)
{
	lp_assert_no_lock();
	pthread_join(t, NULL);
}

void lp_thread_detach(lp_thread t)
{
	pthread_detach(t);
}

bool lp_thread_join_until(lp_thread t, lp_time deadline)
{
	lp_assert_no_lock();
	if (deadline == LP_FOREVER)
		return pthread_join(t, NULL) == 0;
	struct timespec ts = to_timespec(deadline);
	return pthread_clockjoin_np(t, NULL, CLOCK_MONOTONIC, &ts) == 0;
}

void lp_thread_name(const char *name)
{
	char cut[16];
	snprintf(cut, sizeof cut, "%s", name);
	pthread_setname_np(pthread_self(), cut);
}

/* On Linux niceness is a thread's own, and a new thread has its creator's, which may be another pool's worker: so it is
 * counted from the first thread, and not set where the thread is as nice already. */
void lp_thread_nice(int steps)
{
	if (steps <= 0)
		return;
	int wanted = getpriority(PRIO_PROCESS, (id_t)getpid()) + steps;
	if (wanted > getpriority(PRIO_PROCESS, 0))
		setpriority(PRIO_PROCESS, 0, wanted);
}

static _Thread_local char *stack_low, *stack_high;

extern void *__libc_stack_end __attribute__((weak)); /* glibc's */

/* glibc asks /proc where the main thread's stack lies; this is for where there is none. The stack grows down from its end as
 * far as the limit says, and no further than what most systems set where there is no limit. */
static void main_stack(void **low, size_t *size)
{
	enum { USUAL = 8 << 20, MARGIN = 256 << 10 /* the arguments above, the guard below */ };
	struct rlimit limit;
	if (!&__libc_stack_end || !__libc_stack_end || getrlimit(RLIMIT_STACK, &limit) < 0)
		return;
	size_t n = limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur > USUAL ? USUAL : (size_t)limit.rlim_cur;
	if (n <= MARGIN)
		return;
	*size = n - MARGIN;
	*low = (char *)__libc_stack_end - *size;
}

size_t lp_stack_left(void)
{
	char here;
	if (!stack_high) {
		pthread_attr_t attr;
		void *low = NULL;
		size_t size = 0;
		if (pthread_getattr_np(pthread_self(), &attr) == 0) {
			pthread_attr_getstack(&attr, &low, &size);
			pthread_attr_destroy(&attr);
		} else if (getpid() == (pid_t)syscall(SYS_gettid)) {
			main_stack(&low, &size);
		}
		stack_low = low;
		stack_high = stack_low + size;
	}
	/* A stack that is not the thread's own (a C coroutine's): unknown. */
	if (&here <= stack_low || &here >= stack_high)
		return 0;
	return (size_t)(&here - stack_low);
}

/* ---- how many cores ---- */

static unsigned ceil_quota(double quota, double period)
{
	return quota > 0 && period > 0 ? (unsigned)ceil(quota / period) : UINT_MAX;
}

static unsigned read_v2(const char *dir)
{
	char path[PATH_MAX], quota[32];
	double period;
	unsigned n = UINT_MAX;
	if (snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", dir) >= (int)sizeof path)
		return n;
	FILE *f = fopen(path, "re");
	if (!f)
		return n;
	if (fscanf(f, "%31s %lf", quota, &period) == 2 && strcmp(quota, "max") != 0)
		n = ceil_quota(atof(quota), period);
	fclose(f);
	return n;
}

static double read_number(const char *path)
{
	double x = -1;
	FILE *f = fopen(path, "re");
	if (f) {
		if (fscanf(f, "%lf", &x) != 1)
			x = -1;
		fclose(f);
	}
	return x;
}

/* The tightest quota of our group and the groups around it (version 2), or of the mounted group
 * (version 1, which a container sees as its root). */
static unsigned quota_cpus(void)
{
	unsigned n = ceil_quota(read_number("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
		read_number("/sys/fs/cgroup/cpu/cpu.cfs_period_us"));
	char line[PATH_MAX];
	FILE *f = fopen("/proc/self/cgroup", "re");
	if (!f)
		return n;
	while (fgets(line, sizeof line, f)) {
		if (strncmp(line, "0::/", 4) != 0)
			continue;
		char *dir = line + 3;
		dir[strcspn(dir, "\n")] = '\0';
		for (;;) {
			unsigned here = read_v2(dir);
			n = here < n ? here : n;
			char *slash = strrchr(dir, '/');
			if (!slash || !dir[0])
				break;
			*slash = '\0';
		}
	}
	fclose(f);
	return n;
}

unsigned lp_cpu_count(void)
{
	cpu_set_t set;
	unsigned n = 0;
	if (sched_getaffinity(0, sizeof set, &set) == 0)
		n = (unsigned)CPU_COUNT(&set);
	if (n == 0) { /* more CPUs than a cpu_set_t holds */
		long online = sysconf(_SC_NPROCESSORS_ONLN);
		n = online > 0 ? (unsigned)online : 1;
	}
	unsigned quota = quota_cpus();
	n = quota < n ? quota : n;
	return n ? n : 1;
}

/* ---- children and signals ---- */

bool lp_cut_short(const void *context)
{
	const ucontext_t *u = context;
#if defined(__x86_64__)
	return u->uc_mcontext.gregs[REG_RAX] == -EINTR;
#elif defined(__aarch64__)
	return (int64_t)u->uc_mcontext.regs[0] == -EINTR;
#else
	(void)u;
	return true;
#endif
}

static _Thread_local sigset_t mask_outside;

void lp_child_signals(bool inside)
{
	sigset_t none;
	if (inside) {
		sigemptyset(&none);
		pthread_sigmask(SIG_SETMASK, &none, &mask_outside);
	} else {
		pthread_sigmask(SIG_SETMASK, &mask_outside, NULL);
	}
}

static lp_mutex children_lock = LP_MUTEX_INIT(LP_RANK_CHILDREN);
static bool children_ours;            /* [children_lock] */
static unsigned children_held;        /* [children_lock] */
static struct sigaction host_handler; /* [children_lock] of SIGCHLD, while some are held */

static void renew_children(void)
{
	if (children_held)
		sigaction(SIGCHLD, &host_handler, NULL);
	children_held = 0; /* they are the parent's */
}

__attribute__((constructor)) static void children_open(void)
{
	lp_fork_guard(&children_lock, LP_RANK_CHILDREN);
	lp_fork_child(LP_RANK_CHILDREN, renew_children);
}

void lp_children_ours(void)
{
	lp_lock(&children_lock);
	children_ours = true;
	lp_unlock(&children_lock);
}

void lp_children_hold(void)
{
	static const struct sigaction rest = {.sa_handler = SIG_DFL};
	lp_lock(&children_lock);
	if (children_ours && children_held++ == 0)
		sigaction(SIGCHLD, &rest, &host_handler);
	lp_unlock(&children_lock);
}

void lp_children_let_go(void)
{
	bool missed = false;
	lp_lock(&children_lock);
	if (children_held && --children_held == 0) {
		siginfo_t info = {0};
		sigaction(SIGCHLD, &host_handler, NULL);
		missed = waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid;
	}
	lp_unlock(&children_lock);
	if (missed)
		kill(getpid(), SIGCHLD);
}

static int run_shell(const char *command)
{
	extern char **environ;
	char *argv[] = {(char *)"sh", (char *)"-c", (char *)command, NULL};
	posix_spawnattr_t attr;
	sigset_t none;
	pid_t pid;
	int status, err = posix_spawnattr_init(&attr);
	if (err) {
		errno = err;
		return -1;
	}
	sigemptyset(&none);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	err = posix_spawn(&pid, "/bin/sh", NULL, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	if (err) {
		errno = err;
		return -1;
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return status;
}

int lp_shell(const char *command)
{
	lp_assert_no_lock();
	lp_children_hold();
	int status = run_shell(command), err = errno;
	lp_children_let_go();
	errno = err;
	return status;
}

/* ---- notices ---- */

int lp_notice_open(void)
{
	lp_assert_no_leaf();
	return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

/* A full eventfd or socket is readable as it is. */
void lp_notice_send(int fd, bool own)
{
	lp_assert_no_leaf();
	static const uint64_t one = 1;
	ssize_t n;
	do
		n = own ? write(fd, &one, sizeof one) : send(fd, &one, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
}

void lp_notice_clear(int fd)
{
	lp_assert_no_leaf();
	uint64_t n;
	while (read(fd, &n, sizeof n) < 0 && errno == EINTR)
		;
}

void lp_notice_close(int fd)
{
	if (fd >= 0)
		close(fd);
}

/* ---- fork ---- */

uint32_t lp_generation = 1;
enum { MAX_GUARDS = 40 };
static struct guard {
	enum lp_rank rank;
	lp_mutex *lock;                     /* or these */
	void (*take)(void), (*give)(void), (*free_all)(void);
} guards[MAX_GUARDS];                       /* by rank */
static struct renewal {
	enum lp_rank rank;
	void (*renew)(void);
} renewals[MAX_GUARDS];                     /* by rank */
static int nguards, nrenewals;

static void fork_prepare(void)
{
	lp_check_permit(true);
	for (int i = 0; i < nguards; i++)
		if (guards[i].lock)
			lp_lock(guards[i].lock);
		else
			guards[i].take();
}

static void fork_parent(void)
{
	for (int i = nguards; i-- > 0;)
		if (guards[i].lock)
			lp_unlock(guards[i].lock);
		else
			guards[i].give();
	lp_check_permit(false);
}

static void fork_child(void)
{
	lp_check_forget();
	/* Nobody else is here: a waiter's mark in a lock word means a thread that is gone. */
	for (int i = nguards; i-- > 0;)
		if (guards[i].lock)
			lp_lock_init(guards[i].lock, guards[i].rank);
		else
			guards[i].free_all();
	lp_generation++;
	for (int i = 0; i < nrenewals; i++)
		renewals[i].renew();
}

static void fork_open(void)
{
	static bool opened;
	if (!opened)
		opened = pthread_atfork(fork_prepare, fork_parent, fork_child) == 0;
}

/* Only called from constructors and from the first opening of the library: one thread. */
static void add_guard(struct guard g)
{
	int i = nguards++;
	fork_open();
	if (i == MAX_GUARDS)
		abort();
	for (; i > 0 && guards[i - 1].rank > g.rank; i--)
		guards[i] = guards[i - 1];
	guards[i] = g;
}

void lp_fork_guard(lp_mutex *m, enum lp_rank rank)
{
	lp_assert(m->rank == rank);
	add_guard((struct guard){.rank = rank, .lock = m});
}

void lp_fork_guards(enum lp_rank rank, void (*take)(void), void (*give)(void), void (*free_all)(void))
{
	add_guard((struct guard){.rank = rank, .take = take, .give = give, .free_all = free_all});
}

void lp_fork_child(enum lp_rank rank, void (*renew)(void))
{
	int i = nrenewals++;
	fork_open();
	if (i == MAX_GUARDS)
		abort();
	for (; i > 0 && renewals[i - 1].rank > rank; i--)
		renewals[i] = renewals[i - 1];
	renewals[i] = (struct renewal){rank, renew};
}

void lp_pin_library(const char *path)
{
	void *lib = dlopen(path, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
	if (lib)
		dlclose(lib);
}

const char *lp_library_path(void *address)
{
	Dl_info info;
	return dladdr(address, &info) ? info.dli_fname : NULL;
}
