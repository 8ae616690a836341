/*
 * mla.c -- multi-head latent attention: q, k and v of a token through latents, which stand in p->x on their
 * way from one product to the next.
 */
#include "engine/mixing.h"

/* The first product: q or its latent, then the latent of k and v with the rotated part of k; q from its
 * latent; k without its rotated part, and v, from theirs. */
enum { FLOATS_FIRST, FLOATS_Q, FLOATS_KV };

static void mla_widths(const struct arch *a, const struct layer_arch *l, struct mix_widths *w)
{
    const struct attention_arch *t = &l->attn;
    const struct latent_arch *x = &l->latent;
    int q = t->heads * t->head_dim;

    w->x = a->hidden > x->q ? a->hidden : x->q;
    w->x = x->kv > w->x ? x->kv : w->x;
    w->ctx = t->heads * t->v_dim;
    w->f[FLOATS_FIRST] = (x->q ? x->q : q) + x->kv + t->head_dim - x->nope;
    w->f[FLOATS_Q] = x->q ? q : 0;
    w->f[FLOATS_KV] = t->heads * (x->nope + t->v_dim);
}

static double mla_token_flops(const struct arch *a, const struct layer_arch *l)
{
    struct mix_widths w = {0};

    mla_widths(a, l, &w);
    return 2.0 * ((double)a->hidden * w.f[FLOATS_FIRST] + (double)l->latent.q * w.f[FLOATS_Q] +
                  (double)l->latent.kv * w.f[FLOATS_KV] + (double)w.ctx * a->hidden);
}

/* A latent, of rows that begin `row` floats apart, normed and multiplied. */
static void from_latent(struct pass *p, const struct mixer_weights *m, int64_t n, const float *latent,
                        size_t row, int width, double eps, int norm, int up, float *to)
{
    p->op->norm_rows(p->d, latent, row, n, width, m->v[norm], (float)eps, p->x);
    p->op->linear(p->d, m->m[up], p->x, n, NULL, to);
}

static int mla_run(struct pass *p, const struct layer_weights *w, const struct span *s, struct err *e)
{
    const struct layer_arch *l = &p->a->layer[s->layer];
    const struct attention_arch *t = &l->attn;
    const struct latent_arch *x = &l->latent;
    const struct mixer_weights *m = &w->mixer;
    struct mix_widths wide = {0};
    size_t row, step = (size_t)(x->nope + t->v_dim);
    float *first = p->mix[FLOATS_FIRST], *q = p->mix[FLOATS_Q], *kv = p->mix[FLOATS_KV];
    float *latent = first + (x->q ? x->q : t->heads * t->head_dim);
    struct attention_args g = attend_args(p, s);

    mla_widths(p->a, l, &wide);
    row = (size_t)wide.f[FLOATS_FIRST];
    p->op->linear(p->d, m->m[MLA_FIRST], p->x, s->n, m->b[MLA_FIRST], first);
    g.q = (struct heads){first, row, (size_t)t->head_dim};
    if (x->q) {
        from_latent(p, m, s->n, first, row, x->q, x->eps, MLA_Q_NORM, MLA_Q_UP, q);
        g.q = (struct heads){q, (size_t)wide.f[FLOATS_Q], (size_t)t->head_dim};
    }
    from_latent(p, m, s->n, latent, row, x->kv, x->eps, MLA_KV_NORM, MLA_KV_UP, kv);
    g.k_nope = (struct heads){kv, (size_t)wide.f[FLOATS_KV], step};
    g.v = (struct heads){kv + x->nope, (size_t)wide.f[FLOATS_KV], step};
    g.k = (struct heads){latent + x->kv, row, 0};
    g.nope = x->nope;
    if (p->op->attention(p->d, &g, e))
        return -1;
    p->op->linear_add(p->d, m->m[MLA_O], p->ctx, s->n, m->b[MLA_O], s->h);
    return 0;
}

const struct mixing mixing_mla = {1u << OP_NORM_ROWS | 1u << OP_LINEAR | 1u << OP_LINEAR_ADD |
                                      1u << OP_ATTENTION,
                                  mla_widths,
                                  attend_held,
                                  attend_flops,
                                  mla_token_flops,
                                  mla_run};
