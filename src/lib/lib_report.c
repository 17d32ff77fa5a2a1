/* lib_report: pool.report() for Lua. */
#include <string.h>

#include "values/handle.h"
#include "lib/lib.h"
#include "sched/report.h"
#include "vm/suspend.h"

static const char report_key;

struct box {
	struct lp_own own;
	struct lp_report *report;
};

static int report_gc(lua_State *L)
{
	struct box *box = lp_own_test(L, 1, sizeof *box, &report_key);
	if (box) {
		lp_report_free(box->report);
		box->report = NULL;
	}
	return 0;
}

/* The anchor, then the report. */
static struct lp_report *push_report(lua_State *L)
{
	struct box *box = lua_newuserdatauv(L, sizeof *box, 0);
	lp_own_set(box, &report_key);
	box->report = NULL;
	lua_rawgetp(L, LUA_REGISTRYINDEX, &report_key);
	lua_setmetatable(L, -2);
	if (!(box->report = lp_report_new(NULL)))
		luaL_error(L, "not enough memory");
	return box->report;
}

static void set_place(lua_State *L, const char *field, const char *source, int line)
{
	if (!source || line <= 0)
		return;
	lua_pushfstring(L, "%s:%d", source, line);
	lua_setfield(L, -2, field);
}

/* Pushes {pool, worker, task, started}; of the host {main = true, coroutine}. */
static void push_who(lua_State *L, const struct lp_who *who)
{
	lua_createtable(L, 0, 8);
	if (!who->pool) {
		lua_pushboolean(L, 1);
		lua_setfield(L, -2, "main");
		if (who->coroutine) {
			lua_pushfstring(L, "%p", who->coroutine);
			lua_setfield(L, -2, "coroutine");
		}
		return;
	}
	lua_pushstring(L, who->pool->opt.name);
	lua_setfield(L, -2, "pool");
	lua_pushinteger(L, (lua_Integer)who->worker);
	lua_setfield(L, -2, "worker");
	if (who->task) {
		lua_pushfstring(L, "%p", (void *)who->task);
		lua_setfield(L, -2, "task");
		set_place(L, "started", who->task->source, who->task->line);
	}
}

static void push_line(lua_State *L, const struct lp_report_line *line)
{
	static const char *const states[] = {"running", "waiting", "sleeping", "carrying", "stuck"};
	char text[1024];
	push_who(L, &line->who);
	lua_pushstring(L, states[line->what]);
	lua_setfield(L, -2, "state");
	lp_report_words(line, text, sizeof text);
	lua_pushstring(L, text);
	lua_setfield(L, -2, "text");
	set_place(L, "at", line->place.source, line->place.line);
	if (line->nobjs) {
		lua_newtable(L);
		for (int i = 0; i < line->nobjs && i < LP_REPORT_OBJECTS; i++) {
			if (line->objs[i])
				lp_push(L, line->objs[i]);
			else
				lua_pushstring(L, line->classes[i]->name);
			lua_rawseti(L, -2, i + 1);
		}
		lua_setfield(L, -2, "objects");
	}
	if (line->held) {
		push_who(L, &line->holder);
		lua_setfield(L, -2, "holder");
	}
}

/* pool.report() -> string: a line for each task that runs or waits in any pool of the process, and for each Lua state of the
 * host that waits, and each of its coroutines that an event loop has suspended: where in its Lua code, for what, and who holds that.
 * pool.report("list") -> the same as a list of tables. Never blocks. */
static int report(lua_State *L)
{
	static const char *const forms[] = {"text", "list", NULL};
	bool list = luaL_checkoption(L, 1, "text", forms) == 1;
	lua_settop(L, 0);
	lp_sweep_lights(L, lua_touserdata(L, lua_upvalueindex(1)));
	struct lp_report *r = push_report(L);
	int n = 0;
	if (list) {
		lua_newtable(L);
		for (unsigned i = 0; i < r->n; i++) {
			if (!r->lines[i].who.pool && r->lines[i].what == LP_RUNS)
				continue;
			push_line(L, &r->lines[i]);
			lua_rawseti(L, -2, ++n);
		}
	} else {
		luaL_Buffer b;
		char text[1024];
		luaL_buffinit(L, &b);
		for (unsigned i = 0; i < r->n; i++) {
			if (!r->lines[i].who.pool && r->lines[i].what == LP_RUNS)
				continue;
			if (n++)
				luaL_addchar(&b, '\n');
			lp_report_words(&r->lines[i], text, sizeof text);
			luaL_addstring(&b, text);
		}
		if (!n)
			luaL_addstring(&b, "no task runs or waits");
		luaL_pushresult(&b);
	}
	((struct box *)lua_touserdata(L, 1))->report = NULL; /* what it holds goes now */
	lp_report_free(r);
	return 1;
}

void lp_open_report(lua_State *L, int state)
{
	static const luaL_Reg functions[] = {{"report", report}, {NULL, NULL}};
	lua_newtable(L);
	lua_pushcfunction(L, report_gc);
	lua_setfield(L, -2, "__gc");
	lua_rawsetp(L, LUA_REGISTRYINDEX, &report_key);
	lua_pushvalue(L, state);
	luaL_setfuncs(L, functions, 1);
}
