/* nap: how late clock_nanosleep ends: nap NANOSECONDS COUNT prints for each of COUNT naps by how many nanoseconds. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static long long now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

int main(int argc, char **argv)
{
	long long length = argc > 1 ? atoll(argv[1]) : 0;
	int count = argc > 2 ? atoi(argv[2]) : 0;
	if (length <= 0 || count <= 0)
		return 2;
	for (int i = 0; i < count; i++) {
		long long start = now(), until = start + length;
		struct timespec ts = {until / 1000000000, until % 1000000000};
		while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) != 0)
			;
		printf("%lld\n", now() - until);
	}
	return 0;
}
