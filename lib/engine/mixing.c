/*
 * mixing.c -- the first half of a layer, whatever its mixer: norm, documents, buffers.
 */
#include "engine/mixing.h"

#define ROW(ID, name) [MIXER_##ID] = &mixing_##name,
static const struct mixing *const rows[MIXER_KINDS] = {MIXERS(ROW)};
#undef ROW

int mixing_check(const struct device *d, const struct arch *a, struct err *e)
{
    const uint32_t all = 1u << OP_NORM | 1u << OP_EXPERTS | 1u << OP_COMBINE;
    int i;

    for (i = 0; i < a->layers; i++) {
        const struct layer_arch *l = &a->layer[i];
        uint32_t moe = l->ffn == FFN_MOE ? 1u << OP_LINEAR | 1u << OP_ROUTE : 0;
        const char *op = device_lacks(d, all | moe | rows[l->mixer]->ops);

        if (op)
            return err_set(e, ERR_UNKNOWN,
                           "layer %d (%s, %s) needs the operation '%s', which the device '%s' does not have: "
                           "--device chooses another",
                           i, mixer_of(l)->name, moe ? "experts" : "dense", op, d->kind);
    }
    return 0;
}

static int wider(int a, int b)
{
    return a > b ? a : b;
}

/* Of the widest layer, buffer by buffer. */
static struct mix_widths widest(const struct arch *a)
{
    struct mix_widths all = {.x = a->hidden};
    int i, k;

    for (i = 0; i < a->layers; i++) {
        struct mix_widths w = {0};

        rows[a->layer[i].mixer]->widths(a, &a->layer[i], &w);
        all.x = wider(all.x, w.x);
        all.ctx = wider(all.ctx, w.ctx);
        for (k = 0; k < MIX_FLOATS; k++)
            all.f[k] = wider(all.f[k], w.f[k]);
    }
    return all;
}

int64_t mixing_held(const struct arch *a, size_t elem)
{
    int64_t held = 0, one;
    int i;

    for (i = 0; i < a->layers; i++) {
        one = rows[a->layer[i].mixer]->held(&a->layer[i], elem);
        held = one > held ? one : held;
    }
    return held;
}

int64_t mixing_row(const struct arch *a, size_t elem)
{
    struct mix_widths w = widest(a);
    int64_t bytes = (int64_t)elem * ((int64_t)w.x + w.ctx);
    int i;

    for (i = 0; i < MIX_FLOATS; i++)
        bytes += (int64_t)sizeof(float) * w.f[i];
    return bytes + mixing_held(a, elem);
}

int mixing_buffers(struct pass *p, struct err *e)
{
    struct mix_widths w = widest(p->a);
    int i;

    p->x = pass_rows(p, p->widest, w.x, p->d->elem_bytes, e);
    p->ctx = pass_rows(p, p->widest, w.ctx, p->d->elem_bytes, e);
    for (i = 0; i < MIX_FLOATS; i++) {
        if (w.f[i])
            p->mix[i] = pass_rows(p, p->widest, w.f[i], sizeof(float), e);
        if (w.f[i] && !p->mix[i])
            return -1;
    }
    return p->x && p->ctx ? 0 : -1;
}

void mixing_free(struct pass *p)
{
    int i;

    p->op->buf_free(p->d, p->x);
    p->op->buf_free(p->d, p->ctx);
    for (i = 0; i < MIX_FLOATS; i++)
        p->op->buf_free(p->d, p->mix[i]);
}

double mixing_flops(const struct arch *a, const struct layer_arch *l, const int64_t *first, int64_t docs)
{
    const struct mixing *m = rows[l->mixer];
    double flops = (double)(first[docs] - first[0]) * m->token_flops(a, l);
    int64_t i;

    for (i = 0; i < docs; i++)
        flops += m->flops(l, first[i + 1] - first[i]);
    return flops;
}

int mixing_block(struct pass *p, const struct layer_weights *w, int layer, int64_t doc, int64_t docs,
                 uint8_t *h, struct err *e)
{
    const struct layer_arch *l = &p->a->layer[layer];
    const struct mixing *m = rows[l->mixer];
    struct span s = {layer, doc, docs, p->b->first[doc + docs] - p->b->first[doc], h};
    int64_t i;

    for (i = 0; i <= docs; i++)
        p->first[i] = p->b->first[doc + i] - p->b->first[doc];
    p->flops += mixing_flops(p->a, l, p->first, docs);
    p->op->norm(p->d, h, s.n, p->a->hidden, w->in_norm, (float)p->a->eps, p->x);
    return m->run(p, w, &s, e);
}
