/* The operations of a layer that are neither products nor attention: norms, rope, routing, summing up. */
#include "engine/cpu.h"

#include <math.h>

#include "engine/simd.h"

enum { TASK_ROWS = 32 };

struct rows {
    const void *args;
    int64_t n;
    void (*fn)(const void *args, int64_t from, int64_t to);
};

static void rows_task(void *ctx, long task, int worker)
{
    const struct rows *r = ctx;
    int64_t from = (int64_t)task * TASK_ROWS;

    (void)worker;
    r->fn(r->args, from, from + TASK_ROWS < r->n ? from + TASK_ROWS : r->n);
}

static void for_rows(struct cpu *c, int64_t n, void (*fn)(const void *, int64_t, int64_t), const void *args)
{
    struct rows r = {args, n, fn};

    pool_run(c->pool, (long)((n + TASK_ROWS - 1) / TASK_ROWS), rows_task, &r);
}

/* 1 / sqrt(mean(x^2) + eps) of n elements from element at on. */
INLINE float inverse_rms(const void *x, size_t at, int n, float eps, bool bf16)
{
    v16 sum = v16_all(0), v;
    int i;

    for (i = 0; i < n; i += LANES) {
        v = elem_load(x, at + (size_t)i, lanes_at(i, n), bf16);
        sum += v * v;
    }
    return 1.0f / sqrtf(v16_sum(sum) / (float)n + eps);
}

/* ---- norm ---- */

struct norm_args {
    const void *h;
    int width;
    const float *w;
    float eps;
    void *x;
};

INLINE void norm_rows(const struct norm_args *a, int64_t from, int64_t to, bool bf16)
{
    int64_t t;
    int i;

    for (t = from; t < to; t++) {
        size_t at = (size_t)t * (size_t)a->width;
        float s = inverse_rms(a->h, at, a->width, a->eps, bf16);

        for (i = 0; i < a->width; i += LANES) {
            int l = lanes_at(i, a->width);
            v16 v = elem_load(a->h, at + (size_t)i, l, bf16) * s;

            elem_store(a->x, at + (size_t)i, v * elem_load(a->w, (size_t)i, l, false), l, bf16);
        }
    }
}

HOT static void norm_bf16(const void *args, int64_t from, int64_t to)
{
    norm_rows(args, from, to, true);
}

HOT static void norm_f32(const void *args, int64_t from, int64_t to)
{
    norm_rows(args, from, to, false);
}

void cpu_norm(struct device *d, const void *h, int64_t n, int width, const float *w, float eps, void *x)
{
    struct norm_args a = {h, width, w, eps, x};

    for_rows(cpu_of(d), n, d->bf16 ? norm_bf16 : norm_f32, &a);
}

/* ---- norm and rope of q and k ---- */

struct qk_args {
    const struct attention_args *a;
    const float *const *rope; /* [n] of each token */
};

/* Pairs (p, p + half) turned by the angles whose cosines and sines are in cs. */
INLINE void rotate(float *x, const float *cs, int half)
{
    int p;

    for (p = 0; p < half; p += LANES) {
        int l = lanes_at(p, half);
        v16 a = elem_load(x, (size_t)p, l, false), b = elem_load(x + half, (size_t)p, l, false);
        v16 c = elem_load(cs, (size_t)p, l, false), s = elem_load(cs + half, (size_t)p, l, false);

        elem_store(x, (size_t)p, a * c - b * s, l, false);
        elem_store(x + half, (size_t)p, b * c + a * s, l, false);
    }
}

INLINE void head_norm(float *x, int n, const float *w, float eps)
{
    float s = inverse_rms(x, 0, n, eps, false);
    int i;

    for (i = 0; i < n; i += LANES) {
        int l = lanes_at(i, n);
        v16 v = elem_load(x, (size_t)i, l, false) * s;

        elem_store(x, (size_t)i, v * elem_load(w, (size_t)i, l, false), l, false);
    }
}

HOT static void qk_rows(const void *args, int64_t from, int64_t to)
{
    const struct qk_args *q = args;
    const struct attention_args *a = q->a;
    size_t width = (size_t)(a->heads + 2 * a->kv_heads) * (size_t)a->head_dim;
    int64_t t;
    int i;

    for (t = from; t < to; t++)
        for (i = 0; i < a->heads + a->kv_heads; i++) {
            float *x = a->qkv + (size_t)t * width + (size_t)i * (size_t)a->head_dim;
            const float *w = i < a->heads ? a->q_norm : a->k_norm;

            if (w)
                head_norm(x, a->head_dim, w, a->eps);
            rotate(x, q->rope[t], a->rot / 2);
        }
}

void cpu_qk(struct device *d, const struct attention_args *a)
{
    struct cpu *c = cpu_of(d);
    int64_t n = a->docs.first[a->docs.n], t;
    struct err e = {0};
    const float **rope;
    int i;

    if (cpu_room(&c->lists, &c->lists_bytes, (size_t)n * sizeof *rope, &e)) {
        atomic_store(&c->failed, 1);
        return;
    }
    rope = (const float **)(void *)c->lists;
    for (i = 0; i < a->docs.n; i++)
        for (t = a->docs.first[i]; t < a->docs.first[i + 1]; t++)
            rope[t] = a->docs.rope[i] + (size_t)(t - a->docs.first[i]) * (size_t)a->rot;
    for_rows(c, n, qk_rows, &(struct qk_args){a, rope});
}

/* ---- route ---- */

/* The topk largest of z [n], lowest index first among equals; masked ones never. Unordered. */
INLINE void choose(const float *z, const uint8_t *mask, int n, int topk, int32_t *out)
{
    float best[MAX_TOPK];
    int have = 0, i, j;

    for (i = 0; i < n; i++) {
        if ((mask && !mask[i]) || (have == topk && !(z[i] > best[topk - 1])))
            continue;
        for (j = have < topk ? have++ : topk - 1; j > 0 && z[i] > best[j - 1]; j--) {
            best[j] = best[j - 1];
            out[j] = out[j - 1];
        }
        best[j] = z[i];
        out[j] = i;
    }
}

INLINE void sort_ascending(int32_t *a, int n)
{
    int i, j;

    for (i = 1; i < n; i++) {
        int32_t v = a[i];

        for (j = i; j > 0 && a[j - 1] > v; j--)
            a[j] = a[j - 1];
        a[j] = v;
    }
}

/* sum exp(z - top) over all that are allowed */
INLINE float exp_sum(const float *z, const uint8_t *mask, int n, float top)
{
    v16 sum = v16_all(0);
    int i, k;

    for (i = 0; i < n; i += LANES) {
        float a[LANES];
        int l = lanes_at(i, n);

        for (k = 0; k < LANES; k++)
            a[k] = k < l && (!mask || mask[i + k]) ? z[i + k] - top : -INFINITY;
        sum += v16_exp(v16_load(a));
    }
    return v16_sum(sum);
}

HOT static void route_rows(const void *args, int64_t from, int64_t to)
{
    const struct route_args *a = args;
    int k = a->topk, j, i;
    int64_t t;

    for (t = from; t < to; t++) {
        const float *z = a->logits + (size_t)t * (size_t)a->experts;
        int32_t *chosen = a->chosen + (size_t)t * (size_t)k;
        float *gate = a->gate + (size_t)t * (size_t)k, top, sum = 0;

        choose(z, a->mask, a->experts, k, chosen);
        top = z[chosen[0]];
        sort_ascending(chosen, k);
        for (j = 0; j < k; j += LANES) {
            float part[LANES] = {0};
            int l = lanes_at(j, k);

            for (i = 0; i < l; i++)
                part[i] = z[chosen[j + i]] - top;
            elem_store(gate, (size_t)j, v16_exp(v16_load(part)), l, false);
        }
        for (j = 0; j < k; j++)
            sum += gate[j];
        if (a->whole)
            sum = exp_sum(z, a->mask, a->experts, top);
        for (j = 0; j < k; j++)
            gate[j] /= sum;
    }
}

void cpu_route(struct device *d, const struct route_args *a)
{
    for_rows(cpu_of(d), a->n, route_rows, a);
}

/* ---- combine ---- */

struct combine_args {
    const float *y, *gate;
    int topk, width;
    void *h;
    _Atomic(int64_t) *bad; /* first token that is not finite; INT64_MAX: none */
};

INLINE void combine_rows(const struct combine_args *a, int64_t from, int64_t to, bool bf16)
{
    int64_t t, seen;
    int i, j;

    for (t = from; t < to; t++) {
        const float *y = a->y + (size_t)t * (size_t)a->topk * (size_t)a->width;
        size_t at = (size_t)t * (size_t)a->width;
        v16 odd = v16_all(0); /* v - v: 0, or NaN if v is not finite */

        for (i = 0; i < a->width; i += LANES) {
            int l = lanes_at(i, a->width);
            v16 v = v16_all(0);

            for (j = 0; j < a->topk; j++) {
                float g = a->gate ? a->gate[(size_t)t * (size_t)a->topk + (size_t)j] : 1;

                v += elem_load(y + (size_t)j * (size_t)a->width, (size_t)i, l, false) * g;
            }
            v += elem_load(a->h, at + (size_t)i, l, bf16);
            odd += v - v;
            elem_store(a->h, at + (size_t)i, v, l, bf16);
        }
        if (isnan(v16_sum(odd)))
            for (seen = atomic_load(a->bad); t < seen && !atomic_compare_exchange_weak(a->bad, &seen, t);)
                ;
    }
}

HOT static void combine_bf16(const void *args, int64_t from, int64_t to)
{
    combine_rows(args, from, to, true);
}

HOT static void combine_f32(const void *args, int64_t from, int64_t to)
{
    combine_rows(args, from, to, false);
}

int64_t cpu_combine(struct device *d, const float *y, const float *gate, int64_t n, int topk, int width,
                    void *h)
{
    _Atomic(int64_t) bad = INT64_MAX;
    struct combine_args a = {y, gate, topk, width, h, &bad};
    int64_t first;

    for_rows(cpu_of(d), n, d->bf16 ? combine_bf16 : combine_f32, &a);
    first = atomic_load(&bad);
    return first == INT64_MAX ? -1 : first;
}
