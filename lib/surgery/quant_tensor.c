/* quant_tensor.c -- rows of a map decoded and encoded, slab by slab. */
#include "surgery/quant_tensor.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quant/floats.h"
#include "quant/fp8.h"

/* Rows of one task, at least, and of the tiles in which input-major matrices are turned. */
enum { TILE = 32 };
#define SLAB_BYTES (32u << 20) /* of f32: rows read at once, if one matrix is larger */

/* What a task found. */
struct task_result {
    double err2, sum2;
    uint64_t blocks, lossless;
    uint64_t bad; /* first element that is not finite, UINT64_MAX: none */
    float most;
};

/* A side of a map in memory: its pieces begin with row s.row0. */
struct side {
    struct stored s;
    uint8_t *piece[STORED_PIECES];
    size_t size[STORED_PIECES]; /* of a whole matrix */
};

/* Rows of one matrix in both forms. */
struct slab {
    const struct quant_map *map;
    struct side from, to;
    size_t rows, in, tile;
    uint64_t first; /* element of the source's numbers that the slab begins with */
    float *tiles;   /* [threads][2][tile][in]: a task's rows, and those that are to be turned */
    float *energy;  /* [in]; NULL: none */
    float global;
    struct task_result *result; /* [tasks] */
};

/* ---- geometry ---- */

/* Bytes of a piece that rows from `from` on need. */
static size_t piece_rows(const struct stored_piece *p, size_t from, size_t n)
{
    size_t per = (size_t)p->per;

    return ((from + n - 1) / per - from / per + 1) * p->row;
}

/* Sets what a map's pieces look like; their dtypes are set. */
static void describe_side(struct side *x, const struct format_claim *c, const struct quant_map *m, bool io)
{
    uint64_t shape[PIECE_DIMS], bytes;
    const struct piece *p;
    int rank;

    format_describe(&x->s, c, (int)m->out, (int)m->in, io);
    FOR_PIECES(p, c->format)
    {
        if (p->use >= STORED_PIECES)
            continue;
        rank = piece_shape(p, c->block, m->out, m->in, io, shape);
        for (bytes = dtype_bytes(x->s.piece[p->use].dtype); rank > 0; rank--)
            bytes *= shape[rank - 1];
        x->size[p->use] = (size_t)bytes;
    }
}

static void describe_source(struct side *x, const struct quant_map *m)
{
    int i;

    *x = (struct side){.s.name = m->from.piece[USE_WEIGHT]->name};
    for (i = 0; i < STORED_PIECES; i++)
        if (m->from.piece[i]) {
            x->s.piece[i].dtype = m->from.piece[i]->dtype;
            x->s.piece[i].name = m->from.piece[i]->name;
        }
    describe_side(x, m->from.as, m, m->from_io);
    for (i = 0; i < STORED_PIECES; i++)
        if (!m->from.piece[i])
            x->size[i] = 0; /* may be there, and is not */
}

static void describe_target(struct side *x, const struct quant_map *m)
{
    const struct format_claim as = {.format = m->to, .block = m->encode->block};
    const struct piece *p;

    *x = (struct side){.s.name = ""};
    FOR_PIECES(p, m->to)
    if (p->use < STORED_PIECES)
        x->s.piece[p->use].dtype = encoder_dtype(m->encode, p);
    describe_side(x, &as, m, false);
    FOR_PIECES(p, m->to)
    if (p->use < STORED_PIECES && p->optional)
        x->size[p->use] = 0; /* not written */
}

int quant_check_source(const struct quant_map *m, const char *dir, struct err *e)
{
    struct side x;
    int i;

    if (m->out > INT_MAX || m->in > INT_MAX)
        return err_set(e, ERR_INPUT, "'%s': tensor '%s' is too large", dir, m->from.piece[USE_WEIGHT]->name);
    describe_source(&x, m);
    for (i = 0; i < STORED_PIECES; i++)
        if (m->from.piece[i] && m->from.piece[i]->size != m->n * x.size[i] &&
            m->from.piece[i]->size != x.size[i])
            return err_set(e, ERR_INPUT, "'%s': tensor '%s' is not of the size that '%s' needs", dir,
                           m->from.piece[i]->name, m->from.piece[USE_WEIGHT]->name);
    return 0;
}

/* ---- tasks ---- */

/* Element (row, k) is not finite; the one that comes first in the source is named. */
static void note_bad(const struct slab *s, struct task_result *r, size_t row, size_t k)
{
    size_t at = s->map->from_io ? k * s->rows + row : row * s->in + k;

    r->bad = at < r->bad ? at : r->bad;
}

/* Rows of a task as numbers; false: one is not finite. */
static bool load_rows(const struct slab *s, struct task_result *r, size_t from, size_t n, float *tile)
{
    size_t i;

    *r = (struct task_result){.bad = UINT64_MAX};
    if (stored_rows(&s->from.s, s->from.s.row0 + (int)from, (int)n, tile, s->in, false))
        return true;
    for (i = 0; i < n * s->in; i++)
        if (!isfinite(tile[i]))
            note_bad(s, r, from + i / s->in, i % s->in);
    return false;
}

static size_t task_rows(const struct slab *s, long task)
{
    size_t from = (size_t)task * s->tile;

    return s->rows - from < s->tile ? s->rows - from : s->tile;
}

/* [n][in] of BF16 to columns of [in][rows]. */
static void turn_rows(const struct slab *s, const uint16_t *tile, size_t from, size_t n)
{
    uint16_t *out = (uint16_t *)s->to.piece[USE_WEIGHT];
    size_t i, k;

    for (k = 0; k < s->in; k++)
        for (i = 0; i < n; i++)
            out[k * s->rows + from + i] = tile[i * s->in + k];
}

static void encode_task(void *ctx, long task, int worker)
{
    struct slab *s = ctx;
    struct task_result *r = &s->result[task];
    size_t from = (size_t)task * s->tile, n = task_rows(s, task);
    float *tile = s->tiles + 2 * (size_t)worker * s->tile * s->in;
    struct encode_rows rows = {.src = tile,
                               .n = n,
                               .in = s->in,
                               .energy = s->energy,
                               .block = s->map->encode->block,
                               .global = s->global};
    int i;

    if (!load_rows(s, r, from, n, tile))
        return;
    for (i = 0; i < STORED_PIECES; i++) {
        const struct stored_piece *p = &s->to.s.piece[i];

        if (s->to.piece[i])
            rows.piece[i] = s->to.piece[i] + from / (size_t)p->per * p->row;
    }
    if (s->map->io)
        rows.piece[USE_WEIGHT] = (uint8_t *)(tile + s->tile * s->in);
    s->map->encode->rows(&rows);
    if (s->map->io)
        turn_rows(s, (const uint16_t *)(tile + s->tile * s->in), from, n);
    r->err2 = rows.err2;
    r->sum2 = rows.sum2;
    r->blocks = rows.blocks;
    r->lossless = rows.lossless;
}

static void most_task(void *ctx, long task, int worker)
{
    struct slab *s = ctx;
    struct task_result *r = &s->result[task];
    size_t n = task_rows(s, task);
    float *tile = s->tiles + 2 * (size_t)worker * s->tile * s->in;

    if (load_rows(s, r, (size_t)task * s->tile, n, tile))
        r->most = largest_f32(tile, n * s->in);
}

/* Runs the tasks of the rows at hand; *all gets their sums, in order: they do not depend on the threads. */
static int run_slab(struct quant_work *q, struct slab *s, void (*task)(void *, long, int),
                    struct task_result *all, struct err *e)
{
    long tasks = (long)((s->rows + s->tile - 1) / s->tile), i;
    const struct format *f = s->map->from.as->format;
    uint64_t bad = UINT64_MAX;

    pool_run(q->pool, tasks, task, s);
    for (i = 0; i < tasks; i++) {
        const struct task_result *r = &s->result[i];

        bad = r->bad < bad ? r->bad : bad;
        all->err2 += r->err2;
        all->sum2 += r->sum2;
        all->blocks += r->blocks;
        all->lossless += r->lossless;
        all->most = r->most > all->most ? r->most : all->most;
    }
    if (bad == UINT64_MAX)
        return 0;
    return err_set(e, ERR_INPUT, "tensor '%s': element %llu is not a finite number%s",
                   s->map->from.piece[USE_WEIGHT]->name, (unsigned long long)(s->first + bad),
                   f == &format_plain ? "" : " when decoded");
}

/* ---- slabs ---- */

/* Rows that fit into a slab; a turned matrix is taken whole. */
static void slab_shape(struct slab *s, const struct quant_map *m)
{
    uint64_t rows;
    size_t per = 1;
    int i;

    describe_source(&s->from, m);
    describe_target(&s->to, m);
    for (i = 0; i < STORED_PIECES; i++)
        if (s->to.size[i] && s->to.s.piece[i].per != INT_MAX && (size_t)s->to.s.piece[i].per > per)
            per = (size_t)s->to.s.piece[i].per;
    s->tile = (TILE + per - 1) / per * per;
    rows = SLAB_BYTES / (m->in * sizeof(float)) / s->tile * s->tile;
    rows = rows > s->tile ? rows : s->tile;
    s->rows = m->io || s->from.s.in_out || rows >= m->out ? m->out : (size_t)rows;
}

static int new_pieces(struct side *x, size_t rows, struct err *e)
{
    int i;

    for (i = 0; i < STORED_PIECES; i++) {
        size_t n = x->s.in_out ? x->size[i] : x->size[i] ? piece_rows(&x->s.piece[i], 0, rows) : 0;

        n = n ? n + x->s.piece[i].row : 0; /* rows that begin within those that share one */
        if (n && !(x->piece[i] = mem_new_aligned(n, 1, e)))
            return -1;
        x->s.piece[i].at = x->piece[i];
    }
    return 0;
}

static int slab_new(struct slab *s, const struct quant_map *m, int threads, struct err *e)
{
    size_t tasks;

    *s = (struct slab){.map = m, .in = m->in};
    slab_shape(s, m);
    tasks = (s->rows + s->tile - 1) / s->tile;
    if (new_pieces(&s->from, s->rows, e) || new_pieces(&s->to, s->rows, e))
        return -1;
    s->tiles = mem_new_aligned(2 * (size_t)threads * s->tile * s->in, sizeof *s->tiles, e);
    s->result = mem_new(tasks, sizeof *s->result, e);
    if (m->energy && !(s->energy = mem_new(m->in, sizeof *s->energy, e)))
        return -1;
    return s->tiles && s->result ? 0 : -1;
}

static void slab_free(struct slab *s)
{
    int i;

    for (i = 0; i < STORED_PIECES; i++) {
        free(s->from.piece[i]);
        free(s->to.piece[i]);
    }
    free(s->tiles);
    free(s->energy);
    free(s->result);
}

/* Energies of matrix i over their mean; a hundredth is added, as what was never seen may still come. */
static void take_energy(struct slab *s, uint64_t i)
{
    const double *w = s->map->energy + i * s->in;
    double sum = 0, mean;
    size_t k;

    for (k = 0; k < s->in; k++)
        sum += w[k];
    mean = sum / (double)s->in;
    for (k = 0; k < s->in; k++)
        s->energy[k] = mean > 0 ? (float)(w[k] / mean + .01) : 1;
}

/* Reads rows of the source's matrix i. */
static int read_source(struct quant_work *q, struct slab *s, uint64_t i, size_t row, struct err *e)
{
    const struct quant_map *m = s->map;
    size_t at, bad, n;
    int use;

    s->from.s.row0 = (int)row;
    for (use = 0; use < STORED_PIECES; use++) {
        const struct tensor *t = m->from.piece[use];
        const struct stored_piece *p = &s->from.s.piece[use];

        if (!t)
            continue;
        at = row / (size_t)p->per * p->row;
        n = s->from.s.in_out ? s->from.size[use] : piece_rows(p, row, s->rows);
        n = n < s->from.size[use] - at ? n : s->from.size[use] - at; /* the last row may be partial */
        at += t->size == s->from.size[use] ? 0 : (size_t)i * s->from.size[use];
        if (checkpoint_read(&q->rw->m->ckpt, t, at, s->from.piece[use], n, e))
            return -1;
        if (use == USE_SCALE && (t->dtype == DT_U8 || t->dtype == DT_F8_E8M0) &&
            dtype_bad(DT_F8_E8M0, s->from.piece[use], n, &bad))
            return err_set(e, ERR_INPUT, "tensor '%s': scale %llu is 255, which is not a number", t->name,
                           (unsigned long long)(at + bad));
    }
    return 0;
}

/* Calls done(ctx) for all rows of all matrices of the map, in order. */
typedef int slab_done(void *ctx, struct slab *s, uint64_t i, size_t row, struct err *e);
static int each_slab(struct quant_work *q, struct slab *s, slab_done *done, void *ctx, struct err *e)
{
    const struct quant_map *m = s->map;
    size_t row, most = s->rows;
    uint64_t i;

    for (i = 0; i < m->n; i++) {
        if (m->energy)
            take_energy(s, i);
        for (row = 0; row < m->out; row += s->rows) {
            s->rows = m->out - row < most ? m->out - row : most;
            s->first = (i * m->out + row) * m->in;
            if (read_source(q, s, i, row, e) || done(ctx, s, i, row, e))
                return -1;
        }
        s->rows = most;
    }
    return 0;
}

/* ---- the largest magnitude ---- */

struct looking {
    struct quant_work *q;
    struct task_result all;
};

static int note_most(void *ctx, struct slab *s, uint64_t i, size_t row, struct err *e)
{
    struct looking *l = ctx;

    (void)i, (void)row;
    return run_slab(l->q, s, most_task, &l->all, e);
}

static int look(struct quant_work *q, const struct quant_map *m, float *most, struct err *e)
{
    struct looking l = {.q = q};
    struct slab s = {0};
    int r = slab_new(&s, m, pool_threads(q->pool), e) || each_slab(q, &s, note_most, &l, e) ? -1 : 0;

    slab_free(&s);
    *most = l.all.most > *most ? l.all.most : *most;
    return r;
}

static bool shares_global(const struct quant_map *a, const struct quant_map *b)
{
    return a == b || (a->with && a->with == b->with && a->layer == b->layer && a->expert == b->expert &&
                      b->encode->global);
}

/* Maps of an expert or a layer stand together. */
static int find_most(struct quant_work *q, struct quant_map *m, struct err *e)
{
    struct quant_map *from = m, *to = m + 1, *x;
    float most = 0;

    while (from > q->map && from[-1].layer == m->layer && from[-1].expert == m->expert)
        from--;
    while (to < q->map + q->maps && to->layer == m->layer && to->expert == m->expert)
        to++;
    for (x = from; x < to; x++)
        if (shares_global(m, x) && look(q, x, &most, e))
            return -1;
    for (x = from; x < to; x++)
        if (shares_global(m, x))
            x->most = most;
    return 0;
}

/* ---- maps ---- */

struct making {
    struct quant_work *q;
    struct quant_map *m;
    enum piece_use due;
};

/* The piece that is due goes to the file, the others to what waits. */
static int make_slab(void *ctx, struct slab *s, uint64_t i, size_t row, struct err *e)
{
    struct making *g = ctx;
    struct quant_map *m = g->m;
    struct task_result all = {0};
    int use;

    (void)i;
    if (s->to.piece[USE_GLOBAL])
        float_put(DT_F32, s->to.piece[USE_GLOBAL], 0, s->global);
    if (run_slab(g->q, s, encode_task, &all, e))
        return -1;
    m->err2 += all.err2;
    m->sum2 += all.sum2;
    m->blocks += all.blocks;
    m->lossless += all.lossless;
    for (use = 0; use < STORED_PIECES; use++) {
        bool again = use == USE_GLOBAL && row; /* one for the whole matrix */
        size_t n = s->to.piece[use] && !again ? piece_rows(&s->to.s.piece[use], row, s->rows) : 0;

        if (n && use == (int)g->due && rewrite_bytes(g->q->rw, s->to.piece[use], n, e))
            return -1;
        if (n && use != (int)g->due)
            memcpy(m->kept[use] + m->kept_n[use], s->to.piece[use], n);
        m->kept_n[use] += n;
    }
    return 0;
}

static int keep_pieces(struct quant_map *m, const struct slab *s, enum piece_use due, struct err *e)
{
    int i;

    for (i = 0; i < STORED_PIECES; i++)
        if (s->to.piece[i] && i != (int)due && !(m->kept[i] = mem_new((size_t)m->n * s->to.size[i], 1, e)))
            return -1;
    return 0;
}

static int convert(struct quant_work *q, struct quant_map *m, enum piece_use due, struct err *e)
{
    struct making g = {q, m, due};
    struct slab s = {0};
    int r;

    m->made = true;
    if (!m->n)
        return 0;
    if (m->encode->global && m->most < 0 && find_most(q, m, e))
        return -1;
    r = slab_new(&s, m, pool_threads(q->pool), e) || keep_pieces(m, &s, due, e) ? -1 : 0;
    if (!r && m->encode->global)
        s.global = m->encode->global(m->most);
    r = r || each_slab(q, &s, make_slab, &g, e) ? -1 : 0;
    slab_free(&s);
    return r;
}

static int put_size(struct quant_work *q, const struct quant_map *m, struct err *e)
{
    const int64_t size[2] = {(int64_t)m->out, (int64_t)m->in};

    return rewrite_bytes(q->rw, size, sizeof size, e);
}

int quant_put(struct quant_work *q, const struct out_tensor *t, struct err *e)
{
    struct quant_map *m = t->map;
    int r;

    if (!m)
        return rewrite_copy(q->rw, t->from, 0, t->from->size, e);
    if (t->use == USE_OTHER)
        return put_size(q, m, e);
    if (!m->made)
        return convert(q, m, t->use, e);
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
