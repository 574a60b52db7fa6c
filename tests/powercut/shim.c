/* A preloaded library that stands between a process and its disk. It has three duties:
 *
 *   GATEWAY_SHIM_DIR      the directory it watches (an absolute path without symbolic links); nothing is done without it
 *   GATEWAY_SHIM_TRACE    recorder: append every change below the directory, and all TCP traffic, to this file
 *   GATEWAY_SHIM_CONTROL  slow card and faults: a file of `struct control`, mapped, so that a test can change it any time
 *
 * What the order of the trace means. A change of a file and its record are made under one mutex, and so are a send and
 * its record. An fsync is two records: one before it is asked for, one after it has returned; only writes recorded
 * before the first are covered by it. Bytes received are recorded before the process sees them. So whatever this
 * process told anybody before record k, it told knowing no more than what stands before k.
 *
 * Not recorded: files that end in -shm. They are mapped memory, an index that SQLite builds anew from the -wal file when
 * the first connection opens the database; after a power cut nothing in them is believed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FILES_MAX 65536
#define TRACE_FD_LEAST 60000
#define PIECES_MAX 1024 /* the kernel takes no more at once either */

enum kind { CREATE = 1, WRITE, RESIZE, SYNC_BEGIN, SYNC_OK, SYNC_FAILED, RENAME, UNLINK, SENT, RECEIVED, EXTEND };

/* One record: this header, the path, the data. Little endian, without padding; tests/powercut/trace.py reads it. */
struct record {
    uint32_t kind;
    uint32_t thread;
    uint32_t path_length;
    uint32_t data_length;
    uint64_t offset; /* of a write; the new size of RESIZE; the least size of EXTEND; 1 for a directory in CREATE */
    uint64_t inode;
    uint32_t local_port;
    uint32_t peer_port;
};

/* All numbers of 8 bytes, so that Python reads and writes them with one struct. */
struct control {
    uint64_t sync_delay_us;
    uint64_t fail_kind; /* 0: nothing, 1: writes, 2: fsyncs */
    uint64_t fail_errno;
    uint64_t fail_from; /* the first operation of that kind to fail, counted from 1 */
    uint64_t fail_count;
    uint64_t writes; /* seen so far, below the directory */
    uint64_t syncs;
    uint64_t failed;
};

static struct {
    char *path; /* NULL: not ours */
    uint64_t inode;
} files[FILES_MAX];

static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;
static const char *root;
static size_t root_length;
static int trace_fd = -1;
static struct control nothing;
static struct control *control = &nothing;

#define REAL(name) ((__typeof__(&name))real(#name, &real_##name))
#define SLOT(name) static void *real_##name

static void *real(const char *name, void **slot) {
    if (*slot == NULL) {
        *slot = dlsym(RTLD_NEXT, name);
    }
    return *slot;
}

static void die(const char *what) {
    fprintf(stderr, "shim: %s: %s\n", what, strerror(errno));
    abort();
}

SLOT(open64);
SLOT(close);
SLOT(writev);

__attribute__((constructor)) static void begin(void) {
    const char *trace = getenv("GATEWAY_SHIM_TRACE"), *controlled = getenv("GATEWAY_SHIM_CONTROL");
    root = getenv("GATEWAY_SHIM_DIR");
    if (root == NULL) {
        return;
    }
    root_length = strlen(root);
    if (trace != NULL) {
        int fd = REAL(open64)(trace, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        trace_fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, TRACE_FD_LEAST);
        if (trace_fd < 0) { /* fewer descriptors are allowed than that */
            trace_fd = fd;
        } else {
            REAL(close)(fd);
        }
        if (trace_fd < 0) {
            die(trace);
        }
    }
    if (controlled != NULL) {
        int fd = REAL(open64)(controlled, O_RDWR | O_CLOEXEC);
        void *page = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (page == MAP_FAILED) {
            die(controlled);
        }
        REAL(close)(fd);
        control = page;
    }
}

/* --- the trace --- */

static void put(struct record record, const char *path, const struct iovec *data, int count, size_t length) {
    struct iovec parts[PIECES_MAX];
    size_t total = sizeof record;
    int used = 2;
    if (trace_fd < 0) {
        return;
    }
    record.thread = (uint32_t)gettid();
    record.path_length = path == NULL ? 0 : (uint32_t)strlen(path);
    record.data_length = (uint32_t)length;
    parts[0] = (struct iovec){&record, sizeof record};
    parts[1] = (struct iovec){(void *)path, record.path_length};
    total += record.path_length + length;
    for (int i = 0; i < count && length > 0; i++) {
        if (used == PIECES_MAX) {
            errno = EINVAL;
            die("a write of too many pieces");
        }
        size_t part = data[i].iov_len < length ? data[i].iov_len : length;
        parts[used++] = (struct iovec){data[i].iov_base, part};
        length -= part;
    }
    if (REAL(writev)(trace_fd, parts, used) != (ssize_t)total) {
        die("the trace cannot be written");
    }
}

/* Below the directory, or the directory itself; not the index files, for the reason above. */
static int is_watched(const char *path) {
    size_t length = strlen(path);
    if (root == NULL || strncmp(path, root, root_length) != 0 || (path[root_length] != '/' && path[root_length] != 0)) {
        return 0;
    }
    return length < 4 || strcmp(path + length - 4, "-shm") != 0;
}

static int is_ours(int fd) {
    return fd >= 0 && fd < FILES_MAX && files[fd].path != NULL;
}

/* --- faults and delays --- */

static int refused(uint64_t *seen, uint64_t kind) {
    uint64_t number = __atomic_add_fetch(seen, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&control->fail_kind, __ATOMIC_SEQ_CST) != kind || number < control->fail_from ||
        number - control->fail_from >= control->fail_count) {
        return 0;
    }
    __atomic_add_fetch(&control->failed, 1, __ATOMIC_SEQ_CST);
    errno = (int)control->fail_errno;
    return 1;
}

static int synchronise(int fd, int (*function)(int)) {
    struct record record = {.inode = 0};
    char path[PATH_MAX];
    uint64_t delay_us = __atomic_load_n(&control->sync_delay_us, __ATOMIC_SEQ_CST);
    int result, error;
    if (!is_ours(fd)) {
        return function(fd);
    }
    pthread_mutex_lock(&order);
    snprintf(path, sizeof path, "%s", files[fd].path);
    record.inode = files[fd].inode;
    record.kind = SYNC_BEGIN;
    put(record, path, NULL, 0, 0);
    pthread_mutex_unlock(&order);
    if (delay_us > 0) {
        struct timespec delay = {(time_t)(delay_us / 1000000), (long)(delay_us % 1000000) * 1000};
        nanosleep(&delay, NULL);
    }
    result = refused(&control->syncs, 2) ? -1 : function(fd);
    error = errno;
    pthread_mutex_lock(&order);
    record.kind = result == 0 ? SYNC_OK : SYNC_FAILED;
    put(record, path, NULL, 0, 0);
    pthread_mutex_unlock(&order);
    errno = error;
    return result;
}

SLOT(fsync);
int fsync(int fd) {
    return synchronise(fd, REAL(fsync));
}

SLOT(fdatasync);
int fdatasync(int fd) {
    return synchronise(fd, REAL(fdatasync));
}

/* --- names --- */

static void remember(int fd) {
    char link[64], path[PATH_MAX];
    struct stat status;
    ssize_t length;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    if (length <= 0 || fd >= FILES_MAX || fstat(fd, &status) != 0) {
        return;
    }
    path[length] = 0;
    free(files[fd].path);
    files[fd].path = NULL;
    if (is_watched(path)) {
        files[fd].inode = status.st_ino;
        files[fd].path = strdup(path);
    }
}

static int opened(const char *path, int flags, mode_t mode, int (*function)(const char *, int, ...)) {
    struct stat status;
    int fd, creates;
    if (root == NULL) {
        return function(path, flags, mode);
    }
    pthread_mutex_lock(&order);
    creates = (flags & O_CREAT) && stat(path, &status) != 0;
    fd = function(path, flags, mode);
    if (fd >= 0) {
        remember(fd);
        if (creates && is_ours(fd)) {
            put((struct record){.kind = CREATE, .inode = files[fd].inode}, files[fd].path, NULL, 0, 0);
        } else if ((flags & O_TRUNC) && is_ours(fd)) {
            put((struct record){.kind = RESIZE, .inode = files[fd].inode}, NULL, NULL, 0, 0);
        }
    }
    pthread_mutex_unlock(&order);
    return fd;
}

static mode_t mode_of(int flags, va_list rest) {
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;
}

#define OPEN(name)                                                                                                     \
    SLOT(name);                                                                                                        \
    int name(const char *path, int flags, ...) {                                                                       \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode_t mode = mode_of(flags, rest);                                                                            \
        va_end(rest);                                                                                                  \
        return opened(path, flags, mode, REAL(name));                                                                  \
    }
OPEN(open)
int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = mode_of(flags, rest);
    va_end(rest);
    return opened(path, flags, mode, REAL(open64));
}

/* With a directory descriptor only absolute paths, or none, are expected below the directory. */
#define OPENAT(name)                                                                                                   \
    SLOT(name);                                                                                                        \
    int name(int directory, const char *path, int flags, ...) {                                                        \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode_t mode = mode_of(flags, rest);                                                                            \
        va_end(rest);                                                                                                  \
        if (directory == AT_FDCWD || path[0] == '/') {                                                                 \
            return open64(path, flags, mode);                                                                          \
        }                                                                                                              \
        return REAL(name)(directory, path, flags, mode);                                                               \
    }
OPENAT(openat)
OPENAT(openat64)

int close(int fd) {
    if (is_ours(fd)) {
        pthread_mutex_lock(&order);
        free(files[fd].path);
        files[fd].path = NULL;
        pthread_mutex_unlock(&order);
    }
    return REAL(close)(fd);
}

static int renamed(const char *from, const char *to, int (*function)(const char *, const char *)) {
    struct iovec other = {(void *)to, strlen(to)};
    pthread_mutex_lock(&order);
    int result = function(from, to);
    if (result == 0 && (is_watched(from) || is_watched(to))) {
        put((struct record){.kind = RENAME}, from, &other, 1, other.iov_len);
    }
    pthread_mutex_unlock(&order);
    return result;
}

SLOT(rename);
int rename(const char *from, const char *to) {
    return renamed(from, to, REAL(rename));
}

static int removed(const char *path, int (*function)(const char *)) {
    pthread_mutex_lock(&order);
    int result = function(path);
    if (result == 0 && is_watched(path)) {
        put((struct record){.kind = UNLINK}, path, NULL, 0, 0);
    }
    pthread_mutex_unlock(&order);
    return result;
}

SLOT(unlink);
int unlink(const char *path) {
    return removed(path, REAL(unlink));
}

SLOT(rmdir);
int rmdir(const char *path) {
    return removed(path, REAL(rmdir));
}

SLOT(mkdir);
int mkdir(const char *path, mode_t mode) {
    struct stat status;
    pthread_mutex_lock(&order);
    int result = REAL(mkdir)(path, mode);
    if (result == 0 && is_watched(path) && stat(path, &status) == 0) {
        put((struct record){.kind = CREATE, .inode = status.st_ino, .offset = 1}, path, NULL, 0, 0);
    }
    pthread_mutex_unlock(&order);
    return result;
}

/* --- contents --- */


SLOT(pwrite64);
static ssize_t written_at(int fd, const void *data, size_t length, off64_t offset) {
    struct iovec part = {(void *)data, length};
    if (!is_ours(fd)) {
        return REAL(pwrite64)(fd, data, length, offset);
    }
    if (refused(&control->writes, 1)) {
        return -1;
    }
    pthread_mutex_lock(&order);
    ssize_t result = REAL(pwrite64)(fd, data, length, offset);
    if (result > 0) {
        put((struct record){.kind = WRITE, .inode = files[fd].inode, .offset = (uint64_t)offset}, NULL, &part, 1,
            (size_t)result);
    }
    pthread_mutex_unlock(&order);
    return result;
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
    return written_at(fd, data, length, offset);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) {
    return written_at(fd, data, length, offset);
}

/* By descriptor, so that what came before a reset can be told once the kernel has forgotten who sent it. */
static uint16_t peers[FILES_MAX];

static int is_tcp(int fd, uint32_t *local_port, uint32_t *peer_port) {
    struct sockaddr_in local = {0}, peer = {0};
    socklen_t local_length = sizeof local, peer_length = sizeof peer;
    if (trace_fd < 0 || fd < 0 || fd >= FILES_MAX || getsockname(fd, (struct sockaddr *)&local, &local_length) != 0 ||
        local.sin_family != AF_INET) {
        return 0;
    }
    if (getpeername(fd, (struct sockaddr *)&peer, &peer_length) == 0) {
        peers[fd] = ntohs(peer.sin_port);
    }
    *local_port = ntohs(local.sin_port);
    *peer_port = peers[fd];
    return peers[fd] != 0;
}

/* Whatever writes to the current place of a file, or to a socket: both are put on record as they are done. */
#define PUT_OUT(parts, count, call)                                                                                    \
    do {                                                                                                               \
        struct record record = {0};                                                                                    \
        int error = errno, watched = is_ours(fd), sends = !watched && is_tcp(fd, &record.local_port, &record.peer_port); \
        ssize_t result;                                                                                                \
        errno = error;                                                                                                 \
        if (!watched && !sends) {                                                                                      \
            return call;                                                                                               \
        }                                                                                                              \
        if (watched && refused(&control->writes, 1)) {                                                                 \
            return -1;                                                                                                 \
        }                                                                                                              \
        pthread_mutex_lock(&order);                                                                                    \
        result = call;                                                                                                 \
        error = errno;                                                                                                 \
        if (result > 0) {                                                                                              \
            record.kind = watched ? WRITE : SENT;                                                                      \
            if (watched) {                                                                                             \
                record.inode = files[fd].inode;                                                                        \
                record.offset = (uint64_t)(lseek(fd, 0, SEEK_CUR) - result);                                           \
            }                                                                                                          \
            put(record, NULL, parts, count, (size_t)result);                                                           \
        }                                                                                                              \
        pthread_mutex_unlock(&order);                                                                                  \
        errno = error;                                                                                                 \
        return result;                                                                                                 \
    } while (0)

SLOT(write);
ssize_t write(int fd, const void *data, size_t length) {
    struct iovec part = {(void *)data, length};
    PUT_OUT(&part, 1, REAL(write)(fd, data, length));
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    PUT_OUT(parts, count, REAL(writev)(fd, parts, count));
}

SLOT(send);
ssize_t send(int fd, const void *data, size_t length, int flags) {
    struct iovec part = {(void *)data, length};
    PUT_OUT(&part, 1, REAL(send)(fd, data, length, flags));
}

SLOT(sendmsg);
ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    PUT_OUT(message->msg_iov, (int)message->msg_iovlen, REAL(sendmsg)(fd, message, flags));
}

/* Scattered writes at an offset become plain ones: rare below the directory, and so they are recorded one by one. */
static ssize_t scattered_at(int fd, const struct iovec *parts, int count, off64_t offset) {
    ssize_t total = 0;
    for (int i = 0; i < count; i++) {
        ssize_t result = written_at(fd, parts[i].iov_base, parts[i].iov_len, offset + total);
        if (result < 0) {
            return total > 0 ? total : -1;
        }
        total += result;
        if ((size_t)result < parts[i].iov_len) {
            break;
        }
    }
    return total;
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    return scattered_at(fd, parts, count, offset);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
    return scattered_at(fd, parts, count, offset);
}

static int resized(int fd, off64_t size, int (*function)(int, off64_t)) {
    if (!is_ours(fd)) {
        return function(fd, size);
    }
    if (refused(&control->writes, 1)) {
        return -1;
    }
    pthread_mutex_lock(&order);
    int result = function(fd, size);
    if (result == 0) {
        put((struct record){.kind = RESIZE, .inode = files[fd].inode, .offset = (uint64_t)size}, NULL, NULL, 0, 0);
    }
    pthread_mutex_unlock(&order);
    return result;
}

SLOT(ftruncate64);
int ftruncate64(int fd, off64_t size) {
    return resized(fd, size, REAL(ftruncate64));
}

int ftruncate(int fd, off_t size) {
    return resized(fd, size, REAL(ftruncate64));
}

SLOT(posix_fallocate64);
static int allocated(int fd, off64_t offset, off64_t length) {
    if (!is_ours(fd)) {
        return REAL(posix_fallocate64)(fd, offset, length);
    }
    if (refused(&control->writes, 1)) {
        return errno; /* this function returns what others put into errno */
    }
    pthread_mutex_lock(&order);
    int result = REAL(posix_fallocate64)(fd, offset, length);
    if (result == 0) {
        uint64_t size = (uint64_t)(offset + length);
        put((struct record){.kind = EXTEND, .inode = files[fd].inode, .offset = size}, NULL, NULL, 0, 0);
    }
    pthread_mutex_unlock(&order);
    return result;
}

int posix_fallocate64(int fd, off64_t offset, off64_t length) {
    return allocated(fd, offset, length);
}

int posix_fallocate(int fd, off_t offset, off_t length) {
    return allocated(fd, offset, length);
}

/* --- what comes in --- */

static void came(int fd, const struct iovec *parts, int count, ssize_t result) {
    struct record record = {.kind = RECEIVED};
    int error = errno;
    if (result > 0 && !is_ours(fd) && is_tcp(fd, &record.local_port, &record.peer_port)) {
        pthread_mutex_lock(&order);
        put(record, NULL, parts, count, (size_t)result);
        pthread_mutex_unlock(&order);
    }
    errno = error;
}

SLOT(read);
ssize_t read(int fd, void *data, size_t length) {
    ssize_t result = REAL(read)(fd, data, length);
    came(fd, &(struct iovec){data, length}, 1, result);
    return result;
}

SLOT(recv);
ssize_t recv(int fd, void *data, size_t length, int flags) {
    ssize_t result = REAL(recv)(fd, data, length, flags);
    came(fd, &(struct iovec){data, length}, 1, flags & MSG_PEEK ? 0 : result);
    return result;
}

SLOT(recvmsg);
ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
    ssize_t result = REAL(recvmsg)(fd, message, flags);
    came(fd, message->msg_iov, (int)message->msg_iovlen, flags & MSG_PEEK ? 0 : result);
    return result;
}
