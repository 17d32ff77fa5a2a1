/* compat: one spelling for Lua 5.4 and for LuaJIT (the 5.1 ABI).
 *
 * Every other file is written against the 5.4 API; what LuaJIT lacks is supplied here.
 * LP_LUAJIT tells the two apart where behaviour, not spelling, differs. */
#ifndef LP_COMPAT_H
#define LP_COMPAT_H

#include <lua.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Who may raise. Every function of the API that makes something may: memory. On LuaJIT that is more of them (lua_pushcfunction
 * and lua_checkstack, in its first use of an address range lua_pushlightuserdata), and each step of its collector, which any of
 * them may make, raises what a __gc has raised. What never raises on either Lua: lua_push* of nil, booleans, numbers and
 * values that are there already, lua_rawget and lua_rawgeti, the lua_to* and lua_is* that do not convert (lua_tostring of a number
 * does), lua_settop, lua_insert, lua_sethook, lua_pcall, lua_cpcall, lua_close. Outside a protected call only these may be
 * used: an error there ends the process. */

/* The name of chunks that we load from C. */
#define LP_CHUNK "=lua-pool"

#if LUA_VERSION_NUM >= 504
#define LP_LUAJIT 0
#define lp_resume(L, from, narg, nres) lua_resume(L, from, narg, nres)
#define lp_dump(L, writer, data) lua_dump(L, writer, data, 0)
#define lp_load(L, reader, data, name) lua_load(L, reader, data, name, "bt")
#define lp_caller_level(L) 1
#elif LUA_VERSION_NUM == 501
#include <luajit.h>
#define LP_LUAJIT 1
#ifndef LUA_OK
#define LUA_OK 0
#endif
#ifndef LUA_ERRGCMM
#define LUA_ERRGCMM 6
#endif
#define LUA_TCDATA 10
#define lp_dump(L, writer, data) lua_dump(L, writer, data)
#define lp_load(L, reader, data, name) lua_load(L, reader, data, name)
#define lua_rawlen(L, i) lua_objlen(L, i)
#define lua_newuserdatauv(L, size, n) lua_newuserdata(L, size)
#define lua_pushglobaltable(L) lua_pushvalue(L, LUA_GLOBALSINDEX)

static inline int lua_absindex(lua_State *L, int i)
{
	return i < 0 && i > LUA_REGISTRYINDEX ? lua_gettop(L) + i + 1 : i;
}

static inline int lp_rawget(lua_State *L, int i)
{
	lua_rawget(L, i);
	return lua_type(L, -1);
}
#define lua_rawget(L, i) lp_rawget(L, i)

static inline int lp_rawgeti(lua_State *L, int i, int n)
{
	lua_rawgeti(L, i, n);
	return lua_type(L, -1);
}
#define lua_rawgeti(L, i, n) lp_rawgeti(L, i, (int)(n))

static inline int lp_getfield(lua_State *L, int i, const char *k)
{
	lua_getfield(L, i, k);
	return lua_type(L, -1);
}
#define lua_getfield(L, i, k) lp_getfield(L, i, k)

static inline int lua_rawgetp(lua_State *L, int i, const void *p)
{
	i = lua_absindex(L, i);
	lua_pushlightuserdata(L, (void *)p);
	return lua_rawget(L, i);
}

static inline void lua_rawsetp(lua_State *L, int i, const void *p)
{
	i = lua_absindex(L, i);
	lua_pushlightuserdata(L, (void *)p);
	lua_insert(L, -2);
	lua_rawset(L, i);
}

static inline int lp_resume(lua_State *L, lua_State *from, int narg, int *nres)
{
	(void)from;
	int status = lua_resume(L, narg);
	*nres = lua_gettop(L);
	return status;
}

static inline int luaL_getsubtable(lua_State *L, int i, const char *name)
{
	i = lua_absindex(L, i);
	if (lua_getfield(L, i, name) == LUA_TTABLE)
		return 1;
	lua_pop(L, 1);
	lua_newtable(L);
	lua_pushvalue(L, -1);
	lua_setfield(L, i, name);
	return 0;
}

/* As luaL_tolstring of 5.4, without __name. */
static inline const char *luaL_tolstring(lua_State *L, int i, size_t *len)
{
	if (luaL_callmeta(L, i, "__tostring")) {
		if (!lua_isstring(L, -1))
			luaL_error(L, "'__tostring' must return a string");
	} else {
		switch (lua_type(L, i)) {
		case LUA_TNUMBER:
		case LUA_TSTRING:
			lua_pushvalue(L, i);
			break;
		case LUA_TBOOLEAN:
			lua_pushstring(L, lua_toboolean(L, i) ? "true" : "false");
			break;
		case LUA_TNIL:
			lua_pushliteral(L, "nil");
			break;
		default:
			lua_pushfstring(L, "%s: %p", luaL_typename(L, i), lua_topointer(L, i));
		}
	}
	return lua_tolstring(L, -1, len);
}

/* LuaJIT has no integer subtype: nothing is one. */
static inline int lua_isinteger(lua_State *L, int i)
{
	(void)L, (void)i;
	return 0;
}
/* Functions that wait have a Lua function of ours around them (suspend.h): the level of whoever called that. */
int lp_caller_level(lua_State *L);
#else
#error "lua-pool needs Lua 5.4 or LuaJIT 2.1; this lua.h is of another version"
#endif

/* As lauxlib's: but an error says where the user's code called, whatever of our own Lua code is between. */
int lp_error(lua_State *L, const char *format, ...);
int lp_argerror(lua_State *L, int arg, const char *what);
lua_Number lp_checknumber(lua_State *L, int arg);
lua_Integer lp_checkinteger(lua_State *L, int arg);
const char *lp_checklstring(lua_State *L, int arg, size_t *len);
const char *lp_optlstring(lua_State *L, int arg, const char *otherwise, size_t *len);
void lp_checktype(lua_State *L, int arg, int type);
void lp_checkany(lua_State *L, int arg);
int lp_checkoption(lua_State *L, int arg, const char *otherwise, const char *const names[]);
#define luaL_error lp_error
#define luaL_argerror lp_argerror
#define luaL_checknumber lp_checknumber
#define luaL_checkinteger lp_checkinteger
#define luaL_checklstring lp_checklstring
#define luaL_optlstring lp_optlstring
#define luaL_checktype lp_checktype
#define luaL_checkany lp_checkany
#define luaL_checkoption lp_checkoption
lua_Number lp_optnumber(lua_State *L, int arg, lua_Number otherwise);
lua_Integer lp_optinteger(lua_State *L, int arg, lua_Integer otherwise);
#define luaL_optnumber lp_optnumber
#define luaL_optinteger lp_optinteger
/* Pushes that place, as luaL_where does. */
void lp_where(lua_State *L);
/* The text on top, with that place before it. */
int lp_error_on_top(lua_State *L);

/* Our own Lua files are in the folder of this one (a chunk's name, as in lua_Debug.source), in this process. */
void lp_own_files(const char *source);
bool lp_own_source(const char *source);

/* f(ud as light userdata), protected; may be called where nothing else is. Leaves nothing, or the error. */
static inline int lp_protected(lua_State *L, lua_CFunction f, void *ud)
{
#if LP_LUAJIT
	return lua_cpcall(L, f, ud);
#else
	lua_pushcfunction(L, f);
	lua_pushlightuserdata(L, ud);
	return lua_pcall(L, 1, 0, 0);
#endif
}

/* The text of an error that may be anything; never raises. */
static inline const char *lp_text_of(lua_State *L, int index)
{
	return lua_type(L, index) == LUA_TSTRING ? lua_tostring(L, index) : "(no text)";
}

#endif
