/*
 * attend.c -- what all kinds of attention have in common.
 */
#include "engine/mixing.h"

/* n queries that see 1, 2, ... keys, at most w. */
static double pairs_seen(double n, double w)
{
    return n <= w ? n * (n + 1) / 2 : w * (w + 1) / 2 + (n - w) * w;
}

/* Of the products of queries and keys, and of probabilities and values: the pairs that the mask leaves. */
double attend_flops(const struct layer_arch *l, int64_t n)
{
    const struct attention_arch *t = &l->attn;
    double pairs, all = (double)n;

    if (t->mask == MASK_CHUNKED)
        pairs = (double)(n / t->window) * pairs_seen(t->window, t->window) +
                pairs_seen((double)(n % t->window), t->window);
    else
        pairs = pairs_seen(all, t->mask == MASK_SLIDING ? t->window : all);
    return 2.0 * t->heads * (t->head_dim + t->v_dim) * pairs;
}

/* Once more as the backend likes it best: keys and values in f32, or all of it in elements. */
int64_t attend_held(const struct layer_arch *l, size_t elem)
{
    const struct attention_arch *t = &l->attn;
    int64_t keys = (int64_t)t->kv_heads * (t->head_dim + t->v_dim), some = (int64_t)sizeof(float) * keys;
    int64_t all = (int64_t)elem * ((int64_t)t->heads * t->head_dim + keys);

    return some > all ? some : all;
}

struct attention_args attend_args(struct pass *p, const struct span *s)
{
    const struct arch *a = p->a;
    const struct attention_arch *t = &a->layer[s->layer].attn;
    struct attention_args x = {.docs = {.first = p->first, .n = (int)s->docs},
                               .heads = t->heads,
                               .kv_heads = t->kv_heads,
                               .head_dim = t->head_dim,
                               .v_dim = t->v_dim,
                               .norm = t->qk_norm,
                               .eps = (float)a->eps,
                               .scale = (float)t->scale,
                               .clip = (float)t->clip,
                               .temp_floor = (float)t->temp_floor,
                               .temp_scale = (float)t->temp_scale,
                               .mask = t->mask,
                               .window = t->window,
                               .out = p->ctx};

    if (t->rope >= 0) {
        x.docs.rope = p->rope[t->rope].of + s->doc;
        x.rope = true;
        x.rot = a->rope[t->rope].rot;
        x.layout = a->rope[t->rope].layout;
    }
    return x;
}
