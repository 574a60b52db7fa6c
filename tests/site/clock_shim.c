/* A preloaded library that gives a process another wall clock, another kernel's word about it, and another boot.
 *
 *   GATEWAY_CLOCK_CONTROL  a file of `struct control`, mapped, so that a test can change it any time
 *   GATEWAY_CLOCK_BOOT_ID  a file that is read in place of the kernel's boot id
 *
 * The wall clock is the real time since boot and `offset_ns`, so that nothing but the test steps it. Monotonic clocks are
 * the real ones.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
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

int open64(const char *path, int flags, ...) {
    static int (*real_open64)(const char *, int, ...);
    const char *boot_id = getenv("GATEWAY_CLOCK_BOOT_ID");
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    if (real_open64 == NULL)
        real_open64 = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64");
    if (boot_id != NULL && strcmp(path, "/proc/sys/kernel/random/boot_id") == 0)
        path = boot_id;
    return real_open64(path, flags, mode);
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
