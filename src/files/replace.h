/* replace: a file that gets new content as a whole or not at all.
 *
 * The content is written to a file beside it, which then takes its name. Whoever reads sees the old content or the
 * new, whenever the writer dies. The file beside has one of a few names that follow from that of the target, and its
 * writer holds a lock on it: one without a lock belongs to a writer that has died, and the next writer of this target
 * removes it. (A process number in the name would not do: those of another container mean nothing here.) Where all these
 * names are taken, by more writers or by what is not ours, it has a random one, which the next writer finds by reading the
 * folder: it does so if the folder is small, or if anything lies under one of the few names. */
#ifndef LP_REPLACE_H
#define LP_REPLACE_H

#include <limits.h>
#include <sys/stat.h>

#include "vm/state.h"

struct lp_replace {
	int dir;                    /* the folder; the caller's */
	int fd;                     /* where the content goes; -1: not begun */
	const char *name;           /* the target in dir; the caller's */
	bool there;                 /* there is one that is to be replaced: */
	struct stat like;           /* what it is like */
	mode_t mode;                /* of the new one */
	char temp[NAME_MAX + 1];    /* the name of the file beside */
	size_t stem;                /* as much of it is common to all files beside this target */
};

/* Makes the file beside. `mode`: permissions of a new file, less the umask; one that is there keeps its own, and its owner
 * if we may give files away. 0 or an errno; EISDIR for a folder, EXDEV for what is neither file nor nothing (a device,
 * say): write to it as it is. */
int lp_replace_begin(struct lp_replace *r, int dir, const char *name, mode_t mode);
/* What was written becomes the target's content, after it has got its owner and permissions: writing takes bits away. `sync`: 0 when the system likes; 1 the content is on the disk before; 2 the
 * name as well. After an error the target is as it was. */
int lp_replace_commit(struct lp_state *s, struct lp_replace *r, int sync);
void lp_replace_abort(struct lp_replace *r); /* no-op if it was committed or not begun */

#endif
