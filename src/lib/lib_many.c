/* lib_many: reading many files for lua-pool/fs/many.lua. One pack is one task: a worker looks at what was put into it, and
 * whoever made it takes the answers out. */
#define _GNU_SOURCE
#include "lib/lib_many.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "values/large.h"

enum { ENOUGH = 4 << 20 }; /* bytes after which a task answers what it has */

/* ---- packs ---- */

struct lp_pack *lp_enter_pack(lua_State *L, int index)
{
	struct lp_pack *p = lp_check(L, index, &lp_pack_class);
	if (!lp_pack_enter(p))
		luaL_error(L, "this iterator is in use: by another thread, or by a call that has failed");
	return p;
}

struct lp_folder *lp_check_root(lua_State *L, int index)
{
	return lua_isnoneornil(L, index) ? NULL : lp_check(L, index, &lp_folder_class);
}

bool lp_entry_path(struct lp_entry *e, struct lp_folder *root, struct lp_path *path)
{
	*path = (struct lp_path){.root = root, .name = lp_entry_name(e), .len = e->len};
	return strlen(path->name) == path->len;
}

int lp_pack_raise(lua_State *L, struct lp_state *s, struct lp_pack *p, int err)
{
	lp_pack_leave(p);
	return lp_push_io_error(L, s, "", 0, err);
}

/* pack_new() -> pack */
static int pack_new(lua_State *L)
{
	struct lp_handle *h = lp_handle_new(L, &lp_pack_class);
	struct lp_pack *p = lp_pack_new();
	if (!p)
		return lp_no_memory(L);
	h->obj = &p->obj;
	return 1;
}

/* pack_add(pack, path) */
static int pack_add(lua_State *L)
{
	size_t len;
	const char *name = luaL_checklstring(L, 2, &len);
	struct lp_pack *p = lp_enter_pack(L, 1);
	bool added = lp_entry_add(&p->given, name, len, "", 0);
	lp_pack_leave(p);
	return added ? 0 : lp_no_memory(L);
}

/* pack_clear(pack): empties it for the next use. */
static int pack_clear(lua_State *L)
{
	struct lp_pack *p = lp_enter_pack(L, 1);
	lp_pack_clear(p);
	lp_pack_leave(p);
	return 0;
}

/* ---- in a task ---- */

static int read_one(struct lp_state *s, struct lp_pack *p, struct lp_entry *e, const struct lp_path *path)
{
	struct lp_io io;
	int fd = -1, err = lp_begin_reading(s, path, &fd, &io);
	size_t before = p->data.len;
	if (!err)
		err = lp_io_read_bytes(&io, &p->data, io.size, SIZE_MAX, -1);
	if (fd >= 0)
		close(fd);
	if (err)
		p->data.len = before;
	e->data.at = before;
	e->data.size = p->data.len - before;
	return err;
}

static int stat_one(struct lp_state *s, struct lp_pack *p, struct lp_entry *e, const struct lp_path *path)
{
	struct stat st;
	int err = lp_stat_path(s, path, true, &st);
	if (err)
		return err;
	if (!lp_bytes_room(&p->data, sizeof st))
		return ENOMEM;
	e->data.at = p->data.len;
	e->data.size = sizeof st;
	memcpy(p->data.p + p->data.len, &st, sizeof st);
	p->data.len += sizeof st;
	return 0;
}

static int look_at(struct lp_state *s, struct lp_pack *p, struct lp_entry *e, struct lp_folder *root, bool content)
{
	struct lp_path path;
	if (!lp_entry_path(e, root, &path))
		return EINVAL;
	return content ? read_one(s, p, e, &path) : stat_one(s, p, e, &path);
}

/* Looks at what was not looked at so far, until it has enough. */
static int look(lua_State *L, bool content)
{
	struct lp_state *s = lp_state(L);
	struct lp_folder *root = lp_check_root(L, 1);
	struct lp_pack *p = lp_check(L, 2, &lp_pack_class);
	struct lp_entry *e;
	lp_block_begin(L, s);
	lp_enter_pack(L, 2);
	lp_pack_empty(&p->data);
	while (p->data.len < ENOUGH && (e = lp_entry_next(&p->given, &p->done))) {
		int err = look_at(s, p, e, root, content);
		if (err == ENOMEM || err == LP_IO_STOPPED)
			return lp_pack_raise(L, s, p, err);
		e->err = err;
	}
	lp_pack_leave(p);
	return 0;
}

/* many_read(root, pack), many_stat(root, pack) */
static int many_read(lua_State *L)
{
	return look(L, true);
}

static int many_stat(lua_State *L)
{
	return look(L, false);
}

/* ---- where they are used ---- */

static int next(lua_State *L, bool content)
{
	struct lp_state *s = lp_state(L);
	struct lp_pack *p = lp_check(L, 1, &lp_pack_class);
	struct lp_folder *root = lp_check_root(L, 2);
	struct lp_path path;
	lp_enter_pack(L, 1); /* until all has been pushed: what the collector finalises then might come here */
	struct lp_entry *e = p->told == p->done ? NULL : lp_entry_next(&p->given, &p->told);
	int n = 1;
	if (!e) {
		bool all = p->done == p->given.b.len;
		lp_pack_leave(p);
		if (all)
			lua_pushnil(L);
		else
			lua_pushboolean(L, 0);
		return 1;
	}
	lua_pushlstring(L, lp_entry_name(e), e->len);
	if (e->err) {
		lp_entry_path(e, root, &path);
		n += lp_push_path_error(L, s, &path, e->err);
	} else if (content) {
		n++;
		lp_push_large(L, p->data.p + e->data.at, e->data.size);
	} else {
		struct stat st;
		n++;
		memcpy(&st, p->data.p + e->data.at, sizeof st);
		lp_push_stat(L, &st);
	}
	lp_pack_leave(p);
	return n;
}

/* many_next(pack, root) -> path, content / path, nil, err, errno / nil: that was all / false: the rest has not been looked at */
static int many_next(lua_State *L)
{
	return next(L, true);
}

/* many_next_stat(pack, root) -> path, stat ...: as many_next */
static int many_next_stat(lua_State *L)
{
	return next(L, false);
}

void lp_open_many(lua_State *L, int state)
{
	static const luaL_Reg functions[] = {{"pack_new", pack_new}, {"pack_add", pack_add}, {"pack_clear", pack_clear},
		{"many_read", many_read}, {"many_stat", many_stat}, {"many_next", many_next}, {"many_next_stat", many_next_stat},
		{NULL, NULL}};
	lp_handle_class(L, &lp_pack_class, NULL, NULL, 0);
	lua_pushvalue(L, state);
	luaL_setfuncs(L, functions, 1);
}
