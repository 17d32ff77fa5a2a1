/* array: the loops over arrays as one would write them in C, on the memory of our arrays. A Lua module for
 * bench/rows/data.lua: require "bench_array" -> {sum = ..., axpy = ...}, functions of pointers (a:pointer()) and lengths. The
 * loop of `sum` may be reordered by the compiler, so that it is vectorised too: the fastest plain loop there is. */
#include "values/compat.h"

__attribute__((noinline, optimize("Ofast")))
static double sum(const double *x, size_t n)
{
	double s = 0;
	for (size_t i = 0; i < n; i++)
		s += x[i];
	return s;
}

__attribute__((noinline, optimize("O3")))
static void axpy(double *y, double k, const double *x, size_t n)
{
	for (size_t i = 0; i < n; i++)
		y[i] += k * x[i];
}

/* sum(pointer, n) -> number */
static int array_sum(lua_State *L)
{
	lua_pushnumber(L, sum(lua_touserdata(L, 1), (size_t)luaL_checknumber(L, 2)));
	return 1;
}

/* axpy(y, k, x, n) */
static int array_axpy(lua_State *L)
{
	axpy(lua_touserdata(L, 1), luaL_checknumber(L, 2), lua_touserdata(L, 3), (size_t)luaL_checknumber(L, 4));
	return 0;
}

int luaopen_bench_array(lua_State *L);

__attribute__((visibility("default"))) int luaopen_bench_array(lua_State *L)
{
	static const luaL_Reg functions[] = {{"sum", array_sum}, {"axpy", array_axpy}, {NULL, NULL}};
	lua_newtable(L);
	luaL_setfuncs(L, functions, 0);
	return 1;
}
