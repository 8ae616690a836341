/* cpu_view.c -- what a router's logits say of a token beyond its choice. */
#include "cpu/cpu.h"

#include <math.h>

#include "cpu/simd.h"

enum { TASK_TOKENS = 64 };

/* The entropy of the softmax: ln Z - sum of e^v v / Z, with v the logits less the largest. */
INLINE float entropy_of(const float *z, int n)
{
    v16 top = v16_all(z[0]), all = v16_all(0), weighted = v16_all(0);
    float sum;
    int i;

    for (i = 0; i + LANES <= n; i += LANES)
        top = v16_max(top, v16_load(z + i));
    for (; i < n; i++)
        top = v16_max(top, v16_all(z[i]));
    top = v16_all(v16_highest(top));
    for (i = 0; i < n; i += LANES) {
        int l = lanes_at(i, n), k;
        v16 v = elem_load(z, (size_t)i, l, F32) - top, x = v16_exp(v);

        for (k = l; k < LANES; k++)
            x[k] = 0;
        all += x;
        weighted += x * v;
    }
    sum = v16_sum(all);
    return logf(sum) - v16_sum(weighted) / sum;
}

static void view_rows(const struct view_args *a, int64_t from, int64_t to)
{
    int64_t t;
    int i, k;

    for (t = from; t < to; t++) {
        const float *z = a->logits + (size_t)t * (size_t)a->experts;
        const int32_t *chosen = a->chosen + (size_t)t * (size_t)a->topk;
        struct router_view v = {.nearest = -1};
        float low = INFINITY, high = -INFINITY;

        for (i = k = 0; i < a->experts; i++)
            if (k < a->topk && chosen[k] == i) {
                low = z[i] < low ? z[i] : low;
                k++;
            } else if (z[i] > high) {
                high = z[i];
                v.nearest = i;
            }
        v.entropy = entropy_of(z, a->experts);
        v.margin = v.nearest < 0 ? 0 : low - high;
        a->out[t] = v;
    }
}

static void view_task(void *ctx, long task, int worker)
{
    const struct view_args *a = ctx;
    int64_t from = (int64_t)task * TASK_TOKENS;

    (void)worker;
    view_rows(a, from, from + TASK_TOKENS < a->n ? from + TASK_TOKENS : a->n);
}

void cpu_view(struct device *d, const struct view_args *a)
{
    struct view_args args = *a;

    pool_run(cpu_of(d)->pool, (long)((a->n + TASK_TOKENS - 1) / TASK_TOKENS), view_task, &args);
}
