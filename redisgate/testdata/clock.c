// A library to preload into a server, so that its clock is wrong by a number of
// seconds. The file named in the environment variable CLOCK holds the number, as
// a long, and may be changed at any time. The monotonic clock stays right, as it
// does when somebody sets the clock.
//
// libfaketime cannot be used: it allocates memory when it is first asked for the
// time, and the servers' allocator asks for the time before it can allocate.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long off(void) {
	static const volatile long *file;
	if (!file) {
		int fd = open(getenv("CLOCK"), O_RDONLY);
		void *p = mmap(NULL, sizeof *file, PROT_READ, MAP_SHARED, fd, 0);
		if (p == MAP_FAILED)
			abort();
		close(fd);
		file = p;
	}
	return *file;
}

int clock_gettime(clockid_t id, struct timespec *t) {
	int failed = syscall(SYS_clock_gettime, id, t);
	if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
		t->tv_sec += off();
	return failed;
}

int gettimeofday(struct timeval *t, void *zone) {
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	t->tv_sec = now.tv_sec;
	t->tv_usec = now.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *t) {
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	if (t)
		*t = now.tv_sec;
	return now.tv_sec;
}
