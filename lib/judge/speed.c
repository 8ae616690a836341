/* speed.c -- passes over random tokens, timed. */
#include <stdlib.h>
#include <string.h>

#include "judge/judge.h"
#include "stats/stats.h"

/* What moe-observe does for each routed token, without documents: the cost of observing. */
struct counter {
    struct expert_stats *cell; /* [layers][experts] */
    int experts, topk;
};

static int count(void *ctx, int layer, int64_t first_token, int n, const struct choices *x, struct err *e)
{
    const struct counter *c = ctx;
    struct expert_stats *cell = c->cell + (size_t)layer * (size_t)c->experts;
    size_t k = (size_t)c->topk, i, all = (size_t)n * k;

    (void)first_token;
    (void)e;
    for (i = 0; i < all; i++)
        stats_add(&cell[x->expert[i]], x->gate[i], x->norm[i], x->max[i], x->residual[i / k].turn);
    return 0;
}

/* docs * tokens ids below vocab from a fixed generator (Knuth's MMIX constants). */
static int make_batch(struct batch *b, int32_t **ids, int64_t **first, const struct speed_options *o,
                      int vocab, struct err *e)
{
    uint64_t tokens, state = o->seed;
    int64_t i;

    if (!mul_u64((uint64_t)o->docs, (uint64_t)o->tokens, &tokens))
        return err_set(e, ERR_USAGE, "too many tokens");
    *ids = mem_new((size_t)tokens, sizeof **ids, e);
    *first = mem_new((size_t)o->docs + 1, sizeof **first, e);
    if (!*ids || !*first)
        return -1;
    for (i = 0; i < (int64_t)tokens; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        (*ids)[i] = (int32_t)((state >> 33) % (uint64_t)vocab);
    }
    for (i = 0; i <= o->docs; i++)
        (*first)[i] = i * o->tokens;
    *b = (struct batch){*ids, *first, o->docs};
    return 0;
}

static int timed(struct engine *en, const struct model *m, const struct batch *b, const struct observer *ob,
                 struct engine_cost *best, struct engine_cost *this_one, struct err *e)
{
    struct hidden *h = NULL;
    int rc;

    memset(this_one, 0, sizeof *this_one);
    rc = engine_forward(en, m, b, NULL, ob, &h, this_one, e);
    hidden_free(h);
    if (rc == 0 && (best->seconds <= 0 || this_one->seconds < best->seconds))
        *best = *this_one;
    return rc;
}

static int speed_measure(struct speed_report *r, struct engine *en, const struct model *m,
                         const struct batch *b, const struct observer *ob, const struct speed_options *o,
                         struct err *e)
{
    struct engine_cost cost;
    int i;

    /* plain and observing runs take turns, so that a machine that slows down slows both */
    for (i = 0; i < o->repeat; i++) {
        if (o->begin)
            o->begin(o->ctx, 2 * i, 2 * (int64_t)o->repeat);
        if (timed(en, m, b, NULL, &r->plain, &cost, e))
            return -1;
        if (i == 0)
            r->first = cost;
        if (o->begin)
            o->begin(o->ctx, 2 * i + 1, 2 * (int64_t)o->repeat);
        if (timed(en, m, b, ob, &r->observe, &cost, e))
            return -1;
    }
    return engine_peak(en, 0, &r->peak_flops, e);
}

int judge_speed(struct speed_report *r, struct engine *en, const struct model *m,
                const struct speed_options *o, struct err *e)
{
    struct counter c = {.experts = m->arch.experts, .topk = m->arch.topk};
    const struct observer ob = {.routed = count, .ctx = &c};
    struct batch b;
    int32_t *ids = NULL;
    int64_t *first = NULL;
    int rc = -1;

    memset(r, 0, sizeof *r);
    r->tokens = o->docs * o->tokens;
    c.cell = mem_new((size_t)m->arch.layers * (size_t)m->arch.experts, sizeof *c.cell, e);
    if (c.cell && make_batch(&b, &ids, &first, o, m->arch.vocab, e) == 0)
        rc = speed_measure(r, en, m, &b, &ob, o, e);
    free(ids);
    free(first);
    free(c.cell);
    return rc;
}
