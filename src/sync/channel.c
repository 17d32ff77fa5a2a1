/* channel: see channel.h. */
#include "sync/channel.h"

/* ---- packets (packet.c makes them) ---- */

/* The counts of the channel that a message in it would hold: given back while it lies there. Whoever
 * puts it in or takes it out holds a count, so neither end is ever the last. */
static void put_in(struct lp_channel *ch, struct lp_packet *p)
{
	lp_assert_held(&ch->lock);
	lp_assert(ch->last && !*ch->last);
	for (uint32_t i = 0; i < p->msg.nobjs; i++)
		if (p->msg.objs[i] == &ch->obj)
			lp_release(ch);
	p->next = NULL;
	*ch->last = p;
	ch->last = &p->next;
	atomic_store_explicit(&ch->len, lp_channel_len(ch) + 1, memory_order_relaxed);
}

static struct lp_packet *take_out(struct lp_channel *ch)
{
	lp_assert_held(&ch->lock);
	lp_assert(ch->first && lp_channel_len(ch) > 0);
	struct lp_packet *p = ch->first;
	if (!(ch->first = p->next))
		ch->last = &ch->first;
	atomic_store_explicit(&ch->len, lp_channel_len(ch) - 1, memory_order_relaxed);
	for (uint32_t i = 0; i < p->msg.nobjs; i++)
		if (p->msg.objs[i] == &ch->obj)
			lp_retain(ch);
	return p;
}

/* ---- the queues ---- */

static void enter(struct lp_channel *ch, struct lp_node *n)
{
	lp_assert_held(&ch->lock);
	lp_assert(!lp_linked(&n->link));
	ch->stuck += (n->op & LP_CHANNEL_ONLY) != 0;
	lp_list_append(n->op & LP_CHANNEL_SEND ? &ch->senders : &ch->receivers, &n->link);
}

static void left(struct lp_channel *ch, struct lp_node *n)
{
	ch->stuck -= (n->op & LP_CHANNEL_ONLY) != 0;
}

/* The first of the queue that has not left meanwhile, claimed; NULL: none. */
static struct lp_node *claim_first(struct lp_channel *ch, struct lp_link *queue)
{
	lp_assert_held(&ch->lock);
	while (!lp_list_empty(queue)) {
		struct lp_node *n = lp_entry(queue->next, struct lp_node, link);
		left(ch, n);
		if (lp_claim(n))
			return n;
	}
	return NULL;
}

static void deliver(struct lp_node *n, struct lp_packet *p, struct lp_wakes *w)
{
	n->value = p;
	n->result = LP_CHANNEL_OK;
	lp_fire(n, w);
}

/* Messages to those who wait for some. */
static void serve_receivers(struct lp_channel *ch, struct lp_wakes *w)
{
	struct lp_node *n;
	while (ch->first && (n = claim_first(ch, &ch->receivers)))
		deliver(n, take_out(ch), w);
}

/* Room to those who wait for some. */
static void serve_senders(struct lp_channel *ch, struct lp_wakes *w)
{
	struct lp_node *n;
	while (lp_channel_len(ch) < ch->capacity && (n = claim_first(ch, &ch->senders))) {
		put_in(ch, n->value);
		n->result = LP_CHANNEL_OK;
		lp_fire(n, w);
	}
}

static void close_all(struct lp_channel *ch, struct lp_wakes *w)
{
	atomic_store_explicit(&ch->closed, true, memory_order_relaxed);
	for (int i = 0; i < 2; i++) {
		struct lp_node *n;
		while ((n = claim_first(ch, i ? &ch->senders : &ch->receivers))) {
			n->result = LP_CHANNEL_CLOSED;
			lp_fire(n, w);
		}
	}
}

/* Is everyone who holds a count stuck in a wait that only another holder could end? Only holders
 * could add a count meanwhile, and none of them runs. */
static bool given_up(struct lp_channel *ch)
{
	lp_assert_held(&ch->lock);
	if (!ch->stuck || ch->source || lp_channel_closed(ch) || atomic_load(&ch->obj.refs) != ch->stuck)
		return false;
	/* One that was cancelled is about to go on, and may send. It has a handle: it will look again. */
	for (int i = 0; i < 2; i++) {
		struct lp_link *queue = i ? &ch->senders : &ch->receivers;
		for (struct lp_link *l = queue->next; l != queue; l = l->next)
			if (atomic_load(&lp_entry(l, struct lp_node, link)->wait->state) != LP_WAITING)
				return false;
	}
	return true;
}

/* ---- waiting ---- */

/* What can be done at once, by a node that nobody else knows. */
static bool send_now(struct lp_channel *ch, struct lp_node *n, struct lp_wakes *w)
{
	struct lp_node *to;
	if (lp_channel_closed(ch)) {
		n->result = LP_CHANNEL_CLOSED;
		return true;
	}
	if (lp_channel_len(ch) < ch->capacity) {
		put_in(ch, n->value);
		serve_receivers(ch, w);
	} else if (ch->capacity == 0 && (to = claim_first(ch, &ch->receivers))) {
		deliver(to, n->value, w);
	} else {
		return false;
	}
	n->result = LP_CHANNEL_OK;
	return true;
}

static bool receive_now(struct lp_channel *ch, struct lp_node *n, struct lp_wakes *w)
{
	struct lp_node *from;
	n->result = LP_CHANNEL_OK;
	if (ch->first) {
		n->value = take_out(ch);
		serve_senders(ch, w);
	} else if (lp_channel_closed(ch)) {
		n->result = LP_CHANNEL_CLOSED;
	} else if (ch->capacity == 0 && (from = claim_first(ch, &ch->senders))) {
		n->value = from->value;
		from->result = LP_CHANNEL_OK;
		lp_fire(from, w);
	} else {
		return false;
	}
	return true;
}

static bool channel_take(struct lp_obj *o, struct lp_node *n)
{
	struct lp_channel *ch = (struct lp_channel *)o;
	struct lp_wakes wakes = LP_WAKES_INIT;
	lp_lock(&ch->lock);
	bool taken = n->op & LP_CHANNEL_SEND ? send_now(ch, n, &wakes) : receive_now(ch, n, &wakes);
	lp_unlock(&ch->lock);
	lp_wake_all(&wakes);
	return taken;
}

/* Capacity 0: meets the first of the other end that is still there. True: n's wait is over, by this or
 * by another object. */
static bool meet(struct lp_channel *ch, struct lp_node *n, struct lp_wakes *w)
{
	lp_assert_held(&ch->lock);
	lp_assert(ch->capacity == 0);
	bool sends = n->op & LP_CHANNEL_SEND;
	struct lp_link *queue = sends ? &ch->receivers : &ch->senders;
	for (struct lp_link *l = queue->next, *next; l != queue; l = next) {
		struct lp_node *other = lp_entry(l, struct lp_node, link);
		next = l->next;
		if (other->wait == n->wait)
			continue;
		enum lp_claimed claimed = lp_claim_both(n, other);
		if (claimed == LP_MINE_OVER)
			return true;
		left(ch, other); /* lp_claim_both unlinked it */
		if (claimed == LP_THEIRS_OVER)
			continue;
		struct lp_node *from = sends ? n : other, *to = sends ? other : n;
		to->value = from->value;
		from->result = to->result = LP_CHANNEL_OK;
		lp_fire(other, w);
		lp_fire(n, NULL);
		return true;
	}
	return false;
}

/* Can n be consumed without meeting anybody? */
static bool ready(struct lp_channel *ch, struct lp_node *n)
{
	if (n->op & LP_CHANNEL_SEND)
		return lp_channel_closed(ch) || lp_channel_len(ch) < ch->capacity;
	return ch->first || lp_channel_closed(ch);
}

static void channel_enqueue(struct lp_obj *o, struct lp_node *n)
{
	struct lp_channel *ch = (struct lp_channel *)o;
	struct lp_wakes wakes = LP_WAKES_INIT;
	lp_lock(&ch->lock);
	if (ready(ch, n)) {
		if (lp_claim(n)) { /* else another object of the same wait was first */
			bool closed = lp_channel_closed(ch);
			if (n->op & LP_CHANNEL_SEND) {
				n->result = closed ? LP_CHANNEL_CLOSED : LP_CHANNEL_OK;
				if (!closed)
					put_in(ch, n->value);
			} else if (ch->first) {
				n->value = take_out(ch);
				n->result = LP_CHANNEL_OK;
			} else {
				n->result = LP_CHANNEL_CLOSED;
			}
			/* Ours is fired before another is claimed: two that hold one and wait for the
			 * other's would wait for ever. */
			lp_fire(n, NULL);
			serve_receivers(ch, &wakes);
			if (!lp_channel_closed(ch))
				serve_senders(ch, &wakes);
		}
	} else if (ch->capacity != 0 || !meet(ch, n, &wakes)) {
		enter(ch, n);
		if (given_up(ch))
			close_all(ch, &wakes);
	}
	lp_unlock(&ch->lock);
	lp_wake_all(&wakes);
}

static void channel_dequeue(struct lp_obj *o, struct lp_node *n)
{
	struct lp_channel *ch = (struct lp_channel *)o;
	lp_lock(&ch->lock);
	if (lp_linked(&n->link)) {
		lp_list_remove(&n->link);
		left(ch, n);
	}
	lp_unlock(&ch->lock);
}

void lp_channel_put_back(struct lp_channel *ch, struct lp_packet *p)
{
	struct lp_wakes wakes = LP_WAKES_INIT;
	lp_lock(&ch->lock);
	for (uint32_t i = 0; i < p->msg.nobjs; i++)
		if (p->msg.objs[i] == &ch->obj)
			lp_release(ch);
	if (!(p->next = ch->first))
		ch->last = &p->next;
	ch->first = p;
	atomic_store_explicit(&ch->len, lp_channel_len(ch) + 1, memory_order_relaxed);
	serve_receivers(ch, &wakes);
	lp_unlock(&ch->lock);
	lp_wake_all(&wakes);
}

static void channel_discard(struct lp_obj *o, struct lp_node *n, bool consumed)
{
	if (n->op & LP_CHANNEL_SEND) {
		if (!consumed || n->result == LP_CHANNEL_CLOSED)
			lp_packet_free(n->value);
	} else if (consumed && n->result == LP_CHANNEL_OK) {
		lp_channel_put_back((struct lp_channel *)o, n->value);
	}
	n->value = NULL;
}

/* ---- life ---- */

/* A channel may hold the last count of another that holds ...: a loop, not the C stack. */
static void channel_destroy(struct lp_obj *o)
{
	static _Thread_local struct lp_channel *dead, *current;
	struct lp_channel *ch = (struct lp_channel *)o;
	/* Whoever fired the last holder, or gave back its own count, may still be about to unlock. (In a
	 * child process there is nobody, and the lock may have been copied while it was taken.) */
	if (o->generation == lp_generation) {
		lp_lock(&ch->lock);
		lp_unlock(&ch->lock);
	}
	struct lp_obj *source = ch->source;
	ch->source = NULL;
	lp_release(source); /* first: until then it may put in messages */
	ch->next_dead = dead;
	dead = ch;
	if (current)
		return;
	while ((current = dead)) {
		dead = current->next_dead;
		while (current->first) {
			struct lp_packet *p = current->first;
			current->first = p->next;
			for (uint32_t i = 0; i < p->msg.nobjs; i++)
				if (p->msg.objs[i] == &current->obj)
					p->msg.objs[i] = NULL; /* not counted: see put_in */
			lp_packet_free(p);
		}
		lp_free(current);
	}
}

/* One that a watch feeds: its descriptor. */
static bool channel_holds(struct lp_obj *o)
{
	struct lp_channel *ch = (struct lp_channel *)o;
	lp_lock(&ch->lock);
	bool holds = ch->source != NULL;
	lp_unlock(&ch->lock);
	return holds;
}

const struct lp_class lp_channel_class = {
	.name = "lua-pool.channel",
	.destroy = channel_destroy,
	.take = channel_take,
	.enqueue = channel_enqueue,
	.dequeue = channel_dequeue,
	.discard = channel_discard,
	.holds = channel_holds,
};

struct lp_channel *lp_channel_new(size_t capacity)
{
	struct lp_channel *ch = lp_alloc(sizeof *ch);
	if (!ch)
		return NULL;
	lp_obj_init(&ch->obj, &lp_channel_class);
	lp_lock_init(&ch->lock, LP_RANK_CHANNEL);
	ch->capacity = capacity;
	atomic_init(&ch->len, 0);
	atomic_init(&ch->closed, false);
	ch->first = NULL;
	ch->last = &ch->first;
	lp_list_init(&ch->senders);
	lp_list_init(&ch->receivers);
	ch->stuck = 0;
	ch->source = NULL;
	return ch;
}

bool lp_channel_close(struct lp_channel *ch)
{
	struct lp_wakes wakes = LP_WAKES_INIT;
	lp_lock(&ch->lock);
	bool open = !lp_channel_closed(ch);
	if (open)
		close_all(ch, &wakes);
	struct lp_obj *source = ch->source;
	ch->source = NULL;
	lp_unlock(&ch->lock);
	lp_wake_all(&wakes);
	lp_release(source);
	return open;
}

void lp_channel_handle_gone(struct lp_channel *ch)
{
	struct lp_wakes wakes = LP_WAKES_INIT;
	lp_lock(&ch->lock);
	/* Under the lock, so that of two that go at the same time the second sees the first gone. */
	uint32_t refs = atomic_fetch_sub(&ch->obj.refs, 1);
	if (refs > 1 && given_up(ch))
		close_all(ch, &wakes);
	lp_unlock(&ch->lock); /* another may be the last meanwhile: channel_destroy waits for us */
	lp_wake_all(&wakes);
	if (refs == 1)
		channel_destroy(&ch->obj);
}

void lp_channel_waiting(struct lp_channel *ch, unsigned *senders, unsigned *receivers)
{
	*senders = *receivers = 0;
	lp_lock(&ch->lock);
	for (struct lp_link *l = ch->senders.next; l != &ch->senders; l = l->next)
		++*senders;
	for (struct lp_link *l = ch->receivers.next; l != &ch->receivers; l = l->next)
		++*receivers;
	lp_unlock(&ch->lock);
}
