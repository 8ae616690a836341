/* The attention of a layer, from its norm to the residual. */
#include "engine/pass.h"

struct attention_widths attention_widths(const struct arch *a)
{
    int q = a->layer->attn.heads * a->layer->attn.head_dim;
    struct attention_widths w = {.x = a->hidden,
                                 .qkv = q + 2 * a->layer->attn.kv_heads * a->layer->attn.head_dim,
                                 .ctx = a->layer->attn.heads * a->layer->attn.v_dim};

    if (a->layer->mixer != MIXER_MLA)
        return w;
    w.x = a->layer->latent.q > w.x ? a->layer->latent.q : w.x;
    w.x = a->layer->latent.kv > w.x ? a->layer->latent.kv : w.x;
    w.q = a->layer->latent.q ? q : 0;
    w.qkv = (a->layer->latent.q ? a->layer->latent.q : q) + a->layer->latent.kv + a->layer->attn.head_dim -
            a->layer->latent.nope;
    w.kv = a->layer->attn.heads * (a->layer->latent.nope + a->layer->attn.v_dim);
    return w;
}

int64_t attention_row(const struct arch *a, size_t elem)
{
    struct attention_widths w = attention_widths(a);
    int64_t keys = (int64_t)a->layer->attn.kv_heads * (a->layer->attn.head_dim + a->layer->attn.v_dim),
            f32 = (int64_t)sizeof(float);
    /* once more as the backend likes it best: keys and values in f32, or all of it in elements */
    int64_t some = f32 * keys,
            all = (int64_t)elem * ((int64_t)a->layer->attn.heads * a->layer->attn.head_dim + keys);

    return f32 * ((int64_t)w.qkv + w.q + w.kv) + (some > all ? some : all) +
           (int64_t)elem * ((int64_t)w.x + w.ctx);
}

int attention_buffers(struct pass *p, struct err *e)
{
    struct attention_widths w = attention_widths(p->a);

    p->x = pass_rows(p, p->widest, w.x, p->d->elem_bytes, e);
    p->ctx = pass_rows(p, p->widest, w.ctx, p->d->elem_bytes, e);
    p->qkv = pass_rows(p, p->widest, w.qkv, sizeof(float), e);
    if (w.q)
        p->q = pass_rows(p, p->widest, w.q, sizeof(float), e);
    if (w.kv)
        p->kv = pass_rows(p, p->widest, w.kv, sizeof(float), e);
    return p->x && p->ctx && p->qkv && (p->q || !w.q) && (p->kv || !w.kv) ? 0 : -1;
}

void attention_free(struct pass *p)
{
    p->op->buf_free(p->d, p->x);
    p->op->buf_free(p->d, p->ctx);
    p->op->buf_free(p->d, p->qkv);
    p->op->buf_free(p->d, p->q);
    p->op->buf_free(p->d, p->kv);
}

/* n queries that see 1, 2, ... keys, at most w. */
static double pairs_seen(double n, double w)
{
    return n <= w ? n * (n + 1) / 2 : w * (w + 1) / 2 + (n - w) * w;
}

/* Of the products of queries and keys, and of probabilities and values: the pairs that the mask leaves. */
static double attention_flops(const struct arch *a, const struct layer_arch *l, int64_t n)
{
    double pairs, all = (double)n;

    if (l->attn.mask == MASK_CHUNKED)
        pairs = (double)(n / l->attn.window) * pairs_seen(l->attn.window, l->attn.window) +
                pairs_seen((double)(n % l->attn.window), l->attn.window);
    else
        pairs = pairs_seen(all, l->attn.mask == MASK_SLIDING ? l->attn.window : all);
    return 2.0 * a->layer->attn.heads * (a->layer->attn.head_dim + a->layer->attn.v_dim) * pairs;
}

static double projection_flops(const struct arch *a)
{
    struct attention_widths w = attention_widths(a);

    return 2.0 * ((double)a->hidden * w.qkv + (double)a->layer->latent.q * w.q +
                  (double)a->layer->latent.kv * w.kv + (double)w.ctx * a->hidden);
}

/* q, k and v of n tokens from p->x. */
static void project(struct pass *p, const struct layer_weights *w, int64_t n, struct attention_args *t)
{
    const struct arch *a = p->a;
    size_t row = (size_t)attention_widths(a).qkv, hd = (size_t)a->layer->attn.head_dim;

    p->op->linear(p->d, w->qkv, p->x, n, w->b_qkv, p->qkv);
    t->q = (struct heads){p->qkv, row, hd};
    t->k = (struct heads){t->q.of + (size_t)a->layer->attn.heads * hd, row, hd};
    t->v = (struct heads){t->k.of + (size_t)a->layer->attn.kv_heads * hd, row, hd};
}

/* The same through latents, which stand in p->x on their way from one product to the next. */
static void project_latent(struct pass *p, const struct layer_weights *w, int64_t n, struct attention_args *t)
{
    const struct arch *a = p->a;
    struct attention_widths wide = attention_widths(a);
    size_t row = (size_t)wide.qkv, step = (size_t)(a->layer->latent.nope + a->layer->attn.v_dim);
    float *latent =
        p->qkv + (a->layer->latent.q ? a->layer->latent.q : a->layer->attn.heads * a->layer->attn.head_dim);
    float eps = (float)a->layer->latent.eps;

    p->op->linear(p->d, w->qkv, p->x, n, w->b_qkv, p->qkv);
    t->q = (struct heads){p->qkv, row, (size_t)a->layer->attn.head_dim};
    if (a->layer->latent.q) {
        p->op->norm_rows(p->d, p->qkv, row, n, a->layer->latent.q, w->q_latent_norm, eps, p->x);
        p->op->linear(p->d, w->q_b, p->x, n, NULL, p->q);
        t->q = (struct heads){p->q, (size_t)wide.q, (size_t)a->layer->attn.head_dim};
    }
    p->op->norm_rows(p->d, latent, row, n, a->layer->latent.kv, w->kv_latent_norm, eps, p->x);
    p->op->linear(p->d, w->kv_b, p->x, n, NULL, p->kv);
    t->k_nope = (struct heads){p->kv, (size_t)wide.kv, step};
    t->v = (struct heads){p->kv + a->layer->latent.nope, (size_t)wide.kv, step};
    t->k = (struct heads){latent + a->layer->latent.kv, row, 0};
}

int attention_block(struct pass *p, const struct layer_weights *w, int layer, int64_t doc, int64_t docs,
                    uint8_t *h, struct err *e)
{
    const struct arch *a = p->a;
    const struct layer_arch *la = &a->layer[layer];
    int64_t i, n = p->b->first[doc + docs] - p->b->first[doc];
    struct attention_args t = {.docs = {p->first, p->rope.of + doc, (int)docs},
                               .heads = a->layer->attn.heads,
                               .kv_heads = a->layer->attn.kv_heads,
                               .head_dim = a->layer->attn.head_dim,
                               .v_dim = a->layer->attn.v_dim,
                               .nope = a->layer->latent.nope,
                               .rot = a->rope->rot,
                               .norm = a->layer->attn.qk_norm,
                               .q_norm = w->q_norm,
                               .k_norm = w->k_norm,
                               .rope = la->attn.rope >= 0,
                               .layout = a->rope->layout,
                               .eps = (float)a->eps,
                               .scale = (float)a->layer->attn.scale,
                               .clip = (float)a->layer->attn.clip,
                               .temp_floor = (float)a->layer->attn.temp_floor,
                               .temp_scale = (float)a->layer->attn.temp_scale,
                               .mask = la->attn.mask,
                               .window = la->attn.window,
                               .sinks = w->sinks,
                               .out = p->ctx};

    for (i = 0; i <= docs; i++)
        p->first[i] = p->b->first[doc + i] - p->b->first[doc];
    for (i = 0; i < docs; i++)
        p->flops += attention_flops(a, la, p->first[i + 1] - p->first[i]);
    p->flops += (double)n * projection_flops(a);
    p->op->norm(p->d, h, n, a->hidden, w->in_norm, (float)a->eps, p->x);
    (a->layer->mixer == MIXER_MLA ? project_latent : project)(p, w, n, &t);
    if (p->op->attention(p->d, &t, e))
        return -1;
    p->op->linear_add(p->d, w->o, p->ctx, n, w->b_o, h);
    return 0;
}
