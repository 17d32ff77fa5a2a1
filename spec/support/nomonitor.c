/* nomonitor: preloaded (LD_PRELOAD), lets no thread start that has a stack as small as the monitor's, as if the system's limit were
 * reached there. The threads of pools do start. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>

__attribute__((visibility("default"))) int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg)
{
	int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
	*(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
	size_t stack = 0;
	if (attr && pthread_attr_getstacksize(attr, &stack) == 0 && stack == 256 * 1024)
		return EAGAIN;
	return real(thread, attr, start, arg);
}
