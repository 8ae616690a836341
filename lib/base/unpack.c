/* unpack.c -- gzip and zstd, to the end of the last member or frame. */
#include "base/unpack.h"

#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base/file.h"
#include "base/mem.h"

enum { PIECE = 1 << 20, GZIP = 16, WINDOW_LOG = sizeof(size_t) == 4 ? 30 : 31 };

struct packed {
    const char *p, *name;
    size_t n;
    char *piece; /* [PIECE] */
    struct str out;
};

static int damaged(const struct packed *k, const char *kind, const char *why, struct err *e)
{
    return err_set(e, ERR_INPUT, "'%s': its %s data is damaged (%s): is the download complete?", k->name,
                   kind, why);
}

static bool is_gzip(const char *p, size_t n)
{
    return n >= 2 && memcmp(p, "\x1f\x8b", 2) == 0;
}

/* A frame, or one that is to be skipped. */
static bool is_zstd(const char *p, size_t n)
{
    return n >= 4 && (memcmp(p, "\x28\xb5\x2f\xfd", 4) == 0 ||
                      ((p[0] & 0xf0) == 0x50 && memcmp(p + 1, "\x2a\x4d\x18", 3) == 0));
}

/* ---- gzip ---- */

/* One call of inflate; *end: a member is complete. */
static int inflate_piece(struct packed *k, z_stream *z, bool *end, struct err *e)
{
    uInt given = k->n < INT_MAX ? (uInt)k->n : INT_MAX;
    int r;

    z->next_in = (Bytef *)(uintptr_t)k->p;
    z->avail_in = given;
    z->next_out = (Bytef *)k->piece;
    z->avail_out = PIECE;
    r = inflate(z, Z_NO_FLUSH);
    k->p += given - z->avail_in;
    k->n -= given - z->avail_in;
    str_add(&k->out, k->piece, PIECE - z->avail_out);
    *end = r == Z_STREAM_END;
    if (r == Z_MEM_ERROR)
        return err_set(e, ERR_NOMEM, "out of memory: '%s'", k->name);
    if (r == Z_BUF_ERROR || (r == Z_OK && !k->n && z->avail_out))
        return damaged(k, "gzip", "it is cut off", e);
    return r == Z_OK || *end ? str_ok(&k->out, e) : damaged(k, "gzip", z->msg ? z->msg : "unknown", e);
}

/* Members one after the other; zeros behind the last are padding. */
static int from_gzip(struct packed *k, struct err *e)
{
    z_stream z = {0};
    bool end = false;
    int bad = 0;

    if (inflateInit2(&z, MAX_WBITS + GZIP) != Z_OK)
        return err_set(e, ERR_NOMEM, "out of memory: '%s'", k->name);
    while (!bad && !(end && !is_gzip(k->p, k->n))) {
        if (end)
            inflateReset(&z);
        bad = check_cancelled(e) || inflate_piece(k, &z, &end, e);
    }
    inflateEnd(&z);
    for (; k->n && !*k->p; k->p++)
        k->n--;
    return !bad && k->n ? damaged(k, "gzip", "something else follows", e) : bad;
}

/* ---- zstd ---- */

static int from_zstd(struct packed *k, struct err *e)
{
    ZSTD_DCtx *z = ZSTD_createDCtx();
    ZSTD_inBuffer in = {k->p, k->n, 0};
    ZSTD_outBuffer out = {k->piece, PIECE, PIECE};
    size_t left = 1;
    int bad = 0;

    if (!z)
        return err_set(e, ERR_NOMEM, "out of memory: '%s'", k->name);
    ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, WINDOW_LOG);
    while (!bad && (in.pos < in.size || (left && out.pos == out.size))) {
        out.pos = 0;
        left = ZSTD_decompressStream(z, &out, &in);
        if (ZSTD_isError(left)) {
            bad = damaged(k, "zstd", ZSTD_getErrorName(left), e);
            break;
        }
        str_add(&k->out, k->piece, out.pos);
        bad = str_ok(&k->out, e) || check_cancelled(e);
    }
    ZSTD_freeDCtx(z);
    return !bad && left ? damaged(k, "zstd", "it is cut off", e) : bad;
}

int unpack(char **text, size_t *n, const char *name, struct err *e)
{
    bool gzip = is_gzip(*text, *n);
    struct packed k = {.p = *text, .name = name, .n = *n};
    int bad;

    if (!gzip && !is_zstd(*text, *n))
        return 0;
    k.piece = mem_new(1, PIECE, e);
    str_add(&k.out, "", 0);
    bad = !k.piece || (gzip ? from_gzip(&k, e) : from_zstd(&k, e));
    free(k.piece);
    if (bad) {
        str_free(&k.out);
        return -1;
    }
    free(*text);
    *text = k.out.p;
    *n = k.out.n;
    return 1;
}
