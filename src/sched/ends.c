/* ends: see ends.h. */
#include "sched/ends.h"

#include <stdlib.h>
#include <string.h>

/* ---- taking ---- */

/* Under the lock: is there something to give? */
static bool ready(struct lp_ends *e)
{
	return e->given == e->n || (e->given < e->placed && e->ends[e->order[e->given]].told);
}

static void give(struct lp_ends *e, struct lp_node *n)
{
	n->result = e->given == e->n ? LP_NO_END : (int)e->order[e->given++];
}

static bool ends_take(struct lp_obj *o, struct lp_node *n)
{
	struct lp_ends *e = (struct lp_ends *)o;
	lp_lock(&e->lock);
	bool is = ready(e);
	if (is)
		give(e, n);
	lp_unlock(&e->lock);
	return is;
}

static void ends_enqueue(struct lp_obj *o, struct lp_node *n)
{
	struct lp_ends *e = (struct lp_ends *)o;
	lp_lock(&e->lock);
	if (!ready(e)) {
		lp_list_append(&e->waiters, &n->link);
	} else if (lp_claim(n)) {
		give(e, n);
		lp_fire(n, NULL);
	}
	lp_unlock(&e->lock);
}

static void ends_dequeue(struct lp_obj *o, struct lp_node *n)
{
	struct lp_ends *e = (struct lp_ends *)o;
	lp_lock(&e->lock);
	if (lp_linked(&n->link))
		lp_list_remove(&n->link);
	lp_unlock(&e->lock);
}

/* Under the lock: to those who wait, as long as there is something. */
static void serve(struct lp_ends *e, struct lp_wakes *wakes)
{
	while (ready(e) && !lp_list_empty(&e->waiters)) {
		struct lp_node *n = lp_entry(e->waiters.next, struct lp_node, link);
		if (lp_claim(n)) {
			give(e, n);
			lp_fire(n, wakes);
		}
	}
}

/* A coroutine that waited was given one and is gone: the next one gets it. */
static void ends_discard(struct lp_obj *o, struct lp_node *n, bool consumed)
{
	struct lp_ends *e = (struct lp_ends *)o;
	struct lp_wakes wakes = LP_WAKES_INIT;
	if (!consumed || n->result == LP_NO_END)
		return;
	lp_lock(&e->lock);
	e->order[--e->given] = (uint32_t)n->result;
	serve(e, &wakes);
	lp_unlock(&e->lock);
	lp_wake_all(&wakes);
}

/* ---- hearing ---- */

static void place(struct lp_ends *e, struct lp_end *end)
{
	if (!end->placed) {
		end->placed = true;
		e->order[e->placed++] = (uint32_t)(end - e->ends);
	}
}

static void told(struct lp_ends *e, struct lp_end *end)
{
	place(e, end);
	end->told = true;
	e->left--;
}

static void announced(struct lp_node *n)
{
	struct lp_ends *e = n->value;
	lp_lock(&e->lock);
	place(e, lp_entry(n, struct lp_end, node));
	lp_unlock(&e->lock);
}

/* The node was taken out of the task's list: its count of the object is ours. */
static void ended(struct lp_node *n)
{
	struct lp_ends *e = n->value;
	struct lp_wakes wakes = LP_WAKES_INIT;
	lp_lock(&e->lock);
	told(e, lp_entry(n, struct lp_end, node));
	serve(e, &wakes);
	lp_unlock(&e->lock);
	lp_wake_all(&wakes);
	lp_release(e);
}

__attribute__((constructor)) static void ends_open(void)
{
	lp_task_end_announced = announced;
	lp_task_end_told = ended;
}

static struct lp_task *task_of(struct lp_end *end)
{
	return (struct lp_task *)end->node.obj;
}

struct moment {
	uint64_t ended;
	uint32_t index;
};

static int by_time(const void *a, const void *b)
{
	const struct moment *x = a, *y = b;
	return x->ended < y->ended ? -1 : x->ended > y->ended ? 1 : x->index < y->index ? -1 : x->index > y->index;
}

/* Nobody knows of e yet. */
static bool place_ended(struct lp_ends *e)
{
	struct moment *over = lp_alloc(e->n * sizeof *over + 1);
	if (!over)
		return false;
	uint32_t n = 0;
	for (uint32_t i = 0; i < e->n; i++) {
		struct lp_task *t = task_of(&e->ends[i]);
		if (lp_task_ended(t))
			over[n++] = (struct moment){atomic_load_explicit(&t->ended, memory_order_relaxed), i};
	}
	qsort(over, n, sizeof *over, by_time);
	for (uint32_t i = 0; i < n; i++)
		told(e, &e->ends[over[i].index]);
	lp_free(over);
	return true;
}

bool lp_ends_begin(struct lp_ends *e)
{
	e->left = e->n;
	if (!place_ended(e))
		return false;
	for (uint32_t i = 0; i < e->n; i++) {
		struct lp_end *end = &e->ends[i];
		if (end->told) /* written by ourselves: it is not linked */
			continue;
		lp_retain(e);
		if (!lp_task_hear(task_of(end), &end->node))
			ended(&end->node);
	}
	return true;
}

void lp_ends_close(struct lp_ends *e)
{
	if (e->obj.generation != lp_generation)
		return; /* a child process: what the parent's threads were doing to the tasks is not known */
	for (uint32_t i = 0; i < e->n; i++) {
		struct lp_task *t = task_of(&e->ends[i]);
		if (t && lp_task_forget(t, &e->ends[i].node))
			lp_release(e);
	}
	lp_lock(&e->lock);
	e->closed = true;
	lp_unlock(&e->lock);
}

/* ---- looking ---- */

struct lp_task *lp_ends_last(struct lp_ends *e)
{
	struct lp_task *t = NULL;
	lp_lock(&e->lock);
	if (e->left == 1 && e->given + 1 == e->n)
		for (uint32_t i = 0; i < e->n && !t; i++)
			if (!e->ends[i].told)
				t = task_of(&e->ends[i]);
	lp_unlock(&e->lock);
	return t;
}

struct lp_task *lp_ends_pending(struct lp_ends *e)
{
	for (; e->looked < e->n; e->looked++)
		if (lp_task_state(task_of(&e->ends[e->looked])) == LP_PENDING)
			return task_of(&e->ends[e->looked]);
	return NULL;
}

uint32_t lp_ends_left(struct lp_ends *e, struct lp_task **one)
{
	*one = NULL;
	lp_lock(&e->lock);
	for (uint32_t i = 0; i < e->n && !*one && !e->closed; i++)
		if (!e->ends[i].told)
			*one = lp_retain(task_of(&e->ends[i]));
	uint32_t left = e->left;
	lp_unlock(&e->lock);
	return left;
}

static void ends_holders(struct lp_obj *o, lp_visit_exec *visit, void *data)
{
	struct lp_task *t = lp_ends_last((struct lp_ends *)o);
	struct lp_exec *e = t ? lp_actor_exec(&t->actor) : NULL;
	if (e)
		visit(e, data);
}

/* ---- life ---- */

static void ends_destroy(struct lp_obj *o)
{
	struct lp_ends *e = (struct lp_ends *)o;
	for (uint32_t i = 0; i < e->n && o->generation == lp_generation; i++)
		lp_release(e->ends[i].node.obj);
	lp_free(e);
}

static struct lp_obj *ends_sent(struct lp_obj *o, const char **why)
{
	(void)o;
	*why = "it belongs to the Lua state that waits";
	return NULL;
}

const struct lp_class lp_ends_class = {
	.name = "lua-pool.futures",
	.destroy = ends_destroy,
	.take = ends_take,
	.enqueue = ends_enqueue,
	.dequeue = ends_dequeue,
	.discard = ends_discard,
	.holders = ends_holders,
	.sent = ends_sent,
};

struct lp_ends *lp_ends_new(uint32_t n)
{
	struct lp_ends *e = lp_alloc(sizeof *e + n * (sizeof *e->ends + sizeof *e->order));
	if (!e)
		return NULL;
	memset(e, 0, sizeof *e + n * sizeof *e->ends);
	lp_obj_init(&e->obj, &lp_ends_class);
	lp_lock_init(&e->lock, LP_RANK_ENDS);
	lp_list_init(&e->waiters);
	e->n = n;
	e->order = (uint32_t *)(void *)&e->ends[n];
	for (uint32_t i = 0; i < n; i++) {
		e->ends[i].node.op = LP_NODE_END;
		e->ends[i].node.value = e;
	}
	return e;
}
