/* lib_temp: folders that are removed with all that is in them when they are closed, or when the last handle goes. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "vm/holdings.h"
#include "lib/lib_path.h"
#include "lib/lib_sync.h"
#include "base/sys.h"

struct tempdir {
	struct lp_obj obj;
	_Atomic bool removed;
	size_t len;
	char path[];
};

static void tempdir_destroy(struct lp_obj *o)
{
	struct tempdir *d = (struct tempdir *)o;
	/* A child process's copy does not decide. */
	if (o->generation == lp_generation && !atomic_load(&d->removed))
		lp_remove_tree(NULL, AT_FDCWD, d->path);
	lp_free(d);
}

static bool tempdir_holds(struct lp_obj *o)
{
	return !atomic_load(&((struct tempdir *)o)->removed);
}

static const struct lp_class tempdir_class = {.name = "lua-pool.tempdir", .destroy = tempdir_destroy, .holds = tempdir_holds};

static struct tempdir *check(lua_State *L)
{
	return lp_check(L, 1, &tempdir_class);
}

/* fs_tempdir(path) -> folder, freshly made / nil, err, errno. path must be absolute or stay valid. */
static int fs_tempdir(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	struct lp_path path;
	lua_settop(L, 1);
	lua_pushnil(L);
	lua_insert(L, 1);
	bool valid = lp_check_path(L, 2, &path);
	struct lp_handle *h = lp_handle_new(L, &tempdir_class);
	struct tempdir *d = lp_alloc(sizeof *d + path.len + 1);
	if (!d)
		return luaL_error(L, "not enough memory");
	lp_obj_init(&d->obj, &tempdir_class);
	atomic_init(&d->removed, true);
	d->len = path.len;
	memcpy(d->path, path.name, path.len + 1);
	h->obj = &d->obj;
	int err = !valid ? EINVAL : mkdir(path.name, 0700) < 0 ? errno : 0;
	if (err)
		return lp_push_path_error(L, s, &path, err);
	atomic_store(&d->removed, false);
	lp_hold(L, s, -1);
	return 1;
}

/* tempdir:path([name]) -> its path, or that of `name` in it. */
static int tempdir_path(lua_State *L)
{
	struct tempdir *d = check(L);
	if (lua_isnoneornil(L, 2)) {
		lua_pushlstring(L, d->path, d->len);
		return 1;
	}
	luaL_checktype(L, 2, LUA_TSTRING);
	lua_pushlstring(L, d->path, d->len);
	lua_pushliteral(L, "/");
	lua_pushvalue(L, 2);
	lua_concat(L, 3);
	return 1;
}

/* tempdir:remove() -> true / nil, err, errno. Also at the end of its scope. A cancellation does not stop it half way. */
static int tempdir_remove(lua_State *L)
{
	struct tempdir *d = check(L);
	int err = atomic_exchange(&d->removed, true) ? 0 : lp_remove_tree(NULL, AT_FDCWD, d->path);
	if (err && err != ENOENT)
		return lp_push_errno(L, d->path, d->len, err);
	lua_pushboolean(L, 1);
	return 1;
}

static int tempdir_tostring(lua_State *L)
{
	struct tempdir *d = check(L);
	lua_pushfstring(L, "lua-pool.tempdir: %p (%s%s)", (void *)d, d->path, atomic_load(&d->removed) ? ", removed" : "");
	return 1;
}

/* fs_random() -> 12 letters and digits that nobody can guess. */
static int fs_random(lua_State *L)
{
	char text[12];
	if (!lp_random_letters(text, sizeof text))
		return luaL_error(L, "the system gives no random numbers");
	lua_pushlstring(L, text, sizeof text);
	return 1;
}

static int with_enter(lua_State *L, lp_then entered)
{
	check(L);
	return entered(L, lp_state(L), NULL, 0);
}

static void with_leave(lua_State *L, bool failed)
{
	struct tempdir *d = check(L);
	(void)failed;
	if (!atomic_exchange(&d->removed, true))
		lp_remove_tree(NULL, AT_FDCWD, d->path);
}

void lp_open_temp(lua_State *L, int state)
{
	static const luaL_Reg methods[] = {{"path", tempdir_path}, {"remove", tempdir_remove}, {NULL, NULL}};
	static const luaL_Reg meta[] = {{"__tostring", tempdir_tostring}, {"__close", tempdir_remove}, {NULL, NULL}};
	static const luaL_Reg functions[] = {{"fs_tempdir", fs_tempdir}, {"fs_random", fs_random}, {NULL, NULL}};
	static const struct lp_scope scope = {with_enter, NULL, NULL, with_leave, true};
	lua_pushvalue(L, state);
	lp_handle_class(L, &tempdir_class, methods, meta, 1);
	lp_set_with(L, state, &tempdir_class, "with", &scope);
	lua_pushvalue(L, state);
	luaL_setfuncs(L, functions, 1);
}
