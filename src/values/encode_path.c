/* encode_path: what cannot be sent: the reason and the path to it, and errors in a form that can be sent. */
#include "values/encode_int.h"

bool lp_enc_refuse(struct enc *e)
{
	lua_pushliteral(e->L, "");
	return false;
}

/* A path of ten thousand steps is of no use to people: of a long one (at the top) the first steps and the last stay. It grows at its
 * beginning, so what is cut away lies between what has just come and what came first. */
enum { PATH_MOST = 1000, PATH_END = 300 };
#define GAP " ... "

static bool begins_step(const char *s)
{
	return *s == '.' || *s == '[' || *s == ':';
}

static void shorten(lua_State *L)
{
	size_t n;
	const char *s = lua_tolstring(L, -1, &n);
	if (n <= PATH_MOST)
		return;
	const char *gap = strstr(s + PATH_END, GAP);
	size_t first = PATH_END, rest = gap ? (size_t)(gap - s) : n - PATH_END;
	while (first > PATH_END / 2 && !begins_step(s + first))
		first--;
	while (!gap && rest < n - PATH_END / 2 && !begins_step(s + rest))
		rest++;
	lua_pushlstring(L, s, first);
	lua_pushstring(L, gap ? "" : GAP);
	lua_pushlstring(L, s + rest, n - rest);
	lua_concat(L, 3);
	lua_remove(L, -2);
}

bool lp_enc_step(struct enc *e)
{
	lua_insert(e->L, -2);
	lua_concat(e->L, 2);
	shorten(e->L);
	return false;
}

static bool is_identifier(const char *s, size_t n)
{
	if (n == 0 || n > 60 || (s[0] >= '0' && s[0] <= '9'))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!(s[i] == '_' || (s[i] >= '0' && s[i] <= '9') || (s[i] >= 'A' && s[i] <= 'Z') || (s[i] >= 'a' && s[i] <= 'z')))
			return false;
	return true;
}

enum { KEY_MOST = 60 /* bytes of a key that is shown */ };

void lp_enc_push_key(lua_State *L, int index)
{
	size_t n;
	const char *s;
	switch (lua_type(L, index)) {
	case LUA_TSTRING:
		s = lua_tolstring(L, index, &n);
		if (is_identifier(s, n)) {
			lua_pushfstring(L, ".%s", s);
		} else if (n <= KEY_MOST) {
			lua_pushfstring(L, "[\"%s\"]", s);
		} else {
			lua_pushlstring(L, s, KEY_MOST);
			lua_pushfstring(L, "[\"%s...\"]", lua_tostring(L, -1));
			lua_remove(L, -2);
		}
		break;
	case LUA_TNUMBER:
		lua_pushvalue(L, index);
		lua_pushfstring(L, "[%s]", lua_tostring(L, -1)); /* converts the copy */
		lua_remove(L, -2);
		break;
	case LUA_TBOOLEAN:
		lua_pushfstring(L, "[%s]", lua_toboolean(L, index) ? "true" : "false");
		break;
	default:
		lua_pushfstring(L, "[<%s>]", luaL_typename(L, index));
	}
}

/* ---- errors ---- */

static const char trial_key;

struct trial {
	struct lp_own own;
	struct lp_msg msg;
};

static int trial_gc(lua_State *L)
{
	struct trial *t = lp_own_test(L, 1, sizeof *t, &trial_key);
	if (t)
		lp_msg_clear(&t->msg);
	return 0;
}

/* A message that a Lua error (memory) does not leak. */
static struct lp_msg *push_trial(lua_State *L)
{
	struct trial *t = lua_newuserdatauv(L, sizeof *t, 0);
	lp_own_set(t, &trial_key);
	lp_msg_init(&t->msg, NULL, 0);
	lua_newtable(L);
	lua_pushcfunction(L, trial_gc);
	lua_setfield(L, -2, "__gc");
	lua_setmetatable(L, -2);
	return &t->msg;
}

static int describe(lua_State *L)
{
	luaL_tolstring(L, 1, NULL);
	return 1;
}

void lp_push_sendable(lua_State *L, struct lp_values *v, int index)
{
	if (lp_is_scalar(L, index)) {
		lua_pushvalue(L, index);
		return;
	}
	struct lp_msg *trial = push_trial(L);
	int top = lua_gettop(L);
	bool ok = lp_encode(L, v, trial, index, 1, "error", 1);
	lp_msg_clear(trial);
	if (ok) {
		lua_pushvalue(L, index);
		lua_replace(L, top);
		return;
	}
	lua_pushcfunction(L, describe);
	lua_pushvalue(L, index);
	if (lua_pcall(L, 1, 1, 0) != LUA_OK || !lua_isstring(L, -1)) {
		lua_pop(L, 1);
		lua_pushliteral(L, "?");
	}
	lua_pushfstring(L, "(error object is a %s and cannot be sent: %s; %s)",
		lua_type(L, index) == LUA_TTHREAD ? "coroutine" : luaL_typename(L, index), lua_tostring(L, -1), lua_tostring(L, top + 1));
	lua_replace(L, top);
	lua_settop(L, top);
}
