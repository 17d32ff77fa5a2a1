/* abandon: a task that does not react is given up, and its thread no longer counts.
 *
 * A long call into C, a finaliser, or a loop that LuaJIT has compiled comes to no point at which a task could be told.
 * The monitor, which watches every task that was asked to end or whose deadline has passed, gives such a task up:
 *
 *     RUNNING --grace--> RUNNING (told finally) --100 ms--> STOPPED | ABANDONED   (cancelled)
 *                                                           FAILED | ABANDONED    (a deadline, task_timeout)
 *     ... --its call comes back, its clean-up has run--> the same | LEFT
 *
 * The clock runs while the task *stalls*: it is on a worker's stack, and neither it nor any task that runs on top of it is
 * in a shield or in a grace of its own. It begins anew when that was interrupted. One that was never told gets the grace
 * and the 100 ms together, since nothing could be delivered; one that was told gets the grace from the delivery, and the
 * 100 ms from when it can be told the second time.
 *
 * Who may touch what:
 *  A1  A task is given up only under its pool's and its worker's lock while it is on the worker's stack. Its runner takes
 *      it off under the worker's lock before it ends it; so from then on the state is the runner's, and it reads there
 *      whether it was given up. Only one of the two ends it, counts it, tells its group and its host.
 *  A2  From the giving up on `msg`, `report`, `code` and `token` are the runner's alone: for all others the outcome is in the
 *      state word (CANCELLED for STOPPED, TIMEOUT for FAILED), and what the task may still return is thrown away. Its slot
 *      stays: the runner and the monitor have a count each.
 *  A3  What it holds is seized by its own thread's signal handler, which can do that between any two instructions (mutex.h):
 *      from then on it is not the owner, and unlocking raises. The monitor, or the runner on its way out, hands over.
 *  A4  A worker whose innermost task was given up is *stuck*: it is in no count of threads, so that neither closing nor the
 *      end of the process wait for it, and in no report of a pool that waits for itself. Up to `limit` stuck ones at a
 *      time are *apart*: their permit is given up as well, so another thread takes the work. The others are *lost*: they
 *      keep theirs. If all permits are lost, the pool is *hopeless*: what is queued fails and async raises, both saying
 *      by what it is stuck. All of it is written under the pool's lock, the permit by an atomic exchange of `counted`:
 *      as long as a worker is apart, the monitor takes back what a wait on its way may just have taken.
 *  A5  A healthy task on top of one that was given up keeps its thread. When it ends, and the code below does not react
 *      again, the monitor sees it at its next look. A stuck task on top of healthy ones keeps these from running: they
 *      are not given up, unless they are asked to end themselves.
 *  A6  When the call comes back, the code is told, its clean-up runs (with the grace, if it had none yet), and the runner
 *      takes the worker into the counts again. A pool may have more threads than max_threads then: one leaves as it parks. If
 *      the pool has ended meanwhile, nobody joins the thread: it frees itself.
 *  A7  A task whose thread is leaving the process (os.exit in it) is never given up; in a forked child nothing is stuck.
 *  A8  A pool without threads runs its tasks on the host's thread: they cannot be given up. */
#ifndef LP_ABANDON_H
#define LP_ABANDON_H

#include "sched/worker.h"

enum { LP_ABANDON_TEXT = 2048 };
#define LP_LAST_CALL (LP_SECOND / 10) /* between the second time it is told and the giving up */

/* ---- for the monitor ---- */
/* Can it not be told, though nothing protects it? */
bool lp_task_stalls(struct lp_task *t);
/* Its deadline and whether it was told; false: no worker runs it. */
bool lp_task_limits(struct lp_task *t, struct lp_limits *to);
/* Gives it up: FAILED or STOPPED. False: it has ended, or is about to. */
bool lp_task_give_up(struct lp_task *t, enum lp_task_state how);
/* Now and then as long as one that was given up has not left: its thread's part (A3, A4). */
void lp_abandon_look(struct lp_task *t);

/* ---- for the runner ---- */
/* t, which was given up, is off the stack: throws its outcome away, and takes the worker into the counts again. */
void lp_abandon_came_back(struct lp_worker *w, lua_State *L, struct lp_task *t);
/* In its signal handler: A3. */
void lp_abandon_seize(struct lp_worker *w);

/* ---- for people ---- */
void lp_abandon_describe(struct lp_task *t, char *text, size_t size);
void lp_abandon_why_stuck(struct lp_pool *p, char *text, size_t size);

#endif
