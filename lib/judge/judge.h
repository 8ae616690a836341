/*
 * judge.h -- perplexity, divergence from the original, speed.
 *
 * Scored is every token of a document but its first, each document alone from position 0. Reports are
 * plain numbers; the caller prints. All sums are made in f64 in document order.
 */
#ifndef MOE_JUDGE_JUDGE_H
#define MOE_JUDGE_JUDGE_H

#include "engine/engine.h"
#include "observe/forecast.h"
#include "observe/passes.h"
#include "stats/plan.h"
#include "text/corpus.h"

/* One row per category and one for all of them. */
struct ppl_row {
    int64_t tokens; /* scored */
    double nll;     /* sum, nats */
};
struct ppl_report {
    struct ppl_row total, *category; /* [corpus.categories] */
    struct engine_cost cost;
};
int judge_perplexity(struct ppl_report *r, struct engine *en, const struct model *m, const struct corpus *c,
                     const struct pass_options *po, struct err *e);
void ppl_report_free(struct ppl_report *r);
/* Perplexity, exp of the mean; NaN without a token. */
double judge_ppl(double nll, int64_t tokens);

/*
 * KL(ref || other) per scored position, in nats. Quantiles interpolate linearly between order statistics
 * (rank q (n-1)), as numpy and llama-perplexity do.
 *
 * Standard errors count documents, not positions, as what was drawn: positions of a document are alike. With
 * D documents of n_d positions, N in all, s_d the sum over a document and m the mean over all positions,
 *     se(m)^2 = D / (D - 1) * sum_d (s_d - m n_d)^2 / N^2,
 * the ratio estimator for clusters (Cochran, Sampling Techniques, 3rd ed., 2.11 and 9A.1, without the
 * correction for a finite population); NaN for fewer than two documents. That of a perplexity ratio is by the
 * delta method: the ratio times the standard error of the mean difference of nll.
 */
struct compare_row {
    int64_t tokens, documents; /* scored positions, and documents that have one */
    double kl_mean, kl_se, kl_median, kl_p90, kl_p99, kl_p999, kl_max;
    double same_top, same_top_se;   /* fraction of positions whose most likely token agrees */
    double rms_dp;                  /* root of the mean of (p(true token) - p_ref(true token))^2 */
    double nll_ref, nll;            /* sums */
    double ppl_ratio, ppl_ratio_se; /* exp(mean(nll - nll_ref)) */
};
struct compare_result {
    struct compare_row total, *category; /* [corpus.categories] */
    double category_mean; /* mean over categories of kl_mean; categories without a position aside */
    int worst;            /* the category with the largest kl_mean; -1: none has a position */
};
struct compare_report {
    struct compare_result *of; /* [n] as the candidates */
    int n;
    bool cached;             /* divergences are from a cache: estimates */
    double rest;             /* then: mean share of the probability that its tokens do not have */
    struct engine_cost cost; /* of all forward passes */
};
/* A row from documents 0 .. docs-1, whose positions are row[first[d]] .. row[first[d + 1] - 1]; no position
 * gives zeros. */
int compare_summarize(struct compare_row *out, const struct kl_row *row, const int64_t *first, int64_t docs,
                      struct err *e);

/* What is compared with ref: another model, or ref masked by a plan (which must be of ref, and keep top-k
 * experts at least in every layer). */
struct candidate {
    const struct model *model; /* NULL: */
    const struct plan *plan;
};
/*
 * All candidates at once: ref runs once, and plans share every layer's weights and the layers up to their
 * first difference. Held for a token: the hidden states of ref and of all candidates.
 *
 * With a cache (moe-logprobs(5)), ref's distributions are read from that file if it is there, else written to
 * it, and divergences are estimated from its most likely tokens and samples, either way (engine_kl_top). A
 * file that belongs to another model, other text or another precision is refused; with force it is made anew.
 *
 * Refused: another vocabulary size, another tokenizer.json (where both have one).
 */
struct compare_options {
    const char *cache; /* NULL: none */
    bool force;
};
int judge_compare(struct compare_report *r, struct engine *en, const struct model *ref,
                  const struct candidate *candidate, int n, const struct corpus *c,
                  const struct compare_options *o, const struct pass_options *po, struct err *e);
void compare_report_free(struct compare_report *r);
/* The engine's mask of a plan; rows of dense layers are 1. mask_free. */
int plan_mask(struct mask *mask, const struct plan *p, const struct model *m, struct err *e);

/* What judge_perplexity (n = 0, candidate NULL) or judge_compare without a cache would take. */
int judge_forecast(struct forecast *f, struct engine *en, const struct model *ref,
                   const struct candidate *candidate, int n, const struct corpus *c, uint64_t mem_max,
                   struct err *e);

/* Prefill speed on made-up token ids: no text, no tokenizer, the same ids for the same seed. */
struct speed_options {
    int64_t docs, tokens; /* docs documents of tokens tokens each */
    int repeat;           /* the fastest of so many runs counts */
    uint64_t seed;
    /* Before each forward pass; may be NULL. */
    void (*begin)(void *ctx, int64_t pass, int64_t passes);
    void *ctx;
};
struct speed_report {
    int64_t tokens;             /* of one run */
    struct engine_cost first;   /* the first run: files perhaps not in the page cache */
    struct engine_cost plain;   /* the fastest run */
    struct engine_cost observe; /* the fastest run with every routed token being counted */
    double peak_flops;          /* of the machine: a large product through the same library */
};
int judge_speed(struct speed_report *r, struct engine *en, const struct model *m,
                const struct speed_options *o, struct err *e);

#endif
