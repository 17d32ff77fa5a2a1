/* io: see io.h. */
#define _GNU_SOURCE
#include "files/io.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/account.h"
#include "wait/blocking.h"
#include "base/sys.h"

/* The system reads no more at once anyway than 2 GiB; a request to stop is looked at in between. */
enum { PIECE = 8 << 20 };
enum { LARGE = 4 << 20 };

/* After a call that failed: 0, try again; else why not. */
static int again(const struct lp_io *io, short events)
{
	int err = errno;
	if (err == EINTR)
		return lp_block_over(io->s) ? LP_IO_STOPPED : 0;
	if (err != EAGAIN)
		return err;
	return lp_block_poll_one(io->s, io->fd, events, LP_FOREVER, true) == LP_CANCELLED ? LP_IO_STOPPED : 0;
}

/* A FIFO that nobody has opened for writing yet reads as if it had ended; poll knows the difference. */
static int await_writer(const struct lp_io *io)
{
	if (!io->fifo)
		return 0;
	return lp_block_poll_one(io->s, io->fd, POLLIN, LP_FOREVER, true) == LP_CANCELLED ? LP_IO_STOPPED : 0;
}

int lp_io_read(const struct lp_io *io, char *p, size_t n, int64_t offset, size_t *done)
{
	size_t got = 0;
	int err = 0;
	while (got < n) {
		if (offset < 0 && (err = await_writer(io)))
			break;
		size_t piece = n - got < PIECE ? n - got : PIECE;
		ssize_t r = offset < 0 ? read(io->fd, p + got, piece) : pread(io->fd, p + got, piece, offset + (int64_t)got);
		if (r == 0)
			break;
		if (r > 0) {
			got += (size_t)r;
			if (got == io->size && (size_t)r < piece)
				break;
			if (got < n && piece == PIECE && lp_block_over(io->s))
				err = LP_IO_STOPPED;
		} else {
			err = again(io, POLLIN);
		}
		if (err)
			break;
	}
	*done = got;
	return err == LP_IO_STOPPED && got && !io->regular ? 0 : err;
}

int lp_io_read_some(const struct lp_io *io, char *p, size_t n, size_t *done)
{
	ssize_t r;
	*done = 0;
	int err = await_writer(io);
	if (err)
		return err;
	while ((r = read(io->fd, p, n)) < 0)
		if ((err = again(io, POLLIN)))
			return err;
	*done = (size_t)r;
	return 0;
}

int lp_io_write(const struct lp_io *io, const char *p, size_t n, int64_t offset, size_t *done)
{
	size_t put = 0;
	int err = 0;
	while (put < n && !err) {
		size_t piece = n - put < PIECE ? n - put : PIECE;
		ssize_t r;
		if (offset >= 0)
			r = pwrite(io->fd, p + put, piece, offset + (int64_t)put);
		else if (io->regular)
			r = write(io->fd, p + put, piece);
		else
			r = lp_write_quietly(io->fd, p + put, piece);
		if (r > 0) {
			put += (size_t)r;
			if (put < n && piece == PIECE && lp_block_over(io->s))
				err = LP_IO_STOPPED;
		} else {
			err = r == 0 ? EIO : again(io, POLLOUT);
		}
	}
	*done = put;
	return err;
}

int lp_io_sync(const struct lp_io *io, bool data_only)
{
	while ((data_only ? fdatasync(io->fd) : fsync(io->fd)) < 0) {
		if (errno != EINTR)
			return errno;
		if (lp_block_over(io->s))
			return LP_IO_STOPPED;
	}
	return 0;
}

int lp_io_keep_mode(int fd, mode_t made)
{
	return (made & (S_ISUID | S_ISGID)) && fchmod(fd, made & 07777) < 0 ? errno : 0;
}

bool lp_bytes_room(struct lp_bytes *b, size_t n)
{
	if (b->cap - b->len >= n)
		return true;
	if (n > SIZE_MAX / 4 - b->len)
		return false;
	size_t cap = b->cap ? b->cap : 4096;
	while (cap - b->len < n)
		cap *= 2;
	char *p = lp_realloc_counted(b->p, cap);
	if (!p)
		return false;
	b->p = p;
	b->cap = cap;
	if (cap >= LARGE)
		lp_advise_large(p, cap);
	return true;
}

int lp_io_read_bytes(const struct lp_io *io, struct lp_bytes *b, size_t guess, size_t most, int64_t offset)
{
	size_t total = 0;
	/* One byte more than expected: then the end is seen without another call, if nothing has grown. */
	size_t want = guess && guess < most ? guess + 1 : most < 65536 ? most : 65536;
	while (total < most) {
		size_t room = want - total, got;
		if (!lp_bytes_room(b, room))
			return ENOMEM;
		int err = lp_io_read(io, b->p + b->len, room, offset < 0 ? offset : offset + (int64_t)total, &got);
		b->len += got;
		total += got;
		if (err)
			return err;
		if (got < room)
			break;
		want = want > most / 2 ? most : want * 2;
	}
	return 0;
}
