/*
 * score.h -- criteria and selection: from statistics to a plan. Never touches a model.
 */
#ifndef MOE_SCORE_SCORE_H
#define MOE_SCORE_SCORE_H

#include "stats/matrices.h"
#include "stats/plan.h"
#include "stats/scores.h"
#include "stats/stats.h"

/*
 * What an expert, or a set of experts, is worth. From statistics (moe-stats(5)):
 *
 *     POWERS  S = n^-b * sum over routed tokens of g^a f^c: the family of arXiv 2606.15716, which holds REAP
 *             (arXiv 2510.13999), EAN, frequency and their squares. b is 0 (sum) or 1 (mean), a and c are 0,
 *             1 or 2. The table has every member that says something ((1,0,0) is 1), those with names first.
 *     COLUMN  a column of its own: the largest |element| of the output; EASY-EP's sum of t g f (arXiv
 *             2504.06792), t = 1 - cos(h, h + d), h being the hidden state of a token and d what its routed
 *             experts add to it
 *
 * From matrices (moe-matrices(5)), sums over the tokens that two experts i and j worked on together, with
 * a = g f; what removing a set P costs is the sum of F_ij over all i and j in P, i = j included:
 *
 *     HOPE      F_ij = (sum of a_i a_j) / (tokens of both), 0 where there are none: HOPE, arXiv 2609.18916
 *     HOPE_SUM  F_ij = sum of a_i a_j: the same without the division. By Cauchy and Schwarz no less than the
 *               next
 *     GRAM      F_ij = sum of g_i g_j <f_i(x), f_j(x)>. Without its experts in P a layer lacks the sum over i
 *               in P of g_i f_i(x) of its output, if the router neither chooses others instead nor
 *               renormalises the gate weights; the sum over tokens of that vector's square is exactly the
 *               cost: |sum_i u_i|^2 = sum_ij <u_i, u_j>
 *
 * FILE: a number for each expert from elsewhere (moe-scores(5)).
 */
enum criterion_kind {
    CRITERION_POWERS,
    CRITERION_COLUMN,
    CRITERION_HOPE,
    CRITERION_HOPE_SUM,
    CRITERION_GRAM,
    CRITERION_FILE
};
struct criterion {
    const char *name; /* "reap" */
    const char *aliases[3];
    enum criterion_kind kind;
    int b, a, c;              /* POWERS only */
    enum stats_column column; /* COLUMN only */
    const char *formula, *source;
};
/* The best of one expert, or nearly, on all models that doc/quality.md has measured: S(0,2,1). */
#define CRITERION_DEFAULT "gate_squared_ean_sum"
/* All but FILE, the default first. */
const struct criterion *criterion_table(int *n);
/* A name, an alias, "S(b,a,c)" or "b,a,c"; "file"; NULL: unknown. */
const struct criterion *criterion_find(const char *name);
/* The sum of a mean, the mean of a sum; NULL if there is none (frequency, max, pairs, files). */
const struct criterion *criterion_twin(const struct criterion *c);
bool criterion_is_pair(const struct criterion *c);

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
    const char *category; /* as in the statistics, or the matrices for a criterion of pairs */
    double w;             /* >= 0 */
};

/*
 * What is made small. ALL: the cost of what is removed, all categories together. WORST: the largest, over the
 * categories that weigh, of w * (cost of what is removed / cost of removing everything), w = 1 without
 * weights, each category's cost from its own counts and sums; the mean of these shares decides between
 * choices that are the same to the worst.
 */
enum select_over { SELECT_ALL, SELECT_WORST };

/*
 * GLOBAL: K experts a layer on average. Every layer's experts are removed in its own order, and the next is
 * always taken from the layer that loses least by it, as a share of what losing all its experts would cost:
 * raw costs grow with depth, as the residual stream does, and cannot be compared. No runtime of the families
 * here loads such a model.
 */
enum budget { BUDGET_UNIFORM, BUDGET_GLOBAL };

struct score_options {
    const struct criterion *criterion;
    const struct matrices *matrices; /* for a criterion of pairs */
    const struct scores *scores;     /* for FILE */
    int keep;                        /* experts kept per layer (GLOBAL: on average); > 0 */
    enum select_over over;
    enum budget budget;
    int min_keep;                /* GLOBAL: every layer keeps at least so many; 0: as many as a token uses */
    const struct weight *weight; /* category weights; those not named weigh default_weight */
    int weights;
    double default_weight; /* 1 without --weights; with it 0 */
    bool protect_super;    /* see below */
    int protect_top;       /* N: the N most frequent experts of every category stay in each layer; 0: off */
    int protect_turns;     /* N: N experts of each layer are what the categories chose in turns; 0: off */
    const char *note;      /* goes to the plan's criterion line as tab-separated fields; may be NULL */
};

struct score_report {
    int protected_super; /* experts kept only because of the guard */
    int protected_top;
    int protected_turns;
    int zero;               /* kept or not: experts with n = 0 */
    int swaps;              /* that lowered what greedy removal had reached */
    double gained;          /* by them: mean over the layers of 1 - after / before */
    double lost;            /* cost of what is removed / cost of everything, mean over the layers */
    const char *worst;      /* WORST: the category that loses most; points into what was scored */
    double worst_lost;      /* its share, mean over the layers */
    int keep_min, keep_max; /* of any layer */
    long differ;            /* kept experts, of all layers, that the criterion's twin does not keep */
    double overlap;         /* share of kept experts that the criterion's twin keeps too; 1 if none */
    const char *twin;       /* its name; NULL if there is none */
    bool disagree;          /* overlap is nearer to that of a random choice (keep / experts) than to 1 */
    int better_keep;        /* score_better_keep(), if the router's groups allow it; else 0 */
};

/*
 * A plan from statistics. Ranks are 1..E per layer, protected experts first; ties drop the higher index. The
 * rank of a pair's or WORST's choice is that of greedy removal, improved by swaps at keep only (select.h).
 * score is the criterion's value; for pairs, what removing the expert adds to the cost after all of higher
 * rank: the scores of what is removed add up to its cost.
 *
 * s gives layers, protection and the criteria of POWERS and COLUMN; for others it may have no categories, if
 * nothing is protected by it. Matrices and scores must be of the same model and layers.
 *
 * Where the router has groups (stats/groups.h), experts are ranked within their group, and the layer's ranks
 * take the best of each group first, then the second of each, and so on: the experts with ranks up to K are
 * those that stay for every K that the groups allow. Other K are refused, and the nearest are named; so are
 * more protected experts in a group than its share of keep.
 *
 * Super experts (arXiv 2507.23279; the rule of the REAP repository): those whose max, over all categories,
 * lies above the 99.5% quantile (linear interpolation) of all experts' and above a tenth of the largest, in
 * the first 75% of the MoE layers. The most frequent experts of a category have n > 0; categories that weigh
 * nothing are protected too. In turns, each category that weighs, in the order of their names, takes the best
 * expert of its own ranking (the criterion on its own counts and sums) that is not taken yet, if that is
 * worth more than 0 and its group is not full (round-robin protection, after TB-Coverage, arXiv 2607.01710).
 * More protected experts in a layer than keep is an error.
 */
int score_plan(struct plan *p, const struct stats *s, const struct score_options *o, struct score_report *r,
               struct err *e);

/* A count near keep that more runtimes take (MXFP4 kernels: a multiple of 4; tensor and expert parallelism:
 * of 8, suggested from 64 experts on), at least topk and below experts; 0: keep is fine or none is near. */
int score_better_keep(int experts, int topk, int keep);

/* jaccard: kept in both / kept in either; removed: the same of those that go (1 if none do). spearman:
 * correlation of the rank columns; 1 with one expert, NaN if all ranks of a side are the same. */
struct plan_diff_layer {
    int layer, kept_a, kept_b, both;
    double jaccard, removed, spearman;
};
struct plan_diff {
    struct plan_diff_layer *layer;
    int n;
    int kept_a, kept_b, both;          /* over all layers */
    double jaccard, removed, spearman; /* of all experts kept, removed; mean over the layers */
};
/* Refused: plans of different models or layers. */
int plan_diff(struct plan_diff *d, const struct plan *a, const struct plan *b, struct err *e);
void plan_diff_free(struct plan_diff *d);

/*
 * How far the choice depends on which documents were read: the plans that the two halves of the data give,
 * compared; and, from that, what more data would give.
 *
 * Let the scores of two disjoint sets of T tokens each be a common part plus independent errors, jointly
 * normal. Their correlation rho(T) is the reliability of the scores, and by the Spearman-Brown formula
 * (Spearman 1910, Brown 1910) sets m times as large correlate with
 *
 *     rho(m T) = m rho / (1 + (m - 1) rho),     so     m = rho' (1 - rho) / (rho (1 - rho'))
 *
 * leads to rho'. Two sets that keep the share q then keep the share o(rho) of these both, which is
 *
 *     o = q + (1 / (2 pi q)) * integral from 0 to asin(rho) of exp(-t^2 / (1 + sin u)) du,   Phi(-t) = q
 *
 * (the upper orthant of the bivariate normal, Plackett 1954), and their Jaccard index is o / (2 - o). rho is
 * what gives the measured index of all layers together. An estimate: document lengths, groups, protection and
 * scores that are not normal are left out.
 */
struct stability {
    struct plan_diff halves;
    double tokens[2];   /* of the halves */
    double correlation; /* rho of the halves; 0: they agree no more than by chance */
    double whole;       /* Jaccard index to be expected of two plans from as much data as both halves have */
    double needed;      /* tokens for which `wanted` is to be expected; infinite with correlation 0 */
};
/* o as scored. Refused: criteria whose source does not tell halves apart (pairs, files), wanted outside the
 * range from chance to 1. */
int stability(struct stability *t, const struct stats *s, const struct score_options *o, double wanted,
              struct err *e);
void stability_free(struct stability *t);
/* Jaccard index of two choices of the share q by scores of correlation rho, from 0 to 1, and its inverse. */
double jaccard_of(double rho, double q);
double correlation_of(double jaccard, double q);

/* Experts with few tokens: their means are uncertain by about (spread of a token) / sqrt(n). */
struct coverage_row {
    const char *category; /* points into the statistics; NULL: all together */
    double tokens;
    int experts;       /* in all layers */
    int none, few;     /* with n = 0, with n < least (those with none included) */
    uint64_t smallest; /* n of any expert */
    double median;
};
struct coverage_expert {
    int layer, expert;
    uint64_t n;
};
struct coverage {
    struct coverage_row *row; /* [rows], the last one: all together */
    int rows;
    struct coverage_expert *few; /* [row[rows - 1].few] */
};
int coverage(struct coverage *c, const struct stats *s, uint64_t least, struct err *e);
void coverage_free(struct coverage *c);

#endif
