/*
 * gqa.c -- grouped-query attention: one product gives q, k and v of a token, below each other.
 */
#include "engine/mixing.h"

enum { FLOATS_QKV };

static int qkv_width(const struct attention_arch *t)
{
    return t->heads * t->head_dim + t->kv_heads * (t->head_dim + t->v_dim);
}

static void gqa_widths(const struct arch *a, const struct layer_arch *l, struct mix_widths *w)
{
    w->x = a->hidden;
    w->ctx = l->attn.heads * l->attn.v_dim;
    w->f[FLOATS_QKV] = qkv_width(&l->attn);
}

static double gqa_token_flops(const struct arch *a, const struct layer_arch *l)
{
    return 2.0 * a->hidden * ((double)qkv_width(&l->attn) + (double)l->attn.heads * l->attn.v_dim);
}

static int gqa_run(struct pass *p, const struct layer_weights *w, const struct span *s, struct err *e)
{
    const struct attention_arch *t = &p->a->layer[s->layer].attn;
    const struct mixer_weights *m = &w->mixer;
    size_t row = (size_t)qkv_width(t), dim = (size_t)t->head_dim;
    struct attention_args x = attend_args(p, s);
    float *qkv = p->mix[FLOATS_QKV];

    p->op->linear(p->d, m->m[GQA_QKV], p->x, s->n, m->b[GQA_QKV], qkv);
    x.q = (struct heads){qkv, row, dim};
    x.k = (struct heads){x.q.of + (size_t)t->heads * dim, row, dim};
    x.v = (struct heads){x.k.of + (size_t)t->kv_heads * dim, row, (size_t)t->v_dim};
    x.q_norm = m->v[GQA_Q_NORM];
    x.k_norm = m->v[GQA_K_NORM];
    x.sinks = m->v[GQA_SINKS];
    if (p->op->attention(p->d, &x, e))
        return -1;
    p->op->linear_add(p->d, m->m[GQA_O], p->ctx, s->n, m->b[GQA_O], s->h);
    return 0;
}

const struct mixing mixing_gqa = {1u << OP_LINEAR | 1u << OP_LINEAR_ADD | 1u << OP_ATTENTION,
                                  gqa_widths,
                                  attend_held,
                                  attend_flops,
                                  gqa_token_flops,
                                  gqa_run};
