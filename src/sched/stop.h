/* stop: cancelling tasks: whom a request reaches, and how it reaches a thread.
 *
 * A request marks the task, the token that its children hold, and all running descendants; descendants
 * that have not started are taken out at once. Then the thread is *poked*: unparked, and sent our
 * signal, so that a system call returns and the running Lua code gets a hook. Both happen under the
 * worker's lock while the task is the innermost one on its stack, so a signal is never sent for a task
 * that has ended; whoever ends it (or opens a shield, or begins the clean-up) makes one system call
 * under no lock afterwards, which delivers a signal that is already pending. Thus no other task's
 * system call is ever interrupted.
 *
 * A signal can come in the instant before a system call and be lost: the monitor, a thread that lives
 * while somebody is being cancelled or timed, pokes again every millisecond until the code was told. */
#ifndef LP_STOP_H
#define LP_STOP_H

#include "vm/state.h"
#include "sched/task.h"

struct lp_worker;

/* A pending task ends at once; a running one and its descendants are told. Does not wait. */
void lp_task_request_cancel(struct lp_task *t);
/* Marks a token, and the same for all that descend from it. */
void lp_token_request_cancel(struct lp_token *k);
/* Ends those of a list that was taken out of the pool's queue (lp_queue_take_all) which are pending; takes over their counts. */
void lp_pool_stop_taken(struct lp_pool *p, struct lp_task *list);

/* Pokes a task that was asked, and sees to it that it is told: again and again until it was, and once
 * more when its grace is over. Retains it. False: no memory or no thread; then it was poked once only. */
bool lp_monitor_cancel(struct lp_task *t);
/* A task that runs in a worker has a deadline now: see to it that it is told then. */
bool lp_monitor_deadline(lp_time when);

/* The timers have changed, or there is one more: the monitor's thread has to look. False: there is no thread. */
bool lp_monitor_look(void);
/* Is this the monitor's thread? */
bool lp_on_monitor(void);
/* There is no timer any more. */
void lp_monitor_may_leave(void);

/* One poke, if the task is innermost on a thread and has something to be told. */
void lp_poke(struct lp_task *t);

/* ---- on the worker's own thread ---- */
/* Delivers a signal that was sent to this worker and is pending. Call without locks. */
void lp_flush_signal(struct lp_worker *w);
/* Our handler, for SIGURG; installed when the first worker starts. */
void lp_install_handler(void);

#endif
