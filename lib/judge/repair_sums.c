/* The sums that a repair is fitted to: products of what the experts of a token add, in f64. */
#include "judge/repair_sums.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "quant/bf16.h"
#include "quant/hot.h"

int repair_adder_open(struct repair_adder *a, const struct arch *of, bool bf16, struct err *e)
{
    size_t hidden = (size_t)of->hidden;

    *a = (struct repair_adder){.experts = of->experts,
                               .topk = of->topk,
                               .hidden = of->hidden,
                               .bf16 = bf16,
                               .gated = of->family->gate_site == GATE_INPUT,
                               .bias = of->family->expert_bias};
    a->u = mem_new((size_t)of->topk * hidden, sizeof *a->u, e);
    a->y = mem_new(hidden, sizeof *a->y, e);
    a->r = mem_new(hidden, sizeof *a->r, e);
    return a->u && a->y && a->r ? 0 : -1;
}

void repair_adder_close(struct repair_adder *a)
{
    free(a->u);
    free(a->y);
    free(a->r);
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

/* Fills u, y and r. */
static void weigh_token(struct repair_adder *a, const struct token_rows *whole,
                        const struct token_rows *planned, size_t first)
{
    size_t hidden = (size_t)a->hidden, slot;
    int k;

    memset(a->y, 0, hidden * sizeof *a->y);
    for (k = 0; k < a->topk; k++) { /* u is free yet */
        weigh(a, whole->y, first + (size_t)k, whole->gate[first + (size_t)k], a->u);
        add(a->y, a->u, 1, a->hidden);
    }
    memcpy(a->r, a->y, hidden * sizeof *a->r);
    for (k = 0; k < a->topk; k++) {
        const void *y = result_of(whole, planned, first, k, &slot);
        float *u = a->u + (size_t)k * hidden;

        weigh(a, y, slot, planned->gate[first + (size_t)k], u);
        add(a->r, u, -1, a->hidden);
    }
}

void repair_add(struct repair_adder *a, struct repair_sums *s, const struct token_rows *whole,
                const struct token_rows *planned, int t)
{
    size_t first = (size_t)t * (size_t)a->topk, hidden = (size_t)a->hidden, experts = (size_t)a->experts;
    const int32_t *expert = planned->expert + first;
    const float *gate = planned->gate + first;
    int k, j;

    weigh_token(a, whole, planned, first);
    for (k = 0; k < a->topk; k++) {
        const float *u = a->u + (size_t)k * hidden;
        size_t row = (size_t)expert[k];

        if (a->bias)
            add_scaled(s->v + row * hidden, a->r, (double)gate[k], a->hidden);
        else
            s->v[row] += inner(u, a->r, a->hidden);
        for (j = 0; j <= k; j++) {
            double m =
                a->bias ? (double)gate[k] * (double)gate[j] : inner(u, a->u + (size_t)j * hidden, a->hidden);

            s->m[row * experts + (size_t)expert[j]] += m;
            if (j < k)
                s->m[(size_t)expert[j] * experts + row] += m;
        }
    }
    s->rr += inner(a->r, a->r, a->hidden);
    s->yy += inner(a->y, a->y, a->hidden);
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
