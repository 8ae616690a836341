/* head.c -- from hidden states to logits, log-probabilities and divergence. */
#include "engine/head.h"

#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/mem.h"
#include "engine/feed.h"

/* Tokens between looks at a signal: a sixteenth of them, for progress, within these. */
enum { PIECE_MIN = 512, PIECE_MAX = 4096 };

static int check_side(const struct device *d, const struct model *m, const struct hidden *h,
                      const struct batch *b, struct err *e)
{
    if (device_lacks(d, 1u << OP_HEAD))
        return err_set(e, ERR_UNKNOWN,
                       "the device '%s' does not have the operation 'head': --device chooses another",
                       d->kind);
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

float head_nll(const struct head_row *r, int32_t target)
{
    return target < 0 ? NAN : (float)(r->lse - (double)r->at);
}

/* ---- pieces ---- */

/* Runs head() over all tokens in pieces and hands each piece to put(), whose rows are [sides][a->n]. */
struct head_loop {
    struct device *d;
    const struct engine_options *o;
    int layers;              /* of the model */
    const struct judged *of; /* [a.sides] */
    struct head_args a;
    int64_t n;
    void (*put)(void *out, const struct head_args *a, int64_t first);
    void *out;
};

static int check_rows(const struct head_args *a, int64_t first, struct err *e)
{
    int64_t i;

    for (i = 0; i < a->sides * a->n; i++)
        if (!isfinite(a->row[i].lse))
            return err_set(e, ERR_INPUT, "the logits of token %lld are not finite: are the weights damaged?",
                           (long long)(first + i % a->n));
    return 0;
}

static int64_t piece_of(int64_t n)
{
    int64_t piece = (n + 15) / 16;

    piece = piece < PIECE_MIN ? PIECE_MIN : piece > PIECE_MAX ? PIECE_MAX : piece;
    return piece < n ? piece : n;
}

static int head_loop(struct head_loop *l, struct err *e)
{
    struct head_args a = l->a;
    struct head_side *side = mem_new((size_t)a.sides, sizeof *side, e);
    struct feed *feed = mem_new((size_t)a.sides, sizeof *feed, e);
    int64_t piece = piece_of(l->n), first, left;
    size_t rows = (size_t)a.sides * (size_t)piece;
    int s, rc = -1;

    a.side = side;
    a.row = mem_new(rows, sizeof *a.row, e);
    a.picked = mem_new(rows * (size_t)a.picks, sizeof *a.picked, e);
    if (!side || !feed || !a.row || !a.picked)
        goto out;
    for (s = 0; s < a.sides; s++) {
        if (feed_open(&feed[s], l->d, l->of[s].h, piece, e))
            goto out;
        feed_fetch(&feed[s], 0, piece);
    }
    for (first = 0; first < l->n; first += piece) {
        a.n = l->n - first < piece ? l->n - first : piece;
        a.target = l->a.target + first;
        a.pick = a.picks ? l->a.pick + first * a.picks : NULL;
        for (s = 0; s < a.sides; s++) {
            side[s] = l->a.side[s];
            side[s].x = feed_take(&feed[s], first);
            left = l->n - first - piece; /* head() returns when it is done: the other buffer is free */
            feed_fetch(&feed[s], first + piece, left < piece ? left : piece);
        }
        if (check_cancelled(e) || l->d->ops->head(l->d, &a, e) || l->d->ops->check(l->d, e) ||
            check_rows(&a, first, e))
            goto out;
        l->put(l->out, &a, first);
        if (l->o->progress)
            l->o->progress(l->o->progress_ctx, l->layers, l->layers, (double)(first + a.n) / (double)l->n);
    }
    rc = 0;
out:
    for (s = 0; feed && s < a.sides; s++)
        feed_close(&feed[s]);
    free(feed);
    free(side);
    free(a.row);
    free(a.picked);
    return rc;
}

/* A side for each of n models' hidden states; the heads are the engine's. */
static struct head_side *sides_new(struct engine *en, const struct judged *of, int n, const struct batch *b,
                                   struct err *e)
{
    struct head_side *side = mem_new((size_t)n, sizeof *side, e);
    struct head_weights w;
    int i;

    engine_heads_keep(en, of, n);
    for (i = 0; side && i < n; i++) {
        const struct model *m = of[i].m;

        if (check_side(en->d, m, of[i].h, b, e))
            break;
        if (m->arch.vocab != of[0].m->arch.vocab) {
            err_set(e, ERR_INPUT, "'%s' and '%s' cannot be compared: vocabularies of %d and %d tokens",
                    of[0].m->dir, m->dir, of[0].m->arch.vocab, m->arch.vocab);
            break;
        }
        if (engine_head(en, m, &w, e))
            break;
        side[i] = (struct head_side){of[i].h->x, w.w, w.bias, of[i].h->hidden};
    }
    if (side && i == n)
        return side;
    free(side);
    return NULL;
}

int head_run(struct engine *en, const struct judged *of, int n, const struct batch *b, const int32_t *pick,
             int picks, void (*put)(void *out, const struct head_args *a, int64_t first), void *out,
             struct err *e)
{
    struct head_loop l = {.d = en->d,
                          .o = &en->o,
                          .layers = of[0].m->arch.layers,
                          .of = of,
                          .n = of[0].h->tokens,
                          .put = put,
                          .out = out};
    struct head_side *side = sides_new(en, of, n, b, e);
    int32_t *next = side ? next_tokens(b, l.n, e) : NULL;
    int rc = -1;

    if (next) {
        l.a = (struct head_args){.side = side,
                                 .sides = n,
                                 .vocab = of[0].m->arch.vocab,
                                 .target = next,
                                 .pick = pick,
                                 .picks = picks};
        rc = head_loop(&l, e);
    }
    free(side);
    free(next);
    return rc;
}

/* ---- likelihood and divergence ---- */

static void put_nll(void *out, const struct head_args *a, int64_t first)
{
    float *nll = out;
    int64_t i;

    for (i = 0; i < a->n; i++)
        nll[first + i] = head_nll(&a->row[i], a->target[i]);
}

int engine_nll(struct engine *en, const struct model *m, const struct hidden *h, const struct batch *b,
               float *nll, struct err *e)
{
    return head_run(en, &(struct judged){m, h}, 1, b, NULL, 0, put_nll, nll, e);
}

static void put_kl(void *out, const struct head_args *a, int64_t first)
{
    struct kl_row *const *rows = out;
    int64_t i;
    int s;

    for (s = 1; s < a->sides; s++)
        for (i = 0; i < a->n; i++) {
            const struct head_row *p = &a->row[i], *q = p + s * a->n;
            struct kl_row *row = &rows[s - 1][first + i];
            double kl = q->cross - p->lse + q->lse;

            row->kl = kl > 0 ? (float)kl : 0; /* below zero by rounding only */
            row->same_top = p->which == q->which;
            row->nll_ref = head_nll(p, a->target[i]);
            row->nll = head_nll(q, a->target[i]);
        }
}

int engine_kl(struct engine *en, const struct judged *of, int n, const struct batch *b,
              struct kl_row *const *out, struct err *e)
{
    return head_run(en, of, n, b, NULL, 0, put_kl, (void *)out, e);
}

int engine_logits(struct engine *en, const struct model *m, const struct hidden *h, int64_t first, int n,
                  float *out, struct err *e)
{
    struct device *d = en->d;
    struct head_weights w = {0};
    size_t count = (size_t)n * (size_t)m->arch.vocab;
    struct feed feed = {0};
    float *y = NULL;
    int rc = -1;

    if (first < 0 || n < 0 || first + n > h->tokens)
        return err_set(e, ERR_USAGE, "logits of tokens %lld to %lld: there are %lld", (long long)first,
                       (long long)first + n - 1, (long long)h->tokens);
    engine_heads_keep(en, &(struct judged){m, h}, 1);
    if (check_side(d, m, h, NULL, e) == 0 && engine_head(en, m, &w, e) == 0 &&
        (y = d->ops->buf_new(d, count * sizeof *y, e)) != NULL && feed_open(&feed, d, h, n, e) == 0) {
        feed_fetch(&feed, first, n);
        d->ops->linear(d, w.w, feed_take(&feed, first), n, w.bias, y);
        d->ops->to_host(d, out, y, count * sizeof *y);
        rc = d->ops->check(d, e);
    }
    feed_close(&feed);
    d->ops->buf_free(d, y);
    return rc;
}
