/* file: see file.h. */
#define _GNU_SOURCE
#include "files/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* ---- who waits ---- */

/* What n waits for, if it is there: then it is taken. */
static bool consume(struct lp_file *f, struct lp_node *n)
{
	if (n->op == LP_FILE_CLOSED)
		return f->closed;
	if (f->taken)
		return false;
	f->taken = true;
	return true;
}

static bool file_take(struct lp_obj *o, struct lp_node *n)
{
	struct lp_file *f = (struct lp_file *)o;
	lp_lock(&f->lock);
	bool taken = consume(f, n);
	lp_unlock(&f->lock);
	return taken;
}

static void file_enqueue(struct lp_obj *o, struct lp_node *n)
{
	struct lp_file *f = (struct lp_file *)o;
	lp_lock(&f->lock);
	bool there = n->op == LP_FILE_CLOSED ? f->closed : !f->taken;
	if (!there)
		lp_list_append(&f->waiters, &n->link);
	else if (lp_claim(n)) { /* else the wait is over for another reason */
		consume(f, n);
		lp_fire(n, NULL);
	}
	lp_unlock(&f->lock);
}

static void file_dequeue(struct lp_obj *o, struct lp_node *n)
{
	struct lp_file *f = (struct lp_file *)o;
	lp_lock(&f->lock);
	if (lp_linked(&n->link))
		lp_list_remove(&n->link);
	lp_unlock(&f->lock);
}

void lp_file_pass_turn(struct lp_file *f)
{
	struct lp_wakes wakes = LP_WAKES_INIT;
	lp_lock(&f->lock);
	f->taken = false;
	for (struct lp_link *l = f->waiters.next, *next; l != &f->waiters && !f->taken; l = next) {
		struct lp_node *n = lp_entry(l, struct lp_node, link);
		next = l->next;
		if (n->op == LP_FILE_TURN && lp_claim(n)) {
			f->taken = true;
			lp_fire(n, &wakes);
		}
	}
	lp_unlock(&f->lock);
	lp_wake_all(&wakes);
}

/* ---- closing ---- */

/* Only one comes here per file: who found that nobody is inside a file that closes. */
static void finish(struct lp_file *f, int fd)
{
	struct lp_wakes wakes = LP_WAKES_INIT;
	if (f->temporary)
		unlink(f->path);
	/* Never again after EINTR: on Linux the number is free by then. */
	int err = close(fd) < 0 && errno != EINTR ? errno : 0;
	lp_lock(&f->lock);
	f->closed = true;
	f->close_error = err;
	while (!lp_list_empty(&f->waiters)) { /* all of them wait for this: who waits for the turn is inside */
		struct lp_node *n = lp_entry(f->waiters.next, struct lp_node, link);
		if (lp_claim(n))
			lp_fire(n, &wakes);
	}
	lp_unlock(&f->lock);
	lp_wake_all(&wakes);
}

/* Under the lock: the descriptor to close now, or -1. */
static int last_one(struct lp_file *f)
{
	if (!f->closing || f->inside || f->fd < 0)
		return -1;
	int fd = f->fd;
	f->fd = -1;
	return fd;
}

bool lp_file_enter(struct lp_file *f)
{
	lp_lock(&f->lock);
	bool open = !f->closing && f->fd >= 0;
	f->inside += open;
	lp_unlock(&f->lock);
	return open;
}

void lp_file_leave(struct lp_file *f)
{
	lp_lock(&f->lock);
	f->inside--;
	int fd = last_one(f);
	lp_unlock(&f->lock);
	if (fd >= 0)
		finish(f, fd);
}

bool lp_file_close(struct lp_file *f)
{
	lp_lock(&f->lock);
	bool first = !f->closing;
	f->closing = true;
	int fd = last_one(f);
	lp_unlock(&f->lock);
	if (fd >= 0)
		finish(f, fd);
	return first;
}

bool lp_file_closing(struct lp_file *f)
{
	lp_lock(&f->lock);
	bool closing = f->closing;
	lp_unlock(&f->lock);
	return closing;
}

int lp_file_close_error(struct lp_file *f)
{
	lp_lock(&f->lock);
	int err = f->close_error;
	lp_unlock(&f->lock);
	return err;
}

/* ---- life ---- */

static void file_destroy(struct lp_obj *o)
{
	struct lp_file *f = (struct lp_file *)o;
	if (o->generation == lp_generation) { /* whoever gave the last count back may be about to unlock */
		lp_lock(&f->lock);
		lp_unlock(&f->lock);
	}
	if (f->fd >= 0) {
		/* A child process's copy does not decide about the file's name. */
		if (f->temporary && o->generation == lp_generation)
			unlink(f->path);
		close(f->fd);
	}
	lp_free(f);
}

static bool file_holds(struct lp_obj *o)
{
	struct lp_file *f = (struct lp_file *)o;
	lp_lock(&f->lock);
	bool open = f->fd >= 0;
	lp_unlock(&f->lock);
	return open;
}

const struct lp_class lp_file_class = {
	.name = "lua-pool.file",
	.destroy = file_destroy,
	.take = file_take,
	.enqueue = file_enqueue,
	.dequeue = file_dequeue,
	.holds = file_holds,
	.forks = true, /* whoever uses it renews it first */
};

struct lp_file *lp_file_new(const char *path, size_t len)
{
	struct lp_file *f = lp_alloc(sizeof *f + len + 1);
	if (!f)
		return NULL;
	memset(f, 0, sizeof *f);
	lp_obj_init(&f->obj, &lp_file_class);
	lp_lock_init(&f->lock, LP_RANK_FILE);
	lp_list_init(&f->waiters);
	f->fd = -1;
	f->path_len = len;
	memcpy(f->path, path, len);
	f->path[len] = '\0';
	return f;
}

int lp_file_adopt(struct lp_file *f, int fd, const struct stat *checked)
{
	struct stat st;
	int err = 0;
	if (!checked && fstat(fd, &st) < 0)
		err = errno;
	else if (!checked)
		checked = &st;
	if (!err && S_ISDIR(checked->st_mode))
		err = EISDIR;
	if (!err && !S_ISREG(checked->st_mode)) {
		int flags = fcntl(fd, F_GETFL);
		if (flags < 0 || (!(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0))
			err = errno;
	}
	if (err) {
		close(fd);
		return err;
	}
	f->regular = S_ISREG(checked->st_mode);
	f->fifo = S_ISFIFO(checked->st_mode) && f->path_len > 0;
	f->seekable = f->regular || S_ISBLK(checked->st_mode) || lseek(fd, 0, SEEK_CUR) >= 0;
	f->fd = fd;
	return 0;
}

static void renew(struct lp_file *f)
{
	int fd = -1;
	lp_lock_init(&f->lock, LP_RANK_FILE);
	lp_list_init(&f->waiters);
	f->inside = 0;
	f->taken = false;
	f->temporary = false;
	if (f->closing) {
		fd = f->fd;
		f->fd = -1;
		f->closed = true;
	}
	if (fd >= 0)
		close(fd);
}

void lp_file_renew(struct lp_file *f)
{
	/* The first of this process does it, others wait for it. One that is cut off in it by another fork, in the child of
	 * that, is begun again. */
	while (__atomic_load_n(&f->obj.generation, __ATOMIC_ACQUIRE) != lp_generation) {
		uint32_t last = atomic_load(&f->renewed);
		if (last != lp_generation && atomic_compare_exchange_strong(&f->renewed, &last, lp_generation)) {
			renew(f);
			__atomic_store_n(&f->obj.generation, lp_generation, __ATOMIC_RELEASE);
		} else {
			lp_relax();
		}
	}
}
