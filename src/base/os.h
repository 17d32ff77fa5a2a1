/* os: what lua-pool needs of the system. The only file pair with #ifdefs for platforms.
 *
 * Times are absolute nanoseconds of the monotonic clock; LP_FOREVER never comes, and any
 * time <= lp_now() (0, say) has come. Seconds exist only in Lua. */
#ifndef LP_OS_H
#define LP_OS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>

#include "base/lock.h"

/* ---- time ---- */
typedef int64_t lp_time;
#define LP_FOREVER INT64_MAX
#define LP_SECOND 1000000000LL
lp_time lp_now(void);
/* Tells which of two moments was the earlier, and nothing else: what one instruction can read, of a counter that all cores
 * share where the system takes its clock from it; else the clock. */
static inline uint64_t lp_ticks(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
	uint64_t t;
	__asm__ __volatile__("mrs %0, cntvct_el0" : "=r"(t));
	return t;
#else
	return (uint64_t)lp_now();
#endif
}
/* Seconds from now as a deadline: NaN and negatives are now, huge ones LP_FOREVER. */
lp_time lp_deadline_in(double seconds);
/* Sleeps until the deadline or until a signal handler ran. */
void lp_nap(lp_time until);

/* ---- memory ----
 * malloc that fails on demand: with LUA_POOL_FAULT=n in the environment of a build with
 * -DLP_FAULTS, the n-th call (and every later one if "n+") answers NULL. */
void *lp_alloc(size_t size);
void *lp_zalloc(size_t size); /* all zero; large ones take memory only as it is touched */
void *lp_realloc(void *p, size_t size);
void lp_free(void *p);
/* Memory that will be used as a whole: some MiB or more are had in larger pages, where the system knows such. The first
 * touch of a gigabyte is otherwise a quarter of a million page faults. */
void lp_use_whole(void *p, size_t size);
#ifdef LP_FAULTS
extern _Atomic long lp_faults_left; /* counts down; 0 fails; negative: off */
bool lp_fault(void);
#else
#define lp_fault() false
#endif

static inline void lp_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ __volatile__("yield");
#endif
}

/* ---- parking: how a thread sleeps until another wakes it ----
 * One per thread. Type-stable: a parker is recycled, never freed, so a waker may touch one
 * whose thread has gone; the new owner only sees a spurious wake-up. */
struct lp_parker {
	_Atomic uint32_t word; /* 0 empty, 1 a wake-up is stored, 2 its thread sleeps */
	struct lp_parker *next_free;
	char text[600];  /* [its thread] of the last dead-lock: thread-local storage of a loaded library is scarce */
};
struct lp_parker *lp_parker_self(void); /* this thread's; NULL if out of memory */
/* For a thread that is about to start, so that the thread itself cannot fail: it adopts it first thing. */
struct lp_parker *lp_parker_new(void);  /* NULL: out of memory */
void lp_parker_adopt(struct lp_parker *p);
void lp_parker_give(struct lp_parker *p); /* the thread did not start */
/* Returns after a wake-up (which is consumed), at the deadline, after a signal, or for no
 * reason: callers loop over their own condition. */
void lp_park(struct lp_parker *p, lp_time deadline);
void lp_unpark(struct lp_parker *p);

/* ---- threads ---- */
typedef pthread_t lp_thread;
/* Starts a detached-or-joined thread with every signal of the host blocked (all but ours and the
 * synchronous ones). 0 or an errno. */
int lp_thread_start(lp_thread *t, void *(*run)(void *), void *arg, size_t stack_size);
void lp_thread_join(lp_thread t);
void lp_thread_detach(lp_thread t);
bool lp_thread_join_until(lp_thread t, lp_time deadline); /* false: it still runs */
void lp_thread_name(const char *name); /* of the calling thread; cut to 15 bytes */
void lp_thread_nice(int steps);        /* the calling thread stands so much behind the process's first one for the CPU */
size_t lp_stack_left(void);            /* bytes of C stack left, conservative; 0: not known */
unsigned lp_cpu_count(void);           /* affinity mask and cgroup quota, at least 1 */
/* In a signal handler, of its third argument: did the signal cut a system call short (EINTR)? True where that is not known. */
bool lp_cut_short(const void *context);
void lp_child_signals(bool inside);    /* worker: ordinary mask while it starts a child process */
/* A host whose SIGCHLD handler waits for every child of the process, ours too (nginx does): with lp_children_ours(), such
 * a handler rests while at least one child is held. It is run afterwards if others have ended meanwhile. */
void lp_children_ours(void);
void lp_children_hold(void);
void lp_children_let_go(void);
/* system(3) for workers: the shell gets an ordinary signal mask, and the process does not ignore Ctrl-C
 * meanwhile. The shell's wait status, or -1 and errno. */
int lp_shell(const char *command);

/* ---- notices: a descriptor that becomes readable when somebody says so ----
 * Close-on-exec, never blocks. */
int lp_notice_open(void);                 /* -1 and errno */
void lp_notice_send(int fd, bool own);    /* own: made by lp_notice_open; else the end of a connected socket */
void lp_notice_clear(int fd);             /* of one that lp_notice_open made: it is readable no more */
void lp_notice_close(int fd);             /* -1 is fine */

/* ---- fork ---- */
/* Grows in every child. An object of another generation belongs to an ancestor process. */
extern uint32_t lp_generation;
/* A fork takes the process-wide locks, in the order of their ranks (whatever the order of these calls, which follows from the
 * names of files), so that a child finds what they guard whole. */
void lp_fork_guard(lp_mutex *m, enum lp_rank rank);
/* The same for what is more than one lock: functions that take them all, give them back, and, in the child, make them free. */
void lp_fork_guards(enum lp_rank rank, void (*take)(void), void (*give)(void), void (*free_all)(void));
/* Called in the child, after lp_generation has grown and all guards are free; in the order of ranks too. */
void lp_fork_child(enum lp_rank rank, void (*renew)(void));

/* ---- meeting: a stream between us and code of this process that can connect to a unix socket ---- */
struct lp_meet {
	int fd;         /* listens; -1: closed */
	char path[104]; /* its address, in a folder of its own; "": none */
};
/* Listens below `folder`. 0 or an errno; then it is closed. */
int lp_meet_open(struct lp_meet *m, const char *folder);
/* Our end (non-blocking, closed by exec) of the connection that this process has made; -1 and errno (EAGAIN: it has
 * made none). Hangs up on any other process. */
int lp_meet_accept(struct lp_meet *m);
void lp_meet_close(struct lp_meet *m); /* the name goes; what was accepted stays */
bool lp_ring(int fd); /* one byte, never blocks; false: the other end is gone */

/* Keeps a loaded shared object for the life of the process. */
void lp_pin_library(const char *path);
/* The file that the code at this address came from; NULL: not known. */
const char *lp_library_path(void *address);

#endif
