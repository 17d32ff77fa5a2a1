/* blocking: see blocking.h. */
#define _GNU_SOURCE
#include "wait/blocking.h"

#include <errno.h>

#include "wait/cancel.h"
#include "sched/host.h"
#include "vm/signals.h"
#include "base/sys.h"

void lp_block_begin(lua_State *L, struct lp_state *s)
{
	if (!s->exec || (!s->worker && !s->host))
		luaL_error(L, "this Lua state is closing: nothing can be waited for");
	s->calling = L;
	if (s->host)
		lp_host_begin_wait(s);
	if (lp_interrupted(s->exec))
		lp_raise_interrupt(L, s);
	/* What it reads is read; a signal that cuts it short takes this back. */
	if (s->worker)
		lp_hand_over(s->exec->actor, lp_may_hand_over(s->exec->actor));
}

bool lp_block_over(struct lp_state *s)
{
	struct lp_exec *e = s->exec;
	bool signalled = e->signalled && e->signalled(e); /* may ask the actor to end */
	return signalled || lp_interrupted(e);
}

int lp_block_raise(lua_State *L, struct lp_state *s)
{
	if (s->host)
		lp_host_stand_still();
	if (lp_interrupted(s->exec))
		return lp_raise_interrupt(L, s);
	lp_run_host_hook(L, s);
	return luaL_error(L, "interrupted!"); /* it did not raise; what we were about to do is half done */
}

void lp_block_yield(struct lp_state *s)
{
	if (s->exec->block)
		s->exec->block(s->exec);
}

void lp_block_resume(struct lp_state *s)
{
	if (s->exec->unblock)
		s->exec->unblock(s->exec);
}

/* A handler of the host may run on another thread, or just before we sleep: it looks again every now and then. So does
 * a task that async runs itself, whose thread gets no signal of ours. */
enum { HOST_LOOKS_NS = 50000000 };

static int poll_until(struct pollfd *fds, int n, lp_time until)
{
	struct timespec ts, *limit = NULL;
	if (until != LP_FOREVER) {
		lp_time left = until - lp_now();
		left = left < 0 ? 0 : left;
		ts = (struct timespec){.tv_sec = left / LP_SECOND, .tv_nsec = left % LP_SECOND};
		limit = &ts;
	}
	return ppoll(fds, (nfds_t)n, limit, NULL);
}

int lp_block_poll(struct lp_state *s, struct pollfd *fds, int n, lp_time deadline, bool yields)
{
	bool gave = false;
	int answer;
	for (;;) {
		if (lp_block_over(s)) {
			answer = LP_CANCELLED;
			break;
		}
		lp_time until = lp_actor_until(s->exec->actor, deadline);
		if (!s->exec->block) {
			lp_time look = lp_now() + HOST_LOOKS_NS;
			until = look < until ? look : until;
		}
		if (yields && !gave) { /* only if it would really sleep */
			if ((answer = poll_until(fds, n, 0)) > 0)
				break;
			lp_block_yield(s);
			gave = true;
		}
		answer = poll_until(fds, n, until);
		if (answer > 0)
			break;
		if (answer == 0 && deadline != LP_FOREVER && lp_now() >= deadline) {
			answer = LP_TIMEOUT;
			break;
		}
		if (answer < 0 && errno != EINTR) {
			answer = n;
			break;
		}
	}
	if (gave)
		lp_block_resume(s);
	if (s->host)
		lp_host_stand_still();
	return answer;
}

int lp_block_poll_one(struct lp_state *s, int fd, short events, lp_time deadline, bool yields)
{
	struct pollfd one = {.fd = fd, .events = events};
	return lp_block_poll(s, &one, 1, deadline, yields);
}

int lp_push_errno(lua_State *L, const char *path, size_t len, int err)
{
	char buf[128];
	lua_pushnil(L);
	lua_pushlstring(L, path, len); /* it may hold zero bytes */
	lua_pushfstring(L, ": %s%s", lp_error_text(err, buf, sizeof buf),
		err == EMFILE || err == ENFILE ? " (also after a collection)" : "");
	lua_concat(L, 2);
	lua_pushinteger(L, err);
	return 3;
}
