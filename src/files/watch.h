/* watch: what happens to a file or in a folder, as messages of a channel.
 *
 * One thread of the process reads for all; it runs while there is something to watch. A watch belongs to its
 * channel (lp_channel.source) and ends with it: when that is closed or nobody has it any more. */
#ifndef LP_WATCH_H
#define LP_WATCH_H

#include "sync/channel.h"

/* Watches `system_path` and gives ch its messages: (what, path), path beginning with `name`. 0 or an errno. From then on
 * ch, which nobody else knows yet, owns the watch. */
int lp_watch_start(struct lp_channel *ch, const char *system_path, const char *name);

#endif
