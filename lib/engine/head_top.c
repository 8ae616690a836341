/* head_top.c -- the most likely tokens of every position, to be kept, and divergence from what was kept. */
#include "engine/engine_private.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/thread.h"
#include "engine/feed.h"
#include "engine/head.h"

enum { LOGITS_BYTES = 64 << 20 };
/* Least share of the tokens that are not kept: below, 1 - the sum of the others is only rounding. */
static const double rest_min = 1.0 / (1 << 24);

static int kept(const struct top_probs *t)
{
    return t->top + t->samples;
}

int top_probs_new(struct top_probs *t, int64_t tokens, int top, int samples, int vocab, struct err *e)
{
    uint64_t n;

    *t = (struct top_probs){.top = top, .samples = samples};
    if (top + samples >= vocab)
        *t = (struct top_probs){.top = vocab};
    if (!mul_u64((uint64_t)tokens, (uint64_t)kept(t), &n) || n > SIZE_MAX)
        return err_set(e, ERR_NOMEM, "out of memory: the most likely tokens of %lld positions",
                       (long long)tokens);
    t->id = mem_new((size_t)n, sizeof *t->id, e);
    t->logp = mem_new((size_t)n, sizeof *t->logp, e);
    t->sampled = mem_new((size_t)n, sizeof *t->sampled, e);
    t->rest = mem_new((size_t)tokens, sizeof *t->rest, e);
    t->nll = mem_new((size_t)tokens, sizeof *t->nll, e);
    if (t->id && t->logp && t->sampled && t->rest && t->nll)
        return 0;
    top_probs_free(t);
    return -1;
}

void top_probs_free(struct top_probs *t)
{
    free(t->id);
    free(t->logp);
    free(t->sampled);
    free(t->rest);
    free(t->nll);
    *t = (struct top_probs){0};
}

/* ---- which tokens ---- */

/* Of equal logits the higher id is worse. */
static bool worse(const float *z, int32_t a, int32_t b)
{
    return z[a] < z[b] || (z[a] == z[b] && a > b);
}

/* The root of a heap, whose top is the worst, moves to its place. */
static void sift(const float *z, int32_t *heap, int n)
{
    int32_t root = heap[0];
    int i = 0, child;

    while ((child = 2 * i + 1) < n) {
        child += child + 1 < n && worse(z, heap[child + 1], heap[child]);
        if (!worse(z, heap[child], root))
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = root;
}

static void rise(const float *z, int32_t *heap, int i)
{
    int32_t x = heap[i];

    for (; i > 0 && worse(z, x, heap[(i - 1) / 2]); i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = x;
}

struct choice {
    float *z; /* [rows][vocab], overwritten */
    int vocab;
    struct top_probs *t;
    int64_t first; /* token of the first row */
};

static void choose_top(const float *z, int vocab, int32_t *id, int top)
{
    int v;

    for (v = 0; v < vocab; v++) {
        if (v < top) {
            id[v] = v;
            rise(z, id, v);
        } else if (z[v] > z[id[0]]) {
            id[0] = v;
            sift(z, id, top);
        }
    }
}

/* Samples of what is not in the top, behind it. z becomes the others' shares. */
static void choose_samples(float *z, int vocab, int32_t *id, int top, int samples)
{
    double sum = 0, passed = 0;
    float largest = -INFINITY;
    int v, k = 0;

    for (v = 0; v < top; v++)
        z[id[v]] = -INFINITY;
    for (v = 0; v < vocab; v++)
        largest = z[v] > largest ? z[v] : largest;
    for (v = 0; v < vocab; v++) {
        z[v] = expf(z[v] - largest);
        sum += (double)z[v];
    }
    for (v = 0; v < vocab; v++) {
        passed += (double)z[v];
        while (k < samples && passed * samples > sum * (k + 0.5))
            id[top + k++] = v;
    }
}

/* All in order of id; which were samples is told by the number they had. */
static void sort_kept(int32_t *id, uint8_t *sampled, int top, int samples)
{
    int i, k;

    for (i = 0; i < top + samples; i++)
        sampled[i] = i >= top;
    for (i = 1; i < top + samples; i++) {
        int32_t x = id[i];
        uint8_t s = sampled[i];

        for (k = i; k > 0 && id[k - 1] > x; k--) {
            id[k] = id[k - 1];
            sampled[k] = sampled[k - 1];
        }
        id[k] = x;
        sampled[k] = s;
    }
}

static void top_choose(void *ctx, long row, int worker)
{
    const struct choice *c = ctx;
    size_t at = (size_t)(c->first + row) * (size_t)kept(c->t);
    float *z = c->z + (size_t)row * (size_t)c->vocab;

    (void)worker;
    choose_top(z, c->vocab, c->t->id + at, c->t->top);
    if (c->t->samples)
        choose_samples(z, c->vocab, c->t->id + at, c->t->top, c->t->samples);
    sort_kept(c->t->id + at, c->t->sampled + at, c->t->top, c->t->samples);
}

/* Rows of logits at a time, chosen from by all threads. */
static int choose_all(struct device *d, const struct head_weights *w, const struct hidden *h, int vocab,
                      struct top_probs *out, struct err *e)
{
    size_t row = (size_t)vocab * sizeof(float);
    int64_t piece = LOGITS_BYTES / (int64_t)row + 1, t, n;
    float *y, *z;
    struct pool *pool = NULL;
    struct feed feed = {0};
    int rc = -1;

    piece = piece < h->tokens ? piece : h->tokens;
    y = d->ops->buf_new(d, (size_t)piece * row, e);
    z = mem_new_aligned((size_t)piece, row, e);
    if (!y || !z || pool_open(&pool, d->threads, NULL, e) || feed_open(&feed, d, h, piece, e))
        goto out;
    for (t = 0; t < h->tokens; t += n) {
        struct choice c = {z, vocab, out, t};

        n = h->tokens - t < piece ? h->tokens - t : piece;
        feed_fetch(&feed, t, n);
        d->ops->linear(d, w->w, feed_take(&feed, t), n, w->bias, y);
        d->ops->to_host(d, z, y, (size_t)n * row);
        if (d->ops->check(d, e) || check_cancelled(e))
            goto out;
        pool_run(pool, (long)n, top_choose, &c);
    }
    rc = 0;
out:
    feed_close(&feed);
    pool_close(pool);
    free(z);
    d->ops->buf_free(d, y);
    return rc;
}

/* ---- what they have ---- */

static float log_prob(const struct head_row *row, float z)
{
    return (float)((double)z - row->lse);
}

static void put_top(void *out, const struct head_args *a, int64_t first)
{
    struct top_probs *t = out;
    int64_t i;
    int k;

    for (i = 0; i < a->n; i++) {
        size_t at = (size_t)(first + i) * (size_t)a->picks;
        double sum = 0;

        for (k = 0; k < a->picks; k++) {
            t->logp[at + (size_t)k] = log_prob(&a->row[i], a->picked[i * a->picks + k]);
            sum += t->sampled[at + (size_t)k] ? 0 : exp((double)t->logp[at + (size_t)k]);
        }
        t->rest[first + i] = (float)log(1 - sum > rest_min ? 1 - sum : rest_min);
        t->nll[first + i] = head_nll(&a->row[i], a->target[i]);
    }
}

int engine_top(struct engine *en, const struct model *m, const struct hidden *h, const struct batch *b,
               struct top_probs *t, struct err *e)
{
    struct head_weights w;

    engine_heads_keep(en, &(struct judged){m, h}, 1);
    if (engine_head(en, m, &w, e) || choose_all(en->d, &w, h, m->arch.vocab, t, e))
        return -1;
    return head_run(en, &(struct judged){m, h}, 1, b, t->id, kept(t), put_top, t, e);
}

/* ---- divergence ---- */

struct compared {
    const struct top_probs *ref;
    struct kl_row *const *row;
};

/* Token t of what was kept against one side's row, z the logits of its tokens. */
static struct kl_row divergence(const struct top_probs *ref, int64_t t, const struct head_row *q,
                                const float *z, int32_t target)
{
    size_t at = (size_t)t * (size_t)kept(ref);
    const float *logp = ref->logp + at;
    const uint8_t *sampled = ref->sampled + at;
    double top = 0, others = 0, kl;
    int i, best = 0;

    for (i = 0; i < kept(ref); i++) {
        double ratio = (double)logp[i] - (double)log_prob(q, z[i]);

        if (sampled[i])
            others += ratio;
        else
            top += (double)expf(logp[i]) * ratio;
        best = logp[i] > logp[best] ? i : best;
    }
    kl = top + (ref->samples ? exp((double)ref->rest[t]) * others / ref->samples : 0);
    return (struct kl_row){.kl = kl > 0 ? (float)kl : 0,
                           .same_top = ref->id[at + (size_t)best] == q->which,
                           .nll_ref = target < 0 ? NAN : ref->nll[t],
                           .nll = head_nll(q, target)};
}

static void put_divergence(void *out, const struct head_args *a, int64_t first)
{
    const struct compared *c = out;
    int64_t i;
    int s;

    for (s = 0; s < a->sides; s++)
        for (i = 0; i < a->n; i++) {
            int64_t at = s * a->n + i;

            c->row[s][first + i] =
                divergence(c->ref, first + i, &a->row[at], a->picked + at * a->picks, a->target[i]);
        }
}

int engine_kl_top(struct engine *en, const struct top_probs *ref, const struct judged *of, int n,
                  const struct batch *b, struct kl_row *const *out, struct err *e)
{
    struct compared c = {ref, out};

    return head_run(en, of, n, b, ref->id, kept(ref), put_divergence, &c, e);
}
