/* stop: see stop.h. */
#define _GNU_SOURCE
#include "sched/stop.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sched/abandon.h"
#include "wait/cancel.h"
#include "vm/signals.h"
#include "sched/sweep.h"
#include "sched/worker.h"

/* ---- the signal ---- */

static char our_mark; /* its address tells our signals from all others */

/* What SIGURG did before we came, and again each time that the host took it over: the newest last. A handler of the
 * host's that was installed over ours may call ours, which then has to call the one below. */
enum { MOST_ACTIONS = 8 };
static struct sigaction host_actions[MOST_ACTIONS];
static _Atomic int nactions; /* written under the lock, after the action */
static _Thread_local int chained; /* how many of them are active on this thread */
static lp_mutex install_lock = LP_MUTEX_INIT(LP_RANK_INSTALL);

__attribute__((constructor)) static void stop_open(void)
{
	lp_fork_guard(&install_lock, LP_RANK_INSTALL);
}

/* Touches only: errno (restored), thread-local data in the initial-exec model, atomics, the clock, and the
 * Lua state that this very thread runs, by lua_sethook, which Lua's own interpreter calls from its handler. */
static void on_signal(int sig, siginfo_t *info, void *context)
{
	if (info->si_code == SI_QUEUE && info->si_value.sival_ptr == &our_mark) {
		int saved = errno;
		struct lp_worker *w = lp_this_worker();
		if (w && lp_cut_short(context) && w->exec.actor)
			lp_hand_over(w->exec.actor, false);
		if (w) {
			lp_arm_hook(w);
			lp_abandon_seize(w);
		}
		errno = saved;
		return;
	}
	int n = atomic_load(&nactions) - chained;
	if (n <= 0)
		return;
	struct sigaction *host = &host_actions[n - 1];
	chained++;
	if (host->sa_flags & SA_SIGINFO)
		host->sa_sigaction(sig, info, context);
	else if (host->sa_handler != SIG_DFL && host->sa_handler != SIG_IGN)
		host->sa_handler(sig); /* SIGURG's default is to be ignored */
	chained--;
}

static bool is_ours(const struct sigaction *a)
{
	return (a->sa_flags & SA_SIGINFO) && a->sa_sigaction == on_signal;
}

void lp_install_handler(void)
{
	struct sigaction now;
	if (sigaction(SIGURG, NULL, &now) == 0 && is_ours(&now))
		return;
	lp_lock(&install_lock);
	if (sigaction(SIGURG, NULL, &now) == 0 && !is_ours(&now)) {
		int n = atomic_load(&nactions);
		if (n < MOST_ACTIONS) { /* a host that does this again and again alternates between few handlers */
			host_actions[n] = now;
			atomic_store(&nactions, n + 1);
		} else {
			host_actions[n - 1] = now;
		}
		struct sigaction ours;
		memset(&ours, 0, sizeof ours);
		ours.sa_sigaction = on_signal;
		ours.sa_flags = SA_SIGINFO | SA_ONSTACK; /* no SA_RESTART: that is what it is for */
		sigemptyset(&ours.sa_mask);
		sigaction(SIGURG, &ours, NULL);
	}
	lp_unlock(&install_lock);
}

static void send_signal(struct lp_worker *w)
{
	lp_install_handler(); /* a host that took it over in the meantime is chained to */
	union sigval mark = {.sival_ptr = &our_mark};
	pthread_sigqueue(w->thread, SIGURG, mark);
	atomic_store(&w->signalled, true); /* only now: who clears it must find the signal pending */
}

void lp_flush_signal(struct lp_worker *w)
{
	/* What was sent for the task that has left was sent under the lock that we have taken since. One for the task
	 * below it may be on its way: it is flushed when that one leaves, since its mark comes after the signal. */
	if (!atomic_load_explicit(&w->signalled, memory_order_relaxed) || !atomic_exchange(&w->signalled, false))
		return;
	syscall(SYS_getppid); /* any system call: pending signals are delivered as it returns */
}

/* ---- reaching a thread ---- */

void lp_poke(struct lp_task *t)
{
	lp_graph_lock(); /* keeps the worker's memory */
	struct lp_exec *e = lp_actor_exec(&t->actor);
	if (e) {
		struct lp_worker *w = lp_entry(e, struct lp_worker, exec);
		lp_lock(&w->lock);
		if (w->exec.actor == &t->actor && lp_actor_interrupt(&t->actor) != LP_NOTHING) {
			lp_unpark(atomic_load(&w->parker));
			if (w->has_thread && !w->exec.on_top) /* else an inliner's task runs on its thread now */
				send_signal(w);
		}
		lp_unlock(&w->lock);
	}
	lp_graph_unlock();
}

/* ---- whom it reaches ---- */

/* PENDING -> STOPPED, with all that hangs on it but its place in the queue. */
static bool end_pending(struct lp_task *t)
{
	if (!lp_task_stop_pending(t))
		return false;
	atomic_fetch_add(&t->pool->totals.cancelled, 1);
	if (t->detached)
		lp_host_detached_end(t->host);
	lp_pool_leave_room(t->pool, t);
	return true;
}

void lp_pool_stop_taken(struct lp_pool *p, struct lp_task *t)
{
	for (struct lp_task *next; t; t = next) {
		next = t->next;
		if (!end_pending(t))
			lp_pool_took_tombstone(p); /* somebody else has begun or ended it, and counts its place as one */
		lp_pool_leave_room(p, t);
		lp_release(t);
	}
	if (atomic_load(&p->closed))
		lp_pool_settle(p); /* they may have been the last */
}

static bool is_orphan(struct lp_task *t)
{
	return lp_task_state(t) == LP_PENDING && lp_task_orphaned(t);
}

/* There is no thread for the monitor. So whoever asks pokes for a while, as long as the code was not told: that covers a signal that
 * was lost. The request is on the monitor's list: as soon as a thread can be had it goes on with it. */
static void see_to_it(struct lp_task *t)
{
	for (int i = 0; i < 100 && !lp_task_ended(t) && lp_cancel_word(&t->actor) == LP_CANCEL_ASKED; i++) {
		lp_nap(lp_now() + LP_SECOND / 1000);
		lp_poke(t);
	}
}

/* A task that runs. False: it was asked before, or has ended. Its token is marked, if it has one. */
static bool ask(struct lp_task *t, bool *has_children)
{
	struct lp_token *k = NULL;
	bool first = !lp_task_ended(t) && lp_task_ask(t, &k);
	*has_children = k != NULL;
	lp_release(k);
	if (first && !lp_monitor_cancel(t))
		see_to_it(t);
	return first;
}

static bool unasked(struct lp_worker *w, struct lp_actor *a, void *data)
{
	(void)w;
	(void)data;
	return lp_cancel_word(a) == 0;
}

/* The mark is there. Those that run are asked first, so that their tokens are marked when we look at the queues: there a
 * glance at the parent has to do. What is between a queue and a stack sees the mark itself. */
static void reach_marked(void)
{
	struct lp_sweep s;
	bool has_children;
	lp_sweep_begin(&s, NULL, unasked, NULL);
	for (struct lp_task *t; (t = lp_sweep_next(&s)); lp_release(t))
		if (lp_task_condemned(t))
			ask(t, &has_children);
	for (struct lp_pool *p = NULL; (p = lp_pool_after(p));)
		if (lp_queue_count(&p->queue))
			lp_pool_stop_taken(p, lp_queue_take_all(&p->queue, is_orphan));
}

void lp_token_request_cancel(struct lp_token *k)
{
	lp_token_mark(k);
	reach_marked();
}

void lp_task_request_cancel(struct lp_task *t)
{
	bool has_children;
	if (end_pending(t)) {
		if (atomic_load(&t->place) != LP_HELD_STOPPED)
			lp_pool_cancelled_entry(t->pool);
	} else if (ask(t, &has_children) && has_children) {
		reach_marked();
	}
}
