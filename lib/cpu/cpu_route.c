/*
 * cpu_route.c -- the router: scores, groups, choice and gates of each token. Sums over experts are made one
 * by one, in order and leaving out those that are masked: what a mask gives is, bit for bit, what a model
 * without the masked experts computes from the same logits. Sixteen tokens at a time, one in each lane.
 */
#include "cpu/cpu.h"

#include <math.h>

#include "cpu/simd.h"

enum { TASK_TOKENS = 32 };

/* Working memory of a worker. A lane is a token: z and score of expert i are at i * LANES, and so on. */
struct space {
    float *z, *score, *rank; /* [experts][LANES] */
    float *group;            /* [groups][LANES] */
};

typedef double v16d __attribute__((vector_size(128)));

INLINE v16 sigmoid(v16 z)
{
    return 1.0f / (1.0f + v16_exp(-z));
}

INLINE v16 lanes(const float *x, int i)
{
    return v16_load(x + (size_t)i * LANES);
}

INLINE bool allowed(const uint8_t *mask, int i)
{
    return !mask || mask[i];
}

/* The topk largest of n, lowest index first among equals; masked ones never. Largest first. */
INLINE void choose(const float *z, const uint8_t *mask, int n, int topk, v16i *out)
{
    v16 best[MAX_TOPK];
    int have = 0, i, j;

    for (i = 0; i < n; i++) {
        v16 mine = lanes(z, i), v = mine;
        v16i which = (v16i){0} + i, later = {0}; /* later: everything from here on moves one place */

        if (!allowed(mask, i))
            continue;
        for (j = 0; j < have; j++) {
            v16 old = best[j];
            v16i other = out[j];

            later |= mine > old;
            best[j] = v16_select(later, v, old);
            out[j] = (later & which) | (~later & other);
            v = v16_select(later, old, v);
            which = (later & other) | (~later & which);
        }
        if (have < topk) {
            best[have] = v;
            out[have++] = which;
        }
    }
}

INLINE void sort_ascending(v16i *a, int n)
{
    int i, j;

    for (i = 1; i < n; i++)
        for (j = 0; j < n - i; j++) {
            v16i x = a[j], y = a[j + 1], swap = x > y;

            a[j] = (swap & y) | (~swap & x);
            a[j + 1] = (swap & x) | (~swap & y);
        }
}

/* Softmax or sigmoid of all experts; of masked ones the softmax is 0. */
INLINE void scores(const float *z, const uint8_t *mask, const struct router *r, float *s)
{
    v16 top = v16_all(-INFINITY), all;
    v16d sum = {0};
    int n = r->experts, i;

    for (i = 0; i < n; i++)
        if (allowed(mask, i))
            top = v16_max(lanes(z, i), top);
    for (i = 0; i < n; i++) {
        v16 v = lanes(z, i);

        if (r->score == SCORE_SIGMOID)
            v = sigmoid(v);
        else if (r->score != SCORE_LOGIT)
            v = allowed(mask, i) ? v16_exp(v - top) : v16_all(0);
        sum += __builtin_convertvector(v, v16d);
        v16_store(s + (size_t)i * LANES, v);
    }
    if (r->score == SCORE_SIGMOID || r->score == SCORE_LOGIT)
        return;
    all = __builtin_convertvector(sum, v16);
    for (i = 0; i < n; i++)
        v16_store(s + (size_t)i * LANES, lanes(s, i) / all);
}

/* The largest rank of a group, or the sum of its two largest; -infinity if all of it is masked. */
INLINE v16 group_score(const float *rank, const uint8_t *mask, int n, enum group_kind kind)
{
    v16 first = v16_all(-INFINITY), second = first, none = first;
    int i;

    for (i = 0; i < n; i++) {
        v16 v = lanes(rank, i);

        if (!allowed(mask, i))
            continue;
        second = v16_select(v > first, first, v16_select(v > second, v, second));
        first = v16_select(v > first, v, first);
    }
    return kind == GROUP_MAX ? first : v16_select(second == none, first, first + second);
}

/* Puts aside the experts of all but the best groups. By largest score (DeepSeek-V2) their scores become 0,
 * and these are the gates too, should such an expert be chosen. */
INLINE void limit_groups(const struct router *r, const uint8_t *mask, const struct space *p)
{
    v16 aside = v16_all(r->group == GROUP_MAX ? 0 : -INFINITY);
    int size = r->experts / r->groups, g, i, k;
    v16i kept[MAX_TOPK];

    for (g = 0; g < r->groups; g++)
        v16_store(p->group + (size_t)g * LANES, group_score(p->rank + (size_t)(g * size) * LANES,
                                                            mask ? mask + g * size : NULL, size, r->group));
    choose(p->group, NULL, r->groups, r->topk_group, kept);
    for (g = 0; g < r->groups; g++) {
        v16i stays = {0};

        for (k = 0; k < r->topk_group; k++)
            stays |= kept[k] == g;
        for (i = g * size; i < (g + 1) * size; i++) {
            v16_store(p->rank + (size_t)i * LANES, v16_select(stays, lanes(p->rank, i), aside));
            if (r->group == GROUP_MAX)
                v16_store(p->score + (size_t)i * LANES, v16_select(stays, lanes(p->score, i), v16_all(0)));
        }
    }
}

/* What is ranked: the logits where that gives the same order as the scores. */
INLINE const float *ranking(const struct route_args *a, const struct space *p)
{
    const struct router *r = &a->router;
    int i;

    if (!a->corr && r->group == GROUP_NONE)
        return p->z;
    for (i = 0; i < r->experts; i++)
        v16_store(p->rank + (size_t)i * LANES, lanes(p->score, i) + (a->corr ? a->corr[i] : 0));
    if (r->group != GROUP_NONE)
        limit_groups(r, a->mask, p);
    return p->rank;
}

/* x of the chosen expert of each lane. */
INLINE v16 of_chosen(const float *x, v16i chosen)
{
    float v[LANES];
    int t;

    for (t = 0; t < LANES; t++)
        v[t] = x[chosen[t] * LANES + t];
    return v16_load(v);
}

INLINE void gates(const struct router *r, const struct space *p, const v16i *chosen, v16 *gate)
{
    v16 top = v16_all(-INFINITY), sum = v16_all(0), least = v16_all(r->renorm_min);
    int k = r->topk, j;

    for (j = 0; j < k; j++) {
        gate[j] = of_chosen(r->gate == GATE_SCORE ? p->score : p->z, chosen[j]);
        if (r->gate == GATE_SOFTMAX_SELECTED)
            top = v16_max(gate[j], top);
    }
    for (j = 0; j < k; j++) {
        if (r->gate == GATE_SOFTMAX_SELECTED)
            gate[j] = v16_exp(gate[j] - top);
        else if (r->gate == GATE_SIGMOID_SELECTED)
            gate[j] = sigmoid(gate[j]);
        sum += gate[j];
    }
    if (r->gate != GATE_SOFTMAX_SELECTED)
        sum = r->renorm ? v16_select(sum < least, least, sum) + r->renorm_eps : v16_all(1);
    for (j = 0; j < k; j++)
        gate[j] = gate[j] / sum * r->scale;
}

/* What of a token's choice it had not been given before. */
static void mark_fresh(const struct route_args *a, int64_t token)
{
    size_t k = (size_t)a->router.topk, at = (size_t)token * k, i, j;

    for (i = at; i < at + k; i++) {
        a->fresh[i] = a->chosen[i];
        for (j = at; a->known && j < at + k; j++)
            if (a->known[j] == a->chosen[i] && (!a->known_gate || a->known_gate[j] == a->gate[i]))
                a->fresh[i] = -1;
    }
}

/* Tokens from .. from+n-1, n <= LANES; lanes beyond are the last token again. */
static void route_tokens(const struct route_args *a, int64_t from, int n, const struct space *p)
{
    const struct router *r = &a->router;
    const float *z = a->logits + (size_t)from * (size_t)r->experts;
    int32_t *out = a->chosen + (size_t)from * (size_t)r->topk;
    float *out_gate = a->gate + (size_t)from * (size_t)r->topk;
    v16i chosen[MAX_TOPK];
    v16 gate[MAX_TOPK];
    int t, i;

    for (t = 0; t < LANES; t++, z += t < n ? r->experts : 0)
        for (i = 0; i < r->experts; i++)
            p->z[i * LANES + t] = z[i];
    scores(p->z, a->mask, r, p->score);
    choose(ranking(a, p), a->mask, r->experts, r->topk, chosen);
    sort_ascending(chosen, r->topk);
    gates(r, p, chosen, gate);
    for (t = 0; t < n; t++)
        for (i = 0; i < r->topk; i++) {
            *out++ = chosen[i][t];
            *out_gate++ = gate[i][t];
        }
    for (t = 0; a->fresh && t < n; t++)
        mark_fresh(a, from + t);
}

struct route {
    struct cpu *c;
    const struct route_args *a;
};

static void route_task(void *ctx, long task, int worker)
{
    const struct route *r = ctx;
    const struct route_args *a = r->a;
    int64_t t = (int64_t)task * TASK_TOKENS, to = t + TASK_TOKENS < a->n ? t + TASK_TOKENS : a->n;
    size_t experts = (size_t)a->router.experts * LANES;
    float *base = r->c->scratch[worker];
    struct space p = {base, base + experts, base + 2 * experts, base + 3 * experts};

    for (; t < to; t += LANES)
        route_tokens(a, t, to - t < LANES ? (int)(to - t) : LANES, &p);
}

void cpu_route(struct device *d, const struct route_args *a)
{
    struct cpu *c = cpu_of(d);
    size_t floats = (3 * (size_t)a->router.experts + (size_t)a->router.groups) * LANES;
    struct route r = {c, a};
    struct err e = {0};

    if (cpu_scratch(c, floats * sizeof(float), &e))
        atomic_store(&c->failed, 1);
    else
        pool_run(c->pool, (long)((a->n + TASK_TOKENS - 1) / TASK_TOKENS), route_task, &r);
}
