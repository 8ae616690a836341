/* perplexity.c -- how well a model predicts text, by category. */
#include "judge/judge.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int add_document(struct ppl_row *row, const struct doc *d, const float *nll, const struct corpus *c,
                        struct err *e)
{
    int t;

    for (t = 0; t + 1 < d->n; t++) {
        if (!isfinite(nll[t]))
            return err_set(e, ERR_INPUT,
                           "%s line %d: token %d has no finite likelihood; weights are damaged, or "
                           "--precision f32 is needed",
                           c->file[d->file], d->line + 1, t + 1);
        row->nll += nll[t];
        row->tokens++;
    }
    return 0;
}

static int score_pass(struct ppl_report *r, struct engine *en, const struct model *m, const struct corpus *c,
                      int64_t first_doc, int64_t end_doc, struct err *e)
{
    struct corpus_pass p = {0};
    struct hidden *h = NULL;
    struct engine_cost cost = {0};
    float *nll = NULL;
    int64_t d;
    int rc = -1;

    if (corpus_pass_open(&p, c, first_doc, end_doc, e))
        return -1;
    nll = mem_new((size_t)p.tokens, sizeof *nll, e);
    if (!nll || engine_forward(en, m, &p.batch, NULL, NULL, &h, &cost, e) ||
        engine_nll(en, m, h, &p.batch, nll, e))
        goto out;
    cost_add(&r->cost, &cost);
    for (d = first_doc; d < end_doc; d++) {
        const struct doc *doc = &c->doc[d];

        if (add_document(&r->category[doc->category], doc, nll + (doc->first - p.token), c, e))
            goto out;
    }
    rc = 0;
out:
    hidden_free(h);
    free(nll);
    corpus_pass_close(&p);
    return rc;
}

int judge_perplexity(struct ppl_report *r, struct engine *en, const struct model *m, const struct corpus *c,
                     const struct pass_options *po, struct err *e)
{
    struct passes ps = {0};
    int64_t i;
    int k, rc = -1;

    memset(r, 0, sizeof *r);
    r->category = mem_new((size_t)c->categories, sizeof *r->category, e);
    if (!r->category ||
        passes_split(&ps, c, pass_state_bytes(m, engine_precision(en)) + sizeof(float), po->mem_max, e))
        goto out;
    for (i = 0; i < ps.n; i++) {
        if (po->begin)
            po->begin(po->ctx, i, ps.n);
        if (score_pass(r, en, m, c, ps.doc[i], ps.doc[i + 1], e))
            goto out;
    }
    for (k = 0; k < c->categories; k++) {
        r->total.tokens += r->category[k].tokens;
        r->total.nll += r->category[k].nll;
    }
    rc = 0;
out:
    passes_free(&ps);
    if (rc)
        ppl_report_free(r);
    return rc;
}

void ppl_report_free(struct ppl_report *r)
{
    free(r->category);
    memset(r, 0, sizeof *r);
}

double judge_ppl(double nll, int64_t tokens)
{
    return tokens ? exp(nll / (double)tokens) : NAN;
}
