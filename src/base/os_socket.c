/* os_socket: the part of os.h that needs sockets: how a program that can only connect to an address, and not be
 * given a descriptor, gets a connection to us.
 *
 * We listen on a unix socket in a new folder that only this user may enter, accept at once, and take the name away
 * again: it exists for some microseconds. Whoever else came to it meanwhile (root, or another process of
 * this user) is recognised by the kernel's word about its process, and hung up on. */
#define _GNU_SOURCE
#include "base/os.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

int lp_meet_open(struct lp_meet *m, const char *folder)
{
	static const char inner[] = "/socket";
	m->fd = -1;
	m->path[0] = '\0';
	int n = snprintf(m->path, sizeof m->path - sizeof inner, "%s/lua-pool-XXXXXX", folder);
	if (n < 0 || (size_t)n >= sizeof m->path - sizeof inner) {
		m->path[0] = '\0';
		return ENAMETOOLONG;
	}
	if (!mkdtemp(m->path)) { /* mode 0700 */
		m->path[0] = '\0';
		return errno;
	}
	strcat(m->path, inner);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_Static_assert(sizeof m->path <= sizeof address.sun_path, "a path that fits the address");
	strcpy(address.sun_path, m->path);
	m->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (m->fd < 0 || bind(m->fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(m->fd, 8) < 0) {
		int err = errno;
		lp_meet_close(m);
		return err;
	}
	return 0;
}

int lp_meet_accept(struct lp_meet *m)
{
	for (;;) {
		int fd = accept4(m->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0 && errno == EINTR)
			continue;
		if (fd < 0)
			return -1;
		struct ucred peer;
		socklen_t size = sizeof peer;
		if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid == getpid())
			return fd;
		close(fd);
	}
}

void lp_meet_close(struct lp_meet *m)
{
	if (m->fd >= 0)
		close(m->fd);
	m->fd = -1;
	if (!m->path[0])
		return;
	unlink(m->path);
	*strrchr(m->path, '/') = '\0';
	rmdir(m->path);
	m->path[0] = '\0';
}

bool lp_ring(int fd)
{
	ssize_t n;
	do
		n = send(fd, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	/* A full buffer wakes the reader as well. */
	return n == 1 || errno == EAGAIN || errno == EWOULDBLOCK;
}
