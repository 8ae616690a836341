/* What an observer may ask for beyond the routing: sums by element, inner products of a token's results. */
#include "engine/pass.h"

#include <stdlib.h>

#include "base/mem.h"

static int pairs_of(const struct arch *a)
{
    return a->topk * (a->topk - 1) / 2; /* 0 of a token's only expert: buffers are never empty all the same */
}

static size_t sum_bytes(const struct arch *a, int v)
{
    return (size_t)a->experts * (size_t)(v == V_INNER_SQUARE ? a->inter : a->hidden) * sizeof(double);
}

int watch_buffers(struct pass *p, struct err *e)
{
    const struct observer *o = p->observer;
    int v;

    if (o && o->pairs) {
        p->pair = pass_rows(p, p->piece, pairs_of(p->a) + 1, sizeof *p->pair, e);
        p->host_pair = mem_new((size_t)p->piece * (size_t)pairs_of(p->a), sizeof *p->host_pair, e);
        if (!p->pair || !p->host_pair)
            return -1;
    }
    if (!o || !o->sums)
        return 0;
    for (v = 0; v < V_COUNT; v++) {
        p->sums.sum[v] = p->op->buf_new(p->d, sum_bytes(p->a, v), e);
        if (!p->sums.sum[v])
            return -1;
    }
    p->sums.gate = p->gate;
    return 0;
}

void watch_free(struct pass *p)
{
    int v;

    for (v = 0; v < V_COUNT; v++)
        p->op->buf_free(p->d, p->sums.sum[v]);
    p->op->buf_free(p->d, p->pair);
    free(p->host_pair);
}

void watch_begin(struct pass *p, const struct layer_weights *w, int layer)
{
    int v;

    if (!p->sums.gate || w->kind != FFN_MOE)
        return;
    p->observer->sums(p->observer->ctx, layer, p->host_sum);
    for (v = 0; v < V_COUNT; v++)
        p->op->to_device(p->d, p->sums.sum[v], p->host_sum[v], sum_bytes(p->a, v));
}

void watch_end(struct pass *p, const struct layer_weights *w)
{
    int v;

    if (!p->sums.gate || w->kind != FFN_MOE)
        return;
    for (v = 0; v < V_COUNT; v++)
        p->op->to_host(p->d, p->host_sum[v], p->sums.sum[v], sum_bytes(p->a, v));
}

int watch_pairs(struct pass *p, int layer, int64_t first, int64_t n, struct err *e)
{
    const struct observer *o = p->observer;
    const struct pairs_args a = {.y = p->y,
                                 .gate = p->a->family->gate_site == GATE_INPUT ? NULL : p->gate,
                                 .n = n,
                                 .topk = p->a->topk,
                                 .width = p->a->hidden,
                                 .out = p->pair};

    if (!o->pairs)
        return 0;
    if (a.topk > 1) {
        p->op->pairs(p->d, &a);
        p->op->to_host(p->d, p->host_pair, p->pair, (size_t)n * (size_t)pairs_of(p->a) * sizeof *p->pair);
    }
    if (o->pairs(o->ctx, layer, first, (int)n, p->host_chosen, p->host_gate, p->host_norm, p->host_pair, e))
        return err_set(e, ERR_CANCELLED, "the observer stopped the pass");
    return 0;
}
