/* output: what tasks write for a reader that may have gone. Workers block SIGPIPE, which ends a program without a pool
 * (`lua script.lua | head -1`): a write there fails instead. So print and what writes to the standard streams raise in a task; and if
 * no pcall of the task catches that, the program gets the signal that it would have got. A program that ignores
 * SIGPIPE, or handles it, goes on in both cases. Nobody's mask and nobody's handler is changed. */
#ifndef LP_OUTPUT_H
#define LP_OUTPUT_H

#include "values/compat.h"

/* Right after a write has failed: was it for that reason, and does the program not ignore the signal? */
bool lp_output_lost(int err);
/* Raises the error in a task. */
int lp_output_raise(lua_State *L);
/* The text of an error that nobody has caught, or NULL: if it is that one, the program gets its signal. */
void lp_output_uncaught(const char *text);
/* The same for a write of ours: n is what fprintf has answered. */
void lp_output_said(int n);
/* guarded(original, always) -> function: calls it, and raises as above if it wrote to a standard stream, or `always`. */
int lp_output_guarded(lua_State *L);

#endif
