/* lib_select: pool.select(list [, timeout]): the first of several that is ready.
 *
 * Exactly one of them is consumed. All nodes lie in a userdata, with a count of every object and what they carry (the
 * messages to be sent), so that whatever raises leaks nothing.
 *
 * Of several that are ready the first wins, counted from the one behind the last winner: a list that is
 * used again and again serves all who are ready in turn. */
#include "lib/lib_select.h"

#include "sync/channel.h"
#include "values/handle.h"
#include "lib/lib.h"

struct selection {
	struct lp_own own;
	int n;                        /* nodes that are filled */
	const struct lp_kind **kinds; /* of each, behind the nodes */
	struct lp_node nodes[];
};

static const char selection_key;

/* Gives back the counts and what was not consumed. */
static void clear(struct selection *sel)
{
	while (sel->n > 0) {
		struct lp_node *n = &sel->nodes[--sel->n];
		if (sel->kinds[sel->n]->drop)
			sel->kinds[sel->n]->drop(n);
		if (n->obj->cls == &lp_channel_class && n->obj->generation == lp_generation)
			lp_channel_handle_gone((struct lp_channel *)n->obj);
		else
			lp_release(n->obj);
	}
}

static int selection_gc(lua_State *L)
{
	struct selection *sel = lp_own_test(L, 1, sizeof *sel, &selection_key);
	if (sel)
		clear(sel);
	return 0;
}

static struct selection *push_selection(lua_State *L, int n)
{
	size_t nodes = (size_t)n * sizeof(struct lp_node);
	struct selection *sel = lua_newuserdatauv(L, sizeof *sel + nodes + (size_t)n * sizeof *sel->kinds, 0);
	lp_own_set(sel, &selection_key);
	sel->n = 0;
	sel->kinds = (const struct lp_kind **)(void *)((char *)sel->nodes + nodes);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &selection_key);
	lua_setmetatable(L, -2);
	return sel;
}

static int refuse(lua_State *L, int item, const char *what)
{
	return luaL_error(L, "bad item #%d of the list for 'select' (" LP_KINDS_TEXT " expected, got %s)", item, what);
}

/* The item on top of the stack. */
static void add(lua_State *L, struct lp_state *s, struct selection *sel, int item)
{
	struct lp_obj *o = lp_toobj(L, -1);
	const char *method = NULL;
	int t = 0;
	if (!o && lua_istable(L, -1)) {
		t = lua_gettop(L);
		lua_rawgeti(L, t, 1);
		o = lp_toobj(L, -1);
		lua_rawgeti(L, t, 2);
		method = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
	}
	if (!o) {
		refuse(L, item, t ? "a table" : luaL_typename(L, -1));
		return;
	}
	const struct lp_kind *kind = lp_kind_of(o->cls, method);
	if (!kind) {
		refuse(L, item, !t ? o->cls->name : lua_pushfstring(L, *method ? "{%s, \"%s\"}" : "{%s} without a method",
			lp_class_short_name(o->cls), method));
		return;
	}
	if (o->generation != lp_generation && !o->cls->forks)
		luaL_error(L, "item #%d of the list for 'select' belongs to the parent process: make a new one after fork", item);
	struct lp_node *n = &sel->nodes[sel->n];
	*n = (struct lp_node){.obj = lp_retain(o)};
	sel->kinds[sel->n++] = kind;
	if (kind->begin)
		kind->begin(L, s, n, t, item);
}

/* The stack: the list, the timeout, the selection, where the next one begins, which item came first. */
static int selected(lua_State *L, struct lp_state *s, struct lp_node *nodes, int answer)
{
	struct selection *sel = lua_touserdata(L, 3);
	if (answer < 0) {
		clear(sel);
		return lp_wait_failed(L, s, nodes, answer);
	}
	int index = ((int)lua_tointeger(L, 5) + answer) % sel->n + 1;
	*(unsigned *)lua_touserdata(L, 4) = (unsigned)index; /* counted from 0 this is the one behind it */
	lua_pushinteger(L, index);
	int results = 1 + sel->kinds[answer]->results(L, s, &nodes[answer]);
	clear(sel);
	return results;
}

/* pool.select(list [, timeout]) -> index, then what the method of the item's object would give (a future's results; the
 * values that a channel gave, or nil, "closed"; true ...), or its error is raised / nil, "timeout". Blocks; a
 * cancellation point. An empty list is an error unless there is a timeout. */
static int pool_select(lua_State *L)
{
	struct lp_state *s = lp_state(L);
	luaL_checktype(L, 1, LUA_TTABLE);
	lp_time deadline = lp_check_timeout(L, 2);
	int n = (int)lua_rawlen(L, 1);
	if (n == 0 && deadline == LP_FOREVER)
		luaL_argerror(L, 1, "the list is empty and there is no timeout: this would wait for ever");
	lua_settop(L, 2);
	struct selection *sel = push_selection(L, n);
	unsigned *last = lua_touserdata(L, lua_upvalueindex(2));
	int first = n ? (int)(*last % (unsigned)n) : 0;
	for (int i = 0; i < n; i++) {
		int item = (first + i) % n + 1;
		lua_rawgeti(L, 1, item);
		add(L, s, sel, item);
		lua_settop(L, 3);
	}
	lua_pushvalue(L, lua_upvalueindex(2));
	lua_pushinteger(L, first);
	return lp_wait_any_then(L, s, sel->nodes, n, deadline, selected);
}

void lp_open_select(lua_State *L, int state)
{
	lua_newtable(L);
	lua_pushcfunction(L, selection_gc);
	lua_setfield(L, -2, "__gc");
	lua_rawsetp(L, LUA_REGISTRYINDEX, &selection_key);
	lua_pushvalue(L, state);
	*(unsigned *)lua_newuserdatauv(L, sizeof(unsigned), 0) = 0;
	lua_pushcclosure(L, pool_select, 2);
	lp_blocking(L, state);
	lua_setfield(L, -2, "select");
}
