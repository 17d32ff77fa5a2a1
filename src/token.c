/* token: what the children of a task hold of it: the chain that "cancelling is downward" walks. See task.h. */
#include "cancel.h"
#include "stop.h"
#include "task.h"

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
	atomic_init(&k->lock.word, 0);
	atomic_init(&k->cancelled, false);
	atomic_init(&k->held, false);
	k->of_group = false;
	k->parent = parent ? lp_retain(parent) : NULL;
}

struct lp_token *lp_task_token(struct lp_task *t)
{
	struct lp_token *k = t->token;
	if (k || !(k = lp_alloc(sizeof *k)))
		return k;
	lp_token_init(k, &token_class, t->parent);
	atomic_init(&k->held, t->actor.shield != 0);
	lp_lock(&t->lock);
	t->token = k;
	lp_unlock(&t->lock);
	/* The canceller asks, then looks for a token to mark; we show it, then look whether we were asked. */
	if (lp_cancel_word(&t->actor) & LP_CANCEL_ASKED)
		atomic_store(&k->cancelled, true);
	return k;
}

struct lp_token *lp_task_token_ref(struct lp_task *t)
{
	lp_lock(&t->lock);
	struct lp_token *k = t->token ? lp_retain(t->token) : NULL;
	lp_unlock(&t->lock);
	return k;
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

static struct lp_token *token_parent(struct lp_token *k)
{
	lp_lock(&k->lock);
	struct lp_token *parent = k->parent ? lp_retain(k->parent) : NULL;
	lp_unlock(&k->lock);
	return parent;
}

bool lp_task_condemned(struct lp_task *t)
{
	struct lp_token *k = t->parent ? lp_retain(t->parent) : NULL;
	while (k && !lp_token_stops(k)) {
		struct lp_token *up = atomic_load(&k->held) ? NULL : token_parent(k);
		lp_release(k);
		k = up;
	}
	lp_release(k);
	return k != NULL;
}

/* The shield's end shows that it is over, then looks whether there was a request; who requests marks the task and its
 * token, then looks who is below and not held: one of the two sees the other. */
void lp_task_hold_token(struct lp_task *t, bool hold)
{
	struct lp_token *k = t->token;
	if (!k)
		return; /* one that is made in the shield is held from its birth */
	atomic_store(&k->held, hold);
	if (hold)
		return;
	uint32_t word = lp_cancel_word(&t->actor);
	bool asked = (word & LP_CANCEL_ASKED) && !(word & LP_CANCEL_DELIVERED);
	if (asked)
		atomic_store(&k->cancelled, true);
	if (asked || atomic_load(&k->cancelled) || lp_task_condemned(t))
		lp_token_request_cancel(k);
}

static bool leads_to(struct lp_task *t, struct lp_token *of, bool past_shields)
{
	struct lp_token *k = t->parent && of ? lp_retain(t->parent) : NULL;
	while (k && (k != of || (!past_shields && atomic_load(&k->held)))) {
		struct lp_token *up = !past_shields && atomic_load(&k->held) ? NULL : token_parent(k);
		lp_release(k);
		k = up;
	}
	lp_release(k);
	return k != NULL;
}

bool lp_task_descends(struct lp_task *t, struct lp_token *of)
{
	if (t->parent == of || !t->parent)
		return t->parent && of;
	return leads_to(t, of, true);
}

bool lp_task_reached(struct lp_task *t, struct lp_token *from)
{
	return leads_to(t, from, false);
}
