/* output.c -- files and directories that appear under their names when they are complete */
#define _GNU_SOURCE /* copy_file_range, renameat2 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/inputs.h"

enum { WBUF = 1 << 20, NAMES = 1000 };

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

/*
 * An output may take the place of nothing, or with force of a file (S_IFREG) or a directory (S_IFDIR) that no
 * input is in. Never of a device, a pipe or a link, which renaming would replace: -f -o /dev/null would be
 * the end of /dev/null.
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
    if (input_refuse(path, e))
        return -1;
    if (!force)
        return err_set(e, ERR_INPUT, "'%s' exists already: choose another name, or %s it with --force", path,
                       kind == S_IFDIR ? "replace" : "overwrite");
    return 0;
}

/* Is a call missing, or does the file system not have it? */
static bool not_supported(void)
{
    return errno == ENOSYS || errno == EINVAL || errno == EOPNOTSUPP || errno == ENOTTY || errno == EPERM;
}

/* rename() to a name that nothing has: EEXIST otherwise. */
static int rename_new(const char *from, const char *to)
{
    struct stat st;

    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (!not_supported())
        return -1;
    if (link(from, to) == 0) /* a file, on a file system with hard links */
        return unlink(from);
    if (errno != EEXIST && lstat(to, &st) != 0)
        return rename(from, to);
    errno = EEXIST;
    return -1;
}

/*
 * A name for what is not complete: "DIR/" PREFIX NAME ".partial-PID". A number follows where that is taken:
 * by a killed run of the same number (in a container every run is number 1) or by somebody who guessed it.
 * make() makes it, and never follows or takes what is there.
 */
static int make_partial(char **tmp, const char *beside, int (*make)(const char *path), struct err *e)
{
    int i, made = -1;

    for (i = 0; i < NAMES && made < 0; i++) {
        free(*tmp);
        *tmp = i ? mem_printf(e, "%s.partial-%ld.%d", beside, (long)getpid(), i)
                 : mem_printf(e, "%s.partial-%ld", beside, (long)getpid());
        if (!*tmp)
            return -1;
        made = make(*tmp);
        if (made < 0 && errno != EEXIST)
            break;
    }
    return made;
}

static int make_file(const char *path)
{
    return open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
}

static int make_dir(const char *path)
{
    return mkdir(path, 0777);
}

/* The temporary beside w->path. */
static int create(struct wfile *w, struct err *e)
{
    char *dir = path_dir(w->path, e), *beside = NULL;

    if (dir)
        beside = mem_printf(e, "%s/.%s", dir, path_base(w->path));
    if (beside) {
        w->fd = make_partial(&w->tmp, beside, make_file, e);
        if (w->fd < 0)
            err_sys(e, "cannot create a file in '%s'", dir);
    }
    w->open = w->fd >= 0;
    free(beside);
    free(dir);
    return w->open ? 0 : -1;
}

int wfile_open(struct wfile *w, const char *path, bool force, struct err *e)
{
    *w = (struct wfile){.fd = -1, .force = force};
    w->path = mem_strdup(path, e);
    w->buf = mem_new(1, WBUF, e);
    if (w->path && w->buf && strcmp(path, "-") == 0) {
        w->to_stdout = w->open = true;
        w->fd = STDOUT_FILENO;
        return 0;
    }
    if (w->path && w->buf && check_target(path, force, S_IFREG, e) == 0 && create(w, e) == 0)
        return 0;
    wfile_close(w);
    return -1;
}

int output_check(const char *path, bool force, struct err *e)
{
    struct wfile w;

    if (wfile_open(&w, path, force, e))
        return -1;
    wfile_close(&w);
    return input_forbid(path, e);
}

int output_place(const char *path, struct err *e)
{
    char *dir = path_dir(path, e);
    int r = dir ? 0 : -1;

    if (dir && !path_is_dir(dir))
        r = err_set(e, ERR_INPUT, "'%s' cannot be written: there is no folder '%s'", path, dir);
    else if (dir && access(dir, W_OK | X_OK))
        r = err_sys(e, "cannot create a file in '%s'", dir);
    free(dir);
    return r;
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

/*
 * Without force: a complete file gets a name of its own first and then the one that it is for. Should another
 * program have taken that meanwhile, the work of hours is not lost.
 */
static int publish_new(struct wfile *w, struct err *e)
{
    char *complete = NULL;
    int i, r;

    for (i = 0; !complete || path_exists(complete); i++) {
        free(complete);
        complete = mem_printf(e, i ? "%s.complete-%ld.%d" : "%s.complete-%ld", w->path, (long)getpid(), i);
        if (!complete)
            return -1;
    }
    if (rename(w->tmp, complete)) {
        r = err_sys(e, "cannot rename to '%s'", complete);
    } else {
        w->open = false;
        r = rename_new(complete, w->path);
        if (r && errno == EEXIST)
            err_set(e, ERR_INPUT, "'%s' came into being meanwhile: what was to be there is '%s'", w->path,
                    complete);
        else if (r)
            err_sys(e, "cannot rename '%s' to '%s'", complete, w->path);
    }
    free(complete);
    return r;
}

int wfile_commit(struct wfile *w, struct err *e)
{
    char *dir;
    int r;

    if (flush(w, e))
        return -1;
    if (w->to_stdout)
        return 0;
    if (input_made(w->fd, e))
        return -1;
    if (fsync(w->fd))
        return err_sys(e, "cannot sync '%s'", w->path);
    r = close(w->fd);
    w->fd = -1;
    if (r)
        return err_sys(e, "cannot write '%s'", w->path);
    if (w->force && check_target(w->path, true, S_IFREG, e))
        return -1;
    if (w->force && rename(w->tmp, w->path))
        return err_sys(e, "cannot rename to '%s'", w->path);
    if (!w->force && publish_new(w, e))
        return -1;
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

/* Removes what is in the open directory, and closes it; links are removed, not followed. */
static void remove_below(int fd)
{
    DIR *d = fdopendir(fd);
    struct dirent *ent;

    if (!d) {
        close(fd);
        return;
    }
    while ((ent = readdir(d))) {
        int below;

        if (strcmp(ent->d_name, ".") == 0 || strcmp(ent->d_name, "..") == 0)
            continue;
        below = openat(fd, ent->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (below >= 0)
            remove_below(below);
        unlinkat(fd, ent->d_name, below >= 0 ? AT_REMOVEDIR : 0);
    }
    closedir(d);
}

/* Removes a directory tree; failures are left alone (there is nothing better to do). */
static void remove_tree(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd >= 0) {
        remove_below(fd);
        rmdir(path);
    }
}

/* check_target, and: is it empty, or fit to be replaced? at: where it is, d->path or what that was renamed
 * to. */
static int check_dir(const struct outdir *d, const char *at, struct err *e)
{
    char **name;
    size_t n;

    if (check_target(at, d->force, S_IFDIR, e))
        return -1;
    if (!path_exists(at))
        return 0;
    if (dir_list(at, &name, &n, e))
        return -1;
    dir_free(name, n);
    if (!n)
        return 0;
    if (!d->fit)
        return err_set(e, ERR_INPUT, "'%s' is not empty: choose another name", at);
    return d->fit(d->ctx, at, e);
}

int outdir_open(struct outdir *d, const char *path, bool force, outdir_fit *fit, void *ctx, struct err *e)
{
    size_t n = strlen(path);

    *d = (struct outdir){.force = force, .fit = fit, .ctx = ctx};
    while (n > 1 && path[n - 1] == '/')
        n--;
    d->path = mem_strndup(path, n, e);
    if (d->path && check_dir(d, d->path, e) == 0) {
        d->open = make_partial(&d->tmp, d->path, make_dir, e) == 0;
        if (d->open)
            return 0;
        err_sys(e, "cannot create the directory '%s'", d->tmp ? d->tmp : d->path);
    }
    outdir_close(d);
    return -1;
}

/* The new directory takes the place of the old one, which has its name then. */
static int exchange(const struct outdir *d, struct err *e)
{
    char *old;
    int r = 0;

    if (renameat2(AT_FDCWD, d->tmp, AT_FDCWD, d->path, RENAME_EXCHANGE) == 0)
        return 0;
    if (!not_supported())
        return err_sys(e, "cannot rename '%s' to '%s'", d->tmp, d->path);
    /* on file systems that cannot exchange names, nothing has the name for a moment */
    old = mem_printf(e, "%s.old-%ld", d->path, (long)getpid());
    if (!old)
        return -1;
    if (rename_new(d->path, old)) {
        r = err_sys(e, "cannot move '%s' away", d->path);
    } else if (rename_new(d->tmp, d->path)) {
        r = err_sys(e, "cannot rename '%s' to '%s'", d->tmp, d->path);
        rename_new(old, d->path);
    } else if (rename_new(old, d->tmp)) {
        r = err_sys(e, "cannot rename '%s' to '%s': remove it", old, d->tmp);
    }
    free(old);
    return r;
}

/* Replaces what is there and removes it, if it is still what may be replaced once it has the other name. */
static int replace(const struct outdir *d, struct err *e)
{
    struct err changed = {0};

    if (check_dir(d, d->path, e) || exchange(d, e))
        return -1;
    if (check_dir(d, d->tmp, &changed) == 0) {
        remove_tree(d->tmp);
        return 0;
    }
    exchange(d, NULL);
    return err_set(e, ERR_INPUT, "'%s' changed while its replacement was made: it was left alone", d->path);
}

int outdir_commit(struct outdir *d, struct err *e)
{
    struct stat st;
    char *parent;
    int r;

    if (sync_dir(d->tmp, e))
        return -1;
    if (lstat(d->path, &st) == 0) {
        if (replace(d, e))
            return -1;
    } else if (rename_new(d->tmp, d->path)) {
        return err_sys(e, "cannot rename '%s' to '%s'", d->tmp, d->path);
    }
    d->open = false;
    parent = path_dir(d->path, e);
    r = parent ? sync_dir(parent, e) : -1;
    free(parent);
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
