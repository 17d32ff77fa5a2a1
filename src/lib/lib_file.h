/* lib_file: what the Lua functions of files and paths share. */
#ifndef LP_LIB_FILE_H
#define LP_LIB_FILE_H

#include "wait/blocking.h"
#include "files/file.h"
#include "values/handle.h"
#include "files/io.h"

/* job: what a call holds besides Lua values; an error that jumps over it finds it in __gc. */
struct lp_job {
	struct lp_own own;
	struct lp_bytes bytes;
	int fds[2]; /* -1: none */
};
struct lp_job *lp_push_job(lua_State *L);
void lp_job_clear(struct lp_job *job);

/* A folder that paths start from and may not leave (pool.fs.within). */
struct lp_folder {
	struct lp_obj obj;
	int fd; /* [I] */
};
extern const struct lp_class lp_folder_class;

/* Pushes a handle of a file that is not open yet. */
struct lp_file *lp_push_new_file(lua_State *L, const char *path, size_t len);

/* The file at index 1, for an operation: raises if it is closed or no file, or if something was asked of the
 * actor. The caller leaves. */
struct lp_file *lp_enter_file(lua_State *L, struct lp_state *s);

/* Pushes what an operation on a path or file answers for err, an errno or LP_IO_STOPPED (then it raises). */
int lp_push_io_error(lua_State *L, struct lp_state *s, const char *path, size_t len, int err);

/* A number of bytes or an offset at index: whole, 0 … 2^63 - 1. */
int64_t lp_check_bytes(lua_State *L, int index, const char *what);
/* A whole number of any size that a file may have. */
void lp_push_size(lua_State *L, int64_t n);

/* Pushes the table that stat answers. */
void lp_push_stat(lua_State *L, const struct stat *st);

void lp_open_file(lua_State *L, int state);

#endif
