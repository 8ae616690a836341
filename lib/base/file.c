/* file.c -- paths, reading, listing */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/inputs.h"

enum { CHUNK = 1 << 20 };

volatile sig_atomic_t moe_signal;

int check_cancelled(struct err *e)
{
    return moe_signal ? err_set(e, ERR_CANCELLED, "interrupted by signal %d", (int)moe_signal) : 0;
}

bool path_exists(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0;
}

bool path_is_dir(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool path_is_newer(const char *a, const char *b)
{
    struct stat x, y;

    return stat(a, &x) == 0 && stat(b, &y) == 0 &&
           (x.st_mtim.tv_sec != y.st_mtim.tv_sec ? x.st_mtim.tv_sec > y.st_mtim.tv_sec
                                                 : x.st_mtim.tv_nsec >= y.st_mtim.tv_nsec);
}

char *path_join(const char *dir, const char *name, struct err *e)
{
    size_t n = strlen(dir);

    return mem_printf(e, "%s%s%s", dir, n && dir[n - 1] == '/' ? "" : "/", name);
}

const char *path_base(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* What is left of fd, with a NUL behind it. */
static int read_all(int fd, const char *name, uint64_t max, struct str *s, struct err *e)
{
    char *chunk = mem_new(1, CHUNK, e);
    ssize_t got = chunk ? 1 : -1;
    int r = chunk ? 0 : -1;

    while (!r && got) {
        got = read(fd, chunk, CHUNK);
        if (got < 0) {
            r = errno != EINTR ? err_sys(e, "cannot read '%s'", name) : check_cancelled(e);
            continue;
        }
        str_add(s, chunk, (size_t)got);
        r = s->n <= max
                ? str_ok(s, e)
                : err_set(e, ERR_INPUT, "'%s' is larger than the %llu bytes that such a file may have", name,
                          (unsigned long long)max);
    }
    free(chunk);
    return r;
}

int file_read(const char *path, uint64_t max, char **out, size_t *n, struct err *e)
{
    bool in = strcmp(path, "-") == 0;
    const char *name = in ? "<stdin>" : path;
    int fd = in ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC), r;
    struct str s = {0};

    *out = NULL;
    *n = 0;
    if (fd < 0)
        return err_sys(e, "cannot open '%s'", name);
    str_add(&s, "", 0); /* an empty file is an empty string */
    r = input_add(fd, e) || read_all(fd, name, max, &s, e) ? -1 : 0;
    if (!in)
        close(fd);
    if (r) {
        str_free(&s);
        return -1;
    }
    *out = s.p;
    *n = s.n;
    return 0;
}

int rfile_open(struct rfile *f, const char *path, struct err *e)
{
    struct stat st;

    *f = (struct rfile){.fd = -1};
    f->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (f->fd < 0)
        return err_sys(e, "cannot open '%s'", path);
    if (fstat(f->fd, &st)) {
        err_sys(e, "cannot stat '%s'", path);
    } else if (!S_ISREG(st.st_mode)) {
        err_set(e, ERR_INPUT, "'%s' is not a regular file", path);
    } else if (input_add(f->fd, e) == 0) {
        f->size = (uint64_t)st.st_size;
        f->path = mem_strdup(path, e);
        if (f->path)
            return 0;
    }
    rfile_close(f);
    return -1;
}

int rfile_read(const struct rfile *f, uint64_t off, void *dst, size_t n, struct err *e)
{
    char *p = dst;

    while (n) {
        ssize_t got = pread(f->fd, p, n < (1u << 30) ? n : 1u << 30, (off_t)off);

        if (got < 0 && errno == EINTR) {
            if (check_cancelled(e))
                return -1;
            continue;
        }
        if (got < 0)
            return err_sys(e, "cannot read '%s' at byte %llu", f->path, (unsigned long long)off);
        if (got == 0)
            return err_set(e, ERR_INPUT, "'%s' is truncated: it ends at byte %llu, %zu more are needed",
                           f->path, (unsigned long long)off, n);
        p += got;
        off += (uint64_t)got;
        n -= (size_t)got;
    }
    return 0;
}

void rfile_close(struct rfile *f)
{
    if (f->path || f->fd > 0)
        close(f->fd);
    free(f->path);
    *f = (struct rfile){.fd = -1};
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int dir_list(const char *path, char ***names, size_t *n, struct err *e)
{
    DIR *d = opendir(path);
    struct dirent *ent;
    size_t cap = 0;
    int failed = 0;

    *names = NULL;
    *n = 0;
    if (!d)
        return err_sys(e, "cannot list '%s'", path);
    while (!failed && (errno = 0, ent = readdir(d))) {
        if (strcmp(ent->d_name, ".") == 0 || strcmp(ent->d_name, "..") == 0)
            continue;
        if (mem_grow(names, &cap, *n + 1, sizeof **names, e) || !((*names)[*n] = mem_strdup(ent->d_name, e)))
            failed = 1;
        else
            ++*n;
    }
    if (!failed && errno)
        failed = err_sys(e, "cannot list '%s'", path);
    closedir(d);
    if (failed) {
        dir_free(*names, *n);
        *names = NULL;
        *n = 0;
        return -1;
    }
    if (*n)
        qsort(*names, *n, sizeof **names, by_name);
    return 0;
}

void dir_free(char **names, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++)
        free(names[i]);
    free(names);
}

char *path_dir(const char *path, struct err *e)
{
    const char *slash = strrchr(path, '/');

    if (!slash)
        return mem_strdup(".", e);
    return mem_strndup(path, slash == path ? 1 : (size_t)(slash - path), e);
}

int disk_free(const char *path, uint64_t *bytes, struct err *e)
{
    char *p = mem_strdup(path, e), *up;
    struct statvfs v;

    if (!p)
        return -1;
    while (!path_exists(p) && strcmp(p, ".") != 0 && strcmp(p, "/") != 0) {
        up = path_dir(p, e);
        free(p);
        p = up;
        if (!p)
            return -1;
    }
    if (statvfs(p, &v)) {
        err_sys(e, "cannot ask for the free space of '%s'", p);
        free(p);
        return -1;
    }
    free(p);
    *bytes = (uint64_t)v.f_bavail * v.f_frsize;
    return 0;
}

static bool same_inode(const char *a, const char *b)
{
    struct stat x, y;

    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

bool path_same(const char *a, const char *b)
{
    char *dir_a, *dir_b;
    bool same;

    if (strcmp(a, b) == 0 || same_inode(a, b))
        return true;
    if (strcmp(path_base(a), path_base(b)) != 0)
        return false;
    dir_a = path_dir(a, NULL);
    dir_b = path_dir(b, NULL);
    same = dir_a && dir_b && same_inode(dir_a, dir_b);
    free(dir_a);
    free(dir_b);
    return same;
}
