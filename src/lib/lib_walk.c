/* lib_walk: trees of folders for lua-pool/fs/walk.lua. A task gets a pack with some folders, goes down from them until it has
 * found enough, and leaves those that it did not get to. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "lib/lib_many.h"
#include "base/sys.h"

enum { ENOUGH = 2000 }; /* entries of one answer */

/* ---- in a task ---- */

struct walk {
	struct lp_state *s;
	struct lp_pack *p;
	struct lp_folder *root;
	bool follow;
	char dir[PATH_MAX + 1]; /* the folder that is looked at, with a slash */
	size_t len;
};

static void push_type(lua_State *L, char letter)
{
	static const char *const types[][2] = {{"f", "file"}, {"d", "directory"}, {"l", "link"}, {"p", "fifo"}, {"s", "socket"},
		{"c", "char"}, {"b", "block"}};
	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		if (types[i][0][0] == letter) {
			lua_pushstring(L, types[i][1]);
			return;
		}
	}
	lua_pushliteral(L, "other");
}

/* Which folder this is, whatever it is called; false: it is none. */
static bool identify(const struct walk *w, struct lp_entry *e)
{
	struct stat st;
	struct lp_path path;
	if (!lp_entry_path(e, w->root, &path) || lp_stat_path(w->s, &path, true, &st) != 0 || !S_ISDIR(st.st_mode))
		return false;
	e->known = true;
	e->id.dev = st.st_dev;
	e->id.ino = st.st_ino;
	return true;
}

/* What is to be done with the entry `name` of the folder. With `follow`, folders are left to where all come together, who
 * recognises those that somebody has been to. 0 or ENOMEM. */
static int keep(struct walk *w, const char *name, char letter, bool silent)
{
	bool below = letter == 'd' && !w->follow;
	bool perhaps = w->follow && (letter == 'd' || letter == 'l');
	if (silent && !below && !perhaps)
		return 0;
	struct lp_entries *list = below ? &w->p->given : perhaps ? &w->p->left : &w->p->found;
	struct lp_entry *e = lp_entry_add(list, w->dir, w->len, name, strlen(name));
	if (!e)
		return ENOMEM;
	e->letter = letter;
	e->silent = silent;
	if (!perhaps || identify(w, e))
		return 0;
	bool told = silent || lp_entry_copy(&w->p->found, e);
	lp_entry_drop(list);
	return told ? 0 : ENOMEM;
}

/* Keeps what is in the folder, or, if a filter has to be asked first, puts it down. Runs no Lua. */
static int scan(struct walk *w, int fd, bool filtered)
{
	struct lp_names names;
	const char *name;
	unsigned char type;
	int err;
	unsigned n = 0;
	lp_begin_names(&names, fd);
	while ((err = lp_next_name(&names, &name, &type)) == 0 && name) {
		char letter = lp_type_letter(fd, name, type);
		if (filtered) {
			struct lp_entry *e = lp_entry_add(&w->p->folder, w->dir, w->len, name, strlen(name));
			err = e ? 0 : ENOMEM;
			if (e)
				e->letter = letter;
		} else {
			err = keep(w, name, letter, false);
		}
		if (!err && ++n % 4096 == 0 && lp_block_over(w->s))
			err = LP_IO_STOPPED;
		if (err)
			break;
	}
	return err;
}

/* Asks the filter, which is at index 3, about all that was put down. */
static int filter(lua_State *L, struct walk *w)
{
	struct lp_entry *e;
	int err = 0;
	for (size_t at = 0; !err && (e = lp_entry_next(&w->p->folder, &at));) {
		lua_pushvalue(L, 3);
		lua_pushlstring(L, lp_entry_name(e), e->len);
		push_type(L, e->letter);
		lua_call(L, 2, 1);
		bool enter = lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), "enter") == 0;
		if (lua_toboolean(L, -1))
			err = keep(w, lp_entry_name(e) + w->len, e->letter, enter);
		lua_pop(L, 1);
	}
	lp_entries_clear(&w->p->folder);
	return err;
}

/* Takes the last folder that was given, and looks into it. 0, ENOMEM or LP_IO_STOPPED: else it goes on. */
static int enter_folder(lua_State *L, struct walk *w)
{
	struct lp_entry *folder = lp_entry_last(&w->p->given);
	struct lp_path path;
	bool filtered = !lua_isnoneornil(L, 3), fits = folder->len < PATH_MAX;
	int fd = -1;
	/* The path is needed while others take its place in the list. */
	if (fits) {
		memcpy(w->dir, lp_entry_name(folder), folder->len + 1);
		w->len = folder->len;
	}
	struct lp_entry self = *folder;
	int err = !fits ? ENAMETOOLONG : !lp_entry_path(folder, w->root, &path) ? EINVAL : 0;
	if (!err)
		err = lp_open_path(w->s, &path, O_RDONLY | O_DIRECTORY, 0, &fd);
	if (err == LP_IO_STOPPED || err == ENOMEM)
		return err;
	self.err = err;
	if (!self.silent && err != ENOENT && err != ENOTDIR) { /* those have vanished */
		struct lp_entry *e = lp_entry_add(&w->p->found, lp_entry_name(folder), folder->len, "", 0);
		err = e ? err : ENOMEM;
		if (e) {
			e->letter = self.letter;
			e->err = self.err;
		}
	}
	lp_entry_drop(&w->p->given);
	if (!err && w->dir[w->len - 1] != '/')
		w->dir[w->len++] = '/';
	if (!err)
		err = scan(w, fd, filtered);
	if (fd >= 0)
		close(fd);
	if (!err && filtered)
		err = filter(L, w);
	return err == ENOMEM || err == LP_IO_STOPPED ? err : 0;
}

/* walk_look(root, pack, filter, follow): goes down from the folders that were given until it has found enough. */
static int walk_look(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	struct walk w = {.s = s, .follow = lua_toboolean(L, 4)};
	w.root = lp_check_root(L, 1);
	w.p = lp_check(L, 2, &lp_pack_class);
	lp_block_begin(L, s);
	lp_enter_pack(L, 2);
	int err = 0;
	while (!err && w.p->given.count && w.p->found.count + w.p->left.count < ENOUGH)
		err = enter_folder(L, &w);
	if (err)
		return lp_pack_raise(L, s, w.p, err);
	lp_pack_leave(w.p);
	return 0;
}

/* fs_walk_begin(root, dir, pack, follow) -> true / nil, err, errno: leaves dir, if it is a folder that can be read, in the pack. */
static int fs_walk_begin(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	struct lp_path path;
	int fd = -1, err = EINVAL;
	struct lp_pack *p = lp_check(L, 3, &lp_pack_class);
	struct stat st;
	if (lp_check_path(L, 2, &path)) {
		lp_block_begin(L, s);
		err = lp_open_path(s, &path, O_RDONLY | O_DIRECTORY, 0, &fd);
		if (!err && fstat(fd, &st) < 0)
			err = errno;
		if (fd >= 0)
			close(fd);
	}
	if (err)
		return lp_push_path_error(L, s, &path, err);
	lp_enter_pack(L, 3);
	struct lp_entry *e = lp_entry_add(&p->left, path.name, path.len, "", 0);
	if (!e)
		return lp_pack_raise(L, s, p, ENOMEM);
	e->letter = 'd';
	e->silent = true;
	e->known = lua_toboolean(L, 4);
	e->id.dev = st.st_dev;
	e->id.ino = st.st_ino;
	lp_pack_leave(p);
	lua_pushboolean(L, 1);
	return 1;
}

/* ---- where the walk is used ---- */

/* Has somebody been to this folder? The table at index 3 remembers. */
static bool been_there(lua_State *L, const struct lp_entry *e)
{
	lua_pushlstring(L, (const char *)&e->id, sizeof e->id);
	lua_pushvalue(L, -1);
	lua_rawget(L, 3);
	bool seen = lua_toboolean(L, -1);
	lua_pop(L, 1);
	lua_pushboolean(L, 1);
	lua_rawset(L, 3);
	return seen;
}

/* walk_gather(pack, todo, seen) -> number of folders in todo: what the task has left goes there. */
static int walk_gather(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	struct lp_pack *p = lp_enter_pack(L, 1), *todo = lp_check(L, 2, &lp_pack_class);
	struct lp_entries *lists[] = {&p->left, &p->given};
	bool fits = true;
	for (int i = 0; i < 2; i++) {
		struct lp_entry *e;
		for (size_t at = 0; fits && (e = lp_entry_next(lists[i], &at));) {
			if (!e->known || !been_there(L, e))
				fits = lp_entry_copy(&todo->given, e);
			else if (!e->silent) /* told as what it is, not entered again */
				fits = lp_entry_copy(&p->found, e);
		}
		lp_entries_clear(lists[i]);
	}
	if (!fits)
		return lp_pack_raise(L, s, p, ENOMEM);
	lp_pack_leave(p);
	lp_push_size(L, (int64_t)todo->given.count);
	return 1;
}

/* walk_share(todo, pack, n) -> number of folders in todo: n of them go to the pack. */
static int walk_share(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	struct lp_pack *todo = lp_check(L, 1, &lp_pack_class), *p = lp_enter_pack(L, 2);
	for (lua_Integer n = luaL_checkinteger(L, 3); n > 0 && todo->given.count; n--) {
		if (!lp_entry_copy(&p->given, lp_entry_last(&todo->given)))
			return lp_pack_raise(L, s, p, ENOMEM);
		lp_entry_drop(&todo->given);
	}
	lp_pack_leave(p);
	lp_push_size(L, (int64_t)todo->given.count);
	return 1;
}

/* walk_next(pack, root) -> path, type [, err, errno] / nil: that was all */
static int walk_next(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	struct lp_folder *root = lp_check_root(L, 2);
	struct lp_pack *p = lp_enter_pack(L, 1); /* until all has been pushed, as in many_next */
	struct lp_entry *e = lp_entry_next(&p->found, &p->told);
	int n = 1;
	if (!e) {
		lua_pushnil(L);
	} else {
		lua_pushlstring(L, lp_entry_name(e), e->len);
		push_type(L, e->letter);
		n = 2;
	}
	if (e && e->err) {
		struct lp_path path;
		lp_entry_path(e, root, &path);
		n += lp_push_path_error(L, s, &path, e->err) - 1;
		lua_remove(L, -3); /* the nil */
	}
	lp_pack_leave(p);
	return n;
}

void lp_open_walk(lua_State *L, int state)
{
	static const luaL_Reg functions[] = {{"fs_walk_begin", fs_walk_begin}, {"walk_look", walk_look}, {"walk_gather", walk_gather},
		{"walk_share", walk_share}, {"walk_next", walk_next}, {NULL, NULL}};
	lua_pushvalue(L, state);
	luaL_setfuncs(L, functions, 1);
}
