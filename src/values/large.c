/* large: see large.h. Lua allocates a string and fills it in one call; what is to be said to the system about the memory has
 * to be said in between. So for the length of that call the state has an allocator of ours around its own. */
#include "values/large.h"

#include "base/sys.h"

enum { LARGE = 4 << 20 };

struct push {
	const char *p;
	size_t n;
	lua_Alloc alloc; /* the state's own */
	void *ud;
};

/* The collector may run meanwhile, and whatever it finalises: all of that goes through. */
static void *advise_and_alloc(void *ud, void *p, size_t old, size_t size)
{
	struct push *push = ud;
	void *q = push->alloc(push->ud, p, old, size);
	if (q && !p && size >= LARGE)
		lp_advise_large(q, size);
	return q;
}

static int push_protected(lua_State *L)
{
	struct push *push = lua_touserdata(L, 1);
	lua_pushlstring(L, push->p, push->n);
	return 1;
}

void lp_push_large(lua_State *L, const char *p, size_t n)
{
	if (n < LARGE) {
		lua_pushlstring(L, p, n);
		return;
	}
	struct push push = {.p = p, .n = n};
	lua_pushcfunction(L, push_protected); /* what may raise comes before */
	lua_pushlightuserdata(L, &push);
	push.alloc = lua_getallocf(L, &push.ud);
	lua_setallocf(L, advise_and_alloc, &push);
	int status = lua_pcall(L, 1, 1, 0);
	lua_setallocf(L, push.alloc, push.ud);
	if (status != LUA_OK)
		lua_error(L);
}
