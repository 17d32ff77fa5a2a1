/* token: what the children of a task hold of it: the chain that "cancelling is downward" walks. See task.h. */
#include "wait/cancel.h"
#include "sched/stop.h"
#include "sched/task.h"

static void token_destroy(struct lp_obj *o)
{
	struct lp_token *k = (struct lp_token *)o;
	lp_release(k->parent);
	lp_free(k);
}

static const struct lp_class token_class = {.name = "lua-pool.token", .destroy = token_destroy};

void lp_token_end(struct lp_token *k)
{
	lp_lock(&k->lock);
	struct lp_token *parent = k->parent;
	k->parent = NULL;
	lp_unlock(&k->lock);
	lp_release(parent);
}

void lp_token_init(struct lp_token *k, const struct lp_class *cls, struct lp_token *parent)
{
	lp_obj_init(&k->obj, cls);
	lp_lock_init(&k->lock, LP_RANK_TOKEN);
	atomic_init(&k->cancelled, false);
	atomic_init(&k->held, false);
	k->of_group = k->border = false;
	k->parent = parent ? lp_retain(parent) : NULL;
	atomic_init(&k->clean, 0);
}

struct lp_token *lp_task_token(struct lp_task *t)
{
	struct lp_token *k = t->token;
	if (k || !(k = lp_alloc(sizeof *k)))
		return k;
	lp_token_init(k, &token_class, t->parent);
	atomic_init(&k->held, t->actor.shield != 0);
	k->border = lp_cancel_word(&t->actor) & LP_CANCEL_DELIVERED; /* of its clean-up */
	lp_lock(&t->lock);
	t->token = k;
	uint32_t word = lp_cancel_word(&t->actor);
	lp_unlock(&t->lock);
	/* Who asks does it under the lock: either it finds the token there, or we see that it was asked. Once the grace is
	 * over it is ASKED again, but what it starts is its clean-up's still. */
	if ((word & LP_CANCEL_ASKED) && !k->border)
		lp_token_mark(k);
	return k;
}

struct lp_token *lp_task_token_ref(struct lp_task *t)
{
	lp_lock(&t->lock);
	struct lp_token *k = t->token ? lp_retain(t->token) : NULL;
	lp_unlock(&t->lock);
	return k;
}

bool lp_task_ask(struct lp_task *t, struct lp_token **token)
{
	lp_lock(&t->lock);
	bool first = lp_cancel_ask(&t->actor);
	*token = first && t->token ? lp_retain(t->token) : NULL; /* once it is told it has another */
	lp_unlock(&t->lock);
	if (*token)
		lp_token_mark(*token);
	return first;
}

void lp_task_drop_token(struct lp_task *t)
{
	struct lp_token *k = t->token;
	if (!k)
		return;
	lp_lock(&t->lock);
	t->token = NULL;
	lp_unlock(&t->lock);
	/* Not cut off its parent: whoever cancels an ancestor at this moment still has to find what t has started. */
	lp_release(k);
}

/* ---- marks ---- */

_Atomic uint64_t lp_token_marks;

/* Counted also where it is marked already: a shield may have kept that from who looked since. */
void lp_token_mark(struct lp_token *k)
{
	atomic_store(&k->cancelled, true);
	atomic_fetch_add(&lp_token_marks, 1); /* afterwards: who has seen this number has seen the mark */
}

static struct lp_token *token_parent(struct lp_token *k)
{
	lp_lock(&k->lock);
	struct lp_token *parent = k->parent ? lp_retain(k->parent) : NULL;
	lp_unlock(&k->lock);
	return parent;
}

bool lp_token_condemned(struct lp_token *k)
{
	uint64_t marks = atomic_load(&lp_token_marks);
	bool marked = false;
	struct lp_token *at = lp_retain(k);
	while (at && !(marked = lp_token_stops(at)) && atomic_load(&at->clean) != marks) {
		struct lp_token *up = at->border || atomic_load(&at->held) ? NULL : token_parent(at);
		lp_release(at);
		at = up;
	}
	lp_release(at);
	if (!marked)
		atomic_store(&k->clean, marks);
	return marked;
}

/* The shield's end shows that it is over, then looks whether there was a request; who requests marks the task and its
 * token, then looks who is below and not held: one of the two sees the other. What came down to a task that cleans up
 * already is none of its clean-up's. */
void lp_task_hold_token(struct lp_task *t, bool hold)
{
	struct lp_token *k = t->token;
	if (!k)
		return; /* one that is made in the shield is held from its birth */
	atomic_store(&k->held, hold);
	if (hold || k->border)
		return;
	if ((lp_cancel_word(&t->actor) & LP_CANCEL_ASKED) || atomic_load(&k->cancelled) || lp_task_condemned(t))
		lp_token_request_cancel(k);
}

bool lp_task_descends(struct lp_task *t, struct lp_token *of)
{
	if (t->parent == of || !t->parent || !of)
		return t->parent && t->parent == of;
	struct lp_token *k = lp_retain(t->parent);
	while (k && k != of) {
		struct lp_token *up = token_parent(k);
		lp_release(k);
		k = up;
	}
	lp_release(k);
	return k != NULL;
}
