/* ids: small integers from 1 on, unique among those that are in use: the workers' numbers. */
#ifndef LP_IDS_H
#define LP_IDS_H

enum { LP_MOST_IDS = 16384 }; /* in use at once, in the process; pool.id_count() is one more */

unsigned lp_id_take(void); /* the lowest that is free; 0: there is none */
void lp_id_give(unsigned id);

#endif
