/* monitor: the thread that pokes tasks again until they were told: the other half of stop.c. It rings timers, too.
 *
 * It watches three things: tasks that were asked to end (a list), the deadlines of whatever runs in any
 * worker (it looks through the workers when the earliest is due, so that a scope costs its task one
 * comparison), and the timers that somebody waits for (timer.c). It starts when there is something to watch and leaves when there has been nothing for a while. */
#include "cancel.h"
#include "stop.h"
#include "sweep.h"
#include "timer.h"

enum { POKE_NS = 1000000, SLOW_POKE_NS = 10000000, LINGER_NS = 200000000 };

struct watch {
	struct lp_link link;
	struct lp_task *task; /* retained */
	lp_time next;         /* when to look at it again */
	lp_time grace_end;    /* 0: not begun */
	unsigned pokes;
};

static lp_mutex lock;
static struct lp_link watches = {&watches, &watches}; /* [lock] */
static _Atomic lp_time next_deadline = LP_FOREVER;    /* written under lock: no scope that is known ends earlier */
static bool alive;                                    /* [lock] the thread runs */
static struct lp_parker *parker;                      /* [lock] of the thread; NULL until it runs */

static void renew(void)
{
	lp_list_init(&watches); /* what the parent's tasks need is the parent's */
	atomic_store(&next_deadline, LP_FOREVER);
	alive = false;
	parker = NULL;
}

__attribute__((constructor)) static void monitor_open(void)
{
	lp_fork_guard(&lock);
	lp_fork_child(renew);
}

/* ---- requests ---- */

/* Looks at one; answers when to look again, or 0 when it is done. */
static lp_time look(struct watch *w, lp_time now)
{
	struct lp_task *t = w->task;
	if (lp_task_ended(t))
		return 0;
	if (!(lp_cancel_word(&t->actor) & LP_CANCEL_ASKED)) {
		if (!w->grace_end) {
			lp_time grace = t->pool->opt.cancel_grace;
			w->grace_end = grace > LP_FOREVER - now ? LP_FOREVER : now + grace;
		}
		/* Meanwhile it may end: then there is nothing to keep its slot for. */
		if (now < w->grace_end)
			return w->grace_end < now + SLOW_POKE_NS ? w->grace_end : now + SLOW_POKE_NS;
		lp_cancel_finally(&t->actor);
		w->pokes = 0;
	}
	lp_poke(t);
	return now + (w->pokes++ < 100 ? POKE_NS : SLOW_POKE_NS);
}

static lp_time look_at_watches(lp_time now)
{
	lp_time soonest = LP_FOREVER;
	struct lp_link todo;
	lp_list_init(&todo);
	lp_lock(&lock);
	lp_list_splice(&todo, &watches);
	lp_unlock(&lock);
	while (!lp_list_empty(&todo)) {
		struct watch *w = lp_entry(lp_list_take_first(&todo), struct watch, link);
		if (w->next <= now)
			w->next = look(w, now);
		if (w->next == 0) {
			lp_release(w->task);
			lp_free(w);
			continue;
		}
		if (w->next < soonest)
			soonest = w->next;
		lp_lock(&lock);
		lp_list_append(&watches, &w->link);
		lp_unlock(&lock);
	}
	return soonest;
}

/* ---- deadlines ---- */

struct due {
	lp_time now, next;
};

/* Is it late? Notes when the earliest of the others is. */
static bool is_late(struct lp_worker *w, struct lp_actor *a, void *data)
{
	struct due *d = data;
	if (a != w->exec.actor || a->deadline == LP_FOREVER)
		return false;
	bool late = a->deadline <= d->now;
	/* Late: until it was told. Held back: it may be told as soon as that ends. */
	lp_time next = late || a->hold ? d->now + POKE_NS : a->deadline;
	if (next < d->next)
		d->next = next;
	return late && !a->hold;
}

static lp_time look_at_deadlines(lp_time now)
{
	if (atomic_load(&next_deadline) > now)
		return atomic_load(&next_deadline);
	/* Scopes that begin from here on are compared with what we set at the end, or with FOREVER now. */
	lp_lock(&lock);
	atomic_store(&next_deadline, LP_FOREVER);
	lp_unlock(&lock);
	struct due d = {.now = now, .next = LP_FOREVER};
	struct lp_sweep s;
	lp_sweep_begin(&s, NULL, is_late, &d);
	for (struct lp_task *t; (t = lp_sweep_next(&s)); lp_release(t))
		lp_poke(t);
	lp_lock(&lock);
	if (d.next < atomic_load(&next_deadline))
		atomic_store(&next_deadline, d.next);
	lp_unlock(&lock);
	return atomic_load(&next_deadline);
}

/* ---- the thread ---- */

static void *monitor_main(void *arg)
{
	(void)arg;
	struct lp_parker *mine = lp_parker_self();
	lp_thread_name("lua-pool-mon");
	lp_lock(&lock);
	parker = mine;
	lp_unlock(&lock);
	lp_time quiet = 0;
	for (;;) {
		lp_time now = lp_now();
		lp_time until = look_at_watches(now), deadline = look_at_deadlines(now);
		lp_time timer = lp_timers_ring(now);
		until = deadline < until ? deadline : until;
		until = timer < until ? timer : until;
		bool timers = lp_timers_exist();
		lp_lock(&lock);
		bool empty = lp_list_empty(&watches) && atomic_load(&next_deadline) == LP_FOREVER && !timers;
		if (!empty)
			quiet = 0;
		else if (!quiet)
			quiet = now + LINGER_NS;
		bool leave = empty && now >= quiet;
		if (leave) {
			alive = false;
			parker = NULL;
		}
		lp_unlock(&lock);
		if (leave)
			return NULL;
		if (mine)
			lp_park(mine, empty ? quiet : until);
		else
			lp_nap(now + POKE_NS); /* no memory for a parker: poll */
	}
}

/* Under the lock, which it releases. False: there is no thread and none could be started. */
static bool wake_or_start(void)
{
	bool start = !alive;
	alive = true;
	struct lp_parker *wake = parker;
	lp_unlock(&lock);
	if (wake)
		lp_unpark(wake);
	if (!start)
		return true;
	lp_thread thread;
	if (lp_thread_start(&thread, monitor_main, NULL, 256 * 1024) == 0) {
		lp_thread_detach(thread);
		return true;
	}
	lp_lock(&lock);
	alive = false; /* whoever comes next tries again, and its thread takes over what is here */
	lp_unlock(&lock);
	return false;
}

bool lp_monitor_cancel(struct lp_task *t)
{
	lp_poke(t);
	struct watch *w = lp_alloc(sizeof *w);
	if (!w)
		return false;
	*w = (struct watch){.task = lp_retain(t), .next = lp_now() + POKE_NS};
	lp_lock(&lock);
	lp_list_append(&watches, &w->link);
	return wake_or_start();
}

bool lp_monitor_look(void)
{
	lp_lock(&lock);
	return wake_or_start();
}

void lp_monitor_may_leave(void)
{
	lp_lock(&lock);
	struct lp_parker *wake = parker;
	lp_unlock(&lock);
	if (wake)
		lp_unpark(wake);
}

bool lp_monitor_deadline(lp_time when)
{
	if (atomic_load(&next_deadline) <= when)
		return true;
	lp_lock(&lock);
	if (when < atomic_load(&next_deadline))
		atomic_store(&next_deadline, when);
	return wake_or_start();
}
