/* values_int: what the files of the values layer share: the tags of the format, a state's record, the
 * identity map.
 *
 * The format. A value is a tag byte and what it says below, numbers in the machine's order (a message
 * never leaves the process). Tables, functions and strings leave room for an ordinal, which is
 * filled in when they are met a second time (and MARK set in the tag): only then the decoder keeps them
 * for references. */
#ifndef LP_VALUES_INT_H
#define LP_VALUES_INT_H

#include <string.h>

#include "values/own.h"
#include "values/values.h"

enum lp_tag {
	LP_TNIL, LP_TFALSE, LP_TTRUE,
	LP_TBYTE,     /* int8: a small integer */
	LP_TINT,      /* int64 */
	LP_TFLOAT,    /* double */
	LP_TSHORT,    /* ordinal u32, length u8, bytes */
	LP_TLONG,     /* ordinal u32, length u64, bytes */
	LP_TTABLE,    /* ordinal u32, array size u32, pairs u32; elements; pairs; metatable if META */
	LP_TINTS,     /* in an array part: count u32, int64s */
	LP_TFLOATS,   /* in an array part: count u32, doubles */
	LP_TREF,      /* ordinal u32 */
	LP_TFUNCTION, /* ordinal u32, object index u32, flags u8, upvalues u8; the environment if ENV; upvalues */
	LP_TMODULE,   /* ordinal u32, length u8, name */
	LP_TFIELD,    /* length u8, name; length u8, field */
	LP_TGLOBALS,  /* ordinal u32 */
	LP_TLIGHT,    /* pointer */
	LP_TOBJECT,   /* object index u32 */
	LP_TCUSTOM,   /* ordinal u32, count u32; decoder function or metatable by name; values */
	LP_TCDATA,    /* 0: int64, 1: uint64; 8 bytes */
	LP_TPINNED,   /* ordinal u32, object index u32: a large string that is still the sender's */
	LP_TAGS,
	LP_MARK = 0x80, /* referred to later: has an ordinal */
	LP_META = 0x40, /* of a table: a metatable follows */
};
enum { LP_UP_VALUE, LP_UP_GLOBALS, LP_UP_SHARED /* ordinal u32, index u8 */ };
enum { LP_FENV = 1 /* LuaJIT: an environment that is not the globals follows */ };
#define LP_NO_ORDINAL UINT32_MAX
enum { LP_NAMED_WORDS = 128, LP_KNOWN = 8, LP_VERIFIED = 8 };
enum { LP_SURE_MIN = 1024 /* bytes of a string that goes once at the most, however many others come between */ };
enum { LP_SHORT_MAX = 40, LP_DEPTH_MAX = 10000, LP_FRAME = 640 /* bytes of C stack per level, generous */ };

/* An identity map: address -> where in the message it first stood. Cleared by counting the epoch up. Small slots: with
 * some ten thousand tables the time goes into cache misses. */
struct lp_slot {
	const void *key;
	uint64_t at : 56;    /* its tag's place in the message */
	uint64_t extra : 8;  /* of an upvalue: its index */
	uint32_t epoch;
};

struct lp_map {
	struct lp_slot *slots;
	struct lp_slot *strings;   /* see lp_map_string; NULL until it is used */
	uint32_t cap, used, epoch; /* cap: a power of 2 */
};

struct lp_scratch {
	struct lp_own own;
	struct lp_map map;
	uint32_t ordinals;
	int keep;        /* stack index of a table of temporaries that must outlive the encoding; nil: none so far */
	bool names_fresh, searched, searched_fields; /* what names.c was asked for in this message already */
};

struct lp_pins;

struct lp_values {
	struct lp_own own;
	struct lp_scratch scratch;
	bool in_user_code;      /* a __pool_encode runs: its own sends use a scratch of their own */
	/* Registry references of tables. */
	int codes;              /* weak keys: function -> code handle */
	int anchors;            /* weak values: prototype -> some function of it */
	int loaded;             /* code -> function or factory */
	int held;               /* code -> handle that keeps it */
	int names;              /* weak keys: value -> name */
	int known_functions;    /* index in `known` + 1 -> the function that keeps the prototype's address its own */
	unsigned nloaded;
	/* A few that were sent or called last, to be found without asking a table. */
	struct {
		const void *proto;
		struct lp_code *code;
	} known[LP_KNOWN];      /* functions whose only upvalue, if any, is the globals */
	struct {
		struct lp_code *code;
		int ref;        /* of the function or factory in the registry */
	} ready[LP_KNOWN];
	/* A quick test whether a value may have a name: a Bloom filter of the addresses (a hint, the table decides). */
	uint64_t named[LP_NAMED_WORDS];
	const void *modules;    /* package.loaded, as it was when `names` was made; NULL: it must be looked through */
	size_t sum;             /* over its keys and values */
	int credit, field_credit; /* see names.c */
	const void *nameless[LP_VERIFIED]; /* what was looked for lately and has no name */
	unsigned message;       /* counts, so that a name is verified once in each */
	struct {
		const void *value;
		unsigned message;
	} verified[LP_VERIFIED];
	size_t looked;          /* how many entries of package.loaded, and of its modules, were looked at */
	const void *globals;
	bool *lost;             /* a standard module was not in package.loaded any more; NULL: nobody asks */
#if LP_LUAJIT
	const void *home;       /* the table of globals that the state was opened with, and a reference to it */
	int home_ref;
#endif
	bool factories;         /* the self-test passed */
	struct lp_pins *pins;   /* large strings that messages have; NULL: none can be pinned */
};

/* How many levels the C stack has room for. Where nobody knows how much is left (a stack that is not the thread's
 * own), there is room for some. */
static inline int lp_depth_left(int most)
{
	enum { UNKNOWN = 100 };
	size_t left = lp_stack_left(), levels = left ? left / LP_FRAME : UNKNOWN;
	return levels < (size_t)most ? (int)levels : most;
}

/* ---- numbers.c ---- */
/* Sets elements at … at + n - 1 of the new table on top to numbers from a block; false: it has no room for them in its array
 * part, or that is not known. */
bool lp_set_numbers(lua_State *L, enum lp_tag tag, const unsigned char *p, uint32_t at, uint32_t n);
bool lp_numbers_work(lua_State *L); /* the self-test; may leave values on the stack */

/* ---- records.c ---- */
bool lp_records_work(lua_State *L); /* the self-test; may leave values on the stack */
/* If lp_records_known(): is the collected object at this address a value under a string in the table; if `deep`, also in a table
 * in it, but for the one at `except`? *looked grows by the places that were looked at. */
bool lp_fields_hold(const void *table, const void *value, bool deep, const void *except, size_t *looked);

/* ---- map.c ---- */
/* The slot of key, or a fresh one (*fresh); NULL: out of memory. */
struct lp_slot *lp_map_get(struct lp_map *m, const void *key, bool *fresh);
static inline uint32_t lp_hash_pointer(const void *p)
{
	return (uint32_t)(((uint64_t)(uintptr_t)p * 0x9e3779b97f4a7c15u) >> 32); /* Fibonacci hashing (Knuth 6.4) */
}
/* Where the short string at this address may have stood last: a strings' slot is overwritten by others, since a string that is
 * sent twice does no harm. Its key and epoch tell whether it is the string's. NULL: out of memory. */
struct lp_slot *lp_map_string(struct lp_map *m, const void *string);
void lp_map_clear(struct lp_map *m);
void lp_map_free(struct lp_map *m);

/* ---- code.c ---- */
extern const struct lp_class lp_code_class;
struct lp_code {
	struct lp_obj obj;
	struct lp_code *next;    /* [registry lock] same bucket */
	uint64_t hash;
	size_t size;
	uint8_t upvalues;
	unsigned char bytes[];   /* as string.dump gives them */
};
/* The code of the Lua function at index; the function itself keeps it (a weak cache), so the pointer is
 * good while the function is. Raises on memory. */
struct lp_code *lp_code_of(lua_State *L, struct lp_values *v, int index);
/* The code of the function at index if it was noted by lp_code_note and captures nothing but the globals; else NULL. Never raises. */
struct lp_code *lp_code_known(lua_State *L, struct lp_values *v, int index);
/* Remembers the code of the function at index, if that captures nothing but the globals. Raises on memory. */
void lp_code_note(lua_State *L, struct lp_values *v, int index, struct lp_code *code);
/* Pushes a function with this code: with upvalues always a new one, its upvalues nil. Raises. */
void lp_code_push(lua_State *L, struct lp_values *v, struct lp_code *code, bool fresh);
void lp_code_open(lua_State *L, struct lp_values *v);

/* Pushes a handle of the code of the Lua function at index, dumped just now. */
struct lp_code *lp_code_dump(lua_State *L, int index);

/* ---- factory.c: Lua 5.4 only ---- */
/* Pushes the factory of functions with this code and returns true, or pushes nothing. */
bool lp_factory_push(lua_State *L, struct lp_code *code);
/* Does a factory make functions that work, each with upvalues of its own? May leave values on the stack. */
bool lp_factories_work(lua_State *L);

/* ---- names.c ---- */
/* Pushes the name of the value at index ("module" or "module\0field") and returns true, or pushes nothing. It is what has this name
 * just now. */
bool lp_name_of(lua_State *L, struct lp_values *v, int index);
/* Has package.loaded changed, as far as that is seen without looking through it? Then the names are collected again. */
void lp_names_refresh(lua_State *L, struct lp_values *v);
/* The value at index has no name, but could have got one meanwhile without being seen: true if names were collected again.
 * Looks through the modules, or all their fields, and not each time unless it `must`. */
bool lp_names_search(lua_State *L, struct lp_values *v, int index, bool fields, bool must);
/* Could the value at this address have a name? No false negatives since the last refresh. */
static inline bool lp_maybe_named(struct lp_values *v, const void *p)
{
	uint32_t h = lp_hash_pointer(p);
	return v->named[h / 64 % LP_NAMED_WORDS] >> h % 64 & v->named[(h >> 16) / 64 % LP_NAMED_WORDS] >> (h >> 16) % 64 & 1;
}
/* Pushes what has this name here, requiring the module; raises if it is not to be had. */
void lp_push_named(lua_State *L, const char *module, size_t n, const char *field, size_t m);

/* ---- changes.c ---- */
/* Remembers what the table at index has; its address then tells whether it may have got another key since. Where that is not
 * known, it may. */
void lp_changes_note(lua_State *L, int index);
bool lp_changes_since(const void *table);
bool lp_changes_work(lua_State *L); /* the self-test; may leave values on the stack */

/* ---- shortcut.c ---- */
/* The prototype of a Lua function, as an identity: NULL where the layout is not known. */
const void *lp_prototype(lua_State *L, int index);
bool lp_arrays_known(void);  /* numbers.c may be used */
bool lp_records_known(void); /* records.c may be used */
void lp_shortcut_test(lua_State *L); /* once per process */
bool lp_portable(void);              /* LUA_POOL_PORTABLE=1: no knowledge of internals is used */

/* One more value of a message, a string, for those who have no Lua state to encode it in. False: out of memory. */
static inline bool lp_put_string(struct lp_msg *m, const char *text, uint64_t n)
{
	if (!lp_msg_room(m, 13 + n))
		return false;
	unsigned char *at = m->data + m->len;
	*at = LP_TLONG;
	memset(at + 1, 0xff, 4); /* LP_NO_ORDINAL */
	memcpy(at + 5, &n, 8);
	memcpy(at + 13, text, n);
	m->len += 13 + n;
	m->nvalues++;
	return true;
}

#endif
