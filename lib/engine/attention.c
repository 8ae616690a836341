/* The attention of a layer, from its norm to the residual. */
#include "engine/pass.h"

static double attention_flops(const struct arch *a, int64_t n, int window)
{
    double w = window && window < n ? window : (double)n;
    double pairs = w * (w + 1) / 2 + ((double)n - w) * w;

    return 4.0 * a->heads * a->head_dim * pairs;
}

int attention_block(struct pass *p, const struct layer_weights *w, int layer, int64_t doc, int64_t docs,
                    uint8_t *h, struct err *e)
{
    const struct arch *a = p->a;
    const struct layer_arch *la = &a->layer[layer];
    int64_t i, n = p->b->first[doc + docs] - p->b->first[doc];
    double width = (a->heads + 2.0 * a->kv_heads) * a->head_dim;
    struct attention_args t = {.qkv = p->qkv,
                               .docs = {p->first, p->rope.of + doc, (int)docs},
                               .heads = a->heads,
                               .kv_heads = a->kv_heads,
                               .head_dim = a->head_dim,
                               .rot = a->rope.rot,
                               .q_norm = w->q_norm,
                               .k_norm = w->k_norm,
                               .eps = (float)a->eps,
                               .scale = (float)a->attn_scale,
                               .window = la->mask == MASK_SLIDING ? la->window : 0,
                               .sinks = w->sinks,
                               .out = p->ctx};

    for (i = 0; i <= docs; i++)
        p->first[i] = p->b->first[doc + i] - p->b->first[doc];
    for (i = 0; i < docs; i++)
        p->flops += attention_flops(a, p->first[i + 1] - p->first[i], t.window);
    p->flops += 2.0 * (double)n * a->hidden * (width + (double)a->heads * a->head_dim);
    p->op->norm(p->d, h, n, a->hidden, w->in_norm, (float)a->eps, p->x);
    p->op->linear(p->d, w->qkv, p->x, n, w->b_qkv, p->qkv);
    p->op->qk(p->d, &t);
    if (p->op->attention(p->d, &t, e))
        return -1;
    p->op->linear_add(p->d, w->o, p->ctx, n, w->b_o, h);
    return 0;
}
