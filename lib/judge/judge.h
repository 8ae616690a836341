/*
 * judge.h -- perplexity, divergence from the original, speed.
 */
#ifndef MOE_JUDGE_JUDGE_H
#define MOE_JUDGE_JUDGE_H

#include "engine/engine.h"
#include "stats/plan.h"
#include "text/corpus.h"

/* One row per category and one for all of them. */
struct ppl_row {
    int64_t tokens; /* scored: every token of a document but its first */
    double nll;     /* sum, nats */
};
struct ppl_report {
    struct ppl_row total, *category; /* [corpus.categories] */
    struct engine_cost cost;
};
int judge_perplexity(struct ppl_report *r, struct engine *en, const struct model *m, const struct corpus *c,
                     struct err *e);
void ppl_report_free(struct ppl_report *r);

/* kl quantiles are over scored positions (those with a next token), as is everything here. */
struct compare_row {
    int64_t tokens;
    double kl_mean, kl_se, kl_median, kl_p90, kl_p99, kl_p999, kl_max;
    double same_top;                /* fraction */
    double nll_ref, nll;            /* sums */
    double ppl_ratio, ppl_ratio_se; /* exp(mean(nll - nll_ref)) and its standard error */
};
struct compare_report {
    struct compare_row total, *category;
    struct engine_cost cost;
};
/* other NULL: ref masked by plan (which must be of ref). */
int judge_compare(struct compare_report *r, struct engine *en, const struct model *ref,
                  const struct model *other, const struct plan *plan, const struct corpus *c, struct err *e);
void compare_report_free(struct compare_report *r);

#endif
