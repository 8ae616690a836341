/* ffn.c -- the second half of a layer: router, experts, shared expert; or the dense MLP. */
#include "engine/pass.h"

/* ---- buffers ---- */

int64_t ffn_held(const struct arch *a, size_t elem_bytes)
{
    int64_t elem = (int64_t)elem_bytes, norms = (a->hidden / 64 + 1) * 2 * (int64_t)sizeof(float);
    int64_t widest = (int64_t)a->topk * a->inter; /* activations, before they go down */
    int64_t inputs = a->family->gate_site == GATE_INPUT ? (int64_t)a->topk * a->hidden : 0; /* times gates */

    widest = a->shared_inter > widest ? a->shared_inter : widest;
    widest = a->dense_inter > widest ? a->dense_inter : widest;
    return elem * (inputs + widest) + a->topk * (norms + (int64_t)sizeof(float));
}

int64_t ffn_row(const struct arch *a, size_t elem_bytes)
{
    int results = a->topk + (a->shared_inter > 0);

    return (int64_t)elem_bytes * results * a->hidden + (int64_t)sizeof(float) * a->experts +
           ffn_held(a, elem_bytes);
}

static size_t channel_bytes(const struct arch *a)
{
    return (size_t)a->experts * (size_t)a->inter;
}

/* The mask that is only observed after those that are followed; NULL: no more. */
static struct variant *masked(struct pass *p, int i)
{
    return i < p->variants ? &p->variant[i] : i == p->variants ? &p->apart.with : NULL;
}

uint64_t ffn_channel_bytes(struct pass *p)
{
    const struct variant *v;
    uint64_t n = 0;
    int i;

    for (i = 0; (v = masked(p, i)); i++)
        n += v->mask.channels ? channel_bytes(p->a) : 0;
    return n;
}

static int channel_buffers(struct pass *p, struct err *e)
{
    struct variant *v;
    int i;

    for (i = 0; (v = masked(p, i)); i++)
        if (v->mask.channels && !(v->channels = p->op->buf_new(p->d, channel_bytes(p->a), e)))
            return -1;
    return 0;
}

static int apart_buffers(struct pass *p, struct err *e)
{
    struct apart *x = &p->apart;
    int k = p->a->topk;

    x->y = pass_rows(p, p->piece * k, p->a->hidden, p->d->elem_bytes, e);
    x->chosen = pass_rows(p, p->piece, k, sizeof *x->chosen, e);
    x->fresh = pass_rows(p, p->piece, k, sizeof *x->fresh, e);
    x->gate = pass_rows(p, p->piece, k, sizeof *x->gate, e);
    return x->y && x->chosen && x->fresh && x->gate ? 0 : -1;
}

int ffn_buffers(struct pass *p, struct err *e)
{
    const struct arch *a = p->a;

    if (channel_buffers(p, e) || (watch_apart(p) && apart_buffers(p, e)))
        return -1;

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
    struct variant *v;
    int i;

    p->op->buf_free(p->d, p->logits);
    p->op->buf_free(p->d, p->y);
    p->op->buf_free(p->d, p->shared);
    p->op->buf_free(p->d, p->shared_gate);
    p->op->buf_free(p->d, p->apart.y);
    p->op->buf_free(p->d, p->apart.chosen);
    p->op->buf_free(p->d, p->apart.fresh);
    p->op->buf_free(p->d, p->apart.gate);
    for (i = 0; (v = masked(p, i)); i++)
        p->op->buf_free(p->d, v->channels);
}

void ffn_begin(struct pass *p, const struct layer_weights *w)
{
    size_t n = channel_bytes(p->a);
    struct variant *v;
    int i;

    for (i = 0; w->kind == FFN_MOE && (v = masked(p, i)); i++)
        if (v->channels)
            p->op->to_device(p->d, v->channels, v->mask.channels + (size_t)p->layer * n, n);
}

double ffn_flops(const struct arch *a, const struct layer_arch *l, int64_t n)
{
    double mlp = 6.0 * a->hidden, token;

    if (l->ffn != FFN_MOE)
        return (double)n * mlp * a->dense_inter;
    token = 2.0 * a->hidden * a->experts + mlp * a->topk * a->inter;
    if (a->shared_inter)
        token += mlp * a->shared_inter + (a->family->shared_gated ? 2.0 * a->hidden : 0);
    return (double)n * token;
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

/* From the logits. */
static struct route_args routed(const struct pass *p, const struct layer_weights *w, const struct variant *v,
                                int64_t n, int32_t *chosen, float *gate)
{
    const struct arch *a = p->a;
    const struct family *f = a->family;
    size_t at = (size_t)p->layer * (size_t)a->experts;

    return (struct route_args){.logits = p->logits,
                               .corr = w->corr,
                               .mask = v->mask.experts ? v->mask.experts + at : NULL,
                               .n = n,
                               .router = {f->score, f->gate, a->group, a->experts, a->topk, a->groups,
                                          a->topk_group, a->renorm, (float)f->renorm_eps,
                                          (float)f->renorm_min, (float)a->gate_scale},
                               .chosen = chosen,
                               .gate = gate};
}

static void route(struct pass *p, const struct layer_weights *w, const struct variant *v, int64_t n,
                  const struct routing *to)
{
    const struct route_args r = routed(p, w, v, n, to->chosen, to->gate);

    p->op->linear(p->d, w->router, p->x, n, w->b_router, p->logits);
    p->op->route(p->d, &r);
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

static int shared_expert(struct pass *p, const struct layer_weights *w, int64_t n, struct err *e)
{
    struct experts_args x = one_expert(p, w->shared, n, p->shared);

    x.sums = watch_shared(p, w);
    if (w->shared_gate)
        p->op->linear(p->d, w->shared_gate, p->x, n, NULL, p->shared_gate);
    return p->op->experts(p->d, &x, e);
}

static bool gated_inputs(const struct pass *p)
{
    return p->a->family->gate_site == GATE_INPUT;
}

/* The piece once more under the mask that is only observed: what its experts give that `was` has not. */
static int apart_piece(struct pass *p, const struct layer_weights *w, const struct variant *v,
                       const struct routing *was, int64_t n, struct err *e)
{
    const struct apart *to = &p->apart;
    struct route_args r = routed(p, w, &to->with, n, to->chosen, to->gate);
    struct experts_args x = one_expert(p, w->ffn, n, to->y);

    r.known = v->channels || to->with.channels ? NULL : was->chosen; /* other channels: other experts */
    r.known_gate = gated_inputs(p) ? was->gate : NULL;
    r.fresh = to->fresh;
    p->op->route(p->d, &r);
    x.topk = p->a->topk;
    x.chosen = to->fresh;
    x.in_gate = gated_inputs(p) ? to->gate : NULL;
    x.channels = to->with.channels;
    return p->op->experts(p->d, &x, e);
}

int ffn_piece(struct pass *p, const struct layer_weights *w, const struct variant *v, int64_t first,
              int64_t n, uint8_t *h, struct err *e)
{
    const struct arch *a = p->a;
    bool moe = w->kind == FFN_MOE, in_gate = moe && gated_inputs(p);
    const struct routing *r = moe ? watch_piece(p) : NULL;
    struct experts_args x = one_expert(p, w->ffn, n, p->y);
    struct combine_args c = {.y = p->y, .first = first, .n = n, .topk = 1, .width = a->hidden, .h = h};

    p->op->norm(p->d, h, n, a->hidden, w->post_norm, (float)a->eps, p->x);
    if (moe) {
        route(p, w, v, n, r);
        x.topk = c.topk = a->topk;
        x.channels = v->channels;
        x.chosen = r->chosen;
        x.in_gate = in_gate ? r->gate : NULL;
        x.norm = p->observer && p->observer->routed ? r->norm : NULL;
        x.max = r->max;
        x.sums = watch_sums(p, w);
        c.gate = in_gate ? NULL : r->gate;
        c.seen = r->residual;
    }
    p->flops += ffn_flops(a, &a->layer[p->layer], n);
    if (p->op->experts(p->d, &x, e) || (w->shared && shared_expert(p, w, n, e)))
        return -1;
    c.shared = w->shared ? p->shared : NULL;
    c.shared_gate = w->shared && w->shared_gate ? p->shared_gate : NULL;
    p->op->combine(p->d, &c);
    if (moe && watch_apart(p) && apart_piece(p, w, v, r, n, e))
        return -1;
    return moe ? watch_routed(p, first, n, e) : 0;
}
