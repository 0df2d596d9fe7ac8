/* Preloaded before libc: counts the file-system calls that change something below one folder, and at call N ends the
   process, fails, writes half, or stops. `shim.py` compiles and drives it; nothing happens until `faults_arm`. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

/* As in shim.py. */
enum { OFF, COUNT, KILL, FAIL, HALF, FULL, STOP };
enum { CREATE = 1, WRITE, MAKE, RENAME, LINK, REMOVE, SYNC, CLOSE, SIZE, TIMES, READ };

#define LARGEST 65536

static volatile int mode = OFF, target, number;
static volatile int reading;
static atomic_int seen;
static unsigned char kinds[LARGEST];
static char root[PATH_MAX];
static size_t length;

/* Counts every call that changes something below `folder`, or, with `reads`, every one that reads there. */
void faults_arm(const char *folder, int how, int at, int error, int reads) {
    mode = OFF;
    snprintf(root, sizeof root, "%s", folder);
    length = strlen(root);
    target = at;
    number = error;
    reading = reads;
    atomic_store(&seen, 0);
    mode = how;
}

void faults_disarm(void) { mode = OFF; }
int faults_seen(void) { return atomic_load(&seen); }
int faults_kind(int at) { return at > 0 && at < LARGEST ? kinds[at] : 0; }

/* A process that is no fork of one that has armed itself is told by its environment, and says by a file what it saw. */
__attribute__((constructor)) static void begin(void) {
    const char *folder = getenv("FAULTS_ROOT");
    if (folder) {
        faults_arm(folder, atoi(getenv("FAULTS_MODE")), atoi(getenv("FAULTS_AT")), atoi(getenv("FAULTS_ERROR")), 0);
    }
}

static int below(const char *path) { return !strncmp(path, root, length) && (path[length] == '/' || !path[length]); }

static int below_file(int file) {
    char name[64], path[PATH_MAX];
    snprintf(name, sizeof name, "/proc/self/fd/%d", file);
    ssize_t got = readlink(name, path, sizeof path - 1);
    if (got < 0) return 0;
    path[got] = 0;
    return below(path);
}

static int below_path(int folder, const char *path) {
    char whole[PATH_MAX], name[64];
    ssize_t got;
    if (mode == OFF || !path) return 0;
    if (path[0] == '/') return below(path);
    if (folder == AT_FDCWD) {
        if (!getcwd(whole, sizeof whole)) return 0;
        got = (ssize_t)strlen(whole);
    } else {
        snprintf(name, sizeof name, "/proc/self/fd/%d", folder);
        got = readlink(name, whole, sizeof whole - 1);
        if (got < 0) return 0;
    }
    whole[got] = 0;
    if (got + strlen(path) + 2 > sizeof whole) return 0;
    whole[got] = '/';
    strcpy(whole + got + 1, path);
    return below(whole);
}

static int needs_space(int kind) {
    return kind == CREATE || kind == WRITE || kind == MAKE || kind == RENAME || kind == LINK || kind == SYNC ||
           kind == SIZE;
}

static void end(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* 0: go on; above 0: fail with that error; -1: write half, then `after_half`. */
static int met(int kind) {
    if ((kind == READ) != reading) return 0;
    int n = atomic_fetch_add(&seen, 1) + 1;
    if (n < LARGEST) kinds[n] = (unsigned char)kind;
    switch (mode) {
    case KILL:
        if (n != target) return 0;
        if (kind == WRITE) return -1;
        end();
        return 0;
    case STOP:
        if (n == target) raise(SIGSTOP);
        return 0;
    case FAIL: return n == target ? number : 0;
    case FULL: return n >= target && needs_space(kind) ? ENOSPC : 0;
    case HALF:
        if (n < target) return 0;
        if (n == target && kind == WRITE) return -1;
        return needs_space(kind) ? ENOSPC : 0;
    }
    return 0;
}

static void after_half(void) {
    if (mode == KILL) end();
}

static int on_file(int file, int kind) { return mode != OFF && below_file(file) ? met(kind) : 0; }
static int on_path(int folder, const char *path, int kind) { return below_path(folder, path) ? met(kind) : 0; }

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

#define REFUSE(error, value)  \
    do {                       \
        int refused = (error); \
        if (refused > 0) {     \
            errno = refused;   \
            return value;      \
        }                      \
    } while (0)

/* Opening: for writing it may make or empty a file; for reading it changes nothing. */
static int opening(int folder, const char *path, int flags) {
    int writes = (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC));
    return on_path(folder, path, writes ? CREATE : READ);
}

#define MODE_OF(flags)                             \
    int bits = 0;                                  \
    if ((flags) & (O_CREAT | O_TMPFILE)) {         \
        va_list more;                              \
        va_start(more, flags);                     \
        bits = va_arg(more, int);                  \
        va_end(more);                              \
    }

#define OPEN(name)                                              \
    int name(const char *path, int flags, ...) {                \
        MODE_OF(flags)                                          \
        REFUSE(opening(AT_FDCWD, path, flags), -1);             \
        return REAL(name)(path, flags, bits);                   \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                            \
    int name(int folder, const char *path, int flags, ...) {    \
        MODE_OF(flags)                                          \
        REFUSE(opening(folder, path, flags), -1);               \
        return REAL(name)(folder, path, flags, bits);           \
    }
OPENAT(openat)
OPENAT(openat64)

#define CREAT(name)                                             \
    int name(const char *path, mode_t bits) {                   \
        REFUSE(on_path(AT_FDCWD, path, CREATE), -1);            \
        return REAL(name)(path, bits);                          \
    }
CREAT(creat)
CREAT(creat64)

#define FOPEN(name)                                                                   \
    FILE *name(const char *path, const char *how) {                                   \
        REFUSE(on_path(AT_FDCWD, path, strpbrk(how, "wa+") ? CREATE : READ), NULL);   \
        return REAL(name)(path, how);                                                 \
    }
FOPEN(fopen)
FOPEN(fopen64)

/* Writing */
ssize_t write(int file, const void *data, size_t size) {
    int given = on_file(file, WRITE);
    REFUSE(given, -1);
    ssize_t done = REAL(write)(file, data, given < 0 ? size / 2 : size);
    if (given < 0) after_half();
    return done;
}

#define PWRITE(name, offset)                                                          \
    ssize_t name(int file, const void *data, size_t size, offset at) {                \
        int given = on_file(file, WRITE);                                             \
        REFUSE(given, -1);                                                            \
        ssize_t done = REAL(name)(file, data, given < 0 ? size / 2 : size, at);       \
        if (given < 0) after_half();                                                  \
        return done;                                                                  \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t writev(int file, const struct iovec *parts, int count) {
    int given = on_file(file, WRITE);
    REFUSE(given, -1);
    if (given >= 0) return REAL(writev)(file, parts, count);
    ssize_t done = REAL(write)(file, parts[0].iov_base, parts[0].iov_len / 2);
    after_half();
    return done;
}

size_t fwrite(const void *data, size_t size, size_t count, FILE *stream) {
    int given = stream == stderr || stream == stdout ? 0 : on_file(fileno(stream), WRITE);
    REFUSE(given, 0);
    size_t done = REAL(fwrite)(data, size, given < 0 ? count / 2 : count, stream);
    if (given < 0) {
        REAL(fflush)(stream);
        after_half();
        errno = ENOSPC; /* what stdio says of a write that ended early */
    }
    return done;
}

int fflush(FILE *stream) {
    int given = stream && stream != stderr && stream != stdout ? on_file(fileno(stream), WRITE) : 0;
    if (given < 0) after_half();
    REFUSE(given < 0 ? ENOSPC : given, EOF);
    return REAL(fflush)(stream);
}

int fclose(FILE *stream) {
    int given = on_file(fileno(stream), CLOSE);
    int done = REAL(fclose)(stream);
    REFUSE(given, EOF);
    return done;
}

ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t size, unsigned flags) {
    int given = on_file(to, WRITE);
    REFUSE(given, -1);
    ssize_t done = REAL(copy_file_range)(from, from_at, to, to_at, given < 0 ? size / 2 : size, flags);
    if (given < 0) after_half();
    return done;
}

#define SENDFILE(name, offset)                                                        \
    ssize_t name(int to, int from, offset *at, size_t size) {                         \
        int given = on_file(to, WRITE);                                               \
        REFUSE(given, -1);                                                            \
        ssize_t done = REAL(name)(to, from, at, given < 0 ? size / 2 : size);         \
        if (given < 0) after_half();                                                  \
        return done;                                                                  \
    }
SENDFILE(sendfile, off_t)
SENDFILE(sendfile64, off64_t)

/* Reading, counted only when asked for */
ssize_t read(int file, void *data, size_t size) {
    REFUSE(reading ? on_file(file, READ) : 0, -1);
    return REAL(read)(file, data, size);
}

ssize_t pread(int file, void *data, size_t size, off_t at) {
    REFUSE(reading ? on_file(file, READ) : 0, -1);
    return REAL(pread)(file, data, size, at);
}

ssize_t pread64(int file, void *data, size_t size, off64_t at) {
    REFUSE(reading ? on_file(file, READ) : 0, -1);
    return REAL(pread64)(file, data, size, at);
}

/* All else that changes a file or a name */
#define ON_FILE(name, kind)                     \
    int name(int file) {                        \
        REFUSE(on_file(file, kind), -1);        \
        return REAL(name)(file);                \
    }
ON_FILE(fsync, SYNC)
ON_FILE(fdatasync, SYNC)

int close(int file) {
    int flags = mode == OFF ? 0 : fcntl(file, F_GETFL);
    int given = flags > 0 && (flags & O_ACCMODE) != O_RDONLY ? on_file(file, CLOSE) : 0;
    int done = REAL(close)(file);
    REFUSE(given, -1);
    return done;
}

#define FTRUNCATE(name, offset)                         \
    int name(int file, offset size) {                   \
        REFUSE(on_file(file, SIZE), -1);                \
        return REAL(name)(file, size);                  \
    }
FTRUNCATE(ftruncate, off_t)
FTRUNCATE(ftruncate64, off64_t)

#define TRUNCATE(name, offset)                          \
    int name(const char *path, offset size) {           \
        REFUSE(on_path(AT_FDCWD, path, SIZE), -1);      \
        return REAL(name)(path, size);                  \
    }
TRUNCATE(truncate, off_t)
TRUNCATE(truncate64, off64_t)

#define ALLOCATE(name, offset)                          \
    int name(int file, offset at, offset size) {        \
        int given = on_file(file, SIZE);                \
        return given > 0 ? given : REAL(name)(file, at, size); \
    }
ALLOCATE(posix_fallocate, off_t)
ALLOCATE(posix_fallocate64, off64_t)

#define FALLOCATE(name, offset)                                 \
    int name(int file, int how, offset at, offset size) {       \
        REFUSE(on_file(file, SIZE), -1);                        \
        return REAL(name)(file, how, at, size);                 \
    }
FALLOCATE(fallocate, off_t)
FALLOCATE(fallocate64, off64_t)

int rename(const char *from, const char *to) {
    REFUSE(on_path(AT_FDCWD, to, RENAME), -1);
    return REAL(rename)(from, to);
}

int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    REFUSE(on_path(to_folder, to, RENAME), -1);
    return REAL(renameat)(from_folder, from, to_folder, to);
}

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
    REFUSE(on_path(to_folder, to, RENAME), -1);
    if (flags && getenv("FAULTS_NO_EXCHANGE")) { /* as a file system that cannot */
        errno = EINVAL;
        return -1;
    }
    return REAL(renameat2)(from_folder, from, to_folder, to, flags);
}

int link(const char *from, const char *to) {
    REFUSE(on_path(AT_FDCWD, to, LINK), -1);
    return REAL(link)(from, to);
}

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags) {
    REFUSE(on_path(to_folder, to, LINK), -1);
    return REAL(linkat)(from_folder, from, to_folder, to, flags);
}

int symlink(const char *to, const char *path) {
    REFUSE(on_path(AT_FDCWD, path, LINK), -1);
    return REAL(symlink)(to, path);
}

#define ON_PATH(name, kind)                             \
    int name(const char *path) {                        \
        REFUSE(on_path(AT_FDCWD, path, kind), -1);      \
        return REAL(name)(path);                        \
    }
ON_PATH(unlink, REMOVE)
ON_PATH(rmdir, REMOVE)
ON_PATH(remove, REMOVE)

int unlinkat(int folder, const char *path, int flags) {
    REFUSE(on_path(folder, path, REMOVE), -1);
    return REAL(unlinkat)(folder, path, flags);
}

int mkdir(const char *path, mode_t bits) {
    REFUSE(on_path(AT_FDCWD, path, MAKE), -1);
    return REAL(mkdir)(path, bits);
}

int mkdirat(int folder, const char *path, mode_t bits) {
    REFUSE(on_path(folder, path, MAKE), -1);
    return REAL(mkdirat)(folder, path, bits);
}

int utimensat(int folder, const char *path, const struct timespec times[2], int flags) {
    REFUSE(on_path(folder, path, TIMES), -1);
    return REAL(utimensat)(folder, path, times, flags);
}

int futimens(int file, const struct timespec times[2]) {
    REFUSE(on_file(file, TIMES), -1);
    return REAL(futimens)(file, times);
}

int chmod(const char *path, mode_t bits) {
    REFUSE(on_path(AT_FDCWD, path, TIMES), -1);
    return REAL(chmod)(path, bits);
}

int fchmod(int file, mode_t bits) {
    REFUSE(on_file(file, TIMES), -1);
    return REAL(fchmod)(file, bits);
}
