/* process: see process.h. */
#define _GNU_SOURCE
#include "files/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/account.h"
#include "base/sys.h"

extern char **environ;

/* ---- those that could not be waited for ---- */

/* Killed, but stuck in the kernel: they are reaped when the next one starts. Each process brings its entry with it, so that
 * none can be missing. */
struct lp_orphan {
	pid_t pid;
	struct lp_orphan *next;
};
static lp_mutex orphans_lock = LP_MUTEX_INIT(LP_RANK_ORPHANS);
static struct lp_orphan *orphans; /* [orphans_lock] */

static void renew_orphans(void)
{
	orphans = NULL; /* the parent's children are none of ours */
}

__attribute__((constructor)) static void orphans_open(void)
{
	lp_fork_guard(&orphans_lock, LP_RANK_ORPHANS);
	lp_fork_child(LP_RANK_ORPHANS, renew_orphans);
}

static void adopt(struct lp_process *p)
{
	struct lp_orphan *o = p->orphan;
	p->orphan = NULL;
	o->pid = p->pid;
	lp_lock(&orphans_lock);
	o->next = orphans;
	orphans = o;
	lp_unlock(&orphans_lock);
}

static void reap_orphans(void)
{
	struct lp_orphan *reaped = NULL;
	lp_lock(&orphans_lock);
	for (struct lp_orphan **at = &orphans, *o; (o = *at);) {
		if (waitpid(o->pid, NULL, WNOHANG) == 0) {
			at = &o->next;
			continue;
		}
		*at = o->next;
		o->next = reaped;
		reaped = o;
	}
	lp_unlock(&orphans_lock);
	for (struct lp_orphan *next; reaped; reaped = next) {
		next = reaped->next;
		lp_free(reaped);
	}
}

/* ---- starting ---- */

/* The child's end must not lie where another of its descriptors is put first. */
static int move_up(int *fd)
{
	if (*fd > 2)
		return 0;
	int moved = fcntl(*fd, F_DUPFD_CLOEXEC, 3);
	if (moved < 0)
		return errno;
	close(*fd);
	*fd = moved;
	return 0;
}

static int *our_end(struct lp_process *p, int i)
{
	return i == 0 ? &p->in : &p->out[i - 1];
}

static int plan_streams(struct lp_process *p, const struct lp_start *how, posix_spawn_file_actions_t *plan, int child[3])
{
	int err = 0;
	for (int i = 0; i < 3 && !err; i++) {
		int fds[2];
		switch (how->streams[i]) {
		case LP_STREAM_NULL:
			err = posix_spawn_file_actions_addopen(plan, i, "/dev/null", i ? O_WRONLY : O_RDONLY, 0);
			break;
		case LP_STREAM_INHERIT:
			break;
		case LP_STREAM_OUT:
			err = posix_spawn_file_actions_adddup2(plan, 1, i);
			break;
		case LP_STREAM_FD:
			if ((child[i] = fcntl(how->fds[i], F_DUPFD_CLOEXEC, 3)) < 0)
				return errno;
			err = posix_spawn_file_actions_adddup2(plan, child[i], i);
			break;
		case LP_STREAM_PIPE:
			if (lp_pipe(fds, i == 0 ? 1 : 0) < 0)
				return errno;
			*our_end(p, i) = fds[i == 0 ? 1 : 0];
			child[i] = fds[i == 0 ? 0 : 1];
			if (!(err = move_up(&child[i])))
				err = posix_spawn_file_actions_adddup2(plan, child[i], i);
			break;
		}
	}
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 34)
	/* What others in this process have opened without O_CLOEXEC is none of its business. */
	if (!err)
		err = posix_spawn_file_actions_addclosefrom_np(plan, 3);
#endif
	return err;
}

static int spawn(struct lp_process *p, const struct lp_start *how, posix_spawn_file_actions_t *plan)
{
	posix_spawnattr_t attr;
	sigset_t none, all;
	int err = posix_spawnattr_init(&attr);
	if (err)
		return err;
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_setsigmask(&attr, &none); /* a worker's mask is not for others */
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	pid_t pid;
	lp_children_hold();
	err = posix_spawnp(&pid, how->argv[0], plan, &attr, how->argv, how->envp ? how->envp : environ);
	if (!err)
		p->pid = pid;
	else
		lp_children_let_go();
	posix_spawnattr_destroy(&attr);
	return err;
}

int lp_process_start(struct lp_process *p, const struct lp_start *how, const char **what)
{
	struct stat st;
	posix_spawn_file_actions_t plan;
	int child[3] = {-1, -1, -1};
	reap_orphans();
	/* The command and its folder fail alike: told apart here. */
	*what = how->cwd;
	if (how->cwd && stat(how->cwd, &st) < 0)
		return errno;
	if (how->cwd && !S_ISDIR(st.st_mode))
		return ENOTDIR;
	*what = how->argv[0];
	int err = posix_spawn_file_actions_init(&plan);
	if (err)
		return err;
	err = plan_streams(p, how, &plan, child);
	if (!err && how->cwd)
		err = posix_spawn_file_actions_addchdir_np(&plan, how->cwd);
	if (!err)
		err = spawn(p, how, &plan);
	posix_spawn_file_actions_destroy(&plan);
	for (int i = 0; i < 3; i++) {
		lp_process_shut(&child[i]);
		if (err)
			lp_process_shut(our_end(p, i));
	}
	return err;
}

/* ---- while it runs ---- */

void lp_process_shut(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

bool lp_process_ended(struct lp_process *p)
{
	if (p->reaped || !p->pid)
		return true;
	pid_t r = waitpid(p->pid, &p->status, WNOHANG);
	if (r == 0 || (r < 0 && errno == EINTR))
		return false;
	p->reaped = true;
	lp_children_let_go();
	p->lost = r < 0; /* the host ignores SIGCHLD, or waits for all children */
	return true;
}

int lp_process_watch(struct lp_process *p)
{
	if (p->watch < 0 && p->pid && !p->reaped)
		p->watch = lp_open_child(p->pid);
	return p->watch;
}

int lp_process_drain(struct lp_process *p, int k)
{
	struct lp_bytes *b = &p->got[k];
	for (;;) {
		if (!lp_bytes_room(b, 65536))
			return ENOMEM;
		ssize_t r = read(p->out[k], b->p + b->len, b->cap - b->len);
		if (r > 0) {
			b->len += (size_t)r;
			return 0;
		}
		if (r < 0 && errno == EINTR)
			continue;
		if (r == 0 || errno != EAGAIN)
			lp_process_shut(&p->out[k]);
		return 0;
	}
}

/* ---- the end ---- */

/* Waits until it has been reaped; what it still writes is taken. False: the deadline came first. */
static bool await_end(struct lp_process *p, lp_time deadline)
{
	lp_time nap = 200000;
	while (!lp_process_ended(p)) {
		lp_time left = deadline - lp_now();
		if (left <= 0)
			return false;
		struct pollfd fds[3];
		int n = 0, watch = lp_process_watch(p);
		for (int k = 0; k < 2; k++)
			if (p->out[k] >= 0)
				fds[n++] = (struct pollfd){.fd = p->out[k], .events = POLLIN};
		if (watch >= 0)
			fds[n++] = (struct pollfd){.fd = watch, .events = POLLIN};
		else
			left = nap < left ? nap : left;
		nap = nap < 10000000 ? nap * 2 : nap;
		struct timespec ts = {left / LP_SECOND, left % LP_SECOND};
		if (ppoll(fds, (nfds_t)n, &ts, NULL) > 0)
			for (int k = 0; k < 2; k++)
				if (p->out[k] >= 0 && lp_process_drain(p, k) != 0)
					lp_process_shut(&p->out[k]); /* no memory: it will not be missed */
	}
	return true;
}

void lp_process_end(struct lp_process *p, lp_time deadline)
{
	if (!p->pid)
		return;
	lp_process_shut(&p->in);
	bool alive = !p->reaped;
	if (alive)
		kill(-p->pid, SIGTERM);
	if (alive && !await_end(p, deadline)) {
		kill(-p->pid, SIGKILL);
		if (!await_end(p, lp_now() + LP_SECOND)) {
			adopt(p);
			p->reaped = p->lost = true;
			lp_children_let_go();
		}
	}
	/* Its children have as long as it had. Whether the group has a number is known at once, whether one of them lives takes
	 * a while to find out. */
	lp_time nap = 1000000;
	while (alive && lp_now() < deadline && kill(-p->pid, 0) == 0 && (nap < 8000000 || lp_group_lives(p->pid))) {
		lp_time soon = lp_now() + nap;
		nap = nap < 16000000 ? nap * 2 : nap;
		lp_nap(soon < deadline ? soon : deadline);
	}
	if (alive)
		kill(-p->pid, SIGKILL);
	for (int k = 0; k < 2; k++)
		lp_process_shut(&p->out[k]);
}

static void process_destroy(struct lp_obj *o)
{
	struct lp_process *p = (struct lp_process *)o;
	if (o->generation == lp_generation && !lp_process_ended(p))
		lp_process_end(p, 0);
	lp_process_shut(&p->in);
	lp_process_shut(&p->watch);
	for (int k = 0; k < 2; k++) {
		lp_process_shut(&p->out[k]);
		lp_free_counted(p->got[k].p);
		lp_release(p->sinks[k]);
	}
	lp_free(p->orphan);
	lp_free(p);
}

const struct lp_class lp_process_class = {.name = "lua-pool.process", .destroy = process_destroy};

struct lp_process *lp_process_new(void)
{
	struct lp_process *p = lp_alloc(sizeof *p);
	struct lp_orphan *orphan = lp_alloc(sizeof *orphan);
	if (!p || !orphan) {
		lp_free(p);
		lp_free(orphan);
		return NULL;
	}
	memset(p, 0, sizeof *p);
	p->orphan = orphan;
	lp_obj_init(&p->obj, &lp_process_class);
	p->watch = p->in = p->out[0] = p->out[1] = -1;
	return p;
}
