/* still: a preload that makes two runs of one program alike for tools/instructions.sh. Lua seeds its hashes with the time, LuaJIT
 * with random bytes, and a seed decides how long the chains of a table are. */
#include <string.h>
#include <sys/types.h>
#include <time.h>

time_t time(time_t *t)
{
	if (t)
		*t = 1700000000;
	return 1700000000;
}

ssize_t getrandom(void *buffer, size_t n, unsigned flags)
{
	(void)flags;
	memset(buffer, 42, n);
	return (ssize_t)n;
}
