/* monitor: the thread that pokes tasks again until they were told: the other half of stop.c. It rings timers, too.
 *
 * It watches three things: tasks that were asked to end (a list), the deadlines of whatever runs in any
 * worker (it looks through the workers when the earliest is due, so that a scope costs its task one
 * comparison; those that are late join the list), and the timers that somebody waits for (timer.c). What does not react it
 * gives up (abandon.h), and watches on until it has come back. It starts when there is something to watch and leaves when there has been nothing for a while. */
#include "sched/abandon.h"
#include "wait/cancel.h"
#include "sched/stop.h"
#include "sched/sweep.h"
#include "sync/timer.h"

enum { POKE_NS = 1000000, SLOW_POKE_NS = 10000000, STUCK_POKE_NS = 50000000, LINGER_NS = 200000000 };
enum { MANY_POKES = 100 };

/* watch: a task that was asked to end, or whose deadline has passed (then there may be another for a request). */
struct watch {
	struct lp_link link;
	struct lp_task *task; /* retained */
	bool deadline;        /* else a request */
	bool grace;           /* of a request: it was told, and `until` is the end of its grace */
	lp_time next;         /* when to look at it again */
	lp_time until;        /* while it stalls: when it is given up; 0: it does not stall */
	unsigned pokes;
};

static lp_mutex lock = LP_MUTEX_INIT(LP_RANK_MONITOR);
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
	lp_fork_guard(&lock, LP_RANK_MONITOR);
	lp_fork_child(LP_RANK_MONITOR, renew);
}

/* ---- tasks that are to end ---- */

static lp_time earlier(lp_time a, lp_time b)
{
	return a < b ? a : b;
}

static lp_time poke(struct watch *w, lp_time now)
{
	lp_poke(w->task);
	if (lp_task_abandoned(w->task))
		return now + (w->pokes++ < MANY_POKES ? SLOW_POKE_NS : STUCK_POKE_NS);
	return now + (w->pokes++ < MANY_POKES ? POKE_NS : SLOW_POKE_NS);
}

/* Was it stalling for so long that it is given up? */
static bool gives_up(struct watch *w, lp_time now, lp_time patience, enum lp_task_state how)
{
	if (lp_task_abandoned(w->task) || !lp_task_stalls(w->task)) {
		w->until = 0;
		return false;
	}
	if (!w->until)
		w->until = patience > LP_FOREVER - now ? LP_FOREVER : now + patience;
	if (now < w->until || !lp_task_give_up(w->task, how))
		return false;
	w->pokes = 0;
	return true;
}

static lp_time with_last_call(lp_time grace)
{
	return grace > LP_FOREVER - LP_LAST_CALL ? LP_FOREVER : grace + LP_LAST_CALL;
}

/* Looks at one; answers when to look again, or 0 when it is done. */
static lp_time look_at_request(struct watch *w, lp_time now)
{
	struct lp_task *t = w->task;
	lp_time grace = t->pool->opt.cancel_grace;
	uint32_t word = lp_cancel_word(&t->actor);
	bool final = word & LP_CANCEL_FINAL;
	if ((word & LP_CANCEL_DELIVERED) && !final) {
		if (!w->grace) {
			w->grace = true;
			w->until = grace > LP_FOREVER - now ? LP_FOREVER : now + grace;
		}
		/* Meanwhile it may end: then there is nothing to keep its slot for. */
		if (now < w->until)
			return earlier(w->until, now + SLOW_POKE_NS);
		lp_cancel_finally(&t->actor);
		final = true;
		w->until = 0;
		w->pokes = 0;
	}
	gives_up(w, now, final ? LP_LAST_CALL : with_last_call(grace), LP_STOPPED);
	return poke(w, now);
}

static lp_time look_at_late(struct watch *w, lp_time now)
{
	struct lp_task *t = w->task;
	struct lp_limits limits;
	bool runs = lp_task_limits(t, &limits);
	if (!runs || (limits.deadline > now && limits.told == LP_UNTOLD_YET)) { /* its scope has ended */
		t->late = false;
		return 0;
	}
	if (limits.deadline > now) { /* its grace */
		w->until = 0;
		w->pokes = 0;
		return earlier(limits.deadline, now + SLOW_POKE_NS);
	}
	bool told = limits.told != LP_UNTOLD_YET;
	gives_up(w, now, told ? LP_LAST_CALL : with_last_call(t->pool->opt.cancel_grace), LP_FAILED);
	return poke(w, now);
}

static lp_time look(struct watch *w, lp_time now)
{
	struct lp_task *t = w->task;
	uint32_t state = atomic_load(&t->state);
	bool stuck = (state & LP_ABANDONED) && !(state & LP_LEFT);
	if (lp_task_ended(t) && !stuck)
		return 0;
	if (stuck)
		lp_abandon_look(t);
	return w->deadline ? look_at_late(w, now) : look_at_request(w, now);
}

static bool watch(struct lp_task *t, bool deadline, lp_time next)
{
	struct watch *w = lp_alloc(sizeof *w);
	if (!w)
		return false;
	*w = (struct watch){.task = lp_retain(t), .deadline = deadline, .next = next};
	lp_lock(&lock);
	lp_list_append(&watches, &w->link);
	lp_unlock(&lock);
	return true;
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

/* Is it newly late? Notes when the earliest of the others is. A deadline of a task that others run on top of may pass as
 * well: it cannot be told then, but given up. */
static bool is_late(struct lp_worker *w, struct lp_actor *a, void *data)
{
	(void)w;
	struct due *d = data;
	struct lp_task *t = lp_entry(a, struct lp_task, actor);
	if (a->deadline == LP_FOREVER)
		return false;
	bool late = a->deadline <= d->now && !a->hold;
	if (late && t->late)
		return false; /* its watch sees to it */
	/* Held back: it may be told as soon as that ends. */
	lp_time next = late || a->hold ? d->now + POKE_NS : a->deadline;
	if (next < d->next)
		d->next = next;
	if (late)
		t->late = true;
	return late;
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
	for (struct lp_task *t; (t = lp_sweep_next(&s)); lp_release(t)) {
		lp_poke(t);
		if (!watch(t, true, now + POKE_NS))
			t->late = false;
	}
	lp_lock(&lock);
	if (d.next < atomic_load(&next_deadline))
		atomic_store(&next_deadline, d.next);
	lp_unlock(&lock);
	return atomic_load(&next_deadline);
}

/* ---- the thread ---- */

static _Thread_local bool on_monitor;

bool lp_on_monitor(void)
{
	return on_monitor;
}

static void *monitor_main(void *arg)
{
	(void)arg;
	struct lp_parker *mine = lp_parker_self();
	on_monitor = true;
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
	lp_assert_held(&lock);
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
	if (!watch(t, false, lp_now() + POKE_NS))
		return false;
	lp_lock(&lock);
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
