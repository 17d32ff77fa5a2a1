/* account: what a task has under way outside its Lua state: the messages that it sends, its results, arrays, values in dicts, what
 * it reads of files and subprocesses. In a pool with a memory_limit each task has an account, and together with the memory of its Lua
 * state that may not be more than the limit.
 *
 * A block from here remembers the account of the task that asked for it, and is taken off it when it is freed, on whatever
 * thread. The account lives as long as a block of it; when its task has ended nobody is charged any more.
 * Only the thread of the task charges: lp_account_mine. Blocks of a thread without an account cost two words more. */
#ifndef LP_ACCOUNT_H
#define LP_ACCOUNT_H

#include <stdbool.h>
#include <stddef.h>

struct lp_account;
extern _Thread_local struct lp_account *lp_account_mine; /* of the task that this thread runs; NULL: nothing is counted */

/* `state`: how much the task's Lua state has; read by the thread of the task only. Count 1; NULL: out of memory. */
struct lp_account *lp_account_new(size_t limit, const size_t *state);
void lp_account_release(struct lp_account *a);
/* Does nothing refer to it any more but the caller? Then another task may have it. */
bool lp_account_idle(const struct lp_account *a);

/* As lp_alloc and its like, and NULL also if the limit is reached. */
void *lp_alloc_counted(size_t size);
void *lp_zalloc_counted(size_t size);
void *lp_realloc_counted(void *p, size_t size);
void lp_free_counted(void *p);
/* This thread has it now: its task is charged for it, even beyond the limit, and nobody else. */
void lp_adopt_counted(void *p);

/* Counts what is no block of its own; the account is to be given back to lp_account_settle with the same size. False: the limit is
 * reached. *a is NULL where nothing is counted. */
bool lp_account_charge(struct lp_account **a, size_t size);
void lp_account_settle(struct lp_account *a, size_t size); /* NULL is fine */

/* The outcome of this thread's task is next: some KiB more than the limit are allowed from here on (false: no more), so that a task that
 * has reached the limit can say so. */
void lp_account_outcome(bool outcome);

/* Was the limit the reason why this thread had no memory, the last time that it had none? Asked once. Then the limit, else 0. */
size_t lp_account_refused(void);

#endif
