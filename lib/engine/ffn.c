/* The second half of a layer: router, experts, shared expert; or the dense MLP. */
#include "engine/pass.h"

#include <stdlib.h>

#include "base/mem.h"

/* ---- buffers ---- */

int64_t ffn_row(const struct arch *a, size_t elem_bytes)
{
    int results = a->topk + (a->shared_inter > 0);

    return (int64_t)elem_bytes * results * a->hidden;
}

int ffn_buffers(struct pass *p, struct err *e)
{
    const struct arch *a = p->a;
    int k = a->topk;
    size_t host = (size_t)p->piece * (size_t)k;

    p->logits = pass_rows(p, p->piece, a->experts, sizeof(float), e);
    p->y = pass_rows(p, p->piece * k, a->hidden, p->d->elem_bytes, e);
    p->gate = pass_rows(p, p->piece, k, sizeof(float), e);
    p->norm = pass_rows(p, p->piece, k, sizeof(float), e);
    p->max = pass_rows(p, p->piece, k, sizeof(float), e);
    p->chosen = pass_rows(p, p->piece, k, sizeof(int32_t), e);
    p->host_gate = mem_new(host, sizeof(float), e);
    p->host_norm = mem_new(host, sizeof(float), e);
    p->host_max = mem_new(host, sizeof(float), e);
    p->host_chosen = mem_new(host, sizeof(int32_t), e);
    if (a->shared_inter) {
        p->shared = pass_rows(p, p->piece, a->hidden, p->d->elem_bytes, e);
        p->shared_gate = pass_rows(p, p->piece, 1, sizeof(float), e);
    }
    return p->logits && p->y && p->gate && p->norm && p->max && p->chosen && p->host_gate && p->host_norm &&
                   p->host_max && p->host_chosen && (!a->shared_inter || (p->shared && p->shared_gate))
               ? 0
               : -1;
}

void ffn_free(struct pass *p)
{
    void *const device[] = {p->logits, p->y, p->gate, p->norm, p->max, p->chosen, p->shared, p->shared_gate};
    size_t i;

    for (i = 0; i < sizeof device / sizeof *device; i++)
        p->op->buf_free(p->d, device[i]);
    free(p->host_gate);
    free(p->host_norm);
    free(p->host_max);
    free(p->host_chosen);
}

/* ---- a piece ---- */

static int observe(struct pass *p, int layer, int64_t first, int64_t n, struct err *e)
{
    size_t bytes = (size_t)n * (size_t)p->a->topk * sizeof(float);

    if (!p->observer)
        return 0;
    p->op->to_host(p->d, p->host_chosen, p->chosen, bytes);
    p->op->to_host(p->d, p->host_gate, p->gate, bytes);
    p->op->to_host(p->d, p->host_norm, p->norm, bytes);
    p->op->to_host(p->d, p->host_max, p->max, bytes);
    if (p->observer->routed(p->observer->ctx, layer, first, (int)n, p->host_chosen, p->host_gate,
                            p->host_norm, p->host_max, e))
        return err_set(e, ERR_CANCELLED, "the observer stopped the pass");
    return watch_pairs(p, layer, first, n, e);
}

static int not_finite(const struct pass *p, int layer, int64_t token, struct err *e)
{
    int64_t d = 0;

    while (p->b->first[d + 1] <= token)
        d++;
    return err_set(e, ERR_INPUT, "layer %d: the hidden state of token %lld of document %lld is not finite%s",
                   layer, (long long)(token - p->b->first[d]), (long long)d,
                   p->d->bf16 ? ": are the weights damaged, or does the model need --precision f32?"
                              : ": are the weights damaged?");
}

static void route(struct pass *p, const struct layer_weights *w, const uint8_t *mask, int64_t n)
{
    const struct arch *a = p->a;
    const struct family *f = a->family;
    const struct route_args r = {.logits = p->logits,
                                 .corr = w->corr,
                                 .mask = mask,
                                 .n = n,
                                 .router = {f->score, f->gate, a->group, a->experts, a->topk, a->groups,
                                            a->topk_group, a->renorm, (float)f->renorm_eps,
                                            (float)f->renorm_min, (float)a->gate_scale},
                                 .chosen = p->chosen,
                                 .gate = p->gate};

    p->op->linear(p->d, w->router, p->x, n, w->b_router, p->logits);
    p->op->route(p->d, &r);
    p->flops += 2.0 * (double)n * a->hidden * a->experts;
}

/* An expert that every token goes through: the dense MLP or the shared expert. */
static struct experts_args one_expert(const struct pass *p, const struct ffn_weights *f, int64_t n, void *y)
{
    return (struct experts_args){.x = p->x,
                                 .n = n,
                                 .topk = 1,
                                 .experts = f->n,
                                 .hidden = p->a->hidden,
                                 .inter = f->inter,
                                 .gate_up = f->gate_up,
                                 .down = f->down,
                                 .b_gate_up = f->b_gate_up,
                                 .b_down = f->b_down,
                                 .act = p->a->family->act,
                                 .limit = (float)p->a->act_limit,
                                 .y = y};
}

static int run_experts(struct pass *p, const struct experts_args *x, struct err *e)
{
    p->flops += 6.0 * (double)x->n * x->topk * x->hidden * x->inter;
    return p->op->experts(p->d, x, e);
}

static int shared_expert(struct pass *p, const struct layer_weights *w, int64_t n, struct err *e)
{
    const struct experts_args x = one_expert(p, w->shared, n, p->shared);

    if (w->shared_gate) {
        p->op->linear(p->d, w->shared_gate, p->x, n, NULL, p->shared_gate);
        p->flops += 2.0 * (double)n * p->a->hidden;
    }
    return run_experts(p, &x, e);
}

int ffn_piece(struct pass *p, const struct layer_weights *w, int layer, const uint8_t *mask, int64_t first,
              int64_t n, uint8_t *h, struct err *e)
{
    const struct arch *a = p->a;
    bool moe = w->kind == FFN_MOE, in_gate = moe && a->family->gate_site == GATE_INPUT;
    struct experts_args x = one_expert(p, w->ffn, n, p->y);
    int64_t bad;
    struct combine_args c = {.y = p->y, .first = first, .n = n, .topk = 1, .width = a->hidden, .h = h};

    p->op->norm(p->d, h, n, a->hidden, w->post_norm, (float)a->eps, p->x);
    if (moe) {
        route(p, w, mask, n);
        x.topk = c.topk = a->topk;
        x.chosen = p->chosen;
        x.in_gate = in_gate ? p->gate : NULL;
        x.norm = p->observer ? p->norm : NULL;
        x.max = p->max;
        x.sums = p->sums.gate ? &p->sums : NULL;
        c.gate = in_gate ? NULL : p->gate;
    }
    if (run_experts(p, &x, e) || (w->shared && shared_expert(p, w, n, e)))
        return -1;
    c.shared = w->shared ? p->shared : NULL;
    c.shared_gate = w->shared && w->shared_gate ? p->shared_gate : NULL;
    p->op->combine(p->d, &c);
    if ((bad = p->op->bad_token(p->d)) >= 0)
        return not_finite(p, layer, bad, e);
    return moe ? observe(p, layer, first, n, e) : 0;
}
