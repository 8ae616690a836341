/* quant_tensor.c -- rows of a map encoded or decoded, slab by slab. */
#include "surgery/quant_tensor.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quant/floats.h"

/* Rows of one task, at least, and of the tiles in which input-major matrices are turned. */
enum { TILE = 32 };
#define SLAB_BYTES (32u << 20) /* rows read at once, if one matrix is larger */

/* Rows of one matrix in memory, in both forms. */
struct slab {
    const struct quant_map *map;
    enum dtype dtype; /* of the plain side */
    struct stored s;  /* the coded side: its pieces in memory begin with row s.row0 */
    uint8_t *piece[STORED_PIECES];
    size_t size[STORED_PIECES]; /* of a whole matrix */
    size_t rows, in, tile;
    uint64_t first; /* element of the plain tensor that flt begins with */
    void *flt;      /* [rows][in], io: [in][rows] */
    float *row;     /* [threads][tile][in] */
    double *err2, *sum2;
    uint64_t *bad; /* [tasks] first element that is not finite, UINT64_MAX: none */
};

/* Element (row, k) is not finite; the one that comes first on the plain side is named. */
static void note_bad(struct slab *s, long task, size_t row, size_t k)
{
    size_t at = s->map->io ? k * s->rows + row : row * s->in + k;

    s->bad[task] = at < s->bad[task] ? at : s->bad[task];
}

static void load_rows(const struct slab *s, size_t from, size_t n, float *dst)
{
    size_t i, k;

    if (!s->map->io) {
        floats_to_f32(s->dtype, (uint8_t *)s->flt + from * s->in * dtype_bytes(s->dtype), n * s->in, dst);
        return;
    }
    for (k = 0; k < s->in; k++)
        for (i = 0; i < n; i++)
            dst[i * s->in + k] = float_at(s->dtype, s->flt, k * s->rows + from + i);
}

static void encode_task(void *ctx, long task, int worker)
{
    struct slab *s = ctx;
    size_t from = (size_t)task * s->tile, n = s->rows - from < s->tile ? s->rows - from : s->tile, i;
    float *tile = s->row + (size_t)worker * s->tile * s->in;
    uint8_t *piece[STORED_PIECES];

    load_rows(s, from, n, tile);
    s->bad[task] = UINT64_MAX;
    for (i = 0; i < n * s->in; i++)
        if (!isfinite(tile[i]))
            note_bad(s, task, from + i / s->in, i % s->in);
    s->err2[task] = s->sum2[task] = 0;
    if (s->bad[task] != UINT64_MAX)
        return;
    for (i = 0; i < STORED_PIECES; i++)
        piece[i] = s->piece[i] ? s->piece[i] + from / (size_t)s->s.piece[i].per * s->s.piece[i].row : NULL;
    s->map->format->encode->rows(tile, n, s->in, piece, &s->err2[task], &s->sum2[task]);
}

static void decode_task(void *ctx, long task, int worker)
{
    struct slab *s = ctx;
    size_t from = (size_t)task * s->tile, n = s->rows - from < s->tile ? s->rows - from : s->tile, i, k;
    uint16_t *tile = (uint16_t *)(s->row + (size_t)worker * s->tile * s->in), *out = s->flt;
    bool io = s->map->io;

    if (!io)
        tile = out + from * s->in;
    s->bad[task] = UINT64_MAX;
    if (!stored_rows(&s->s, s->s.row0 + (int)from, (int)n, tile, s->in, true))
        for (i = 0; i < n * s->in; i++)
            if ((tile[i] & 0x7f80) == 0x7f80)
                note_bad(s, task, from + i / s->in, i % s->in);
    for (k = 0; io && k < s->in; k++)
        for (i = 0; i < n; i++)
            out[k * s->rows + from + i] = tile[i * s->in + k];
}

static int run_slab(struct quant_work *q, struct slab *s, struct quant_map *m, const char *name,
                    struct err *e)
{
    long tasks = (long)((s->rows + s->tile - 1) / s->tile), i;
    uint64_t bad = UINT64_MAX;

    pool_run(q->pool, tasks, m->encode ? encode_task : decode_task, s);
    for (i = 0; i < tasks; i++) { /* in order: the sums do not depend on the threads */
        bad = s->bad[i] < bad ? s->bad[i] : bad;
        if (m->encode) {
            m->err2 += s->err2[i];
            m->sum2 += s->sum2[i];
        }
    }
    if (bad == UINT64_MAX)
        return 0;
    return err_set(e, ERR_INPUT,
                   m->encode ? "tensor '%s': element %llu is not a finite number"
                             : "tensor '%s': element %llu is not a finite number when decoded",
                   name, (unsigned long long)(s->first + bad));
}

/* ---- slabs ---- */

/* Bytes of a piece from row `from` of a matrix on. */
static size_t piece_rows(const struct slab *s, int use, size_t from, size_t n)
{
    const struct stored_piece *p = &s->s.piece[use];
    size_t per = (size_t)p->per;

    return ((from + n - 1) / per - from / per + 1) * p->row;
}

/* Geometry of the coded side, and rows that fit into a slab; an input-major matrix is taken whole. */
static void slab_shape(struct slab *s, const struct quant_map *m)
{
    const struct format_claim as = {.format = m->format};
    const struct piece *p;
    uint64_t rows;
    int per = 1;

    FOR_PIECES(p, m->format)
    if (p->use < STORED_PIECES)
        s->s.piece[p->use].dtype = piece_dtype(p);
    format_describe(&s->s, &as, (int)m->out, (int)m->in, false);
    FOR_PIECES(p, m->format)
    if (p->use < STORED_PIECES && s->s.piece[p->use].per > per)
        per = s->s.piece[p->use].per;
    s->tile = per == INT_MAX ? m->out : (size_t)(TILE + per - 1) / (size_t)per * (size_t)per;
    rows = SLAB_BYTES / (m->in * dtype_bytes(s->dtype)) / s->tile * s->tile;
    rows = rows > s->tile ? rows : s->tile;
    s->rows = m->io || rows >= m->out ? m->out : (size_t)rows;
}

static int slab_new(struct slab *s, const struct quant_map *m, int threads, struct err *e)
{
    const struct piece *p;
    size_t tasks;
    bool ok = true;

    *s = (struct slab){
        .map = m, .dtype = m->encode ? m->from[USE_WEIGHT]->dtype : DT_BF16, .in = m->in, .s.name = ""};
    slab_shape(s, m);
    tasks = (s->rows + s->tile - 1) / s->tile;
    FOR_PIECES(p, m->format)
    {
        if (p->use >= STORED_PIECES)
            continue;
        s->size[p->use] = piece_rows(s, p->use, 0, m->out);
        s->piece[p->use] = mem_new_aligned(piece_rows(s, p->use, 0, s->rows), 1, e);
        s->s.piece[p->use].at = s->piece[p->use];
        ok = ok && s->piece[p->use];
    }
    s->flt = mem_new_aligned(s->rows * s->in, dtype_bytes(s->dtype), e);
    s->row = mem_new_aligned((size_t)threads * s->tile * s->in, sizeof *s->row, e);
    s->err2 = mem_new(tasks, sizeof *s->err2, e);
    s->sum2 = mem_new(tasks, sizeof *s->sum2, e);
    s->bad = mem_new(tasks, sizeof *s->bad, e);
    return ok && s->flt && s->row && s->err2 && s->sum2 && s->bad ? 0 : -1;
}

static void slab_free(struct slab *s)
{
    int i;

    for (i = 0; i < STORED_PIECES; i++)
        free(s->piece[i]);
    free(s->flt);
    free(s->row);
    free(s->err2);
    free(s->sum2);
    free(s->bad);
}

/* ---- maps ---- */

/* The piece that is due goes to the file, the others to what waits. */
static int encode_slab(struct quant_work *q, struct slab *s, struct quant_map *m, enum piece_use due,
                       size_t row, struct err *e)
{
    const struct tensor *from = m->from[USE_WEIGHT];
    unsigned width = dtype_bytes(s->dtype);
    int i;

    if (checkpoint_read(&q->rw->m->ckpt, from, s->first * width, s->flt, s->rows * s->in * width, e) ||
        run_slab(q, s, m, from->name, e))
        return -1;
    for (i = 0; i < STORED_PIECES; i++) {
        size_t n = s->piece[i] ? piece_rows(s, i, row, s->rows) : 0;

        if (n && i == (int)due && rewrite_bytes(q->rw, s->piece[i], n, e))
            return -1;
        if (n && i != (int)due)
            memcpy(m->kept[i] + m->kept_n[i], s->piece[i], n);
        m->kept_n[i] += n;
    }
    return 0;
}

/* Reads rows of the coded side of matrix i. */
static int read_coded(struct quant_work *q, struct slab *s, const struct quant_map *m, uint64_t i, size_t row,
                      struct err *e)
{
    const struct piece *p;
    size_t n, at, elem, bad;

    s->s.row0 = (int)row;
    FOR_PIECES(p, m->format)
    {
        const struct tensor *t = p->use < STORED_PIECES ? m->from[p->use] : NULL;
        const struct stored_piece *sp;

        if (!t)
            continue;
        sp = &s->s.piece[p->use];
        n = piece_rows(s, p->use, row, s->rows);
        at = (size_t)i * s->size[p->use] + row / (size_t)sp->per * sp->row;
        elem = dtype_bytes(t->dtype);
        if (checkpoint_read(&q->rw->m->ckpt, t, at, s->piece[p->use], n, e))
            return -1;
        if (p->e8m0 && dtype_bad(DT_F8_E8M0, s->piece[p->use], n / elem, &bad))
            return err_set(e, ERR_INPUT, "tensor '%s': scale %llu is 255, which is not a number", t->name,
                           (unsigned long long)(at / elem + bad));
    }
    return 0;
}

static int decode_slab(struct quant_work *q, struct slab *s, struct quant_map *m, const char *name,
                       uint64_t i, size_t row, struct err *e)
{
    if (read_coded(q, s, m, i, row, e) || run_slab(q, s, m, name, e))
        return -1;
    return rewrite_bytes(q->rw, s->flt, s->rows * s->in * dtype_bytes(s->dtype), e);
}

static int keep_pieces(struct quant_map *m, const struct slab *s, enum piece_use due, struct err *e)
{
    int i;

    for (i = 0; m->encode && i < STORED_PIECES; i++)
        if (s->piece[i] && i != (int)due && !(m->kept[i] = mem_new((size_t)m->n * s->size[i], 1, e)))
            return -1;
    return 0;
}

static int convert(struct quant_work *q, struct quant_map *m, const struct out_tensor *t, struct err *e)
{
    struct slab s = {0};
    size_t row, most;
    uint64_t i;
    int r;

    m->made = true;
    if (!m->n)
        return 0;
    r = slab_new(&s, m, pool_threads(q->pool), e) || keep_pieces(m, &s, t->use, e) ? -1 : 0;
    most = s.rows;
    for (i = 0; i < m->n && !r; i++)
        for (row = 0; row < m->out && !r; row += s.rows) {
            s.rows = m->out - row < most ? m->out - row : most;
            s.first = (i * m->out + row) * m->in;
            r = m->encode ? encode_slab(q, &s, m, t->use, row, e)
                          : decode_slab(q, &s, m, t->t.name, i, row, e);
        }
    slab_free(&s);
    return r;
}

int quant_put(struct quant_work *q, const struct out_tensor *t, struct err *e)
{
    struct quant_map *m = t->map;
    int r;

    if (!m)
        return rewrite_copy(q->rw, t->from, 0, t->from->size, e);
    if (!m->made)
        return convert(q, m, t, e);
    r = rewrite_bytes(q->rw, m->kept[t->use], m->kept_n[t->use], e);
    free(m->kept[t->use]);
    m->kept[t->use] = NULL;
    return r;
}

void quant_map_free(struct quant_map *m)
{
    int i;

    for (i = 0; i < STORED_PIECES; i++)
        free(m->kept[i]);
}
