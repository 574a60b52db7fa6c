/* A preloaded library that gives a process another wall clock, and another kernel's word about it.
 *
 *   GATEWAY_CLOCK_CONTROL  a file of `struct control`, mapped, so that a test can change it any time
 *
 * The wall clock is the real time since boot and `offset_ns`, so that nothing but the test steps it. Monotonic clocks are
 * the real ones.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#define NS 1000000000

/* All numbers of 8 bytes, so that Python writes them with one struct. */
struct control {
    int64_t offset_ns;
    int64_t kernel; /* what adjtimex says: 0 it is not set, 1 it is set, 2 you may not ask, 3 a small error only */
};

static volatile const struct control *control;
static int (*real_clock_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("GATEWAY_CLOCK_CONTROL");
    int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    real_clock_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    if (fd < 0)
        return;
    void *page = mmap(NULL, sizeof *control, PROT_READ, MAP_SHARED, fd, 0);
    if (page != MAP_FAILED)
        control = page;
    close(fd);
}

static int64_t wall_ns(void) {
    struct timespec since_boot;
    real_clock_gettime(CLOCK_BOOTTIME, &since_boot);
    return since_boot.tv_sec * (int64_t)NS + since_boot.tv_nsec + control->offset_ns;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    if (real_clock_gettime == NULL) /* somebody else's constructor runs before ours */
        begin();
    if (control == NULL || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE))
        return real_clock_gettime(clock, at);
    int64_t now_ns = wall_ns();
    at->tv_sec = now_ns / NS;
    at->tv_nsec = now_ns % NS;
    return 0;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    (void)zone;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at != NULL)
        *at = now.tv_sec;
    return now.tv_sec;
}

int adjtimex(struct timex *timex) {
    if (control == NULL || control->kernel == 2) {
        errno = EPERM;
        return -1;
    }
    timex->status = control->kernel == 1 ? STA_PLL : STA_UNSYNC;
    timex->maxerror = control->kernel == 0 ? 16000000 : 50000;
    return control->kernel == 1 ? TIME_OK : TIME_ERROR;
}
