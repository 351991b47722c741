/* Makes the system calls that a process makes on files under one directory fail, or end the process.
 *
 * Preloaded (LD_PRELOAD); idle until armed through ctypes. Calls of the chosen classes are counted; the one whose turn it is
 * misbehaves. Covers what the C library offers to Python, SQLite and Arrow; does not cover system calls made without it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { READS = 1, WRITES = 2, SYNCS = 4, NAMES = 8, REMOVALS = 16 };
enum { REFUSE = 0, KILL_BEFORE = 1, KILL_AFTER = 2, SHORT = 3 };

#define FDS 4096
static char prefix[PATH_MAX];
static size_t prefix_length;
static unsigned char watched[FDS];
static long count, at = -1;
static int error, mode, classes, lasting;
static char failed[32];

void faults_arm(const char *directory, long turn, int code, int how, int which, int lasts) {
    snprintf(prefix, sizeof prefix, "%s", directory);
    prefix_length = strlen(prefix);
    count = 0, error = code, mode = how, classes = which, lasting = lasts;
    failed[0] = 0;
    at = turn;
}

void faults_disarm(void) { prefix_length = 0; at = -1; }
long faults_count(void) { return count; }
const char *faults_failed(void) { return failed; }

static int here(const char *path) {
    return prefix_length && path && strncmp(path, prefix, prefix_length) == 0;
}
static int here_fd(int fd) { return prefix_length && fd >= 0 && fd < FDS && watched[fd]; }
static int here_at(int fd, const char *path) { return path && path[0] == '/' ? here(path) : here_fd(fd); }
static void watch(int fd, int yes) { if (fd >= 0 && fd < FDS) watched[fd] = (unsigned char)yes; }
static void end(void) { kill(getpid(), SIGKILL); for (;;) pause(); }

/* Whether this call misbehaves; the process may end here. */
static int turn(const char *name, int class) {
    if (!(class & classes)) return 0;
    long mine = count++;
    if (at < 0 || (lasting ? mine < at : mine != at)) return 0;
    if (!failed[0]) snprintf(failed, sizeof failed, "%s", name);
    if (mode == KILL_BEFORE) end();
    return 1;
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

/* After the call itself, where the process is to end behind it. */
#define DONE(value) \
    do { \
        if (mine && mode == KILL_AFTER) end(); \
        return value; \
    } while (0)

#define FAILS(name, class, is_here, refusal) \
    int mine = (is_here) && turn(#name, class); \
    if (mine && mode != KILL_AFTER) { errno = error; return refusal; }

static int open_class(int flags) { return flags & (O_CREAT | O_TRUNC) ? NAMES : flags & (O_WRONLY | O_RDWR) ? WRITES : READS; }

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); \
        va_list rest; va_start(rest, flags); int bits = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, int) : 0; va_end(rest); \
        FAILS(name, open_class(flags), here(path), -1) \
        int fd = real(path, flags, bits); \
        watch(fd, here(path)); \
        DONE(fd); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int at_fd, const char *path, int flags, ...) { \
        REAL(name); \
        va_list rest; va_start(rest, flags); int bits = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, int) : 0; va_end(rest); \
        FAILS(name, open_class(flags), here_at(at_fd, path), -1) \
        int fd = real(at_fd, path, flags, bits); \
        watch(fd, here_at(at_fd, path)); \
        DONE(fd); \
    }
OPENAT(openat)
OPENAT(openat64)

int close(int fd) { REAL(close); watch(fd, 0); return real(fd); }

#define WRITE(name, parameters, arguments, half) \
    ssize_t name parameters { \
        REAL(name); \
        int mine = here_fd(fd) && turn(#name, WRITES); \
        if (mine && mode == SHORT && size > 1) { size /= 2; return half; } \
        if (mine && mode != KILL_AFTER) { errno = error; return -1; } \
        ssize_t written = real arguments; \
        DONE(written); \
    }
WRITE(write, (int fd, const void *data, size_t size), (fd, data, size), real(fd, data, size))
WRITE(pwrite, (int fd, const void *data, size_t size, off_t place), (fd, data, size, place), real(fd, data, size, place))
WRITE(pwrite64, (int fd, const void *data, size_t size, off64_t place), (fd, data, size, place), real(fd, data, size, place))

ssize_t writev(int fd, const struct iovec *parts, int number) {
    REAL(writev);
    FAILS(writev, WRITES, here_fd(fd), -1)
    ssize_t written = real(fd, parts, number);
    DONE(written);
}
ssize_t sendfile64(int fd, int source, off64_t *place, size_t size) {
    REAL(sendfile64);
    FAILS(sendfile64, WRITES, here_fd(fd), -1)
    ssize_t written = real(fd, source, place, size);
    DONE(written);
}
ssize_t sendfile(int fd, int source, off_t *place, size_t size) {
    REAL(sendfile);
    FAILS(sendfile, WRITES, here_fd(fd), -1)
    ssize_t written = real(fd, source, place, size);
    DONE(written);
}
ssize_t read(int fd, void *data, size_t size) {
    REAL(read);
    FAILS(read, READS, here_fd(fd), -1)
    ssize_t got = real(fd, data, size);
    DONE(got);
}

#define FD_CALL(name, class, parameters, arguments) \
    int name parameters { \
        REAL(name); \
        FAILS(name, class, here_fd(fd), -1) \
        int result = real arguments; \
        DONE(result); \
    }
FD_CALL(fsync, SYNCS, (int fd), (fd))
FD_CALL(fdatasync, SYNCS, (int fd), (fd))
FD_CALL(ftruncate, WRITES, (int fd, off_t size), (fd, size))
FD_CALL(ftruncate64, WRITES, (int fd, off64_t size), (fd, size))

#define NAME_CALL(name, class, parameters, arguments, path) \
    int name parameters { \
        REAL(name); \
        FAILS(name, class, path, -1) \
        int result = real arguments; \
        DONE(result); \
    }
NAME_CALL(rename, NAMES, (const char *from, const char *to), (from, to), here(to))
NAME_CALL(renameat, NAMES, (int a, const char *from, int b, const char *to), (a, from, b, to), here_at(b, to))
NAME_CALL(renameat2, NAMES, (int a, const char *from, int b, const char *to, unsigned flags), (a, from, b, to, flags), here_at(b, to))
NAME_CALL(link, NAMES, (const char *from, const char *to), (from, to), here(to))
NAME_CALL(linkat, NAMES, (int a, const char *from, int b, const char *to, int flags), (a, from, b, to, flags), here_at(b, to))
NAME_CALL(unlink, REMOVALS, (const char *path), (path), here(path))
NAME_CALL(unlinkat, REMOVALS, (int a, const char *path, int flags), (a, path, flags), here_at(a, path))
NAME_CALL(rmdir, REMOVALS, (const char *path), (path), here(path))
NAME_CALL(mkdir, NAMES, (const char *path, mode_t bits), (path, bits), here(path))
NAME_CALL(mkdirat, NAMES, (int a, const char *path, mode_t bits), (a, path, bits), here_at(a, path))
NAME_CALL(chmod, NAMES, (const char *path, mode_t bits), (path, bits), here(path))
