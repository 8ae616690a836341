/*
 * cpu_layer.c -- the operations of a layer that are neither products nor attention: norms, rope, summing up.
 */
#include "cpu/cpu.h"

#include <math.h>

#include "cpu/simd.h"

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
INLINE float inverse_rms(const void *x, size_t at, int n, float eps, const enum elem bf16)
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
    size_t row; /* from one row of h to the next */
    int width;
    const float *w;
    float eps;
    void *x;
};

INLINE void norm_rows(const struct norm_args *a, int64_t from, int64_t to, const enum elem from_bf16,
                      const enum elem to_bf16)
{
    int64_t t;
    int i;

    for (t = from; t < to; t++) {
        size_t at = (size_t)t * a->row, x = (size_t)t * (size_t)a->width;
        float s = inverse_rms(a->h, at, a->width, a->eps, from_bf16);

        for (i = 0; i < a->width; i += LANES) {
            int l = lanes_at(i, a->width);
            v16 v = elem_load(a->h, at + (size_t)i, l, from_bf16) * s;

            elem_store(a->x, x + (size_t)i, v * elem_load(a->w, (size_t)i, l, F32), l, to_bf16);
        }
    }
}

static void norm_bf16(const void *args, int64_t from, int64_t to)
{
    norm_rows(args, from, to, HALF, HALF);
}

static void norm_f32(const void *args, int64_t from, int64_t to)
{
    norm_rows(args, from, to, F32, F32);
}

static void norm_f32_bf16(const void *args, int64_t from, int64_t to)
{
    norm_rows(args, from, to, F32, BF16);
}

void cpu_norm(struct device *d, const void *h, int64_t n, int width, const float *w, float eps, void *x)
{
    struct norm_args a = {h, (size_t)width, width, w, eps, x};

    for_rows(cpu_of(d), n, d->bf16 ? norm_bf16 : norm_f32, &a);
}

void cpu_norm_rows(struct device *d, const float *y, size_t row, int64_t n, int width, const float *w,
                   float eps, void *x)
{
    struct norm_args a = {y, row, width, w, eps, x};

    for_rows(cpu_of(d), n, d->bf16 ? norm_f32_bf16 : norm_f32, &a);
}

/* ---- norm and rope of q and k ---- */

/* Pairs (p, p + half) turned by the angles whose cosines and sines are in cs. */
INLINE void rotate(float *x, const float *cs, int half)
{
    int p;

    for (p = 0; p < half; p += LANES) {
        int l = lanes_at(p, half);
        v16 a = elem_load(x, (size_t)p, l, F32), b = elem_load(x + half, (size_t)p, l, F32);
        v16 c = elem_load(cs, (size_t)p, l, F32), s = elem_load(cs + half, (size_t)p, l, F32);

        elem_store(x, (size_t)p, a * c - b * s, l, F32);
        elem_store(x + half, (size_t)p, b * c + a * s, l, F32);
    }
}

/* The same for pairs (2p, 2p + 1). */
INLINE void rotate_pairs(float *restrict x, const float *restrict cs, int half)
{
    int p;

    for (p = 0; p < half; p++) {
        float a = x[2 * p], b = x[2 * p + 1];

        x[2 * p] = a * cs[p] - b * cs[half + p];
        x[2 * p + 1] = b * cs[p] + a * cs[half + p];
    }
}

/* w NULL: no weight. */
INLINE void head_norm(float *x, int n, const float *w, float eps)
{
    float s = inverse_rms(x, 0, n, eps, F32);
    int i;

    for (i = 0; i < n; i += LANES) {
        int l = lanes_at(i, n);
        v16 v = elem_load(x, (size_t)i, l, F32) * s;

        elem_store(x, (size_t)i, w ? v * elem_load(w, (size_t)i, l, F32) : v, l, F32);
    }
}

INLINE void clamp(float *x, int n, float limit)
{
    int i;

    for (i = 0; i < n; i++)
        x[i] = x[i] > limit ? limit : x[i] < -limit ? -limit : x[i];
}

/* n heads of one token, the rotated part of each from element at on. cs NULL: no rope. */
INLINE void prepare(const struct attention_args *a, float *x, int n, size_t step, int dim, int at,
                    const float *w, const float *cs)
{
    int i;

    if (a->norm == QKN_FULL_PRE)
        head_norm(x, n * dim, w, a->eps);
    for (i = 0; i < n; i++, x += step) {
        if (a->norm == QKN_HEAD_PRE)
            head_norm(x, dim, w, a->eps);
        if (a->clip > 0)
            clamp(x, dim, a->clip);
        if (cs && a->layout == ROPE_PAIR)
            rotate_pairs(x + at, cs, a->rot / 2);
        else if (cs)
            rotate(x + at, cs, a->rot / 2);
        if (cs && a->norm == QKN_HEAD_POST)
            head_norm(x, dim, NULL, a->eps);
    }
}

static void qk_rows(const void *args, int64_t from, int64_t to)
{
    const struct attention_args *a = args;
    int doc = docs_find(a->docs.first, a->docs.n, from), kv = a->k.step ? a->kv_heads : 1, i;
    struct reach x = docs_reach(&a->docs, doc);
    int64_t t;

    for (t = from; t < to; t++) {
        float *q = a->q.of + (size_t)t * a->q.row, temp;
        const float *cs = NULL;
        int64_t row, pos;

        while (t >= x.first + x.queries)
            x = docs_reach(&a->docs, ++doc);
        row = x.keys - x.queries + t - x.first; /* of its own key */
        pos = x.before + row;
        row += x.key;
        if (a->rope)
            cs = a->docs.rope[doc] + (size_t)pos * (size_t)a->rot;
        prepare(a, q, a->heads, a->q.step, a->head_dim, a->nope, a->q_norm, cs);
        prepare(a, a->k.of + (size_t)row * a->k.row, kv, a->k.step, a->head_dim - a->nope, 0, a->k_norm, cs);
        for (i = 0; a->clip > 0 && i < a->kv_heads; i++)
            clamp(a->v.of + (size_t)row * a->v.row + (size_t)i * a->v.step, a->v_dim, a->clip);
        if (!a->rope && a->temp_floor > 0) {
            temp = 1 + a->temp_scale * logf(1 + floorf((float)(pos + 1) / a->temp_floor));
            for (i = 0; i < a->heads * a->head_dim; i++)
                q[i] *= temp;
        }
    }
}

void cpu_qk(struct cpu *c, const struct attention_args *a)
{
    for_rows(c, a->docs.first[a->docs.n], qk_rows, a);
}

/* ---- combine ---- */

struct combine {
    const struct combine_args *a;
    _Atomic(int64_t) *bad;
};

/* The token's h is not finite. */
static void remember_bad(_Atomic(int64_t) *bad, int64_t token)
{
    int64_t seen = atomic_load(bad);

    while (token < seen && !atomic_compare_exchange_weak(bad, &seen, token))
        ;
}

/* view: a->seen is wanted. */
INLINE void combine_rows(const struct combine *c, int64_t from, int64_t to, const enum elem bf16,
                         const bool view)
{
    const struct combine_args *a = c->a;
    int64_t t;
    int i, j;

    for (t = from; t < to; t++) {
        size_t at = (size_t)t * (size_t)a->width, y = at * (size_t)a->topk;
        float share = a->shared_gate ? (1.0f / (1.0f + v16_exp(v16_all(-a->shared_gate[t]))))[0] : 1;
        v16 odd = v16_all(0); /* v - v: 0, or NaN if v is not finite */
        v16 hh = odd, hd = odd, dd = odd;

        for (i = 0; i < a->width; i += LANES) {
            int l = lanes_at(i, a->width);
            v16 v = v16_all(0), h = elem_load(a->h, at + (size_t)i, l, bf16);

            for (j = 0; j < a->topk; j++) {
                float g = a->gate ? a->gate[(size_t)t * (size_t)a->topk + (size_t)j] : 1;

                /* of the next token: another processor has written it */
                __builtin_prefetch((const uint8_t *)a->y +
                                   (y + (size_t)((a->topk + j) * a->width + i)) * (bf16 ? 2 : 4));
                v += elem_load(a->y, y + (size_t)(j * a->width + i), l, bf16) * g;
            }
            if (view) {
                hh += h * h;
                hd += h * v;
                dd += v * v;
            }
            if (a->shared)
                v += elem_load(a->shared, at + (size_t)i, l, bf16) * share;
            v += h;
            odd += v - v;
            elem_store(a->h, at + (size_t)i, v, l, bf16);
        }
        if (view) {
            float square = v16_sum(hh);

            a->seen[t] =
                (struct residual_view){sqrtf(square), residual_turn(square, v16_sum(hd), v16_sum(dd))};
        }
        if (isnan(v16_sum(odd)))
            remember_bad(c->bad, a->first + t);
    }
}

static void combine_bf16(const void *args, int64_t from, int64_t to)
{
    combine_rows(args, from, to, HALF, false);
}

static void combine_f32(const void *args, int64_t from, int64_t to)
{
    combine_rows(args, from, to, F32, false);
}

static void combine_seen_bf16(const void *args, int64_t from, int64_t to)
{
    combine_rows(args, from, to, HALF, true);
}

static void combine_seen_f32(const void *args, int64_t from, int64_t to)
{
    combine_rows(args, from, to, F32, true);
}

void cpu_combine(struct device *d, const struct combine_args *a)
{
    struct combine c = {a, &cpu_of(d)->bad};

    if (a->seen)
        for_rows(cpu_of(d), a->n, d->bf16 ? combine_seen_bf16 : combine_seen_f32, &c);
    else
        for_rows(cpu_of(d), a->n, d->bf16 ? combine_bf16 : combine_f32, &c);
}

int64_t cpu_bad_token(struct device *d)
{
    int64_t bad = atomic_exchange(&cpu_of(d)->bad, INT64_MAX);

    return bad == INT64_MAX ? -1 : bad;
}
