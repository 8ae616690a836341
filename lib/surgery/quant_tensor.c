#include "surgery/quant_tensor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quant/bf16.h"
#include "quant/mxfp4.h"

/* Rows of one task, and of the tiles in which input-major matrices are turned. */
enum { TILE = 32 };
#define SLAB_BYTES (32u << 20) /* rows read at once, if one matrix is larger */

/* A piece of a tensor in memory: rows output features of one matrix. */
struct slab {
    enum dtype dtype; /* of the float side */
    bool io;          /* the float side is [in][rows] instead of [rows][in] */
    size_t rows, in;
    uint64_t first; /* element of the tensor that flt begins with */
    void *flt;      /* float side: [rows][in] or [in][rows] */
    uint8_t *blocks, *scales;
    float *row; /* [threads][TILE][in] */
    double *err2, *sum2;
    uint64_t *bad; /* [tasks] first element that is not finite, UINT64_MAX: none */
};

static size_t float_bytes(enum dtype d)
{
    return d == DT_F32 ? 4 : 2;
}

static float element(const struct slab *s, size_t i)
{
    if (s->dtype == DT_F32)
        return ((const float *)s->flt)[i];
    return s->dtype == DT_BF16 ? bf16_to_f32(((const uint16_t *)s->flt)[i])
                               : f16_to_f32(((const uint16_t *)s->flt)[i]);
}

/* n consecutive elements as f32. */
static void load(const struct slab *s, size_t i, size_t n, float *dst)
{
    if (s->dtype == DT_F32)
        memcpy(dst, (const float *)s->flt + i, n * sizeof *dst);
    else if (s->dtype == DT_BF16)
        bf16_to_f32_n((const uint16_t *)s->flt + i, dst, n);
    else
        f16_to_f32_n((const uint16_t *)s->flt + i, dst, n);
}

/* Element (row, k) is not finite; the one that comes first on the float side is named. */
static void note_bad(struct slab *s, long task, size_t row, size_t k)
{
    size_t at = s->io ? k * s->rows + row : row * s->in + k;

    s->bad[task] = at < s->bad[task] ? at : s->bad[task];
}

static void encode_task(void *ctx, long task, int worker)
{
    struct slab *s = ctx;
    size_t from = (size_t)task * TILE, n = s->rows - from < TILE ? s->rows - from : TILE, i, k;
    size_t per_row = s->in / MXFP4_BLOCK;
    float *tile = s->row + (size_t)worker * TILE * s->in;

    if (!s->io)
        load(s, from * s->in, n * s->in, tile);
    else
        for (k = 0; k < s->in; k++)
            for (i = 0; i < n; i++)
                tile[i * s->in + k] = element(s, k * s->rows + from + i);
    s->bad[task] = UINT64_MAX;
    for (i = 0; i < n * s->in; i++)
        if (!isfinite(tile[i]))
            note_bad(s, task, from + i / s->in, i % s->in);
    s->err2[task] = s->sum2[task] = 0;
    if (s->bad[task] == UINT64_MAX)
        mxfp4_from_f32(tile, n * per_row, s->blocks + from * per_row * MXFP4_BYTES,
                       s->scales + from * per_row, &s->err2[task], &s->sum2[task]);
}

static void decode_task(void *ctx, long task, int worker)
{
    struct slab *s = ctx;
    size_t from = (size_t)task * TILE, n = s->rows - from < TILE ? s->rows - from : TILE, i, k;
    size_t per_row = s->in / MXFP4_BLOCK;
    uint16_t *tile = (uint16_t *)(s->row + (size_t)worker * TILE * s->in), *out = s->flt;

    if (!s->io)
        tile = out + from * s->in;
    mxfp4_to_bf16(s->blocks + from * per_row * MXFP4_BYTES, s->scales + from * per_row, n * per_row, tile);
    s->bad[task] = UINT64_MAX;
    for (i = 0; i < n * s->in; i++)
        if ((tile[i] & 0x7f80) == 0x7f80)
            note_bad(s, task, from + i / s->in, i % s->in);
    for (k = 0; s->io && k < s->in; k++)
        for (i = 0; i < n; i++)
            out[k * s->rows + from + i] = tile[i * s->in + k];
}

static int run_slab(struct quant_work *q, struct slab *s, const struct tensor *t, bool encode, struct err *e)
{
    long tasks = (long)((s->rows + TILE - 1) / TILE), i;
    uint64_t bad = UINT64_MAX;

    pool_run(q->pool, tasks, encode ? encode_task : decode_task, s);
    for (i = 0; i < tasks; i++) { /* in order: the sums do not depend on the threads */
        bad = s->bad[i] < bad ? s->bad[i] : bad;
        if (encode) {
            q->err2 += s->err2[i];
            q->sum2 += s->sum2[i];
        }
    }
    if (bad == UINT64_MAX)
        return 0;
    return err_set(e, ERR_INPUT,
                   encode ? "tensor '%s': element %llu is not a finite number"
                          : "tensor '%s': element %llu is not a finite number when decoded",
                   t->name, (unsigned long long)(s->first + bad));
}

static int slab_new(struct slab *s, int threads, struct err *e)
{
    size_t tasks = (s->rows + TILE - 1) / TILE, n = s->rows * s->in;

    s->flt = mem_new_aligned(n, float_bytes(s->dtype), e);
    s->blocks = mem_new_aligned(n / 2, 1, e);
    s->scales = mem_new_aligned(n / MXFP4_BLOCK, 1, e);
    s->row = mem_new_aligned((size_t)threads * TILE * s->in, sizeof *s->row, e);
    s->err2 = mem_new(tasks, sizeof *s->err2, e);
    s->sum2 = mem_new(tasks, sizeof *s->sum2, e);
    s->bad = mem_new(tasks, sizeof *s->bad, e);
    return s->flt && s->blocks && s->scales && s->row && s->err2 && s->sum2 && s->bad ? 0 : -1;
}

static void slab_free(struct slab *s)
{
    free(s->flt);
    free(s->blocks);
    free(s->scales);
    free(s->row);
    free(s->err2);
    free(s->sum2);
    free(s->bad);
}

/* The matrices of a tensor: the float one's shape is [in, out] or [out, in], the last two dimensions. */
struct matrices {
    const struct tensor *flt;
    uint64_t n, out, in;
};

static struct matrices matrices_of(const struct tensor *flt, bool io)
{
    uint64_t a = flt->shape[flt->rank - 2], b = flt->shape[flt->rank - 1];

    return (struct matrices){flt, a && b ? tensor_count(flt) / a / b : 0, io ? b : a, io ? a : b};
}

/* Rows that fit into a slab; an input-major matrix is taken whole. */
static size_t slab_rows(const struct matrices *x, bool io)
{
    uint64_t rows = SLAB_BYTES / (x->in * float_bytes(x->flt->dtype));

    if (io || rows >= x->out)
        return (size_t)x->out;
    return rows > TILE ? (size_t)rows / TILE * TILE : TILE;
}

static int encode_slab(struct quant_work *q, struct slab *s, const struct out_tensor *t, struct err *e)
{
    size_t width = float_bytes(s->dtype), n = s->rows * s->in;

    if (checkpoint_read(&q->rw->m->ckpt, t->from, s->first * width, s->flt, n * width, e) ||
        run_slab(q, s, t->from, true, e))
        return -1;
    memcpy(q->scales + s->first / MXFP4_BLOCK, s->scales, n / MXFP4_BLOCK);
    return rewrite_bytes(q->rw, s->blocks, n / 2, e);
}

static int decode_slab(struct quant_work *q, struct slab *s, const struct out_tensor *t, struct err *e)
{
    const struct checkpoint *c = &q->rw->m->ckpt;
    size_t n = s->rows * s->in, bad;

    if (checkpoint_read(c, t->from, s->first / 2, s->blocks, n / 2, e) ||
        checkpoint_read(c, t->also, s->first / MXFP4_BLOCK, s->scales, n / MXFP4_BLOCK, e))
        return -1;
    bad = mxfp4_bad_scale(s->scales, n / MXFP4_BLOCK);
    if (bad < n / MXFP4_BLOCK)
        return err_set(e, ERR_INPUT, "tensor '%s': scale %llu is 255, which is not a number", t->also->name,
                       (unsigned long long)(s->first / MXFP4_BLOCK + bad));
    if (run_slab(q, s, &t->t, false, e))
        return -1;
    return rewrite_bytes(q->rw, s->flt, n * 2, e);
}

static int convert(struct quant_work *q, const struct out_tensor *t, struct err *e)
{
    bool encode = t->op == QOP_ENCODE || t->op == QOP_ENCODE_IO;
    bool io = t->op == QOP_ENCODE_IO || t->op == QOP_DECODE_IO;
    struct matrices x = matrices_of(encode ? t->from : &t->t, io);
    struct slab s = {.dtype = x.flt->dtype, .io = io, .in = (size_t)x.in};
    uint64_t i, row;
    int r = 0;

    if (!x.n)
        return 0;
    s.rows = slab_rows(&x, io);
    if (slab_new(&s, pool_threads(q->pool), e))
        r = -1;
    for (i = 0; i < x.n && !r; i++)
        for (row = 0; row < x.out && !r; row += s.rows) {
            if (x.out - row < s.rows)
                s.rows = (size_t)(x.out - row);
            s.first = (i * x.out + row) * x.in;
            r = encode ? encode_slab(q, &s, t, e) : decode_slab(q, &s, t, e);
        }
    slab_free(&s);
    return r;
}

int quant_put(struct quant_work *q, const struct out_tensor *t, struct err *e)
{
    switch ((enum quant_op)t->op) {
    case QOP_COPY:
        return rewrite_copy(q->rw, t->from, 0, t->from->size, e);
    case QOP_SCALES:
        return rewrite_bytes(q->rw, q->scales, q->scales_n, e);
    case QOP_ENCODE:
    case QOP_ENCODE_IO:
        quant_work_free(q);
        q->count = tensor_count(t->from);
        q->err2 = q->sum2 = 0;
        q->scales_n = (size_t)(q->count / MXFP4_BLOCK);
        q->scales = mem_new(q->scales_n, 1, e);
        return q->scales ? convert(q, t, e) : -1;
    case QOP_DECODE:
    case QOP_DECODE_IO:
        q->count = tensor_count(&t->t);
        q->err2 = q->sum2 = 0;
        return convert(q, t, e);
    }
    return -1;
}

void quant_work_free(struct quant_work *q)
{
    free(q->scales);
    q->scales = NULL;
    q->scales_n = 0;
}
