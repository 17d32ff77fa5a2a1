/* output: see output.h. */
#include "vm/output.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char TEXT[] = "Broken pipe: nobody reads any more what this program writes";
static _Atomic bool raised; /* once at least: only then texts are looked at */

static bool is_ignored(void)
{
	struct sigaction now;
	return sigaction(SIGPIPE, NULL, &now) == 0 && now.sa_handler == SIG_IGN;
}

bool lp_output_lost(int err)
{
	return err == EPIPE && !is_ignored();
}

int lp_output_raise(lua_State *L)
{
	atomic_store(&raised, true);
	return luaL_error(L, "%s", TEXT);
}

/* To the process: a thread of the host's has it, as the one that writes would have without us. */
static void end_program(void)
{
	if (!is_ignored())
		kill(getpid(), SIGPIPE);
}

void lp_output_uncaught(const char *text)
{
	if (text && atomic_load_explicit(&raised, memory_order_relaxed) && strstr(text, TEXT))
		end_program();
}

void lp_output_said(int n)
{
	if (n < 0 && errno == EPIPE)
		end_program();
}

/* ---- what writes in a worker ---- */

static bool is_standard(lua_State *L)
{
	FILE **file = lua_touserdata(L, 1);
	if (!file || !lua_getmetatable(L, 1))
		return false;
	luaL_getmetatable(L, LUA_FILEHANDLE);
	bool is_file = lua_rawequal(L, -1, -2);
	lua_pop(L, 2);
	return is_file && (*file == stdout || *file == stderr);
}

/* Upvalues: the original, always. Wrong arguments are named here: the original does not know who called it. */
static int guarded(lua_State *L)
{
	bool method = !lua_toboolean(L, lua_upvalueindex(2));
	int n = lua_gettop(L);
	if (method)
		luaL_checkudata(L, 1, LUA_FILEHANDLE);
	for (int i = method ? 2 : 1; i <= n; i++)
		if (!lua_isstring(L, i))
			return luaL_argerror(L, i, lua_pushfstring(L, "string expected, got %s", luaL_typename(L, i)));
	bool raises = !method || is_standard(L);
	luaL_checkstack(L, 2, NULL);
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	if (lua_pcall(L, n, LUA_MULTRET, 0) != LUA_OK) { /* a file that is closed */
		if (lua_type(L, -1) == LUA_TSTRING) {
			luaL_where(L, 1);
			lua_insert(L, -2);
			lua_concat(L, 2);
		}
		return lua_error(L);
	}
	if (raises && lua_gettop(L) == 3 && lua_isnil(L, 1) && lp_output_lost((int)lua_tointeger(L, 3)))
		return lp_output_raise(L);
	return lua_gettop(L);
}

int lp_output_guarded(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TFUNCTION);
	lua_settop(L, 2);
	lua_pushcclosure(L, guarded, 2);
	return 1;
}
