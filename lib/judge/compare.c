/* compare.c -- models, or plans by masking, beside their reference: divergence of every position. */
#include "judge/judge.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "judge/cache.h"
#include "judge/candidate.h"

/* One comparison under way. */
struct compare {
    struct engine *en;
    const struct model *ref;
    const struct candidate *candidate; /* [n] */
    struct mask *mask;                 /* [n] of the plans; none for models */
    int n;
    const struct corpus *c;
    struct cache *cache; /* NULL: none */
    struct kl_row **row; /* [n][scored positions], in document order */
    int64_t *first;      /* [docs + 1] first row of each document */
    struct engine_cost cost;
};

/* One pass of it. Sides are what runs: ref, unless it comes from a cache, and the candidates. */
struct side_states {
    struct judged *of;   /* [sides] */
    struct hidden **h;   /* [sides] */
    struct kl_row **row; /* [candidates][tokens] */
    struct top_probs top;
};

static int first_side(const struct compare *x)
{
    return x->cache && x->cache->reading ? 0 : 1;
}

/* ref and all plans: one pass of one model. */
static int forward_masks(struct compare *x, const struct corpus_pass *p, struct side_states *s, struct err *e)
{
    struct mask *mask = mem_new((size_t)x->n + 1, sizeof *mask, e);
    struct hidden **h = mem_new((size_t)x->n + 1, sizeof *h, e);
    struct engine_cost cost = {0};
    int first = first_side(x), k = first, i, rc = -1;

    if (!mask || !h)
        goto out;
    for (i = 0; i < x->n; i++)
        if (!x->candidate[i].model)
            mask[k++] = x->mask[i];
    if (k > 0 && engine_forward_masks(x->en, x->ref, &p->batch, mask, k, h, &cost, e))
        goto out;
    cost_add(&x->cost, &cost);
    if (first)
        s->h[0] = h[0];
    for (k = first, i = 0; i < x->n; i++)
        if (!x->candidate[i].model)
            s->h[first + i] = h[k++];
    rc = 0;
out:
    free(mask);
    free(h);
    return rc;
}

static int forward_models(struct compare *x, const struct corpus_pass *p, struct side_states *s,
                          const struct pass_options *po, int64_t *step, int64_t steps, struct err *e)
{
    int i;

    for (i = 0; i < x->n; i++) {
        struct engine_cost cost = {0};

        if (!x->candidate[i].model)
            continue;
        if (po->begin)
            po->begin(po->ctx, (*step)++, steps);
        if (engine_forward(x->en, x->candidate[i].model, &p->batch, NULL, NULL, &s->h[first_side(x) + i],
                           &cost, e))
            return -1;
        cost_add(&x->cost, &cost);
    }
    return 0;
}

static int divergences(struct compare *x, const struct corpus_pass *p, struct side_states *s, struct err *e)
{
    int first = first_side(x), i;

    for (i = 0; i < first + x->n; i++) {
        const struct model *m = i < first ? NULL : x->candidate[i - first].model;

        s->of[i] = (struct judged){m ? m : x->ref, s->h[i]};
    }
    if (!x->cache)
        return engine_kl(x->en, s->of, x->n + 1, &p->batch, s->row, e);
    if (top_probs_new(&s->top, p->tokens, x->cache->top, x->cache->samples, x->ref->arch.vocab, e) ||
        (first && engine_top(x->en, x->ref, s->h[0], &p->batch, &s->top, e)) ||
        cache_pass(x->cache, p, &s->top, e))
        return -1;
    return engine_kl_top(x->en, &s->top, s->of + first, x->n, &p->batch, s->row, e);
}

/* Keeps the scored positions of a pass. */
static int collect(struct compare *x, const struct corpus_pass *p, const struct side_states *s, struct err *e)
{
    int64_t d;
    int i, t;

    for (d = 0; d < p->batch.docs; d++) {
        const struct doc *doc = &x->c->doc[p->first_doc + d];

        for (i = 0; i < x->n; i++) {
            const struct kl_row *r = s->row[i] + p->first[d];

            for (t = 0; t + 1 < doc->n; t++)
                if (!isfinite(r[t].kl) || !isfinite(r[t].nll) || !isfinite(r[t].nll_ref))
                    return err_set(e, ERR_INPUT,
                                   "%s line %d: token %d has no finite likelihood; weights are damaged, or "
                                   "--precision f32 is needed",
                                   x->c->file[doc->file], doc->line + 1, t + 1);
            memcpy(x->row[i] + x->first[p->first_doc + d], r, (size_t)(doc->n - 1) * sizeof *r);
        }
    }
    return 0;
}

static int side_states_new(struct side_states *s, const struct compare *x, int64_t tokens, struct err *e)
{
    size_t sides = (size_t)(x->n + 1);
    int i;

    *s = (struct side_states){.of = mem_new(sides, sizeof *s->of, e),
                              .h = mem_new(sides, sizeof *s->h, e),
                              .row = mem_new(sides, sizeof *s->row, e)};
    if (!s->of || !s->h || !s->row)
        return -1;
    for (i = 0; i < x->n; i++)
        if (!(s->row[i] = mem_new((size_t)tokens, sizeof **s->row, e)))
            return -1;
    return 0;
}

static void side_states_free(struct side_states *s, int n)
{
    int i;

    for (i = 0; s->h && i <= n; i++)
        hidden_free(s->h[i]);
    for (i = 0; s->row && i < n; i++)
        free(s->row[i]);
    free(s->of);
    free(s->h);
    free(s->row);
    top_probs_free(&s->top);
}

static int compare_pass(struct compare *x, const struct passes *ps, int64_t i, int64_t each,
                        const struct pass_options *po, struct err *e)
{
    struct side_states s = {0};
    struct corpus_pass p = {0};
    int64_t step = i * each;
    int rc = -1;

    if (corpus_pass_open(&p, x->c, ps->doc[i], ps->doc[i + 1], e))
        return -1;
    if (po->begin)
        po->begin(po->ctx, step++, each * ps->n);
    if (side_states_new(&s, x, p.tokens, e) == 0 && forward_masks(x, &p, &s, e) == 0 &&
        forward_models(x, &p, &s, po, &step, each * ps->n, e) == 0 && divergences(x, &p, &s, e) == 0)
        rc = collect(x, &p, &s, e);
    side_states_free(&s, x->n);
    corpus_pass_close(&p);
    return rc;
}

/* ---- report ---- */

/* Rows of one category's documents, moved together. */
static int summarize_category(struct compare_row *out, const struct compare *x, const struct kl_row *row,
                              int k, struct kl_row *some, int64_t *first, struct err *e)
{
    int64_t d, docs = 0;

    for (first[0] = 0, d = 0; d < x->c->docs; d++) {
        int64_t n = x->first[d + 1] - x->first[d];

        if (x->c->doc[d].category != k)
            continue;
        memcpy(some + first[docs], row + x->first[d], (size_t)n * sizeof *row);
        first[docs + 1] = first[docs] + n;
        docs++;
    }
    return compare_summarize(out, some, first, docs, e);
}

static int summarize(struct compare_result *r, const struct compare *x, const struct kl_row *row,
                     struct err *e)
{
    struct kl_row *some = mem_new((size_t)x->first[x->c->docs], sizeof *some, e);
    int64_t *first = mem_new((size_t)x->c->docs + 1, sizeof *first, e);
    int k, n = 0, rc = -1;

    r->worst = -1;
    r->category = mem_new((size_t)x->c->categories, sizeof *r->category, e);
    if (some && first && r->category)
        rc = compare_summarize(&r->total, row, x->first, x->c->docs, e);
    for (k = 0; rc == 0 && k < x->c->categories; k++) {
        const struct compare_row *c = &r->category[k];

        rc = summarize_category(&r->category[k], x, row, k, some, first, e);
        if (rc || c->tokens == 0)
            continue;
        r->category_mean += c->kl_mean;
        n++;
        if (r->worst < 0 || c->kl_mean > r->category[r->worst].kl_mean)
            r->worst = k;
    }
    r->category_mean /= n ? n : 1;
    free(some);
    free(first);
    return rc;
}

static int compare_run(struct compare_report *r, struct compare *x, const struct pass_options *po,
                       struct err *e)
{
    const struct precision_row *precision = engine_precision(x->en);
    uint64_t held = pass_state_bytes(x->ref, precision);
    struct passes ps = {0};
    int64_t i, each = 1;
    int k, rc = -1;

    for (k = 0; k < x->n; k++) {
        const struct model *m = x->candidate[k].model;

        held += pass_state_bytes(m ? m : x->ref, precision) + sizeof(struct kl_row);
        each += m != NULL;
    }
    if (x->cache)
        held += x->cache->record + 2 * (uint64_t)(x->cache->top + x->cache->samples);
    if (passes_split(&ps, x->c, held, po->mem_max, e))
        return -1;
    for (i = 0; i < ps.n; i++)
        if (compare_pass(x, &ps, i, each, po, e))
            goto out;
    r->cost = x->cost;
    for (k = 0; k < x->n; k++)
        if (summarize(&r->of[k], x, x->row[k], e))
            goto out;
    rc = 0;
out:
    passes_free(&ps);
    return rc;
}

/* Room for results, and the candidates' masks. */
static int compare_prepare(struct compare_report *r, struct compare *x, struct err *e)
{
    int64_t d;
    int i;

    r->n = x->n;
    r->of = mem_new((size_t)x->n, sizeof *r->of, e);
    x->mask = mem_new((size_t)x->n, sizeof *x->mask, e);
    x->row = mem_new((size_t)x->n, sizeof *x->row, e);
    x->first = mem_new((size_t)x->c->docs + 1, sizeof *x->first, e);
    if (!r->of || !x->mask || !x->row || !x->first)
        return -1;
    for (d = 0; d < x->c->docs; d++)
        x->first[d + 1] = x->first[d] + x->c->doc[d].n - 1;
    for (i = 0; i < x->n; i++) {
        x->row[i] = mem_new((size_t)x->first[x->c->docs], sizeof **x->row, e);
        if (!x->row[i] || candidate_check(&x->candidate[i], x->ref, &x->mask[i], e))
            return -1;
    }
    return 0;
}

int judge_compare(struct compare_report *r, struct engine *en, const struct model *ref,
                  const struct candidate *candidate, int n, const struct corpus *c,
                  const struct compare_options *o, const struct pass_options *po, struct err *e)
{
    struct compare x = {.en = en, .ref = ref, .candidate = candidate, .n = n, .c = c};
    struct cache cache = {0};
    int i, rc;

    memset(r, 0, sizeof *r);
    rc = compare_prepare(r, &x, e);
    if (rc == 0 && o->cache) {
        rc = cache_open(&cache, o->cache, o->force, ref, engine_precision(en)->name, c, e);
        x.cache = &cache;
    }
    if (rc == 0)
        rc = compare_run(r, &x, po, e);
    if (rc == 0 && o->cache) {
        rc = cache_finish(&cache, e);
        r->cached = true;
        r->rest = cache.rest / (double)x.first[c->docs];
    }
    cache_close(&cache);
    for (i = 0; i < n; i++) {
        if (x.mask)
            mask_free(&x.mask[i]);
        if (x.row)
            free(x.row[i]);
    }
    free(x.mask);
    free(x.row);
    free(x.first);
    if (rc)
        compare_report_free(r);
    return rc;
}

void compare_report_free(struct compare_report *r)
{
    int i;

    for (i = 0; r->of && i < r->n; i++)
        free(r->of[i].category);
    free(r->of);
    memset(r, 0, sizeof *r);
}
