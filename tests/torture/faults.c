/* A disk that fails on request: preloaded, it counts what a command does to files below one folder, in all of its
   processes together, and fails the operation of a given number, or kills the process that begins it.

   FAULTS_STATE names a file of `struct state`, which the processes map and the test reads; FAULTS_ROOT the folder.
   `faults_begin` has a process that was forked take up another pair. Operations: opening for writing, write (pwrite,
   writev), rename, mkdir, unlink (rmdir), fsync (fdatasync) and ftruncate, by path or by a descriptor's path. */

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
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { OPEN, WRITE, RENAME, MKDIR, UNLINK, FSYNC, FTRUNCATE };

struct state {
    int at;          /* The operation that fails, from 1; 0: none. */
    int error;       /* An errno, or 0: the process is killed. */
    int lasts;       /* From then on nothing new fits on the disk. */
    int seen;        /* Operations so far. */
    int fired;       /* Whether the fault has happened. */
    int kind;        /* What the operation was. */
    char path[PATH_MAX]; /* On what. */
};

static struct state *state;
static char root[PATH_MAX];
static int clock_back;
static long clock_calls;

/* The system's own function, whichever of ours was called. */
#define NEXT(type, name, parameters) \
    static type (*next) parameters;  \
    if (!next) next = dlsym(RTLD_NEXT, name)

static int real_open(const char *path, int flags) {
    NEXT(int, "open64", (const char *, int, ...));
    return next(path, flags);
}

void faults_begin(const char *file, const char *folder) {
    state = NULL;
    int descriptor = real_open(file, O_RDWR);
    if (descriptor < 0) return;
    void *mapped = mmap(NULL, sizeof(struct state), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    close(descriptor);
    snprintf(root, sizeof root, "%s", folder);
    if (mapped != MAP_FAILED) state = mapped;
}

__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("FAULTS_STATE"), *folder = getenv("FAULTS_ROOT");
    clock_back = getenv("FAULTS_CLOCK") != NULL;
    if (file && folder) faults_begin(file, folder);
}

static int below_root(const char *path) {
    size_t length = strlen(root);
    return strncmp(path, root, length) == 0 && (path[length] == '/' || !path[length]);
}

/* The path of a descriptor, or of a name relative to one; 0: none. */
static int full_path(int folder, const char *name, char *full) {
    if (name && name[0] == '/') return snprintf(full, PATH_MAX, "%s", name) > 0;
    char link[40];
    if (folder == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
    else snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    ssize_t length = readlink(link, full, PATH_MAX - 1);
    if (length < 0) return 0;
    full[length] = 0;
    if (name) snprintf(full + length, PATH_MAX - length, "/%s", name);
    return 1;
}

/* Whether an operation fails; sets errno. `grows`: it needs room on the disk. */
static int fails(int kind, int folder, const char *name, int grows) {
    char full[PATH_MAX];
    int saved = errno;
    if (!state || !full_path(folder, name, full) || !below_root(full)) {
        errno = saved;
        return 0;
    }
    errno = saved;
    int number = __atomic_add_fetch(&state->seen, 1, __ATOMIC_SEQ_CST);
    if (state->fired && state->lasts && grows) {
        errno = state->error;
        return 1;
    }
    if (number != state->at) return 0;
    state->kind = kind;
    snprintf(state->path, sizeof state->path, "%s", full);
    state->fired = 1;
    if (!state->error) kill(getpid(), SIGKILL);
    /* Permissions are looked at by path; what is open may run out of quota. */
    if (state->error == EACCES && (kind == WRITE || kind == FSYNC || kind == FTRUNCATE)) state->error = EDQUOT;
    errno = state->error;
    return 1;
}

static int mode_of(int flags, va_list arguments) {
    return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(arguments, int) : 0;
}

static int writes(int flags) { return (flags & O_ACCMODE) != O_RDONLY || flags & O_CREAT; }

#define OPEN_FUNCTION(name)                                                            \
    int name(const char *path, int flags, ...) {                                       \
        NEXT(int, #name, (const char *, int, ...));                                    \
        va_list arguments;                                                             \
        va_start(arguments, flags);                                                    \
        int mode = mode_of(flags, arguments);                                          \
        va_end(arguments);                                                             \
        if (writes(flags) && fails(OPEN, AT_FDCWD, path, (flags & O_CREAT) && access(path, F_OK))) return -1; \
        return next(path, flags, mode);                                                \
    }
OPEN_FUNCTION(open)
OPEN_FUNCTION(open64)

#define OPENAT_FUNCTION(name)                                                          \
    int name(int folder, const char *path, int flags, ...) {                           \
        NEXT(int, #name, (int, const char *, int, ...));                               \
        va_list arguments;                                                             \
        va_start(arguments, flags);                                                    \
        int mode = mode_of(flags, arguments);                                          \
        va_end(arguments);                                                             \
        if (writes(flags) && fails(OPEN, folder, path, flags & O_CREAT)) return -1;    \
        return next(folder, path, flags, mode);                                        \
    }
OPENAT_FUNCTION(openat)
OPENAT_FUNCTION(openat64)

#define FOPEN_FUNCTION(name)                                                           \
    FILE *name(const char *path, const char *mode) {                                   \
        NEXT(FILE *, #name, (const char *, const char *));                             \
        if (strpbrk(mode, "wa+") && fails(OPEN, AT_FDCWD, path, 1)) return NULL;       \
        return next(path, mode);                                                       \
    }
FOPEN_FUNCTION(fopen)
FOPEN_FUNCTION(fopen64)

/* Whether writing so many bytes at a place, or where the descriptor stands (-1), takes one more block of the disk. */
static int grows(int file, size_t count, off_t at) {
    struct stat about;
    if (fstat(file, &about)) return 1;
    if (at < 0) at = fcntl(file, F_GETFL) & O_APPEND ? about.st_size : lseek(file, 0, SEEK_CUR);
    return at + (off_t)count > (about.st_size + 4095) / 4096 * 4096;
}

ssize_t write(int file, const void *content, size_t count) {
    NEXT(ssize_t, "write", (int, const void *, size_t));
    if (state && file > 2 && fails(WRITE, file, NULL, grows(file, count, -1))) {
        /* A disk that gets full takes a part, and says so at the next write. */
        if (errno == ENOSPC && state->lasts && count > 1 && state->seen == state->at) return next(file, content, count / 2);
        return -1;
    }
    return next(file, content, count);
}

#define PWRITE_FUNCTION(name)                                                          \
    ssize_t name(int file, const void *content, size_t count, off64_t at) {            \
        NEXT(ssize_t, #name, (int, const void *, size_t, off64_t));                    \
        if (state && fails(WRITE, file, NULL, grows(file, count, at))) return -1;      \
        return next(file, content, count, at);                                         \
    }
PWRITE_FUNCTION(pwrite)
PWRITE_FUNCTION(pwrite64)

ssize_t writev(int file, const struct iovec *parts, int count) {
    NEXT(ssize_t, "writev", (int, const struct iovec *, int));
    if (state && fails(WRITE, file, NULL, 1)) return -1;
    return next(file, parts, count);
}

int rename(const char *from, const char *to) {
    NEXT(int, "rename", (const char *, const char *));
    return fails(RENAME, AT_FDCWD, to, 0) ? -1 : next(from, to);
}

int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    NEXT(int, "renameat", (int, const char *, int, const char *));
    return fails(RENAME, to_folder, to, 0) ? -1 : next(from_folder, from, to_folder, to);
}

int mkdir(const char *path, mode_t mode) {
    NEXT(int, "mkdir", (const char *, mode_t));
    return fails(MKDIR, AT_FDCWD, path, 1) ? -1 : next(path, mode);
}

int unlink(const char *path) {
    NEXT(int, "unlink", (const char *));
    return fails(UNLINK, AT_FDCWD, path, 0) ? -1 : next(path);
}

int rmdir(const char *path) {
    NEXT(int, "rmdir", (const char *));
    return fails(UNLINK, AT_FDCWD, path, 0) ? -1 : next(path);
}

int unlinkat(int folder, const char *path, int flags) {
    NEXT(int, "unlinkat", (int, const char *, int));
    return fails(UNLINK, folder, path, 0) ? -1 : next(folder, path, flags);
}

int fsync(int file) {
    NEXT(int, "fsync", (int));
    return fails(FSYNC, file, NULL, 0) ? -1 : next(file);
}

int fdatasync(int file) {
    NEXT(int, "fdatasync", (int));
    return fails(FSYNC, file, NULL, 0) ? -1 : next(file);
}

#define FTRUNCATE_FUNCTION(name)                                                       \
    int name(int file, off64_t length) {                                               \
        NEXT(int, #name, (int, off64_t));                                              \
        return fails(FTRUNCATE, file, NULL, 0) ? -1 : next(file, length);              \
    }
FTRUNCATE_FUNCTION(ftruncate)
FTRUNCATE_FUNCTION(ftruncate64)

/* With FAULTS_CLOCK, the time of day falls by an hour at each look. */
int clock_gettime(clockid_t clock, struct timespec *time) {
    NEXT(int, "clock_gettime", (clockid_t, struct timespec *));
    int code = next(clock, time);
    if (clock_back && clock == CLOCK_REALTIME) time->tv_sec -= 3600 * __atomic_add_fetch(&clock_calls, 1, __ATOMIC_SEQ_CST);
    return code;
}
