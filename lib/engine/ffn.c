/* The second half of a layer: router, experts, shared expert; or the dense MLP. */
#include "engine/pass.h"

/* ---- buffers ---- */

int64_t ffn_row(const struct arch *a, size_t elem_bytes)
{
    int64_t elem = (int64_t)elem_bytes, norms = (a->hidden / 64 + 1) * 2 * (int64_t)sizeof(float);
    int64_t widest = (int64_t)a->topk * a->inter; /* activations, before they go down */
    int results = a->topk + (a->shared_inter > 0);

    widest = a->shared_inter > widest ? a->shared_inter : widest;
    widest = a->dense_inter > widest ? a->dense_inter : widest;
    if (a->family->gate_site == GATE_INPUT) /* inputs times gates */
        results += a->topk;
    return elem * (results * (int64_t)a->hidden + widest) + a->topk * norms +
           (int64_t)sizeof(float) * (a->experts + a->topk);
}

int ffn_buffers(struct pass *p, struct err *e)
{
    const struct arch *a = p->a;

    p->logits = pass_rows(p, p->piece, a->experts, sizeof(float), e);
    p->y = pass_rows(p, p->piece * a->topk, a->hidden, p->d->elem_bytes, e);
    if (a->shared_inter) {
        p->shared = pass_rows(p, p->piece, a->hidden, p->d->elem_bytes, e);
        p->shared_gate = pass_rows(p, p->piece, 1, sizeof(float), e);
    }
    return p->logits && p->y && (!a->shared_inter || (p->shared && p->shared_gate)) ? 0 : -1;
}

void ffn_free(struct pass *p)
{
    p->op->buf_free(p->d, p->logits);
    p->op->buf_free(p->d, p->y);
    p->op->buf_free(p->d, p->shared);
    p->op->buf_free(p->d, p->shared_gate);
}

/* ---- a piece ---- */

int pass_not_finite(const struct pass *p, int64_t token, struct err *e)
{
    int64_t d = 0;

    while (p->b->first[d + 1] <= token)
        d++;
    return err_set(e, ERR_INPUT, "layer %d: the hidden state of token %lld of document %lld is not finite%s",
                   p->layer, (long long)(token - p->b->first[d]), (long long)(p->doc_base + d),
                   p->d->bf16 ? ": are the weights damaged, or does the model need --precision f32?"
                              : ": are the weights damaged?");
}

static void route(struct pass *p, const struct layer_weights *w, const uint8_t *mask, int64_t n,
                  const struct routing *to)
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
                                 .chosen = to->chosen,
                                 .gate = to->gate};

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

int ffn_piece(struct pass *p, const struct layer_weights *w, const uint8_t *mask, int64_t first, int64_t n,
              uint8_t *h, struct err *e)
{
    const struct arch *a = p->a;
    bool moe = w->kind == FFN_MOE, in_gate = moe && a->family->gate_site == GATE_INPUT;
    struct experts_args x = one_expert(p, w->ffn, n, p->y);
    struct combine_args c = {.y = p->y, .first = first, .n = n, .topk = 1, .width = a->hidden, .h = h};

    p->op->norm(p->d, h, n, a->hidden, w->post_norm, (float)a->eps, p->x);
    if (moe) {
        const struct routing *r = watch_piece(p);

        route(p, w, mask, n, r);
        x.topk = c.topk = a->topk;
        x.chosen = r->chosen;
        x.in_gate = in_gate ? r->gate : NULL;
        x.norm = p->observer ? r->norm : NULL;
        x.max = r->max;
        x.sums = watch_sums(p, w);
        c.gate = in_gate ? NULL : r->gate;
    }
    if (run_experts(p, &x, e) || (w->shared && shared_expert(p, w, n, e)))
        return -1;
    c.shared = w->shared ? p->shared : NULL;
    c.shared_gate = w->shared && w->shared_gate ? p->shared_gate : NULL;
    p->op->combine(p->d, &c);
    return moe ? watch_routed(p, first, n, e) : 0;
}
