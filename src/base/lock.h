/* lock: short sections, and the order of all locks of the process.
 *
 * A lock is not recursive and is held for some tens of nanoseconds: nothing that can raise, wait or call a user runs
 * under one (encode, lock, wake). Who holds one may take another only if its *rank* is higher; this one list says the
 * order, and fork takes the process's locks in it too (lp_fork_guard). A *leaf* is held above no other lock, and only
 * memory is touched under it: no system call.
 *
 * A build with CHECK=1 looks at every lock that is taken: is its rank higher than those of all that this thread holds, and is
 * no leaf among these? Each call that makes a system call says so (lp_assert_no_leaf), each function that must run
 * under a lock does (lp_assert_held), and invariants are lp_assert. What is broken ends the process, with names. In any other build
 * all of it is nothing, and a lock is one word. */
#ifndef LP_LOCK_H
#define LP_LOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The order, each with the reasons why it stands where it does. */
enum lp_rank {
	LP_RANK_NONE = 0,      /* a lock without a rank: CHECK=1 refuses it */

	LP_RANK_WATCH,         /* watch.c: held while a channel is given a message (packets, the channel, whom that wakes) */
	LP_RANK_HOSTS,         /* host.c: wakes them */
	LP_RANK_DICTS,         /* dict.c: the list of all dicts; a fork takes the shards under it */
	LP_RANK_GRAPH,         /* wait.c: asks objects who holds them, and looks at workers; pokes them */
	LP_RANK_POOL,          /* pool.h: looks through its workers. No system call (I5) */
	LP_RANK_QUEUE,         /* queue.h: looks at tokens */
	LP_RANK_LIGHTS,        /* host.h: looks at the places of light threads */
	LP_RANK_WORKER,        /* worker.h: looks at tokens and the place; wakes its thread and sends it a signal */
	LP_RANK_INSTALL,       /* stop.c: of our signal handler; makes system calls */
	LP_RANK_CHILDREN,      /* os.c: makes system calls */
	LP_RANK_ORPHANS,       /* process.c: makes system calls */
	LP_RANK_TASK,          /* task.h: announces its end to an lp_ends under it. No system call */

	LP_RANK_FIRST_LEAF,
	LP_RANK_DEFAULT_POOL = LP_RANK_FIRST_LEAF, /* close.c */
	LP_RANK_POOLS,         /* pool.c: the list of all pools */
	LP_RANK_NAMED,         /* lib_named.c */
	LP_RANK_CODE,          /* code.c */
	LP_RANK_SITES,         /* site.c */
	LP_RANK_PINS,          /* pin.c */
	LP_RANK_IDS,           /* ids.c */
	LP_RANK_CHANNEL,
	LP_RANK_EVENT,
	LP_RANK_SEMAPHORE,
	LP_RANK_MUTEX,
	LP_RANK_CONDITION,
	LP_RANK_RWLOCK,
	LP_RANK_BARRIER,
	LP_RANK_FILE,
	LP_RANK_SHARD,         /* dict_int.h: a fork takes all of them, in the order of the list of dicts and in that of each dict */
	LP_RANK_GROUP,
	LP_RANK_ENDS,          /* ends.h */
	LP_RANK_TOKEN,
	LP_RANK_TIMERS,        /* timer.c */
	LP_RANK_MONITOR,       /* monitor.c */
	LP_RANK_PLACE,         /* wait.h: where an exec waits */
	LP_RANK_PACKETS,       /* packet.c */
	LP_RANK_INBOXES,       /* inbox.c: the list of all */
	LP_RANK_PARKERS,       /* os.c */
	LP_RANK_TEST,          /* of specs */
	LP_RANK_LAST_LEAF = LP_RANK_TEST,

	LP_RANK_INBOX,         /* inbox.h: writes to its descriptor. No leaf, and the highest: see lp_wakes for when it is taken above one */
	LP_RANKS
};

typedef struct {
	_Atomic uint32_t word;   /* 0 free, 1 taken, 2 taken and someone sleeps */
#ifdef LP_CHECK
	uint32_t rank;           /* [I] */
	const void *_Atomic owner; /* the thread that holds it: an address of its own */
#endif
} lp_mutex;

void lp_lock_slow(lp_mutex *m);
void lp_unlock_slow(lp_mutex *m);

#ifdef LP_CHECK
#define LP_MUTEX_INIT(r) {.rank = (r)}
void lp_check_lock(lp_mutex *m, bool same); /* before it is taken. `same`: above another of its own rank, at a fork */
void lp_check_locked(lp_mutex *m);
void lp_check_unlock(lp_mutex *m);
bool lp_check_held(const lp_mutex *m);
bool lp_check_no_leaf(void);   /* does this thread hold neither a leaf nor another lock under which no system call is made? */
bool lp_check_no_lock(void);
/* Meanwhile locks and system calls are right above a leaf: of a waker whose list is full, and of a fork, which takes all leafs. */
void lp_check_permit(bool begin);
void lp_check_forget(void); /* in a forked child: this thread holds nothing */
_Noreturn void lp_check_failed(const char *what, const char *file, int line);
#define lp_assert(x) ((x) ? (void)0 : lp_check_failed(#x, __FILE__, __LINE__))
#else
#define LP_MUTEX_INIT(r) {0}
#define lp_check_lock(m, same) ((void)0)
#define lp_check_locked(m) ((void)0)
#define lp_check_unlock(m) ((void)0)
#define lp_check_permit(begin) ((void)0)
#define lp_check_forget() ((void)0)
#define lp_assert(x) ((void)0)
#endif
/* This thread holds m. */
#define lp_assert_held(m) lp_assert(lp_check_held(m))
/* A system call follows, that may take a while or wake others. */
#define lp_assert_no_leaf() lp_assert(lp_check_no_leaf())
/* This thread is about to sleep, or to run what may do anything. */
#define lp_assert_no_lock() lp_assert(lp_check_no_lock())

/* A new lock, or in a forked child one that a thread of the parent may have held. */
static inline void lp_lock_init(lp_mutex *m, enum lp_rank rank)
{
	atomic_store_explicit(&m->word, 0, memory_order_relaxed);
#ifdef LP_CHECK
	m->rank = rank;
	atomic_store_explicit(&m->owner, NULL, memory_order_relaxed);
#else
	(void)rank;
#endif
}

static inline void lp_lock_unchecked(lp_mutex *m)
{
	uint32_t free = 0;
	if (!atomic_compare_exchange_strong_explicit(&m->word, &free, 1, memory_order_acquire, memory_order_relaxed))
		lp_lock_slow(m);
}

/* Never waits, so in no order. */
static inline bool lp_trylock(lp_mutex *m)
{
	uint32_t free = 0;
	if (!atomic_compare_exchange_strong_explicit(&m->word, &free, 1, memory_order_acquire, memory_order_relaxed))
		return false;
	lp_check_locked(m);
	return true;
}

static inline void lp_lock(lp_mutex *m)
{
	lp_check_lock(m, false);
	lp_lock_unchecked(m);
	lp_check_locked(m);
}

/* Above another lock of the same rank: only where their order is that of a list, as at a fork. */
static inline void lp_lock_next(lp_mutex *m)
{
	lp_check_lock(m, true);
	lp_lock_unchecked(m);
	lp_check_locked(m);
}

static inline void lp_unlock(lp_mutex *m)
{
	lp_check_unlock(m);
	if (atomic_exchange_explicit(&m->word, 0, memory_order_release) == 2)
		lp_unlock_slow(m);
}

#endif
