/* layers.c -- the layer loop: every layer's weights meet every chunk of the hidden states. */
#include "engine/mixing.h"

#include <string.h>

#include "base/file.h"

/* Do two parts of a mask say the same of a layer, n numbers of each? */
static bool same_part(const uint8_t *a, const uint8_t *b, int layer, size_t n)
{
    size_t i, end = ((size_t)layer + 1) * n;

    for (i = end - n; a != b && i < end; i++)
        if ((!a || a[i]) != (!b || b[i]))
            return false;
    return true;
}

static bool same_mask(const struct pass *p, int a, int b, int layer)
{
    const struct mask *x = &p->variant[a].mask, *y = &p->variant[b].mask;
    size_t experts = (size_t)p->a->experts;

    return same_part(x->experts, y->experts, layer, experts) &&
           same_part(x->channels, y->channels, layer, experts * (size_t)p->a->inter);
}

/* Variants whose masks differ in this layer no longer share their states after it. */
static void part_ways(struct pass *p, int layer)
{
    int v, u;

    for (v = 0; v < p->variants; v++) {
        struct variant *x = &p->variant[v];

        x->before = x->after;
        if (p->a->layer[layer].ffn != FFN_MOE)
            continue;
        for (u = x->before; u < v; u++)
            if (p->variant[u].before == x->before && same_mask(p, u, v, layer))
                break;
        x->after = u;
    }
    for (v = 0; v < p->variants; v++) {
        p->before[v] = p->variant[v].before == v;
        p->after[v] = p->variant[v].after == v;
    }
}

static int layer_chunk(struct pass *p, const struct layer_weights *w, int64_t c, struct err *e)
{
    int64_t doc = p->chunk[c], from = p->token[c], to = p->token[c + 1], t;
    size_t bytes = (size_t)(to - from) * (size_t)p->a->hidden * p->d->elem_bytes;
    int v;

    if (to == from)
        return 0;
    for (v = 0; v < p->variants; v++)
        if (p->before[v] &&
            mixing_block(p, w, p->layer, doc, p->chunk[c + 1] - doc, states_at(&p->states, v, from), e))
            return -1;
    for (v = 0; v < p->variants; v++)
        if (p->after[v] && !p->before[v])
            p->op->copy(p->d, states_at(&p->states, v, from),
                        states_at(&p->states, p->variant[v].before, from), bytes);
    for (v = 0; v < p->variants; v++)
        for (t = from; p->after[v] && t < to; t += p->piece)
            if (ffn_piece(p, w, &p->variant[v], t, to - t < p->piece ? to - t : p->piece,
                          states_at(&p->states, v, t), e))
                return -1;
    return check_cancelled(e);
}

/* All chunks once. last: no other visit follows. */
static int visit(struct pass *p, int (*chunk)(struct pass *p, int64_t c, const void *with, struct err *e),
                 const void *with, bool last, struct err *e)
{
    struct states *s = &p->states;
    int64_t c;

    for (c = 0; c < p->chunks; c++) {
        bool next = c + 1 < p->chunks;

        states_begin(s, c);
        if (next) /* on its way while this one is computed */
            states_fetch(s, c + 1, p->before);
        else if (!last && c > 0)
            states_fetch(s, 0, p->after);
        if (chunk(p, c, with, e))
            return -1;
        states_end(s, p->after);
        if (!last && p->chunks == 1)
            states_fetch(s, 0, p->after);
    }
    return 0;
}

static int one_layer(struct pass *p, int64_t c, const void *with, struct err *e)
{
    const struct engine_options *o = &p->en->o;

    if (o->progress && p->d == p->en->d)
        o->progress(o->progress_ctx, p->layer, p->a->layers,
                    (p->layer + (double)c / (double)p->chunks) / p->a->layers);
    return layer_chunk(p, with, c, e);
}

/* Waits until a layer is computed, so that its weights can go. */
static int layer_over(struct pass *p, struct err *e)
{
    int64_t bad = p->op->bad_token(p->d);

    return bad >= 0 ? pass_not_finite(p, bad, e) : p->op->check(p->d, e);
}

int pass_layers(struct pass *p, bool norm, struct err *e)
{
    int v;

    for (v = 0; v < p->variants; v++)
        p->before[v] = v == 0;
    if (p->chunks)
        states_fetch(&p->states, 0, p->before);
    for (p->layer = 0; p->layer < p->a->layers; p->layer++) {
        const struct layer_weights *w;

        if (weights_layer(p->weights, p->layer, &w, e))
            return -1;
        part_ways(p, p->layer);
        ffn_begin(p, w);
        watch_begin(p, w, p->layer);
        if (visit(p, one_layer, w, p->layer + 1 == p->a->layers && !norm, e) || layer_over(p, e) ||
            watch_end(p, w, e))
            return -1;
        weights_done(p->weights, p->layer);
    }
    return watch_finish(p, e);
}

/* ---- after the last layer ---- */

static int norm_chunk(struct pass *p, int64_t c, const void *with, struct err *e)
{
    int64_t from = p->token[c], n = p->token[c + 1] - from;
    int v;

    for (v = 0; v < p->variants; v++)
        if (p->before[v])
            p->op->norm(p->d, states_at(&p->states, v, from), n, p->a->hidden, with, (float)p->a->eps,
                        states_at(&p->states, v, from));
    return check_cancelled(e);
}

int pass_norm(struct pass *p, const struct model *m, struct err *e)
{
    float *w = NULL;
    int v, rc;

    if (weights_final_norm(p->d, m, &w, e))
        return -1;
    memcpy(p->before, p->after, (size_t)p->variants * sizeof *p->before);
    rc = visit(p, norm_chunk, w, true, e);
    for (v = 0; v < p->variants; v++)
        if (rc == 0 && !p->after[v])
            states_copy(&p->states, v, p->variant[v].after);
    if (rc == 0)
        rc = p->op->check(p->d, e);
    p->op->buf_free(p->d, w);
    return rc;
}
