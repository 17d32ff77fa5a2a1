/* nostack: to be preloaded: a system without /proc, where the main thread's stack is not to be found. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>

int luaopen_nostack(void *L);
__attribute__((visibility("default"))) int luaopen_nostack(void *L)
{
	(void)L;
	return 0;
}

__attribute__((visibility("default"))) int pthread_getattr_np(pthread_t thread, pthread_attr_t *attr)
{
	(void)thread, (void)attr;
	return ENOENT;
}
