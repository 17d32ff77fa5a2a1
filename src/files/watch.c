/* watch: see watch.h. Linux: inotify. watch_lock is held while a channel's lock is taken, never the other way round. */
#define _GNU_SOURCE
#include "files/watch.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/list.h"
#include "values/values_int.h"

struct watch {
	struct lp_obj obj;
	struct lp_link link;         /* [watch_lock] */
	struct lp_channel *channel;  /* not counted: it owns us, and waits for watch_lock before it goes */
	uint64_t id;                 /* [I] what epoll tells */
	int fd;                      /* [I] */
	bool lost;                   /* [watch_lock] the channel was full */
	size_t len;                  /* [I] */
	char name[];
};

static lp_mutex watch_lock = LP_MUTEX_INIT(LP_RANK_WATCH);
static struct lp_link watches;   /* [watch_lock] */
static uint64_t next_id;
static int poller = -1, bell = -1; /* [watch_lock] of the thread, while it runs */

static void renew(void)
{
	lp_list_init(&watches); /* those of the parent: their channels raise here */
	if (poller >= 0) {
		close(poller);
		close(bell);
	}
	poller = bell = -1;
}

__attribute__((constructor)) static void watch_open(void)
{
	lp_list_init(&watches);
	lp_fork_guard(&watch_lock, LP_RANK_WATCH);
	lp_fork_child(LP_RANK_WATCH, renew);
}

/* ---- messages ---- */

/* Never waits. False: no room, or no memory. */
static bool send(struct watch *w, const char *what, const char *entry)
{
	char path[PATH_MAX + NAME_MAX + 2];
	struct lp_packet *p = lp_packet_new();
	const char *slash = w->len && w->name[w->len - 1] == '/' ? "" : "/";
	int n = snprintf(path, sizeof path, "%s%s%s", w->name, entry ? slash : "", entry ? entry : "");
	struct lp_node node = {.obj = &w->channel->obj, .op = LP_CHANNEL_SEND, .value = p};
	if (p && n > 0 && lp_put_string(&p->msg, what, strlen(what)) && lp_put_string(&p->msg, path, (size_t)n) &&
		node.obj->cls->take(node.obj, &node) && node.result == LP_CHANNEL_OK)
		return true;
	lp_packet_free(p);
	return false;
}

static void tell(struct watch *w, const char *what, const char *entry)
{
	if (w->lost && !send(w, "overflow", NULL))
		return;
	w->lost = !send(w, what, entry);
}

/* True: there is nothing to watch any more. */
static bool translate(struct watch *w, const struct inotify_event *e)
{
	static const struct {
		uint32_t mask;
		const char *what;
	} names[] = {{IN_CREATE, "create"}, {IN_MODIFY, "modify"}, {IN_CLOSE_WRITE, "close"}, {IN_ATTRIB, "attrib"},
		{IN_DELETE, "delete"}, {IN_MOVED_FROM, "moved_from"}, {IN_MOVED_TO, "moved_to"}, {IN_DELETE_SELF, "delete_self"},
		{IN_MOVE_SELF, "move_self"}, {IN_Q_OVERFLOW, "overflow"}};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (e->mask & names[i].mask)
			tell(w, names[i].what, e->len ? e->name : NULL);
	return e->mask & IN_IGNORED;
}

/* ---- the thread ---- */

static struct watch *find(uint64_t id)
{
	lp_assert_held(&watch_lock);
	for (struct lp_link *l = watches.next; l != &watches; l = l->next) {
		struct watch *w = lp_entry(l, struct watch, link);
		if (w->id == id)
			return w;
	}
	return NULL;
}

/* Under the lock: the channel, counted, unless it is going just now. */
static struct lp_channel *keep(struct lp_channel *ch)
{
	lp_assert_held(&watch_lock);
	uint32_t refs = atomic_load(&ch->obj.refs);
	while (refs)
		if (atomic_compare_exchange_weak(&ch->obj.refs, &refs, refs + 1))
			return ch;
	return NULL;
}

static void read_events(uint64_t id)
{
	_Alignas(struct inotify_event) char buf[8192];
	struct lp_channel *ended = NULL;
	lp_lock(&watch_lock);
	struct watch *w = find(id);
	ssize_t n = w ? read(w->fd, buf, sizeof buf) : 0;
	for (char *p = buf; n > 0 && p < buf + n;) {
		const struct inotify_event *e = (const struct inotify_event *)(void *)p;
		if (translate(w, e))
			ended = keep(w->channel);
		p += sizeof *e + e->len;
	}
	lp_unlock(&watch_lock);
	if (ended) { /* takes watch_lock again, to end the watch */
		lp_channel_close(ended);
		lp_channel_handle_gone(ended);
	}
}

static void *run(void *arg)
{
	int poll_fd = (int)(intptr_t)arg;
	lp_thread_name("lua-pool watch");
	for (;;) {
		struct epoll_event events[16];
		int n = epoll_wait(poll_fd, events, 16, -1);
		for (int i = 0; i < n; i++)
			read_events(events[i].data.u64);
		lp_lock(&watch_lock);
		bool last = lp_list_empty(&watches);
		if (last) {
			close(poller);
			close(bell);
			poller = bell = -1;
		}
		lp_unlock(&watch_lock);
		if (last)
			return NULL;
	}
}

/* Under the lock: the thread runs. 0 or an errno. */
static int ensure_thread(void)
{
	lp_assert_held(&watch_lock);
	if (poller >= 0)
		return 0;
	lp_thread t;
	struct epoll_event ring = {.events = EPOLLIN, .data.u64 = 0};
	int err = 0;
	poller = epoll_create1(EPOLL_CLOEXEC);
	bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (poller < 0 || bell < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, bell, &ring) < 0)
		err = errno;
	if (!err)
		err = lp_thread_start(&t, run, (void *)(intptr_t)poller, 256 * 1024);
	if (!err) {
		lp_thread_detach(t);
		return 0;
	}
	if (poller >= 0)
		close(poller);
	if (bell >= 0)
		close(bell);
	poller = bell = -1;
	return err;
}

/* ---- life ---- */

static void watch_destroy(struct lp_obj *o)
{
	struct watch *w = (struct watch *)o;
	if (o->generation == lp_generation) {
		lp_lock(&watch_lock); /* the thread is not in the middle of giving our channel a message */
		if (lp_linked(&w->link))
			lp_list_remove(&w->link);
		uint64_t one = 1;
		if (lp_list_empty(&watches) && bell >= 0 && write(bell, &one, sizeof one) < 0) {
			/* It is ringing already. */
		}
		lp_unlock(&watch_lock);
	}
	if (w->fd >= 0)
		close(w->fd);
	lp_free(w);
}

static const struct lp_class watch_class = {.name = "lua-pool.watch", .destroy = watch_destroy};

static void set_source(struct lp_channel *ch, struct lp_obj *source)
{
	lp_lock(&ch->lock);
	ch->source = source;
	lp_unlock(&ch->lock);
}

int lp_watch_start(struct lp_channel *ch, const char *system_path, const char *name)
{
	size_t len = strlen(name);
	struct watch *w = lp_alloc(sizeof *w + len + 1);
	if (!w)
		return ENOMEM;
	memset(w, 0, sizeof *w);
	lp_obj_init(&w->obj, &watch_class);
	w->channel = ch;
	w->len = len;
	memcpy(w->name, name, len + 1);
	int err = 0;
	if ((w->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK)) < 0 ||
		inotify_add_watch(w->fd, system_path, IN_CREATE | IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE | IN_MOVED_FROM |
			IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF) < 0)
		err = errno;
	if (!err) {
		lp_lock(&watch_lock);
		err = ensure_thread();
		struct epoll_event ready = {.events = EPOLLIN, .data.u64 = w->id = ++next_id};
		if (!err)
			lp_list_append(&watches, &w->link); /* before: the thread ends when there is none */
		if (!err && epoll_ctl(poller, EPOLL_CTL_ADD, w->fd, &ready) < 0)
			err = errno;
		if (!err)
			set_source(ch, &w->obj); /* before the thread can find that there is nothing to watch any more, and close it */
		lp_unlock(&watch_lock);
	}
	if (err)
		lp_release(w);
	return err;
}
