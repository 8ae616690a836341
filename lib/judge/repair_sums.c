/* repair_sums.c -- what a repair is fitted to: products of what the experts of a token add, in f64. */
#include "judge/repair_sums.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/thread.h"
#include "quant/bf16.h"
#include "quant/hot.h"

enum { AT_ONCE = 256, TASK_TOKENS = 4 };

/* Inner products of a token: of what each two experts add, of that with what is missing, and the two of what
 * is missing and what all add with themselves. */
static size_t products(const struct repair_adder *a)
{
    return (size_t)a->topk * (size_t)a->topk + (size_t)a->topk + 2;
}

int repair_adder_open(struct repair_adder *a, const struct arch *of, bool bf16, int threads, struct err *e)
{
    size_t hidden = (size_t)of->hidden;

    *a = (struct repair_adder){.experts = of->experts,
                               .topk = of->topk,
                               .hidden = of->hidden,
                               .bf16 = bf16,
                               .gated = of->family->gate_site == GATE_INPUT,
                               .bias = of->family->expert_bias};
    if (pool_open(&a->pool, threads, NULL, e))
        return -1;
    threads = pool_threads(a->pool);
    a->scratch = mem_new((size_t)threads * ((size_t)of->topk + 1), hidden * sizeof *a->scratch, e);
    a->r = mem_new(AT_ONCE, hidden * sizeof *a->r, e);
    a->inner = mem_new(AT_ONCE, products(a) * sizeof *a->inner, e);
    return a->scratch && a->r && a->inner ? 0 : -1;
}

void repair_adder_close(struct repair_adder *a)
{
    pool_close(a->pool);
    free(a->scratch);
    free(a->r);
    free(a->inner);
}

int repair_sums_new(struct repair_sums *s, const struct repair_adder *a, struct err *e)
{
    size_t experts = (size_t)a->experts, width = a->bias ? (size_t)a->hidden : 1;

    s->m = mem_new(experts * experts, sizeof *s->m, e);
    s->v = mem_new(experts * width, sizeof *s->v, e);
    return s->m && s->v ? 0 : -1;
}

void repair_sums_free(struct repair_sums *s)
{
    free(s->m);
    free(s->v);
}

/* ---- a token ---- */

/* out = gate * y from element `at` on. */
HOT(static void, weigh_bf16, (const uint16_t *y, float gate, float *out, int n), (y, gate, out, n))
{
    int i;

    for (i = 0; i < n; i++)
        out[i] = bf16_to_f32(y[i]) * gate;
}

HOT(static void, weigh_f32, (const float *y, float gate, float *out, int n), (y, gate, out, n))
{
    int i;

    for (i = 0; i < n; i++)
        out[i] = y[i] * gate;
}

/* What an expert adds, whose result has number `slot`. */
static void weigh(const struct repair_adder *a, const void *y, size_t slot, float gate, float *out)
{
    size_t at = slot * (size_t)a->hidden;

    if (a->gated)
        gate = 1;
    if (a->bf16)
        weigh_bf16((const uint16_t *)y + at, gate, out, a->hidden);
    else
        weigh_f32((const float *)y + at, gate, out, a->hidden);
}

HOT(static void, add, (float *to, const float *x, float sign, int n), (to, x, sign, n))
{
    int i;

    for (i = 0; i < n; i++)
        to[i] += sign * x[i];
}

HOT(static void, add_scaled, (double *to, const float *x, double by, int n), (to, x, by, n))
{
    int i;

    for (i = 0; i < n; i++)
        to[i] += by * (double)x[i];
}

enum { LANES = 16 };

/* In so many sums at once, always added up in the same order. */
HOT(static void, inner_product, (const float *a, const float *b, int n, double *out), (a, b, n, out))
{
    double sum[LANES] = {0}, all = 0;
    int i, l;

    for (i = 0; i + LANES <= n; i += LANES)
        for (l = 0; l < LANES; l++)
            sum[l] += (double)a[i + l] * (double)b[i + l];
    for (; i < n; i++)
        all += (double)a[i] * (double)b[i];
    for (l = 0; l < LANES; l++)
        all += sum[l];
    *out = all;
}

static double inner(const float *a, const float *b, int n)
{
    double sum;

    inner_product(a, b, n, &sum);
    return sum;
}

/* Which result an expert of the token has: among those under the plan, or else in the whole model. */
static const void *result_of(const struct token_rows *whole, const struct token_rows *planned, size_t first,
                             int k, size_t *slot)
{
    *slot = first + (size_t)k;
    if (planned->fresh[*slot] >= 0)
        return planned->y;
    for (*slot = first; whole->expert[*slot] != planned->expert[first + (size_t)k]; ++*slot)
        ;
    return whole->y;
}

/* Some tokens, and where they go. */
struct some {
    struct repair_adder *a;
    struct repair_sums *sum; /* [2] */
    const uint8_t *half;     /* [n] */
    const struct token_rows *whole, *planned;
    size_t first; /* slot of the first */
    int n;
};

/* Of the token whose first slot this is: u [topk][hidden] what each expert adds under the plan, y what all
 * add in the whole model, r what is missing. */
static void weigh_token(const struct some *x, size_t first, float *u, float *y, float *r)
{
    const struct repair_adder *a = x->a;
    size_t hidden = (size_t)a->hidden, slot;
    int k;

    memset(y, 0, hidden * sizeof *y);
    for (k = 0; k < a->topk; k++) { /* u is free yet */
        weigh(a, x->whole->y, first + (size_t)k, x->whole->gate[first + (size_t)k], u);
        add(y, u, 1, a->hidden);
    }
    memcpy(r, y, hidden * sizeof *r);
    for (k = 0; k < a->topk; k++, u += hidden) {
        const void *from = result_of(x->whole, x->planned, first, k, &slot);

        weigh(a, from, slot, x->planned->gate[first + (size_t)k], u);
        add(r, u, -1, a->hidden);
    }
}

static void multiply_token(const struct some *x, int t, float *u, float *y)
{
    const struct repair_adder *a = x->a;
    size_t hidden = (size_t)a->hidden, topk = (size_t)a->topk, first = x->first + (size_t)t * topk, i, j;
    float *r = a->r + (size_t)t * hidden;
    double *m = a->inner + (size_t)t * products(a), *v = m + topk * topk;

    weigh_token(x, first, u, y, r);
    for (i = 0; i < topk; i++) {
        for (j = 0; j <= i; j++)
            m[i * topk + j] = m[j * topk + i] =
                a->bias ? (double)x->planned->gate[first + i] * (double)x->planned->gate[first + j]
                        : inner(u + i * hidden, u + j * hidden, a->hidden);
        v[i] = a->bias ? 0 : inner(u + i * hidden, r, a->hidden);
    }
    v[topk] = inner(r, r, a->hidden);
    v[topk + 1] = inner(y, y, a->hidden);
}

static void multiply_task(void *ctx, long task, int worker)
{
    const struct some *x = ctx;
    size_t hidden = (size_t)x->a->hidden, topk = (size_t)x->a->topk;
    float *u = x->a->scratch + (size_t)worker * (topk + 1) * hidden;
    int t, end = (int)task * TASK_TOKENS + TASK_TOKENS;

    for (t = (int)task * TASK_TOKENS; t < end && t < x->n; t++)
        multiply_token(x, t, u, u + topk * hidden);
}

/* Adds the tokens of one expert, in order. */
static void add_task(void *ctx, long expert, int worker)
{
    const struct some *x = ctx;
    const struct repair_adder *a = x->a;
    size_t hidden = (size_t)a->hidden, topk = (size_t)a->topk, i, j;
    const int32_t *chosen = x->planned->expert + x->first;
    const float *gate = x->planned->gate + x->first;
    int t;

    (void)worker;
    for (t = 0; t < x->n; t++, chosen += topk, gate += topk)
        for (i = 0; i < topk; i++) {
            struct repair_sums *s = &x->sum[x->half[t]];
            const double *m = a->inner + (size_t)t * products(a);

            if (chosen[i] != expert)
                continue;
            for (j = 0; j < topk; j++)
                s->m[expert * a->experts + chosen[j]] += m[i * topk + j];
            if (a->bias)
                add_scaled(s->v + (size_t)expert * hidden, a->r + (size_t)t * hidden, (double)gate[i],
                           a->hidden);
            else
                s->v[expert] += m[topk * topk + i];
        }
}

void repair_add(struct repair_adder *a, struct repair_sums *s, const uint8_t *half,
                const struct token_rows *whole, const struct token_rows *planned, int n)
{
    struct some x = {.a = a, .sum = s, .whole = whole, .planned = planned};
    int from, t;

    for (from = 0; from < n; from += x.n) {
        x.n = n - from < AT_ONCE ? n - from : AT_ONCE;
        x.half = half + from;
        x.first = (size_t)from * (size_t)a->topk;
        pool_run(a->pool, (x.n + TASK_TOKENS - 1) / TASK_TOKENS, multiply_task, &x);
        pool_run(a->pool, a->experts, add_task, &x);
        for (t = 0; t < x.n; t++) {
            const double *own = a->inner + (size_t)(t + 1) * products(a) - 2;

            s[x.half[t]].rr += own[0];
            s[x.half[t]].yy += own[1];
        }
    }
}

/* ---- all tokens ---- */

void repair_sums_join(struct repair_sums *to, const struct repair_sums *from, int experts, int width)
{
    int i;

    for (i = 0; i < experts * experts; i++)
        to->m[i] += from->m[i];
    for (i = 0; i < experts * width; i++)
        to->v[i] += from->v[i];
}

double repair_error(const struct repair_sums *s, const double *d, int experts, int width)
{
    double sum = s->rr;
    int i, j, k;

    for (i = 0; i < experts; i++) {
        const double *di = d + (size_t)i * (size_t)width, *v = s->v + (size_t)i * (size_t)width;

        for (k = 0; k < width; k++)
            sum -= 2 * di[k] * v[k];
        for (j = 0; j < experts; j++) {
            const double *dj = d + (size_t)j * (size_t)width;
            double m = s->m[i * experts + j], dot = 0;

            for (k = 0; m != 0 && k < width; k++)
                dot += di[k] * dj[k];
            sum += m * dot;
        }
    }
    return sum > 0 ? sum : 0;
}
