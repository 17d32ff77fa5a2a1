/* slots: the memory of tasks, recycled per thread: taking and returning one on the same thread costs no
 * lock and no malloc; one that is released on another thread goes back over a lock-free stack.
 * (glibc's free of another thread's memory takes 65 ns and more, and bounces the arena.) */
#include <string.h>

#include "sched/task.h"

enum { KEEP = 4096 }; /* slots kept per thread: 1.3 MB at the most, a burst of 4,000 without malloc */

struct lp_slots {
	struct lp_task *local;             /* [thread] linked by next */
	unsigned count;                    /* [thread] */
	_Atomic(struct lp_task *) remote;  /* returned by other threads; GONE: the thread has ended */
	_Atomic uint32_t refs;             /* one for the thread, one per slot that exists */
	_Atomic size_t untold;             /* bytes of large results that this thread's futures have come to hold */
};

#define GONE ((struct lp_task *)(uintptr_t)1)

static _Thread_local struct lp_slots *my_slots;
static pthread_key_t slots_key;

/* One count for each slot that exists: whoever frees the last one after the thread's end frees the record. */
static void slots_release(struct lp_slots *s)
{
	if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1)
		lp_free(s);
}

static void free_slot(struct lp_slots *s, struct lp_task *t)
{
	lp_free(t);
	slots_release(s);
}

static void free_list(struct lp_slots *s, struct lp_task *t)
{
	while (t) {
		struct lp_task *next = t->next;
		free_slot(s, t);
		t = next;
	}
}

static void slots_thread_ends(void *slots)
{
	struct lp_slots *s = slots;
	my_slots = NULL;
	free_list(s, s->local);
	free_list(s, atomic_exchange_explicit(&s->remote, GONE, memory_order_acquire));
	slots_release(s);
}

__attribute__((constructor)) static void slots_open(void)
{
	pthread_key_create(&slots_key, slots_thread_ends);
}

static struct lp_slots *slots_self(void)
{
	if (!my_slots && (my_slots = lp_alloc(sizeof *my_slots))) {
		memset(my_slots, 0, sizeof *my_slots);
		atomic_init(&my_slots->refs, 1);
		pthread_setspecific(slots_key, my_slots);
	}
	return my_slots;
}

void lp_slot_holds(struct lp_task *t, size_t bytes)
{
	atomic_fetch_add_explicit(&t->owner->untold, bytes, memory_order_relaxed);
}

size_t lp_slots_untold(void)
{
	if (!my_slots || atomic_load_explicit(&my_slots->untold, memory_order_relaxed) < LP_UNTOLD)
		return 0;
	return atomic_exchange_explicit(&my_slots->untold, 0, memory_order_relaxed);
}

struct lp_task *lp_slot_take(void)
{
	struct lp_slots *s = slots_self();
	if (!s)
		return NULL;
	struct lp_task *t = s->local;
	if (!t && atomic_load_explicit(&s->remote, memory_order_relaxed)) {
		t = s->local = atomic_exchange_explicit(&s->remote, NULL, memory_order_acquire);
		for (struct lp_task *i = t; i; i = i->next)
			s->count++;
	}
	if (t) {
		s->local = t->next;
		s->count--;
	} else {
		if (!(t = lp_alloc(sizeof *t)))
			return NULL;
		t->owner = s;
		atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
		lp_slot_holds(t, sizeof *t);
	}
	return t;
}

void lp_slot_return(struct lp_task *t)
{
	struct lp_slots *s = t->owner;
	if (s == my_slots) {
		if (s->count == KEEP) {
			free_slot(s, t);
			return;
		}
		t->next = s->local;
		s->local = t;
		s->count++;
		return;
	}
	struct lp_task *head = atomic_load_explicit(&s->remote, memory_order_relaxed);
	do {
		if (head == GONE) {
			free_slot(s, t);
			return;
		}
		t->next = head;
	} while (!atomic_compare_exchange_weak_explicit(&s->remote, &head, t, memory_order_release, memory_order_relaxed));
}
