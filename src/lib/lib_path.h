/* lib_path: paths as the C functions of pool.fs see them: a name, and perhaps a folder that it may not leave. */
#ifndef LP_LIB_PATH_H
#define LP_LIB_PATH_H

#include <limits.h>
#include <sys/types.h>

#include "lib/lib_file.h"

struct lp_path {
	struct lp_folder *root; /* NULL: the process's own folder, and no limits */
	const char *name;
	size_t len;
};

/* The folder at index 1 and the name at `index`. False: there is a zero byte in it (no system call may see it);
 * lp_push_path_error knows. Raises for what is no string. */
bool lp_check_path(lua_State *L, int index, struct lp_path *path);
/* Pushes what the call answers for an errno or LP_IO_STOPPED (then it raises). */
int lp_push_path_error(lua_State *L, struct lp_state *s, const struct lp_path *path, int err);

/* Opens without blocking on a FIFO's other end, but waits for a reader when it is opened for writing. 0, an
 * errno or LP_IO_STOPPED. */
int lp_open_path(struct lp_state *s, const struct lp_path *path, int flags, mode_t mode, int *fd);

/* Opens a file that is to be read as a whole; a folder is EISDIR. *fd as above: the caller closes it, also after an error,
 * unless it stayed -1. */
int lp_begin_reading(struct lp_state *s, const struct lp_path *path, int *fd, struct lp_io *io);

/* stat(2), of what a symbolic link leads to if it is to be followed. 0, an errno or LP_IO_STOPPED. */
int lp_stat_path(struct lp_state *s, const struct lp_path *path, bool follow, struct stat *st);

/* The folder in which the last component lies, and that component: for the ...at calls. *fd is what was opened for
 * it (the caller closes it) or stays as it was. 0, an errno or LP_IO_STOPPED. */
struct lp_where {
	int dir;
	const char *name;
	char copy[PATH_MAX];
};
int lp_path_parent(struct lp_state *s, const struct lp_path *path, struct lp_where *w, int *fd);

/* The files beside lib_fs.c, which opens them. */
void lp_open_whole(lua_State *L, int state);
void lp_open_tree(lua_State *L, int state);
void lp_open_many(lua_State *L, int state);
void lp_open_walk(lua_State *L, int state);
void lp_open_replace(lua_State *L, int state);
void lp_open_temp(lua_State *L, int state);
void lp_open_watch(lua_State *L, int state);

/* f d l p s c b ?: what the entry of the folder is. type: DT_REG ..., asked for if that is DT_UNKNOWN. */
char lp_type_letter(int dir, const char *name, unsigned char type);

/* Removes a name and, if it is a folder, all that is in it. s may be NULL: then nothing stops it. 0 or an errno. */
int lp_remove_tree(struct lp_state *s, int dir, const char *name);

#endif
