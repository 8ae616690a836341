/*
 * score.h -- criteria and selection: from statistics to a plan. Never touches a model.
 */
#ifndef MOE_SCORE_SCORE_H
#define MOE_SCORE_SCORE_H

#include "stats/plan.h"
#include "stats/stats.h"

/*
 * S = n^-b * sum over routed tokens of g^a f^c, or the largest |output|: the family of arXiv 2606.15716,
 * which holds REAP (arXiv 2510.13999), EAN, frequency and their squares. b is 0 (sum) or 1 (mean), a and c
 * are 0, 1 or 2. The table has every member that says something ((1,0,0) is 1), those with names first.
 */
struct criterion {
    const char *name; /* "reap" */
    const char *aliases[3];
    int b, a, c;       /* c < 0: max */
    const char *about; /* a line for --list: formula and who uses it */
};
const struct criterion *criterion_table(int *n);
/* A name, an alias, "S(b,a,c)" or "b,a,c"; NULL: unknown. */
const struct criterion *criterion_find(const char *name);
/* The sum of a mean, the mean of a sum; NULL if there is none (frequency, max). */
const struct criterion *criterion_twin(const struct criterion *c);
/* n = 0 scores 0. */
double criterion_score(const struct criterion *c, const struct expert_stats *s);

/*
 * Without weights the sums of all categories are added as they are. With weights each category counts as much
 * as its weight says, however many tokens it has: in each layer its counts and sums are multiplied by
 *
 *     (w / sum of the weights) * (routed tokens of the categories that weigh / its own routed tokens)
 *
 * before they are added, and means are weighted sums over weighted counts. Weights in proportion to the
 * tokens give what no weights give. max is the largest of the categories that weigh more than 0.
 */
struct weight {
    const char *category; /* as in the statistics */
    double w;             /* >= 0 */
};

struct score_options {
    const struct criterion *criterion;
    int keep;                    /* experts kept per layer (uniform); > 0 */
    const struct weight *weight; /* category weights; those not named weigh default_weight */
    int weights;
    double default_weight; /* 1 without --weights; with it 0 */
    bool protect_super;    /* see below */
    int protect_top;       /* N: the N most frequent experts of every category stay in each layer; 0: off */
    const char *note;      /* goes to the plan's criterion line as tab-separated fields; may be NULL */
};

struct score_report {
    int protected_super; /* experts kept only because of the guard */
    int protected_top;
    int zero;         /* kept or not: experts with n = 0 */
    double overlap;   /* share of kept experts that the criterion's sum (or mean) twin keeps too; 1 if none */
    const char *twin; /* its name; NULL if there is none */
    bool disagree;    /* overlap is nearer to that of a random choice (keep / experts) than to 1 */
    int better_keep;  /* score_better_keep(), if the router's groups allow it; else 0 */
};

/*
 * A plan from statistics. Ties drop the higher index; ranks are 1..E per layer, protected experts first.
 *
 * Where the router has groups (stats/groups.h), experts are ranked within their group, and the layer's ranks
 * take the best of each group first, then the second of each, and so on: the experts with ranks up to K are
 * those that stay for every K that the groups allow. Other K are refused, and the nearest are named; so are
 * more protected experts in a group than its share of keep.
 *
 * Super experts (arXiv 2507.23279; the rule of the REAP repository): those whose max, over all categories,
 * lies above the 99.5% quantile (linear interpolation) of all experts' and above a tenth of the largest, in
 * the first 75% of the MoE layers. The most frequent experts of a category have n > 0; categories that weigh
 * nothing are protected too. More protected experts in a layer than keep is an error.
 */
int score_plan(struct plan *p, const struct stats *s, const struct score_options *o, struct score_report *r,
               struct err *e);

/* A count near keep that more runtimes take (MXFP4 kernels: a multiple of 4; tensor and expert parallelism:
 * of 8, suggested from 64 experts on), at least topk and below experts; 0: keep is fine or none is near. */
int score_better_keep(int experts, int topk, int keep);

/* jaccard: kept in both / kept in either. spearman: correlation of the rank columns; 1 with one expert, NaN
 * if all ranks of a side are the same. */
struct plan_diff_layer {
    int layer, kept_a, kept_b, both;
    double jaccard, spearman;
};
struct plan_diff {
    struct plan_diff_layer *layer;
    int n;
    int kept_a, kept_b, both; /* over all layers */
    double jaccard, spearman; /* of all kept experts; mean over the layers */
};
/* Refused: plans of different models or layers. */
int plan_diff(struct plan_diff *d, const struct plan *a, const struct plan *b, struct err *e);
void plan_diff_free(struct plan_diff *d);

#endif
