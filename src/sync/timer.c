/* timer: see timer.h. */
#include "sync/timer.h"

#include "sched/stop.h"

static lp_mutex lock = LP_MUTEX_INIT(LP_RANK_TIMERS);
static struct lp_timer **heap; /* [lock] those that are waited for, the earliest first; heap[0] is not used */
static uint32_t count;         /* [lock] in the heap */
static uint32_t capacity;      /* [lock] places; never fewer than there are timers, so that arming cannot fail */
static uint32_t timers;        /* [lock] that exist in this process */

static void forget(void)
{
	/* Those of the parent are of no use here, and what lies in the heap may belong to threads that are not here. */
	count = timers = 0;
}

__attribute__((constructor)) static void timers_open(void)
{
	lp_fork_guard(&lock, LP_RANK_TIMERS);
	lp_fork_child(LP_RANK_TIMERS, forget);
}

/* ---- the heap; all under the lock ---- */

static void place(struct lp_timer *t, uint32_t slot)
{
	heap[slot] = t;
	t->slot = slot;
}

static void sift_up(struct lp_timer *t, uint32_t slot)
{
	lp_assert_held(&lock);
	while (slot > 1 && heap[slot / 2]->due > t->due) {
		place(heap[slot / 2], slot);
		slot /= 2;
	}
	place(t, slot);
}

static void sift_down(struct lp_timer *t, uint32_t slot)
{
	lp_assert_held(&lock);
	for (uint32_t child; (child = 2 * slot) <= count; slot = child) {
		if (child < count && heap[child + 1]->due < heap[child]->due)
			child++;
		if (heap[child]->due >= t->due)
			break;
		place(heap[child], slot);
	}
	place(t, slot);
}

static void disarm(struct lp_timer *t)
{
	lp_assert_held(&lock);
	lp_assert(t->slot && t->slot <= count && heap[t->slot] == t);
	uint32_t slot = t->slot;
	struct lp_timer *last = heap[count--];
	t->slot = 0;
	if (last == t)
		return;
	if (slot > 1 && heap[slot / 2]->due > last->due)
		sift_up(last, slot);
	else
		sift_down(last, slot);
}

/* Its waiters, moment or state have changed. True: it is the first now, the thread has to look. */
static bool rearm(struct lp_timer *t)
{
	lp_assert_held(&lock);
	lp_assert(count < capacity);
	if (t->slot)
		disarm(t);
	if (t->closed || t->due == LP_FOREVER || lp_list_empty(&t->waiters))
		return false;
	sift_up(t, ++count);
	return t->slot == 1;
}

/* ---- coming due; under the lock ---- */

static bool ready(struct lp_timer *t, lp_time now)
{
	return t->closed || t->due <= now;
}

/* n gets what there is: closed, or the times that went by. */
static void consume(struct lp_timer *t, struct lp_node *n, lp_time now)
{
	lp_assert_held(&lock);
	lp_assert(t->closed || t->due <= now);
	n->result = LP_TIMER_CLOSED;
	n->value = (void *)(uintptr_t)t->sets;
	if (t->closed)
		return;
	n->result = 1;
	if (!t->interval)
		return;
	lp_time times = (now - t->due) / t->interval + 1;
	n->result = times < INT32_MAX ? (int)times : INT32_MAX;
	t->due += times * t->interval;
}

static void serve(struct lp_timer *t, lp_time now, struct lp_wakes *w)
{
	lp_assert_held(&lock);
	while (!lp_list_empty(&t->waiters) && ready(t, now)) {
		struct lp_node *n = lp_entry(t->waiters.next, struct lp_node, link);
		if (!lp_claim(n)) /* it left in the meantime */
			continue;
		consume(t, n, now);
		lp_fire(n, w);
	}
}

lp_time lp_timers_ring(lp_time now)
{
	struct lp_wakes wakes = LP_WAKES_INIT;
	lp_lock(&lock);
	while (count && heap[1]->due <= now) {
		struct lp_timer *t = heap[1];
		serve(t, now, &wakes);
		rearm(t);
	}
	lp_time next = count ? heap[1]->due : LP_FOREVER;
	lp_unlock(&lock);
	lp_wake_all(&wakes);
	return next;
}

bool lp_timers_exist(void)
{
	lp_lock(&lock);
	bool any = timers > 0;
	lp_unlock(&lock);
	return any;
}

/* ---- waiting ---- */

static bool timer_take(struct lp_obj *o, struct lp_node *n)
{
	struct lp_timer *t = (struct lp_timer *)o;
	lp_time now = lp_now();
	lp_lock(&lock);
	bool is = ready(t, now);
	if (is)
		consume(t, n, now);
	if (is && t->slot)
		rearm(t); /* others wait for its next time */
	lp_unlock(&lock);
	return is;
}

static void timer_enqueue(struct lp_obj *o, struct lp_node *n)
{
	struct lp_timer *t = (struct lp_timer *)o;
	lp_time now = lp_now();
	bool first = false;
	lp_lock(&lock);
	if (!ready(t, now)) {
		lp_list_append(&t->waiters, &n->link);
		first = !t->slot && rearm(t);
	} else if (lp_claim(n)) { /* else another object of the same wait was first */
		consume(t, n, now);
		lp_fire(n, NULL);
		if (t->slot)
			rearm(t);
	}
	lp_unlock(&lock);
	if (first)
		lp_monitor_look();
}

static void timer_dequeue(struct lp_obj *o, struct lp_node *n)
{
	struct lp_timer *t = (struct lp_timer *)o;
	lp_lock(&lock);
	if (lp_linked(&n->link))
		lp_list_remove(&n->link);
	if (t->slot && lp_list_empty(&t->waiters))
		disarm(t);
	lp_unlock(&lock);
}

/* ---- life ---- */

static void timer_destroy(struct lp_obj *o)
{
	if (o->generation == lp_generation) {
		lp_lock(&lock); /* also waits for who fired the last holder */
		bool last = --timers == 0;
		lp_unlock(&lock);
		if (last)
			lp_monitor_may_leave();
	}
	lp_free(o);
}

/* Times that nobody hears of are those of the next wait, unless the timer was set meanwhile. */
static void timer_discard(struct lp_obj *o, struct lp_node *n, bool consumed)
{
	struct lp_timer *t = (struct lp_timer *)o;
	struct lp_wakes wakes = LP_WAKES_INIT;
	if (!consumed || n->result == LP_TIMER_CLOSED)
		return;
	lp_time now = lp_now();
	lp_lock(&lock);
	bool back = t->interval && n->value == (void *)(uintptr_t)t->sets, first = false;
	if (back) {
		t->due -= n->result * t->interval;
		serve(t, now, &wakes);
		first = rearm(t);
	}
	lp_unlock(&lock);
	lp_wake_all(&wakes);
	if (first)
		lp_monitor_look();
}

const struct lp_class lp_timer_class = {
	.name = "lua-pool.timer",
	.destroy = timer_destroy,
	.take = timer_take,
	.enqueue = timer_enqueue,
	.dequeue = timer_dequeue,
	.discard = timer_discard,
};

/* A place in the heap for one more. */
static bool reserve(void)
{
	lp_lock(&lock);
	bool ok = timers + 2 <= capacity;
	if (!ok) {
		uint32_t wanted = capacity ? 2 * capacity : 16;
		struct lp_timer **p = lp_realloc(heap, wanted * sizeof *p);
		if ((ok = p != NULL)) {
			heap = p;
			capacity = wanted;
		}
	}
	timers += ok;
	lp_unlock(&lock);
	return ok;
}

struct lp_timer *lp_timer_new(lp_time due, lp_time interval)
{
	struct lp_timer *t = lp_alloc(sizeof *t);
	if (!t || !reserve()) {
		lp_free(t);
		return NULL;
	}
	lp_obj_init(&t->obj, &lp_timer_class);
	t->due = due;
	t->interval = interval;
	t->closed = false;
	t->sets = 0;
	t->slot = 0;
	lp_list_init(&t->waiters);
	if (!lp_monitor_look()) {
		lp_release(t);
		return NULL;
	}
	return t;
}

void lp_timer_set(struct lp_timer *t, lp_time due, lp_time interval)
{
	lp_lock(&lock);
	t->due = due;
	t->interval = interval;
	t->closed = false;
	t->sets++;
	bool first = rearm(t);
	lp_unlock(&lock);
	if (first)
		lp_monitor_look();
}

void lp_timer_close(struct lp_timer *t)
{
	struct lp_wakes wakes = LP_WAKES_INIT;
	lp_lock(&lock);
	t->closed = true;
	serve(t, 0, &wakes);
	rearm(t);
	lp_unlock(&lock);
	lp_wake_all(&wakes);
}

void lp_timer_get(struct lp_timer *t, lp_time *due, lp_time *interval, bool *closed, unsigned *waiting)
{
	*waiting = 0;
	lp_lock(&lock);
	*due = t->due;
	*interval = t->interval;
	*closed = t->closed;
	for (struct lp_link *l = t->waiters.next; l != &t->waiters; l = l->next)
		++*waiting;
	lp_unlock(&lock);
}
