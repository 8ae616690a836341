/*
 * The router: scores, groups, choice and gates of each token. Sums over experts are made one by one, in order
 * and leaving out those that are masked: what a mask gives is, bit for bit, what a model without the masked
 * experts computes from the same logits.
 */
#include "engine/cpu.h"

#include <math.h>
#include <string.h>

#include "engine/simd.h"

enum { TASK_TOKENS = 32 };

/* Working memory of a worker: [experts] and [groups] floats. */
struct space {
    float *score, *rank, *group;
};

INLINE v16 sigmoid(v16 z)
{
    return 1.0f / (1.0f + v16_exp(-z));
}

/* The topk largest of z [n], lowest index first among equals; masked ones never. Largest first. */
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

/* Softmax or sigmoid of all experts; of masked ones the softmax is 0. */
INLINE void scores(const float *z, const uint8_t *mask, const struct router *r, float *s)
{
    float top = -INFINITY;
    double sum = 0;
    int n = r->experts, i;

    if (r->score == SCORE_LOGIT) {
        memcpy(s, z, (size_t)n * sizeof *s);
        return;
    }
    for (i = 0; i < n; i++)
        if ((!mask || mask[i]) && z[i] > top)
            top = z[i];
    for (i = 0; i < n; i += LANES) {
        int l = lanes_at(i, n);
        v16 v = elem_load(z, (size_t)i, l, false);

        elem_store(s, (size_t)i, r->score == SCORE_SIGMOID ? sigmoid(v) : v16_exp(v - top), l, false);
    }
    if (r->score == SCORE_SIGMOID)
        return;
    for (i = 0; i < n; i++) {
        s[i] = !mask || mask[i] ? s[i] : 0;
        sum += (double)s[i];
    }
    for (i = 0; i < n; i++)
        s[i] /= (float)sum;
}

/* The largest rank of a group, or the sum of its two largest; -infinity if all of it is masked. */
INLINE float group_score(const float *rank, const uint8_t *mask, int n, enum group_kind kind)
{
    float first = -INFINITY, second = -INFINITY;
    int i;

    for (i = 0; i < n; i++) {
        if (mask && !mask[i])
            continue;
        if (rank[i] > first) {
            second = first;
            first = rank[i];
        } else if (rank[i] > second) {
            second = rank[i];
        }
    }
    return kind == GROUP_MAX || second == -INFINITY ? first : first + second;
}

/* Puts aside the experts of all but the best groups. By largest score (DeepSeek-V2) their scores become 0,
 * and these are the gates too, should such an expert be chosen. */
INLINE void limit_groups(const struct router *r, const uint8_t *mask, const struct space *p)
{
    int size = r->experts / r->groups, kept[MAX_TOPK], g, i, k = 0;

    for (g = 0; g < r->groups; g++)
        p->group[g] = group_score(p->rank + g * size, mask ? mask + g * size : NULL, size, r->group);
    choose(p->group, NULL, r->groups, r->topk_group, kept);
    sort_ascending(kept, r->topk_group);
    for (g = 0; g < r->groups; g++) {
        if (k < r->topk_group && kept[k] == g) {
            k++;
            continue;
        }
        for (i = g * size; i < (g + 1) * size; i++) {
            p->rank[i] = r->group == GROUP_MAX ? 0 : -INFINITY;
            if (r->group == GROUP_MAX)
                p->score[i] = 0;
        }
    }
}

/* What is ranked: the logits where that gives the same order as the scores. */
INLINE const float *ranking(const struct route_args *a, const float *z, const struct space *p)
{
    const struct router *r = &a->router;
    int i;

    if (!a->corr && r->group == GROUP_NONE)
        return z;
    for (i = 0; i < r->experts; i++)
        p->rank[i] = p->score[i] + (a->corr ? a->corr[i] : 0);
    if (r->group != GROUP_NONE)
        limit_groups(r, a->mask, p);
    return p->rank;
}

/* z and score of all experts; chosen, gate [topk]. */
INLINE void gates(const struct router *r, const float *z, const float *score, const int32_t *chosen,
                  float *gate)
{
    float top = -INFINITY, sum = 0;
    int k = r->topk, i, j;

    for (j = 0; j < k; j++)
        top = z[chosen[j]] > top ? z[chosen[j]] : top;
    for (j = 0; j < k; j += LANES) {
        float part[LANES] = {0};
        int l = lanes_at(j, k);
        v16 v;

        for (i = 0; i < l; i++)
            part[i] = r->gate == GATE_SCORE ? score[chosen[j + i]] : z[chosen[j + i]];
        v = v16_load(part);
        if (r->gate == GATE_SOFTMAX_SELECTED)
            v = v16_exp(v - top);
        else if (r->gate == GATE_SIGMOID_SELECTED)
            v = sigmoid(v);
        elem_store(gate, (size_t)j, v, l, false);
    }
    for (j = 0; j < k; j++)
        sum += gate[j];
    if (r->gate != GATE_SOFTMAX_SELECTED)
        sum = r->renorm ? (sum < r->renorm_min ? r->renorm_min : sum) + r->renorm_eps : 1;
    for (j = 0; j < k; j++)
        gate[j] = gate[j] / sum * r->scale;
}

HOT static void route_tokens(const struct route_args *a, int64_t from, int64_t to, const struct space *p)
{
    const struct router *r = &a->router;
    int64_t t;

    for (t = from; t < to; t++) {
        const float *z = a->logits + (size_t)t * (size_t)r->experts;
        int32_t *chosen = a->chosen + (size_t)t * (size_t)r->topk;

        scores(z, a->mask, r, p->score);
        choose(ranking(a, z, p), a->mask, r->experts, r->topk, chosen);
        sort_ascending(chosen, r->topk);
        gates(r, z, p->score, chosen, a->gate + (size_t)t * (size_t)r->topk);
    }
}

struct route {
    struct cpu *c;
    const struct route_args *a;
};

static void route_task(void *ctx, long task, int worker)
{
    const struct route *r = ctx;
    const struct route_args *a = r->a;
    int64_t from = (int64_t)task * TASK_TOKENS, to = from + TASK_TOKENS < a->n ? from + TASK_TOKENS : a->n;
    float *base = r->c->scratch[worker];
    struct space p = {base, base + a->router.experts, base + 2 * (size_t)a->router.experts};

    route_tokens(a, from, to, &p);
}

void cpu_route(struct device *d, const struct route_args *a)
{
    struct cpu *c = cpu_of(d);
    struct route r = {c, a};
    struct err e = {0};

    if (cpu_scratch(c, (2 * (size_t)a->router.experts + (size_t)a->router.groups) * sizeof(float), &e))
        atomic_store(&c->failed, 1);
    else
        pool_run(c->pool, (long)((a->n + TASK_TOKENS - 1) / TASK_TOKENS), route_task, &r);
}
