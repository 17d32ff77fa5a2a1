/* readfile: what C takes to read a file into fresh memory: readfile PATH ROUNDS prints "read NS", the median. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static int once(const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -1;
	char *p = malloc((size_t)st.st_size);
	size_t got = 0;
	ssize_t r;
	while (p && (r = read(fd, p + got, (size_t)st.st_size - got)) > 0)
		got += (size_t)r;
	close(fd);
	free(p);
	return got == (size_t)st.st_size ? 0 : -1;
}

int main(int argc, char **argv)
{
	int rounds = argc > 2 ? atoi(argv[2]) : 0;
	double *times = rounds > 0 ? malloc((size_t)rounds * sizeof *times) : NULL;
	if (!times)
		return 2;
	for (int i = 0; i < rounds; i++) {
		double start = now();
		if (once(argv[1]) < 0)
			return 1;
		times[i] = now() - start;
	}
	qsort(times, (size_t)rounds, sizeof *times, compare);
	printf("read %.0f\n", times[rounds / 2]);
	free(times);
	return 0;
}
