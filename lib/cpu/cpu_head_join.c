/*
 * cpu_head_join.c -- the last step of the head: the segments of a row are joined in double precision. It is
 * compiled once, not for each set: the figures that are printed do not hang on fused multiply-adds.
 */
#include "cpu/cpu_head.h"

#include <math.h>

static const struct sums *segment(const struct head *h, int g, int64_t r)
{
    return h->part + ((size_t)g * (size_t)h->a->n + (size_t)r) * (size_t)h->a->sides;
}

/* Segments of one row, in order. */
static void join(const struct head *h, int64_t r)
{
    const struct head_args *a = h->a;
    double sum0 = 1;
    int s, g;

    for (s = 0; s < a->sides; s++) {
        struct head_row *out = &a->row[(size_t)s * (size_t)a->n + (size_t)r], *ref = &a->row[r];
        double sum = 0;

        *out = (struct head_row){.top = -INFINITY};
        for (g = 0; g < SEGMENTS; g++) {
            const struct sums *p = segment(h, g, r) + s;

            if (p->top > out->top) {
                out->top = p->top;
                out->which = p->which;
            }
            out->at += p->at; /* only one segment has it */
        }
        for (g = 0; g < SEGMENTS; g++) {
            const struct sums *first = segment(h, g, r), *p = first + s;

            sum += p->top > -INFINITY ? p->sum * exp((double)p->top - (double)out->top) : 0;
            if (s && first->top > -INFINITY)
                out->cross += p->cross * exp((double)first->top - (double)ref->top);
        }
        out->lse = (double)out->top + log(sum);
        if (s == 0)
            sum0 = sum;
        else
            out->cross /= sum0;
    }
}

void head_join(void *ctx, long task, int worker)
{
    const struct head *h = ctx;
    int64_t r = (int64_t)task * GEMM_ROWS, end = r + GEMM_ROWS < h->a->n ? r + GEMM_ROWS : h->a->n;

    (void)worker;
    for (; r < end; r++)
        join(h, r);
}
