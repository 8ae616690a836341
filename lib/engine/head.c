/* From hidden states to logits, log-probabilities and divergence. */
#include "engine/engine_private.h"

#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/mem.h"
#include "engine/weights.h"

enum { PIECE = 4096 }; /* tokens between looks at a signal */

static int check_side(const struct device *d, const struct model *m, const struct hidden *h,
                      const struct batch *b, struct err *e)
{
    if (b && (b->docs ? b->first[b->docs] : 0) != h->tokens)
        return err_set(e, ERR_USAGE, "hidden states of another batch");
    if (h->d != d || h->hidden != m->arch.hidden)
        return err_set(e, ERR_USAGE, "hidden states of another model or engine");
    return 0;
}

/* The token after each one; -1 after the last of a document. */
static int32_t *next_tokens(const struct batch *b, int64_t n, struct err *e)
{
    int32_t *next = mem_new((size_t)n, sizeof *next, e);
    int64_t d, t;

    for (d = 0; next && d < b->docs; d++)
        for (t = b->first[d]; t < b->first[d + 1]; t++)
            next[t] = t + 1 < b->first[d + 1] ? b->ids[t + 1] : -1;
    return next;
}

static float nll_of(const struct head_row *r, int32_t target)
{
    return target < 0 ? NAN : (float)(r->lse - (double)r->at);
}

/* Runs head() over all tokens in pieces and hands each piece to put(). */
struct head_loop {
    struct device *d;
    struct head_args a;
    int64_t n;
    void (*put)(void *out, const struct head_args *a, int64_t first);
    void *out;
};

static int head_loop(struct head_loop *l, struct err *e)
{
    const uint8_t *x[2] = {l->a.side[0].x, l->a.side[1].x};
    const int32_t *target = l->a.target;
    int64_t first, i;
    int s, rc = -1;

    l->a.cross = mem_new(PIECE, sizeof *l->a.cross, e);
    for (s = 0; s < 2; s++)
        l->a.row[s] = mem_new(PIECE, sizeof *l->a.row[s], e);
    if (!l->a.cross || !l->a.row[0] || !l->a.row[1])
        goto out;
    for (first = 0; first < l->n; first += PIECE) {
        l->a.n = l->n - first < PIECE ? l->n - first : PIECE;
        l->a.target = target + first;
        for (s = 0; s < l->a.sides; s++)
            l->a.side[s].x = x[s] + (size_t)first * (size_t)l->a.side[s].hidden * l->d->elem_bytes;
        if (check_cancelled(e) || l->d->ops->head(l->d, &l->a, e) || l->d->ops->check(l->d, e))
            goto out;
        for (s = 0; s < l->a.sides; s++)
            for (i = 0; i < l->a.n; i++)
                if (!isfinite(l->a.row[s][i].lse)) {
                    err_set(e, ERR_INPUT, "the logits of token %lld are not finite: are the weights damaged?",
                            (long long)(first + i));
                    goto out;
                }
        l->put(l->out, &l->a, first);
    }
    rc = 0;
out:
    free(l->a.cross);
    free(l->a.row[0]);
    free(l->a.row[1]);
    return rc;
}

static void put_nll(void *out, const struct head_args *a, int64_t first)
{
    float *nll = out;
    int64_t i;

    for (i = 0; i < a->n; i++)
        nll[first + i] = nll_of(&a->row[0][i], a->target[i]);
}

int engine_nll(struct engine *en, const struct model *m, const struct hidden *h, const struct batch *b,
               float *nll, struct err *e)
{
    struct head_loop l = {.d = en->d, .n = h->tokens, .put = put_nll, .out = nll};
    struct head_weights w = {0};
    int32_t *next;
    int rc = -1;

    if (check_side(en->d, m, h, b, e))
        return -1;
    next = next_tokens(b, h->tokens, e);
    if (next && weights_head(en->d, m, &w, e) == 0) {
        l.a = (struct head_args){
            .side = {{h->x, w.w, w.bias, h->hidden}}, .sides = 1, .vocab = m->arch.vocab, .target = next};
        rc = head_loop(&l, e);
    }
    head_weights_free(en->d, &w);
    free(next);
    return rc;
}

static void put_kl(void *out, const struct head_args *a, int64_t first)
{
    struct kl_row *row = (struct kl_row *)out + first;
    int64_t i;

    for (i = 0; i < a->n; i++, row++) {
        const struct head_row *p = &a->row[0][i], *q = &a->row[1][i];
        double kl = a->cross[i] - p->lse + q->lse;

        row->kl = kl > 0 ? (float)kl : 0; /* below zero by rounding only */
        row->same_top = p->which == q->which;
        row->nll_ref = nll_of(p, a->target[i]);
        row->nll = nll_of(q, a->target[i]);
    }
}

int engine_kl(struct engine *en, const struct model *ref, const struct hidden *h_ref,
              const struct model *other, const struct hidden *h, const struct batch *b, struct kl_row *out,
              struct err *e)
{
    struct head_loop l = {.d = en->d, .n = h->tokens, .put = put_kl, .out = out};
    struct head_weights w[2] = {0}, *second = other != ref ? &w[1] : &w[0];
    int32_t *next;
    int rc = -1;

    if (check_side(en->d, ref, h_ref, b, e) || check_side(en->d, other, h, b, e))
        return -1;
    if (ref->arch.vocab != other->arch.vocab)
        return err_set(e, ERR_INPUT, "'%s' and '%s' cannot be compared: vocabularies of %d and %d tokens",
                       ref->dir, other->dir, ref->arch.vocab, other->arch.vocab);
    next = next_tokens(b, h->tokens, e);
    if (!next || weights_head(en->d, ref, &w[0], e) || (other != ref && weights_head(en->d, other, &w[1], e)))
        goto out;
    l.a = (struct head_args){
        .side = {{h_ref->x, w[0].w, w[0].bias, h_ref->hidden}, {h->x, second->w, second->bias, h->hidden}},
        .sides = 2,
        .vocab = ref->arch.vocab,
        .target = next};
    rc = head_loop(&l, e);
out:
    head_weights_free(en->d, &w[0]);
    head_weights_free(en->d, &w[1]);
    free(next);
    return rc;
}

int engine_logits(struct engine *en, const struct model *m, const struct hidden *h, int64_t first, int n,
                  float *out, struct err *e)
{
    struct device *d = en->d;
    struct head_weights w = {0};
    size_t count = (size_t)n * (size_t)m->arch.vocab;
    float *y = NULL;
    int rc = -1;

    if (first < 0 || n < 0 || first + n > h->tokens)
        return err_set(e, ERR_USAGE, "logits of tokens %lld to %lld: there are %lld", (long long)first,
                       (long long)first + n - 1, (long long)h->tokens);
    if (check_side(d, m, h, NULL, e) == 0 && weights_head(d, m, &w, e) == 0 &&
        (y = d->ops->buf_new(d, count * sizeof *y, e)) != NULL) {
        d->ops->linear(d, w.w, (const uint8_t *)h->x + (size_t)first * (size_t)h->hidden * d->elem_bytes, n,
                       w.bias, y);
        d->ops->to_host(d, out, y, count * sizeof *y);
        rc = d->ops->check(d, e);
    }
    d->ops->buf_free(d, y);
    head_weights_free(d, &w);
    return rc;
}
