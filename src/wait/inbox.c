/* inbox: see inbox.h. */
#include "wait/inbox.h"

#include <errno.h>

static lp_mutex inboxes_lock = LP_MUTEX_INIT(LP_RANK_INBOXES);
static struct lp_inbox *inboxes;   /* [inboxes_lock] all, by next */
static struct lp_inbox *free_ones; /* [inboxes_lock] by next_free */

/* A forked child: the descriptors are shared with the parent, whose announcements we would steal; the lists are
 * the parent's, whose threads fire what is in them. */
static void renew_inboxes(void)
{
	for (struct lp_inbox *i = inboxes; i; i = i->next) {
		lp_lock_init(&i->lock, LP_RANK_INBOX);
		atomic_store(&i->ready, NULL);
		lp_notice_close(i->read_fd);
		if (i->write_fd != i->read_fd)
			lp_notice_close(i->write_fd);
		i->read_fd = i->write_fd = -1;
	}
}

__attribute__((constructor)) static void inboxes_open(void)
{
	lp_fork_guard(&inboxes_lock, LP_RANK_INBOXES);
	lp_fork_child(LP_RANK_INBOXES, renew_inboxes);
}

struct lp_inbox *lp_inbox_new(void)
{
	lp_lock(&inboxes_lock);
	struct lp_inbox *i = free_ones;
	if (i)
		free_ones = i->next_free;
	lp_unlock(&inboxes_lock);
	if (i)
		return i;
	if (!(i = lp_alloc(sizeof *i)))
		return NULL;
	atomic_init(&i->ready, NULL);
	lp_list_init(&i->taken);
	lp_lock_init(&i->lock, LP_RANK_INBOX);
	i->read_fd = i->write_fd = -1;
	lp_lock(&inboxes_lock);
	i->next = inboxes;
	inboxes = i;
	lp_unlock(&inboxes_lock);
	return i;
}

/* Under the lock: a waker that is about to write must not find another file under the old number. */
static void close_all(struct lp_inbox *i)
{
	if (i->write_fd != i->read_fd)
		lp_notice_close(i->write_fd);
	lp_notice_close(i->read_fd);
	i->read_fd = i->write_fd = -1;
}

void lp_inbox_free(struct lp_inbox *i)
{
	if (!i)
		return;
	lp_lock(&i->lock);
	close_all(i);
	lp_unlock(&i->lock);
	lp_lock(&inboxes_lock);
	i->next_free = free_ones;
	free_ones = i;
	lp_unlock(&inboxes_lock);
}

/* ---- wakers ---- */

bool lp_inbox_push(struct lp_later *l)
{
	struct lp_inbox *i = l->inbox;
	struct lp_later *first = atomic_load_explicit(&i->ready, memory_order_relaxed);
	l->pushed = true;
	do
		l->next = first;
	while (!atomic_compare_exchange_weak_explicit(&i->ready, &first, l, memory_order_release,
		memory_order_relaxed));
	return !first;
}

void lp_inbox_announce(struct lp_inbox *i)
{
	lp_lock(&i->lock);
	if (i->write_fd >= 0)
		lp_notice_send(i->write_fd, i->write_fd == i->read_fd);
	lp_unlock(&i->lock);
}

/* ---- the state's thread ---- */

int lp_inbox_fd(struct lp_inbox *i)
{
	int err = 0;
	lp_lock(&i->lock);
	if (i->read_fd < 0 && (i->read_fd = lp_notice_open()) < 0)
		err = errno;
	else if (i->write_fd != i->read_fd) {
		lp_notice_close(i->write_fd);
		i->write_fd = i->read_fd;
	}
	int fd = i->read_fd;
	lp_unlock(&i->lock);
	if (fd >= 0 && atomic_load_explicit(&i->ready, memory_order_relaxed))
		lp_inbox_announce(i);
	errno = err;
	return fd;
}

void lp_inbox_use(struct lp_inbox *i, int socket)
{
	lp_lock(&i->lock);
	close_all(i);
	i->write_fd = socket;
	lp_unlock(&i->lock);
	if (atomic_load_explicit(&i->ready, memory_order_relaxed))
		lp_inbox_announce(i);
}

static void take_ready(struct lp_inbox *i)
{
	struct lp_later *l = atomic_exchange_explicit(&i->ready, NULL, memory_order_acquire);
	struct lp_link *at = &i->taken;
	if (!l)
		return;
	/* The last one comes first: each is put in front of the one before. */
	struct lp_link *end = at->prev;
	for (struct lp_later *next; l; l = next) {
		next = l->next;
		l->collected = true;
		lp_list_prepend(end, &l->link);
	}
}

void lp_inbox_collect(struct lp_inbox *i)
{
	if (i->read_fd >= 0) /* only this thread changes it */
		lp_notice_clear(i->read_fd);
	take_ready(i);
}

struct lp_later *lp_inbox_next(struct lp_inbox *i)
{
	struct lp_link *l = lp_list_take_first(&i->taken);
	return l ? lp_entry(l, struct lp_later, link) : NULL;
}

void lp_inbox_forget(struct lp_later *l)
{
	if (l->pushed && !l->collected)
		take_ready(l->inbox); /* the announcement stays: it is for the others */
	if (lp_linked(&l->link))
		lp_list_remove(&l->link);
}
