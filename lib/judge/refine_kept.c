/* refine_kept.c -- records that are appended and found again by their key. */
#define _XOPEN_SOURCE 700 /* O_NOFOLLOW */
#include "judge/refine_kept.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"

enum { HEX = HASH_HEX - 1 };

struct kept_sums {
    char *path;
    int fd;
    size_t head, record; /* bytes */
    uint8_t *buf;        /* [record]: key, sums, digest of both */
    char (*key)[HEX];    /* [n] */
    size_t n, cap;
    size_t next; /* where the next search begins: a run asks in the order in which the last one did */
};

static size_t sums_bytes(const struct kept_sums *k)
{
    return k->record - 2 * (size_t)HEX;
}

/* Reads or writes all of it; false: the system refuses, or the file ends before. */
static bool whole(const struct kept_sums *k, bool put, void *p, size_t n, size_t at)
{
    while (n) {
        ssize_t some = put ? pwrite(k->fd, p, n, (off_t)at) : pread(k->fd, p, n, (off_t)at);

        if (some < 0 && errno == EINTR)
            continue;
        if (some <= 0)
            return false;
        p = (uint8_t *)p + some;
        n -= (size_t)some;
        at += (size_t)some;
    }
    return true;
}

static bool read_record(const struct kept_sums *k, size_t i)
{
    size_t body = k->record - (size_t)HEX;
    char digest[HASH_HEX];

    if (!whole(k, false, k->buf, k->record, k->head + i * k->record))
        return false;
    hash_once(k->buf, body, digest);
    return memcmp(digest, k->buf + body, HEX) == 0;
}

static int remember(struct kept_sums *k, struct err *e)
{
    if (mem_grow(&k->key, &k->cap, k->n + 1, sizeof *k->key, e))
        return -1;
    memcpy(k->key[k->n++], k->buf, HEX);
    return 0;
}

/* The line that the file begins with: there, or written. */
static int check_line(struct kept_sums *k, const char *line, struct err *e)
{
    char *there = mem_new(k->head + 1, 1, e);
    struct stat st;
    int rc = 0;

    if (!there)
        return -1;
    if (fstat(k->fd, &st) || !S_ISREG(st.st_mode))
        rc = err_set(e, ERR_INPUT, "'%s' is no regular file", k->path);
    else if (st.st_size == 0)
        rc = whole(k, true, (void *)(uintptr_t)line, k->head, 0) ? 0
                                                                 : err_sys(e, "cannot write '%s'", k->path);
    else if (!whole(k, false, there, k->head, 0) || memcmp(there, line, k->head) != 0)
        rc = err_set(
            e, ERR_INPUT,
            "'%s' is of another run (other data, options, device or model): remove it, or resume that one",
            k->path);
    free(there);
    return rc;
}

static int kept_fill(struct kept_sums *k, const char *line, struct err *e)
{
    if (check_line(k, line, e))
        return -1;
    while (read_record(k, k->n))
        if (remember(k, e))
            return -1;
    if (ftruncate(k->fd, (off_t)(k->head + k->n * k->record)))
        return err_sys(e, "cannot cut '%s' to its whole records", k->path);
    return 0;
}

int kept_open(struct kept_sums **out, const char *path, const char *of, int64_t docs, struct err *e)
{
    struct kept_sums *k = mem_new(1, sizeof *k, e);
    char *line = mem_printf(e, "#moe-refine 1\tdocuments=%lld\t%s\n", (long long)docs, of);
    int rc = -1;

    *out = NULL;
    if (k && line) {
        k->head = strlen(line);
        k->record = 2 * (size_t)HEX + (size_t)docs * sizeof(double);
        k->path = mem_strdup(path, e);
        k->buf = mem_new(k->record, 1, e);
        k->fd = k->path && k->buf ? open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666) : -1;
        if (k->fd >= 0)
            rc = kept_fill(k, line, e);
        else if (!e->kind)
            err_sys(e, "cannot open '%s'", path);
    }
    free(line);
    if (rc)
        kept_close(k);
    else
        *out = k;
    return rc;
}

int kept_find(struct kept_sums *k, const uint8_t *mask, size_t n, double *sum, struct err *e)
{
    char key[HASH_HEX];
    size_t i, at;

    hash_once(mask, n, key);
    for (i = 0; i < k->n; i++) {
        at = (k->next + i) % k->n;
        if (memcmp(k->key[at], key, HEX) != 0)
            continue;
        if (!read_record(k, at))
            return err_set(e, ERR_IO, "'%s' is not what it was: record %zu is damaged", k->path, at + 1);
        memcpy(sum, k->buf + HEX, sums_bytes(k));
        k->next = at + 1;
        return 1;
    }
    return 0;
}

int kept_add(struct kept_sums *k, const uint8_t *mask, size_t n, const double *sum, struct err *e)
{
    size_t body = k->record - (size_t)HEX;
    char digest[HASH_HEX];

    hash_once(mask, n, digest);
    memcpy(k->buf, digest, HEX);
    memcpy(k->buf + HEX, sum, sums_bytes(k));
    hash_once(k->buf, body, digest);
    memcpy(k->buf + body, digest, HEX);
    if (!whole(k, true, k->buf, k->record, k->head + k->n * k->record))
        return err_sys(e, "cannot write '%s'", k->path);
    return remember(k, e);
}

void kept_close(struct kept_sums *k)
{
    if (!k)
        return;
    if (k->path && k->fd >= 0)
        close(k->fd);
    free(k->path);
    free(k->buf);
    free(k->key);
    free(k);
}
