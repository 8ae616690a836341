/* cpu_matrix.c -- packed matrices and the products of a whole matrix: linear, linear_add. */
#include "cpu/cpu.h"

#include <stdlib.h>
#include <string.h>

#include "quant/bf16.h"
#include "cpu/simd.h"

/* A panel should stay in the second-level cache beside a tile of rows. */
enum { PANEL_BYTES = 512 * 1024, PANEL_MIN = 128, PANEL_MAX = 512, ROWS_MAX = 4 * GEMM_ROWS };

static int choose_width(const struct cpu *c, int out, int in)
{
    size_t fit = PANEL_BYTES / ((size_t)in * c->dev.elem_bytes) / PANEL_MIN * PANEL_MIN;
    int w = fit < PANEL_MIN ? PANEL_MIN : fit > PANEL_MAX ? PANEL_MAX : (int)fit;

    if (gemm_parts(c->gemm)) /* a call costs little, and results stay in the first-level cache */
        w = PANEL_MIN;

    return w < out ? w : out;
}

static struct matrix *matrix_new(struct cpu *c, int out, int in, const struct matrix_job *j, struct err *e)
{
    struct matrix *m = mem_new(1, sizeof *m, e);
    struct gemm *g;

    if (!m)
        return NULL;
    m->f32 = j->f32 && c->dev.bf16;
    g = m->f32 ? c->gemm_f32 : c->gemm;
    m->out = out;
    m->in = in;
    m->paired = j->paired;
    m->width = j->for_head ? (out < HEAD_COLUMNS ? out : HEAD_COLUMNS) : choose_width(c, out, in);
    m->panels = (out + m->width - 1) / m->width;
    if (gemm_shape(g, in, m->width, &m->full, e) ||
        gemm_shape(g, in, panel_width(m, m->panels - 1), &m->last, e))
        goto fail;
    m->panel_bytes = round_up(gemm_packed_bytes(m->full), 64);
    m->packed = mem_new_aligned((size_t)m->panels, m->panel_bytes, e);
    if (!m->packed)
        goto fail;
    return m;
fail:
    free(m);
    return NULL;
}

void cpu_matrix_free(struct device *d, struct matrix *m)
{
    (void)d;
    if (m)
        free(m->packed);
    free(m);
}

/* ---- packing ---- */

struct pack {
    struct cpu *c;
    const struct matrix_job *job;
    int *job_of, *panel_of;             /* [tasks] */
    _Atomic(const struct stored *) bad; /* some map with a value that is not finite; NULL: none */
};

/* Rows from .. from+n-1 of the stacked parts into dst. */
static void stacked_rows(struct pack *p, const struct matrix_job *j, int from, int n, uint8_t *dst, size_t ld)
{
    bool bf16 = p->c->dev.bf16 && !j->f32;
    int i;

    for (i = 0; i < j->parts && n > 0; i++) {
        const struct stored *s = &j->part[i];
        int c = s->out - from < n ? s->out - from : n;

        if (c > 0) {
            if (!stored_rows(s, from, c, dst, ld, bf16))
                atomic_store(&p->bad, s);
            dst += (size_t)c * ld * (bf16 ? 2 : 4);
            n -= c;
            from += c;
        }
        from -= s->out;
    }
}

/* Rows from .. from+n-1 of a panel of gate rows, then up rows. */
static void paired_rows(struct pack *p, const struct matrix_job *j, int panel, int from, int n, uint8_t *dst,
                        size_t ld)
{
    const struct matrix *m = *j->m;
    int half = panel_width(m, panel) / 2, i;

    for (i = 0; i < 2; i++) {
        int lo = from > i * half ? from : i * half,
            hi = (i + 1) * half < from + n ? (i + 1) * half : from + n;

        if (lo < hi &&
            !stored_rows(&j->part[i], panel * (m->width / 2) + lo - i * half, hi - lo,
                         dst + (size_t)(lo - from) * ld * p->c->dev.elem_bytes, ld, p->c->dev.bf16))
            atomic_store(&p->bad, &j->part[i]);
    }
}

static void pack_task(void *ctx, long task, int worker)
{
    struct pack *p = ctx;
    const struct matrix_job *j = &p->job[p->job_of[task]];
    struct matrix *m = *j->m;
    int panel = p->panel_of[task], w = panel_width(m, panel), from, n;
    struct gemm_shape *shape = panel < m->panels - 1 ? m->full : m->last;
    uint8_t *rows = p->c->scratch[worker];
    size_t ld = gemm_ld(m->in);

    for (from = 0; from < w; from += n) {
        n = gemm_strip(shape) < w - from ? gemm_strip(shape) : w - from;
        if (m->paired)
            paired_rows(p, j, panel, from, n, rows, ld);
        else
            stacked_rows(p, j, panel * m->width + from, n, rows, ld);
        if (gemm_pack(shape, worker, rows, from, n, m->packed + (size_t)panel * m->panel_bytes))
            atomic_store(&p->c->failed, 1);
    }
}

/* The first map, in order of the jobs, that holds a value that is not finite: the tasks only know
 * some one, and which one depends on the threads. */
static const struct stored *first_bad(struct pack *p, int jobs)
{
    int i, k;

    for (i = 0; i < jobs; i++)
        for (k = 0; k < p->job[i].parts; k++) {
            const struct stored *s = &p->job[i].part[k];
            int r;

            for (r = 0; r < s->out; r++)
                if (!stored_rows(s, r, 1, p->c->scratch[0], gemm_ld(s->in), p->c->dev.bf16 && !p->job[i].f32))
                    return s;
        }
    return atomic_load(&p->bad);
}

static int pack_prepare(struct cpu *c, const struct matrix_job *job, int jobs, long *tasks, struct err *e)
{
    size_t scratch = 0, bytes;
    int i, k;

    *tasks = 0;
    for (i = 0; i < jobs; i++) {
        int out = 0, in = job[i].part[0].in;
        struct matrix *m = *job[i].m;

        for (k = 0; k < job[i].parts; k++)
            out += job[i].part[k].out;
        if (m && (m->out != out || m->in != in || m->paired != job[i].paired ||
                  m->f32 != (job[i].f32 && c->dev.bf16))) {
            cpu_matrix_free(&c->dev, m);
            m = *job[i].m = NULL;
        }
        if (!m)
            m = *job[i].m = matrix_new(c, out, in, &job[i], e);
        if (!m)
            return -1;
        *tasks += m->panels;
        bytes = gemm_ld(in) * (size_t)m->width * (m->f32 ? sizeof(float) : c->dev.elem_bytes);
        scratch = bytes > scratch ? bytes : scratch;
    }
    return cpu_scratch(c, scratch, e);
}

int cpu_pack(struct device *d, const struct matrix_job *job, int jobs, struct err *e)
{
    struct cpu *c = cpu_of(d);
    struct pack p = {.c = c, .job = job};
    long tasks, t = 0;
    int i, k, rc = -1;

    if (pack_prepare(c, job, jobs, &tasks, e))
        return -1;
    p.job_of = mem_new((size_t)tasks, sizeof *p.job_of, e);
    p.panel_of = mem_new((size_t)tasks, sizeof *p.panel_of, e);
    if (!p.job_of || !p.panel_of)
        goto out;
    for (i = 0; i < jobs; i++)
        for (k = 0; k < (*job[i].m)->panels; k++, t++) {
            p.job_of[t] = i;
            p.panel_of[t] = k;
        }
    pool_run(c->pool, tasks, pack_task, &p);
    if (atomic_load(&p.bad))
        stored_fault(first_bad(&p, jobs), e);
    else
        rc = 0;
out:
    free(p.job_of);
    free(p.panel_of);
    return rc;
}

/* ---- products ---- */

struct linear {
    struct cpu *c;
    const struct matrix *m;
    const uint8_t *x;
    int64_t n;
    const float *bias;
    void *out;
    bool add; /* to elements, instead of storing f32 */
    int rows; /* of a task, a multiple of GEMM_ROWS */
    long blocks;
};

/* n rows of y [..][w] to columns from .. from+w-1 of out [..][width]. */
INLINE void store_tile(const float *y, int n, int w, const float *bias, void *out, size_t at, int width,
                       bool add, const enum elem bf16)
{
    int r, i;

    for (r = 0; r < n; r++, at += (size_t)width)
        for (i = 0; i < w; i += LANES) {
            int l = lanes_at(i, w);
            v16 v = elem_load(y + (size_t)r * (size_t)w, (size_t)i, l, F32);

            if (bias)
                v += elem_load(bias, (size_t)i, l, F32);
            if (add)
                v += elem_load(out, at + (size_t)i, l, bf16);
            elem_store(out, at + (size_t)i, v, l, bf16);
        }
}

static void store_f32(const float *y, int n, int w, const float *bias, void *out, size_t at, int width)
{
    store_tile(y, n, w, bias, out, at, width, false, F32);
}

static void add_f32(const float *y, int n, int w, const float *bias, void *out, size_t at, int width)
{
    store_tile(y, n, w, bias, out, at, width, true, F32);
}

static void add_bf16(const float *y, int n, int w, const float *bias, void *out, size_t at, int width)
{
    store_tile(y, n, w, bias, out, at, width, true, HALF);
}

static void linear_task(void *ctx, long task, int worker)
{
    struct linear *l = ctx;
    const struct matrix *m = l->m;
    int panel = (int)(task / l->blocks), w = panel_width(m, panel), from = panel * m->width;
    int64_t r = (task % l->blocks) * l->rows, end = r + l->rows < l->n ? r + l->rows : l->n;
    float *y = l->c->scratch[worker];
    size_t elem = l->c->dev.elem_bytes, in = (size_t)m->in;

    for (; r < end; r += GEMM_ROWS) {
        int n = end - r < GEMM_ROWS ? (int)(end - r) : GEMM_ROWS;
        const float *bias = l->bias ? l->bias + from : NULL;
        size_t at = (size_t)r * (size_t)m->out + (size_t)from;

        const void *x = l->x + (size_t)r * in * elem;

        if (m->f32) {
            float *wide = y + (size_t)GEMM_ROWS * (size_t)m->width;

            bf16_to_f32_n(x, wide, GEMM_ROWS * in);
            x = wide;
        }
        panel_run(l->c, m, panel, worker, x, n, y);
        (!l->add ? store_f32 : l->c->dev.bf16 ? add_bf16 : add_f32)(y, n, w, bias, l->out, at, m->out);
    }
}

static void linear_run(struct cpu *c, const struct matrix *m, const void *x, int64_t n, const float *bias,
                       void *out, bool add)
{
    struct linear l = {c, m, x, n, bias, out, add, ROWS_MAX, 0};
    size_t floats = (size_t)GEMM_ROWS * ((size_t)m->width + (m->f32 ? (size_t)m->in : 0));
    struct err e = {0};

    /* smaller blocks when there are too few to share out; how rows are grouped changes no result */
    while (l.rows > GEMM_ROWS && n / l.rows * m->panels < 4 * c->dev.threads)
        l.rows -= GEMM_ROWS;
    l.blocks = (long)((n + l.rows - 1) / l.rows);
    if (cpu_scratch(c, floats * sizeof(float), &e))
        atomic_store(&c->failed, 1);
    else
        pool_run(c->pool, l.blocks * m->panels, linear_task, &l);
}

void cpu_linear(struct device *d, const struct matrix *m, const void *x, int64_t n, const float *bias,
                float *y)
{
    linear_run(cpu_of(d), m, x, n, bias, y, false);
}

void cpu_linear_add(struct device *d, const struct matrix *m, const void *x, int64_t n, const float *bias,
                    void *h)
{
    linear_run(cpu_of(d), m, x, n, bias, h, true);
}
