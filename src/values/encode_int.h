/* encode_int: what the encode*.c files share. encode.c: the contract, scalars, references; encode_table.c: tables and
 * what encodes itself; encode_other.c: functions, userdata, cdata; encode_path.c: what cannot be sent, and where it is.
 *
 * Nothing here raises but for memory, and what it allocates lives in the message (its owner is anchored) or
 * in the state's scratch; a value that cannot be sent unwinds by return values, and each level adds its part of
 * the path. The only user code that runs is __pool_encode, protected. */
#ifndef LP_ENCODE_INT_H
#define LP_ENCODE_INT_H

#include <string.h>

#include "values/values_int.h"

/* An object whose __pool_encode has run, while what it gave is written: it has no reference before that is complete. */
struct lp_open {
	size_t at; /* where it begins in the message */
	const struct lp_open *outer;
};

enum lp_met { LP_NEW, LP_WRITTEN, LP_REFUSED };

struct enc {
	lua_State *L;
	struct lp_values *v;
	struct lp_msg *m;
	struct lp_scratch *s;
	int depth, limit; /* limit < 0: not prepared for more than scalars */
	int top;           /* the stack as it was then */
	bool many;         /* several values are sent */
	const struct lp_open *open; /* the innermost; NULL: none */
	const void *early; /* a function that was written before there was a map to note it in, NULL: none */
	size_t early_at;
};

/* True: sent, the stack is as before. False: refused; path and reason are on top of it. */
bool lp_enc_value(struct enc *e, int index);
bool lp_enc_table(struct enc *e, int index);
bool lp_enc_function(struct enc *e, int index);
/* The same for one whose code is known and that captures nothing but the globals, in an `enc` that is not prepared: writes
 * all of it, or nothing and answers false. */
bool lp_enc_plain_function(struct enc *e, int index);
bool lp_enc_userdata(struct enc *e, int index);
bool lp_enc_cdata(struct enc *e, int index);

/* Calls __pool_encode (at the top) with the value at index, and sends what it returns. */
bool lp_enc_custom(struct enc *e, int index, int metatable);
/* Pushes the metatable's raw field and returns true if it is there, or pushes nothing. */
bool lp_enc_meta_field(lua_State *L, int metatable, const char *name);

static inline bool lp_is_scalar(lua_State *L, int index)
{
	int t = lua_type(L, index);
	return t == LUA_TNIL || t == LUA_TBOOLEAN || t == LUA_TNUMBER || t == LUA_TSTRING;
}

/* ---- writing ---- */
__attribute__((noreturn)) void lp_enc_no_memory(struct enc *e);
void lp_enc_grow(struct enc *e, size_t n);

static inline unsigned char *lp_enc_room(struct enc *e, size_t n)
{
	if (e->m->cap - e->m->len < n)
		lp_enc_grow(e, n);
	unsigned char *p = e->m->data + e->m->len;
	e->m->len += n;
	return p;
}

static inline void lp_put_u32(unsigned char *p, uint32_t x)
{
	memcpy(p, &x, sizeof x);
}

/* ---- scalars ---- */
void lp_enc_integer(struct enc *e, int64_t x);
void lp_enc_float(struct enc *e, double x);
void lp_enc_short(struct enc *e, const char *str, size_t n); /* a string that Lua has interned */

/* By name, if the value at index has one. */
bool lp_enc_named(struct enc *e, int index);
void lp_enc_module(struct enc *e, const char *name, size_t n);
/* Looks once in each message whether the names are up to date. */
void lp_enc_names(struct enc *e);
/* The value at index has no name. True: names were collected again, it may have one now. */
bool lp_enc_search(struct enc *e, int index, bool fields, bool must);

/* Writes the numbers that the table at index begins with as blocks, if they can be seen (numbers.c); answers how many. */
uint32_t lp_enc_numbers(struct enc *e, int index);

/* Writes the pairs of the table at index, if it has nothing but pairs of short strings and scalars, and that can be seen
 * (records.c): true, and *pairs is how many. False: nothing was written. */
bool lp_enc_record(struct enc *e, int index, uint32_t *pairs);

/* ---- references ---- */
/* The ordinal of what begins at this place of the message; it gets one with the first reference. */
uint32_t lp_enc_ordinal(struct enc *e, size_t at);
bool lp_enc_again(struct enc *e, struct lp_slot *s);
/* Was it met before? Then that is all there is to write, or it is refused. Else notes that it begins here. */
enum lp_met lp_enc_met(struct enc *e, const void *key);

/* ---- what went wrong, and where: two strings on the stack, path above reason. They return false ---- */
bool lp_enc_refuse(struct enc *e); /* the reason is on top */
bool lp_enc_step(struct enc *e);   /* a part to put before the path is on top */
void lp_enc_push_key(lua_State *L, int index); /* the key as a part: .name, ["a b"], [3] */

#endif
