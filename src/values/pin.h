/* pin: a large string of a Lua state that a message refers to instead of having a copy of it, so that it is copied once:
 * into the state that receives it.
 *
 * The sender's registry keeps the string alive while a message has the pin. When the last count goes, on any thread,
 * the pin is only noted as dead: the state lets go of its string when it sends or receives the next time. When the
 * state closes, what is still pinned is copied. A reader is never disturbed: closing waits for it, for as long as
 * a copy takes. */
#ifndef LP_PIN_H
#define LP_PIN_H

#include "values/compat.h"
#include "wait/obj.h"

enum { LP_PIN_MIN = 32768 }; /* bytes of a string that is worth it */

struct lp_pins; /* what one Lua state has pinned; outlives it while a message has one */
struct lp_msg;

/* NULL: out of memory. `table` is a registry reference of a table for the strings. */
struct lp_pins *lp_pins_new(int table);
/* The state closes; its strings are still there. Takes over the caller's count. */
void lp_pins_close(struct lp_pins *s);
/* Lets go of the strings that nobody needs any more. On the state's thread. */
void lp_pins_sweep(lua_State *L, struct lp_pins *s);

/* Pins the string at index (absolute) for m and answers the pin's object index in it; false: it must be copied instead (the state
 * closes, or no memory for a pin). Raises if the registry has no memory: m must be anchored. */
bool lp_pin_string(lua_State *L, struct lp_pins *s, int index, struct lp_msg *m, uint32_t *object);

extern const struct lp_class lp_pin_class;
/* Pushes the string of an object of lp_pin_class. Raises on memory. */
void lp_pin_push(lua_State *L, struct lp_obj *o);

/* Is there something to sweep? */
bool lp_pins_dead(const struct lp_pins *s);

#endif
