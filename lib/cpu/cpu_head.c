/*
 * cpu_head.c -- the last step: logits against the vocabulary, reduced as they come. A task is a block of rows
 * and a segment of the vocabulary; segments are fixed and their results are joined in order, so nothing
 * depends on threads, and no [tokens][vocabulary] exists.
 */
#include "cpu/cpu_head.h"

#include <math.h>
#include <stdlib.h>

#include "cpu/simd.h"

enum { ROWS_MAX = 4 * GEMM_ROWS };

/* A new largest logit: what was summed so far shrinks. */
INLINE float new_top(struct sums *p, const float *y, int w, int from)
{
    float top = -INFINITY, shrink = 1;
    int i;

    for (i = 0; i < w; i++)
        top = y[i] > top ? y[i] : top;
    if (top > p->top) {
        shrink = expf(p->top - top);
        p->sum *= shrink;
        p->top = top;
        for (i = 0; y[i] != top; i++)
            ;
        p->which = from + i;
    }
    return shrink;
}

/* v = exp(y - top), of which the sum joins p's. */
INLINE void add_exp(struct sums *p, const float *y, int w, float *v)
{
    v16 sum = v16_all(0);
    int i;

    for (i = 0; i < w; i += LANES) {
        int l = lanes_at(i, w), k;
        v16 x = v16_exp(elem_load(y, (size_t)i, l, F32) - p->top);

        for (k = l; k < LANES; k++)
            x[k] = 0;
        sum += x;
        v16_store(v + i, x);
    }
    p->sum += v16_sum(sum);
}

INLINE void add_cross(struct sums *p, const float *v, const float *y0, const float *y, int w)
{
    v16 cross = v16_all(0);
    int i;

    for (i = 0; i < w; i += LANES) {
        int l = lanes_at(i, w);

        cross += elem_load(v, (size_t)i, LANES, F32) *
                 (elem_load(y0, (size_t)i, l, F32) - elem_load(y, (size_t)i, l, F32));
    }
    p->cross += v16_sum(cross);
}

/* Logits of w columns from column `from` on, [sides][GEMM_ROWS][w], join the running sums of n rows. */
static void rows_add(const struct head *h, struct sums *part, const float *y, int n, int w, int from,
                     const int32_t *target)
{
    float v0[HEAD_COLUMNS + LANES], v[HEAD_COLUMNS + LANES];
    int r, s, sides = h->a->sides;

    for (r = 0; r < n; r++) {
        struct sums *p = part + (size_t)r * (size_t)sides;
        const float *y0 = y + (size_t)r * (size_t)w;

        for (s = 0; s < sides; s++) {
            const float *ys = y0 + (size_t)s * GEMM_ROWS * HEAD_COLUMNS;
            float shrink = new_top(&p[s], ys, w, from);
            int k;

            add_exp(&p[s], ys, w, s ? v : v0);
            for (k = 1; s == 0 && shrink < 1 && k < sides; k++)
                p[k].cross *= shrink;
            if (s)
                add_cross(&p[s], v0, y0, ys, w);
            if (target[r] >= from && target[r] < from + w)
                p[s].at = ys[target[r] - from];
        }
    }
}

/* Wanted logits of these columns, of one side's rows from `first` on. */
static void pick(const struct head_args *a, int side, int64_t first, const float *y, int n, int w, int from)
{
    int r;

    for (r = 0; r < n; r++, y += w) {
        size_t row = (size_t)(first + r) * (size_t)a->picks;
        const int32_t *id = a->pick + row;
        float *out = a->picked + (size_t)side * (size_t)a->n * (size_t)a->picks + row;
        int lo = 0, hi = a->picks;

        while (lo < hi) {
            int mid = lo + (hi - lo) / 2;

            if (id[mid] < from)
                lo = mid + 1;
            else
                hi = mid;
        }
        for (; lo < a->picks && id[lo] < from + w; lo++)
            out[lo] = y[id[lo] - from];
    }
}

static void add_bias(float *y, int n, int w, const float *bias)
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
    struct sums *part = h->part + (size_t)seg * (size_t)a->n * (size_t)a->sides;
    float *y = h->c->scratch[worker];

    for (r = first * a->sides; r < end * a->sides; r++)
        part[r] = (struct sums){.top = -INFINITY};
    for (p = (int)(seg * h->panels / SEGMENTS); p < to; p++)
        for (r = first; r < end; r += GEMM_ROWS) {
            int n = end - r < GEMM_ROWS ? (int)(end - r) : GEMM_ROWS, w = panel_width(a->side[0].w, p);

            for (s = 0; s < a->sides; s++) {
                const struct head_side *side = &a->side[s];
                float *ys = y + (size_t)s * GEMM_ROWS * HEAD_COLUMNS;

                panel_run(h->c, side->w, p, worker,
                          (const uint8_t *)side->x + (size_t)r * (size_t)side->hidden * h->c->dev.elem_bytes,
                          n, ys);
                if (side->bias)
                    add_bias(ys, n, w, side->bias + p * HEAD_COLUMNS);
                if (a->picks)
                    pick(a, s, r, ys, n, w, p * HEAD_COLUMNS);
            }
            rows_add(h, part + r * a->sides, y, n, w, p * HEAD_COLUMNS, a->target + r);
        }
}

int cpu_head(struct device *d, const struct head_args *a, struct err *e)
{
    struct cpu *c = cpu_of(d);
    struct head h = {c, a, (a->vocab + HEAD_COLUMNS - 1) / HEAD_COLUMNS,
                     (long)((a->n + ROWS_MAX - 1) / ROWS_MAX), NULL};

    if (cpu_scratch(c, sizeof(float) * (size_t)a->sides * GEMM_ROWS * HEAD_COLUMNS, e))
        return -1;
    h.part = mem_new((size_t)a->n * SEGMENTS, sizeof *h.part * (size_t)a->sides, e);
    if (!h.part)
        return -1;
    pool_run(c->pool, h.blocks * SEGMENTS, head_task, &h);
    pool_run(c->pool, (long)((a->n + GEMM_ROWS - 1) / GEMM_ROWS), head_join, &h);
    free(h.part);
    return 0;
}
