/* Kills the process at its n-th call that changes something under a folder (LD_PRELOAD).

   KILL_UNDER: the folder. KILL_AT: n; 0 kills nothing. KILL_COUNT: a file that gets the number of calls at the end. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static long calls, at = -1;
static char under[PATH_MAX];

static void ready(void)
{
    if (at >= 0) return;
    const char *number = getenv("KILL_AT"), *folder = getenv("KILL_UNDER");
    at = number ? atol(number) : 0;
    snprintf(under, sizeof under, "%s", folder ? folder : "");
}

static void step(void)
{
    if (++calls == at) kill(getpid(), SIGKILL);
}

static int inside(const char *path)
{
    ready();
    return *under && path && strncmp(path, under, strlen(under)) == 0;
}

static int inside_fd(int fd)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return inside(path);
}

static int inside_at(int folder, const char *path)
{
    return path && (*path == '/' || folder == AT_FDCWD) ? inside(path) : inside_fd(folder);
}

#define REAL(name) static __typeof__(name) *real; if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *data, size_t size) { REAL(write); if (inside_fd(fd)) step(); return real(fd, data, size); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t to) { REAL(pwrite); if (inside_fd(fd)) step(); return real(fd, data, size, to); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t to) { REAL(pwrite64); if (inside_fd(fd)) step(); return real(fd, data, size, to); }
int fsync(int fd) { REAL(fsync); if (inside_fd(fd)) step(); return real(fd); }
int fdatasync(int fd) { REAL(fdatasync); if (inside_fd(fd)) step(); return real(fd); }
int ftruncate(int fd, off_t size) { REAL(ftruncate); if (inside_fd(fd)) step(); return real(fd, size); }
int ftruncate64(int fd, off64_t size) { REAL(ftruncate64); if (inside_fd(fd)) step(); return real(fd, size); }
int rename(const char *from, const char *to) { REAL(rename); if (inside(to)) step(); return real(from, to); }
int renameat(int a, const char *from, int b, const char *to) { REAL(renameat); if (inside_at(b, to)) step(); return real(a, from, b, to); }
int link(const char *from, const char *to) { REAL(link); if (inside(to)) step(); return real(from, to); }
int linkat(int a, const char *from, int b, const char *to, int flags) { REAL(linkat); if (inside_at(b, to)) step(); return real(a, from, b, to, flags); }
int unlink(const char *path) { REAL(unlink); if (inside(path)) step(); return real(path); }
int unlinkat(int folder, const char *path, int flags) { REAL(unlinkat); if (inside_at(folder, path)) step(); return real(folder, path, flags); }
int mkdir(const char *path, mode_t mode) { REAL(mkdir); if (inside(path)) step(); return real(path, mode); }

#define OPENING(name, head, args, where)                            \
    int name head                                                   \
    {                                                               \
        REAL(name);                                                 \
        mode_t mode = 0;                                            \
        if (flags & O_CREAT) {                                      \
            va_list more;                                           \
            va_start(more, flags);                                  \
            mode = (mode_t)va_arg(more, int);                       \
            va_end(more);                                           \
            if (where) step();                                      \
        }                                                           \
        return real args;                                           \
    }

OPENING(open, (const char *path, int flags, ...), (path, flags, mode), inside(path))
OPENING(open64, (const char *path, int flags, ...), (path, flags, mode), inside(path))
OPENING(openat, (int folder, const char *path, int flags, ...), (folder, path, flags, mode), inside_at(folder, path))
OPENING(openat64, (int folder, const char *path, int flags, ...), (folder, path, flags, mode), inside_at(folder, path))

__attribute__((destructor)) static void tell(void)
{
    const char *path = getenv("KILL_COUNT");
    if (!path) return;
    at = 0;
    FILE *file = fopen(path, "w");
    if (file) { fprintf(file, "%ld\n", calls); fclose(file); }
}
