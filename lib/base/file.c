#define _GNU_SOURCE /* copy_file_range */
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

enum { WBUF = 1 << 20 };

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

int file_read(const char *path, uint64_t max, char **out, size_t *n, struct err *e)
{
    bool in = strcmp(path, "-") == 0;
    const char *name = in ? "<stdin>" : path;
    int fd = in ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    struct str s = {0};
    char *chunk = NULL;

    *out = NULL;
    *n = 0;
    if (fd < 0)
        return err_sys(e, "cannot open '%s'", name);
    chunk = mem_new(1, WBUF, e);
    while (chunk) {
        ssize_t got = read(fd, chunk, WBUF);

        if (got < 0 && errno == EINTR) {
            if (check_cancelled(e))
                break;
            continue;
        }
        if (got < 0)
            err_sys(e, "cannot read '%s'", name);
        if (got <= 0)
            break;
        str_add(&s, chunk, (size_t)got);
        if (s.n > max) {
            err_set(e, ERR_INPUT, "'%s' is larger than the %llu bytes that such a file may have", name,
                    (unsigned long long)max);
            break;
        }
        if (str_ok(&s, e))
            break;
    }
    if (!in)
        close(fd);
    free(chunk);
    str_add(&s, "", 0);
    if ((e && e->kind) || !chunk || str_ok(&s, e)) {
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
    } else {
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

/* The directory part of path; the caller frees. */
static char *path_dir(const char *path, struct err *e)
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

static int sync_dir(const char *dir, struct err *e)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;

    if (fd < 0)
        return err_sys(e, "cannot open '%s'", dir);
    r = fsync(fd);
    close(fd);
    /* some file systems cannot sync a directory and say EINVAL: nothing is lost by going on */
    return r && errno != EINVAL ? err_sys(e, "cannot sync '%s'", dir) : 0;
}

/* An output may take the place of nothing, or with force of a file (S_IFREG) or a directory (S_IFDIR). Never
 * of a device, a pipe or a link, which renaming would replace: -f -o /dev/null would be the end of /dev/null.
 */
static int check_target(const char *path, bool force, mode_t kind, struct err *e)
{
    struct stat st;

    if (!*path)
        return err_set(e, ERR_USAGE, "the name of the output is empty");
    if (lstat(path, &st))
        return 0; /* what else is wrong with the name shows when something is created beside it */
    if ((st.st_mode & S_IFMT) != kind)
        return err_set(e, ERR_INPUT, "'%s' exists and is not a %s: choose another name", path,
                       kind == S_IFDIR ? "directory" : "regular file");
    if (!force)
        return err_set(e, ERR_INPUT, "'%s' exists already: choose another name, or %s it with --force", path,
                       kind == S_IFDIR ? "replace" : "overwrite");
    return 0;
}

int wfile_open(struct wfile *w, const char *path, bool force, struct err *e)
{
    char *dir = NULL;

    *w = (struct wfile){.fd = -1};
    w->path = mem_strdup(path, e);
    w->buf = mem_new(1, WBUF, e);
    if (!w->path || !w->buf)
        goto fail;
    if (strcmp(path, "-") == 0) {
        w->to_stdout = w->open = true;
        w->fd = STDOUT_FILENO;
        return 0;
    }
    if (check_target(path, force, S_IFREG, e))
        goto fail;
    dir = path_dir(path, e);
    if (!dir)
        goto fail;
    w->tmp = mem_printf(e, "%s/.%s.partial-%ld", dir, path_base(path), (long)getpid());
    if (!w->tmp)
        goto fail;
    w->fd = open(w->tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (w->fd < 0) {
        err_sys(e, "cannot create a file in '%s'", dir);
        goto fail;
    }
    w->open = true;
    free(dir);
    return 0;
fail:
    free(dir);
    wfile_close(w);
    return -1;
}

static const char *wname(const struct wfile *w)
{
    return w->to_stdout ? "<stdout>" : w->path;
}

static int write_all(struct wfile *w, const unsigned char *p, size_t n, struct err *e)
{
    while (n) {
        ssize_t put = write(w->fd, p, n < (1u << 30) ? n : 1u << 30);

        if (put < 0 && errno == EINTR) {
            if (check_cancelled(e))
                return -1;
            continue;
        }
        if (put < 0)
            return err_sys(e, "cannot write '%s'", wname(w));
        p += put;
        n -= (size_t)put;
    }
    return 0;
}

static int flush(struct wfile *w, struct err *e)
{
    size_t n = w->buf_n;

    w->buf_n = 0;
    return write_all(w, w->buf, n, e);
}

int wfile_write(struct wfile *w, const void *p, size_t n, struct err *e)
{
    w->written += n;
    if (n >= WBUF - w->buf_n) {
        if (flush(w, e))
            return -1;
        if (n >= WBUF)
            return write_all(w, p, n, e);
    }
    if (n)
        memcpy(w->buf + w->buf_n, p, n);
    w->buf_n += n;
    return 0;
}

int wfile_copy(struct wfile *w, const struct rfile *from, uint64_t off, uint64_t n, struct err *e)
{
    off_t at = (off_t)off;
    unsigned char *chunk;

    if (flush(w, e))
        return -1;
    while (n && !w->to_stdout) {
        ssize_t did = copy_file_range(from->fd, &at, w->fd, NULL, n < (1u << 30) ? n : 1u << 30, 0);

        if (did <= 0)
            break; /* not supported here, or an error that plain reading will report properly */
        n -= (uint64_t)did;
        w->written += (uint64_t)did;
        if (check_cancelled(e))
            return -1;
    }
    if (!n)
        return 0;
    chunk = mem_new(1, WBUF, e);
    if (!chunk)
        return -1;
    while (n) {
        size_t m = n < WBUF ? (size_t)n : WBUF;

        if (rfile_read(from, (uint64_t)at, chunk, m, e) || write_all(w, chunk, m, e) || check_cancelled(e))
            break;
        at += (off_t)m;
        n -= m;
        w->written += m;
    }
    free(chunk);
    return n ? -1 : 0;
}

int wfile_commit(struct wfile *w, struct err *e)
{
    char *dir;
    int r;

    if (flush(w, e))
        return -1;
    if (w->to_stdout)
        return 0;
    if (fsync(w->fd))
        return err_sys(e, "cannot sync '%s'", w->path);
    r = close(w->fd);
    w->fd = -1;
    if (r)
        return err_sys(e, "cannot write '%s'", w->path);
    if (rename(w->tmp, w->path))
        return err_sys(e, "cannot rename to '%s'", w->path);
    w->open = false;
    dir = path_dir(w->path, e);
    r = dir ? sync_dir(dir, e) : -1;
    free(dir);
    return r;
}

void wfile_close(struct wfile *w)
{
    if (w->open && !w->to_stdout) {
        if (w->fd >= 0)
            close(w->fd);
        unlink(w->tmp);
    }
    free(w->path);
    free(w->tmp);
    free(w->buf);
    *w = (struct wfile){.fd = -1};
}

int file_write(const char *path, const void *p, size_t n, bool force, struct err *e)
{
    struct wfile w;
    int r;

    if (wfile_open(&w, path, force, e))
        return -1;
    r = wfile_write(&w, p, n, e) || wfile_commit(&w, e) ? -1 : 0;
    wfile_close(&w);
    return r;
}

/* Removes a directory tree; failures are left alone (there is nothing better to do). */
static void remove_tree(const char *path)
{
    char **names;
    size_t n, i;

    if (dir_list(path, &names, &n, NULL) == 0) {
        for (i = 0; i < n; i++) {
            char *p = path_join(path, names[i], NULL);
            struct stat st;

            if (p && lstat(p, &st) == 0) {
                if (S_ISDIR(st.st_mode))
                    remove_tree(p);
                else
                    unlink(p);
            }
            free(p);
        }
        dir_free(names, n);
    }
    rmdir(path);
}

int outdir_open(struct outdir *d, const char *path, bool force, struct err *e)
{
    size_t n = strlen(path);

    *d = (struct outdir){0};
    while (n > 1 && path[n - 1] == '/')
        n--;
    d->path = mem_strndup(path, n, e);
    if (!d->path)
        return -1;
    if (check_target(d->path, force, S_IFDIR, e))
        goto fail;
    d->tmp = mem_printf(e, "%s.partial-%ld", d->path, (long)getpid());
    if (!d->tmp)
        goto fail;
    if (mkdir(d->tmp, 0777)) {
        err_sys(e, "cannot create the directory '%s'", d->tmp);
        goto fail;
    }
    d->open = true;
    return 0;
fail:
    outdir_close(d);
    return -1;
}

int outdir_commit(struct outdir *d, struct err *e)
{
    char *old = NULL, *parent = NULL;
    int r = -1;

    if (sync_dir(d->tmp, e))
        return -1;
    if (path_exists(d->path)) {
        old = mem_printf(e, "%s.old-%ld", d->path, (long)getpid());
        if (!old)
            return -1;
        if (rename(d->path, old)) {
            err_sys(e, "cannot move '%s' away", d->path);
            goto done;
        }
    }
    if (rename(d->tmp, d->path)) {
        err_sys(e, "cannot rename '%s' to '%s'", d->tmp, d->path);
        if (old)
            rename(old, d->path);
        goto done;
    }
    d->open = false;
    if (old)
        remove_tree(old);
    parent = path_dir(d->path, e);
    r = parent ? sync_dir(parent, e) : -1;
done:
    free(parent);
    free(old);
    return r;
}

void outdir_close(struct outdir *d)
{
    if (d->open)
        remove_tree(d->tmp);
    free(d->path);
    free(d->tmp);
    *d = (struct outdir){0};
}
