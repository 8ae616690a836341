/*
 * The last step: logits against the vocabulary, reduced as they come. A task is a block of rows and a
 * segment of the vocabulary; segments are fixed and their results are joined in order, so nothing depends on
 * threads, and no [tokens][vocabulary] exists.
 */
#include "engine/cpu.h"

#include <math.h>
#include <stdlib.h>

#include "engine/simd.h"

enum { SEGMENTS = 16, ROWS_MAX = 4 * GEMM_ROWS };

/* What a segment gives for one row: sums of exp(logit - top). */
struct sums {
    double sum[2], cross; /* cross: of exp(logit0 - top0) * (logit0 - logit1) */
    float top[2], at[2];
    int32_t which[2];
};

struct head {
    struct cpu *c;
    const struct head_args *a;
    int panels; /* of HEAD_COLUMNS */
    long blocks;
    struct sums *part; /* [SEGMENTS][n] */
};

/* Logits of w columns from column `from` on join the running sums of one row. y[1] NULL: one side. */
INLINE void row_add(struct sums *p, const float *const y[2], int w, int from, int target)
{
    int s, i;

    for (s = 0; s < 2 && y[s]; s++) {
        float top = -INFINITY, shrink;
        v16 sum = v16_all(0), cross = v16_all(0);

        for (i = 0; i < w; i++)
            top = y[s][i] > top ? y[s][i] : top;
        if (top > p->top[s]) {
            shrink = expf(p->top[s] - top);
            p->sum[s] *= shrink;
            if (s == 0)
                p->cross *= shrink;
            p->top[s] = top;
            for (i = 0; y[s][i] != top; i++)
                ;
            p->which[s] = from + i;
        }
        for (i = 0; i < w; i += LANES) {
            int l = lanes_at(i, w), k;
            v16 z = elem_load(y[s], (size_t)i, l, false), v;

            v = v16_exp(z - p->top[s]);
            for (k = l; k < LANES; k++)
                v[k] = 0;
            sum += v;
            if (s == 0 && y[1])
                cross += v * (z - elem_load(y[1], (size_t)i, l, false));
        }
        p->sum[s] += v16_sum(sum);
        if (s == 0)
            p->cross += v16_sum(cross);
        if (target >= from && target < from + w)
            p->at[s] = y[s][target - from];
    }
}

HOT static void rows_add(struct sums *p, const float *y0, const float *y1, int n, int w, int from,
                         const int32_t *target)
{
    int r;

    for (r = 0; r < n; r++) {
        const float *const y[2] = {y0 + (size_t)r * (size_t)w, y1 ? y1 + (size_t)r * (size_t)w : NULL};

        row_add(&p[r], y, w, from, target[r]);
    }
}

HOT static void add_bias(float *y, int n, int w, const float *bias)
{
    int r, i;

    for (r = 0; r < n; r++, y += w)
        for (i = 0; i < w; i++)
            y[i] += bias[i];
}

static void head_task(void *ctx, long task, int worker)
{
    const struct head *h = ctx;
    const struct head_args *a = h->a;
    long seg = task / h->blocks;
    int64_t first = (task % h->blocks) * ROWS_MAX, end = first + ROWS_MAX < a->n ? first + ROWS_MAX : a->n, r;
    int p, to = (int)((seg + 1) * h->panels / SEGMENTS), s;
    struct sums *part = h->part + (size_t)seg * (size_t)a->n;
    float *y[2] = {h->c->scratch[worker], NULL};

    if (a->sides > 1)
        y[1] = y[0] + GEMM_ROWS * HEAD_COLUMNS;
    for (r = first; r < end; r++)
        part[r] = (struct sums){.top = {-INFINITY, -INFINITY}};
    for (p = (int)(seg * h->panels / SEGMENTS); p < to; p++)
        for (r = first; r < end; r += GEMM_ROWS) {
            int n = end - r < GEMM_ROWS ? (int)(end - r) : GEMM_ROWS, w = panel_width(a->side[0].w, p);

            for (s = 0; s < a->sides; s++) {
                const struct head_side *side = &a->side[s];

                panel_run(h->c, side->w, p, worker,
                          (const uint8_t *)side->x + (size_t)r * (size_t)side->hidden * h->c->dev.elem_bytes,
                          y[s]);
                if (side->bias)
                    add_bias(y[s], n, w, side->bias + p * HEAD_COLUMNS);
            }
            rows_add(part + r, y[0], y[1], n, w, p * HEAD_COLUMNS, a->target + r);
        }
}

/* Segments of one row, in order. */
static void join(const struct head *h, int64_t r)
{
    const struct head_args *a = h->a;
    double cross = 0, sum;
    int s, g;

    for (s = 0; s < a->sides; s++) {
        struct head_row *out = &a->row[s][r];

        *out = (struct head_row){.top = -INFINITY};
        for (g = 0; g < SEGMENTS; g++) {
            const struct sums *p = &h->part[(size_t)g * (size_t)a->n + (size_t)r];

            if (p->top[s] > out->top) {
                out->top = p->top[s];
                out->which = p->which[s];
            }
            out->at += p->at[s]; /* only one segment has it */
        }
        for (sum = 0, g = 0; g < SEGMENTS; g++) {
            const struct sums *p = &h->part[(size_t)g * (size_t)a->n + (size_t)r];
            double scale = p->top[s] > -INFINITY ? exp((double)p->top[s] - (double)out->top) : 0;

            sum += p->sum[s] * scale;
            if (s == 0)
                cross += p->cross * scale;
        }
        out->lse = (double)out->top + log(sum);
        if (s == 0 && a->sides > 1)
            a->cross[r] = cross / sum;
    }
}

int cpu_head(struct device *d, const struct head_args *a, struct err *e)
{
    struct cpu *c = cpu_of(d);
    struct head h = {c, a, (a->vocab + HEAD_COLUMNS - 1) / HEAD_COLUMNS,
                     (long)((a->n + ROWS_MAX - 1) / ROWS_MAX), NULL};
    int64_t r;

    if (cpu_scratch(c, sizeof(float) * 2 * GEMM_ROWS * HEAD_COLUMNS, e))
        return -1;
    h.part = mem_new((size_t)a->n * SEGMENTS, sizeof *h.part, e);
    if (!h.part)
        return -1;
    pool_run(c->pool, h.blocks * SEGMENTS, head_task, &h);
    for (r = 0; r < a->n; r++)
        join(&h, r);
    free(h.part);
    return 0;
}
