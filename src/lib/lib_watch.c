/* lib_watch: pool.fs.watch. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "vm/holdings.h"
#include "lib/lib_path.h"
#include "files/watch.h"

/* fs_watch(root, path, capacity) -> channel / nil, err, errno */
static int fs_watch(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	struct lp_path path;
	size_t capacity = (size_t)lp_check_int(L, 3, 1, 1000000000);
	int err = EINVAL, fd = -1;
	bool valid = lp_check_path(L, 2, &path);
	struct lp_handle *h = lp_handle_new(L, &lp_channel_class);
	struct lp_channel *ch = lp_channel_new(capacity);
	if (!ch)
		return luaL_error(L, "not enough memory");
	h->obj = &ch->obj;
	if (valid) {
		char proc[64];
		lp_block_begin(L, s);
		/* What is watched is what was found there: a bound folder cannot be left by a link put in its place. */
		err = lp_open_path(s, &path, O_PATH, 0, &fd);
		snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
		int tries = 0;
		bool again = !err;
		while (again) {
			err = lp_watch_start(ch, proc, path.name);
			again = lp_hold_less(s, err, &tries);
		}
		if (fd >= 0)
			close(fd);
	}
	if (err)
		return lp_push_path_error(L, s, &path, err);
	lp_hold(L, s, -1);
	return 1;
}

void lp_open_watch(lua_State *L, int state)
{
	static const luaL_Reg functions[] = {{"fs_watch", fs_watch}, {NULL, NULL}};
	lua_pushvalue(L, state);
	luaL_setfuncs(L, functions, 1);
}
