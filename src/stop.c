/* stop: see stop.h. */
#define _GNU_SOURCE
#include "stop.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cancel.h"
#include "signals.h"
#include "worker.h"

/* ---- the signal ---- */

static char our_mark; /* its address tells our signals from all others */

/* What SIGURG did before we came, and again each time that the host took it over: the newest last. A handler of the
 * host's that was installed over ours may call ours, which then has to call the one below. */
enum { MOST_ACTIONS = 8 };
static struct sigaction host_actions[MOST_ACTIONS];
static _Atomic int nactions; /* written under the lock, after the action */
static _Thread_local int chained; /* how many of them are active on this thread */
static lp_mutex install_lock;

__attribute__((constructor)) static void stop_open(void)
{
	lp_fork_guard(&install_lock);
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
		if (w)
			lp_arm_hook(w);
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

struct reach {
	struct lp_token *token;
	struct lp_task *found[64]; /* retained */
	unsigned n;
};

static void running_descendants(struct lp_worker *w, void *data)
{
	struct reach *r = data;
	lp_lock(&w->lock);
	for (struct lp_actor *a = w->exec.actor; a; a = a->outer) {
		struct lp_task *t = a->is_task ? lp_entry(a, struct lp_task, actor) : NULL;
		if (t && r->n < 64 && lp_cancel_word(a) == 0 && lp_task_reached(t, r->token))
			r->found[r->n++] = lp_retain(t);
	}
	lp_unlock(&w->lock);
}

static void pending_orphans(struct lp_task *t, void *data)
{
	struct reach *r = data;
	if (r->n < 64 && lp_task_state(t) == LP_PENDING && lp_task_orphaned(t))
		r->found[r->n++] = lp_retain(t);
}

static void request(struct lp_task *t)
{
	if (lp_task_stop_pending(t)) {
		atomic_fetch_add(&t->pool->totals.cancelled, 1);
		if (t->detached)
			lp_host_detached_end(t->host);
		lp_pool_leave_room(t->pool, t);
		if (atomic_load(&t->place) != LP_HELD_STOPPED)
			lp_pool_cancelled_entry(t->pool);
	} else if (!lp_task_ended(t) && lp_cancel_ask(&t->actor)) {
		struct lp_token *k = lp_task_token_ref(t);
		if (k)
			atomic_store(&k->cancelled, true); /* before we look for those that run: see run() */
		lp_release(k);
		lp_monitor_cancel(t);
	}
}

/* What f finds in all pools, again and again until it finds nothing new. */
static void reach_all(struct lp_token *token, bool pending)
{
	enum { MAX_POOLS = 1024 };
	struct lp_pool *pools[MAX_POOLS];
	unsigned n = lp_pool_all(pools, MAX_POOLS);
	for (unsigned i = 0; i < n; i++) {
		struct reach r = {.token = token};
		do {
			r.n = 0;
			if (pending)
				lp_queue_each(&pools[i]->queue, pending_orphans, &r);
			else
				lp_pool_each_worker(pools[i], running_descendants, &r);
			for (unsigned k = 0; k < r.n; k++) {
				request(r.found[k]);
				lp_release(r.found[k]);
			}
		} while (r.n);
		lp_release(pools[i]);
	}
}

void lp_token_request_cancel(struct lp_token *k)
{
	reach_all(k, false);
	reach_all(k, true);
}

void lp_task_request_cancel(struct lp_task *t)
{
	struct lp_token *k = lp_task_token_ref(t); /* once the task has been told, it has another */
	request(t);
	if (!k)
		k = lp_task_token_ref(t);
	if (k && lp_cancel_word(&t->actor))
		lp_token_request_cancel(k);
	lp_release(k);
}
