/* packet: one message of a channel. Packets are recycled: a burst through a channel would else grow the heap and shrink it
 * again each time, and a message between two threads would be freed where it was not allocated.
 *
 * Each thread has two stacks of free packets. When both are full one goes to the shelf, which all threads share,
 * when both are empty one comes from there: so there is a lock once in STACK packets, whoever sends and whoever receives. */
#include <pthread.h>
#include <string.h>

#include "sync/channel.h"

enum { STACK = 512, SHELF = 16 }; /* of 160 bytes: at the most 160 KB for each thread that uses channels, and 1.3 MB */

struct stack {
	struct lp_packet *first;
	unsigned n;
};

struct cache {
	struct stack now, spare; /* now: in use; spare: full or empty */
};

static _Thread_local struct cache mine;
static _Thread_local bool known; /* thread_ends will be called; or it was, and nothing is kept */
static _Thread_local bool over;
static pthread_key_t key;

static lp_mutex lock = LP_MUTEX_INIT(LP_RANK_PACKETS);
static struct stack shelf[SHELF]; /* [lock] full ones */
static _Atomic unsigned shelved;  /* written under lock */

static void free_all(struct stack *s)
{
	struct lp_packet *p = s->first;
	*s = (struct stack){NULL, 0};
	while (p) {
		struct lp_packet *next = p->next;
		lp_free(p);
		p = next;
	}
}

static void thread_ends(void *unused)
{
	(void)unused;
	over = true;
	free_all(&mine.now);
	free_all(&mine.spare);
}

__attribute__((constructor)) static void packets_open(void)
{
	lp_fork_guard(&lock, LP_RANK_PACKETS);
	pthread_key_create(&key, thread_ends);
}

/* From the shelf, or to it. False: there is none, or no room. */
static bool fetch(struct stack *s)
{
	if (!atomic_load_explicit(&shelved, memory_order_relaxed))
		return false;
	lp_lock(&lock);
	unsigned n = shelved;
	if (n) {
		*s = shelf[n - 1];
		atomic_store_explicit(&shelved, n - 1, memory_order_relaxed);
	}
	lp_unlock(&lock);
	return n;
}

static bool put_away(struct stack *s)
{
	lp_lock(&lock);
	unsigned n = shelved;
	if (n < SHELF) {
		shelf[n] = *s;
		atomic_store_explicit(&shelved, n + 1, memory_order_relaxed);
	}
	lp_unlock(&lock);
	return n < SHELF;
}

static inline struct lp_packet *take(void)
{
	if (!mine.now.first) {
		if (mine.spare.first) {
			mine.now = mine.spare;
			mine.spare = (struct stack){NULL, 0};
		} else if (over || !fetch(&mine.now)) {
			struct lp_packet *fresh = lp_alloc(sizeof *fresh);
			if (fresh) {
				fresh->next = NULL;
				fresh->account = NULL;
				lp_msg_init(&fresh->msg, fresh->buffer, sizeof fresh->buffer);
			}
			return fresh;
		}
	}
	struct lp_packet *p = mine.now.first;
	mine.now.first = p->next;
	mine.now.n--;
	p->next = NULL;
	return p;
}

struct lp_packet *lp_packet_new(void)
{
	struct lp_account *account;
	if (__builtin_expect(!lp_account_mine, 1))
		return take();
	if (!lp_account_charge(&account, sizeof(struct lp_packet)))
		return NULL;
	struct lp_packet *p = take();
	if (p)
		p->account = account;
	else
		lp_account_settle(account, sizeof *p);
	return p;
}

void lp_packet_free(struct lp_packet *p)
{
	if (!p)
		return;
	if (p->account) {
		lp_account_settle(p->account, sizeof *p);
		p->account = NULL;
	}
	lp_msg_clear(&p->msg); /* leaves it empty, with its own buffer */
	if (mine.now.n == STACK) {
		if (mine.spare.first && !put_away(&mine.spare))
			free_all(&mine.spare);
		mine.spare = mine.now;
		mine.now = (struct stack){NULL, 0};
	}
	if (!known && !over)
		known = pthread_setspecific(key, &mine) == 0;
	if (over || !known) {
		lp_free(p);
		return;
	}
	p->next = mine.now.first;
	mine.now.first = p;
	mine.now.n++;
}
