/*
 * judge.h -- perplexity, divergence from the original, speed.
 *
 * Scored is every token of a document but its first, each document alone from position 0. Reports are
 * plain numbers; the caller prints. All sums are made in f64 in document order.
 */
#ifndef MOE_JUDGE_JUDGE_H
#define MOE_JUDGE_JUDGE_H

#include "engine/engine.h"
#include "observe/pass.h"
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

/*
 * KL(ref || other) per scored position over the whole vocabulary. Quantiles interpolate linearly between
 * order statistics (rank q (n-1)), as numpy and llama-perplexity do. Standard errors take positions as
 * independent, as llama-perplexity's do: neighbours in a document are not, so read them as lower bounds.
 */
struct compare_row {
    int64_t tokens;
    double kl_mean, kl_se, kl_median, kl_p90, kl_p99, kl_p999, kl_max;
    double same_top;                /* fraction of positions whose most likely token agrees */
    double nll_ref, nll;            /* sums */
    double ppl_ratio, ppl_ratio_se; /* exp(mean(nll - nll_ref)); its standard error by the delta method */
};
struct compare_report {
    struct compare_row total, *category; /* [corpus.categories] */
    struct engine_cost cost;             /* of all forward passes */
};
/* A row from n scored positions; n = 0 gives zeros. */
int compare_summarize(struct compare_row *out, const struct kl_row *row, size_t n, struct err *e);
/*
 * other NULL: ref masked by plan (which must be of ref, and keep top-k experts at least in every layer).
 * Refused: another vocabulary size, another tokenizer.json (where both have one).
 */
int judge_compare(struct compare_report *r, struct engine *en, const struct model *ref,
                  const struct model *other, const struct plan *plan, const struct corpus *c,
                  const struct pass_options *po, struct err *e);
void compare_report_free(struct compare_report *r);
/* The engine's mask [layers][experts] of a plan; rows of dense layers are 1. The caller frees. */
uint8_t *plan_mask(const struct plan *p, const struct model *m, struct err *e);

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
