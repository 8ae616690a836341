/*
 * score.h -- criteria and selection: from statistics to a plan. Never touches a model.
 */
#ifndef MOE_SCORE_SCORE_H
#define MOE_SCORE_SCORE_H

#include "stats/plan.h"
#include "stats/stats.h"

/* S = n^-b * sum over routed tokens of g^a f^c, or the largest |output|. */
struct criterion {
    const char *name; /* "reap" */
    const char *aliases[3];
    int b, a, c;       /* c < 0: max */
    const char *about; /* a line for --list: formula and who uses it */
};
const struct criterion *criterion_table(int *n);
const struct criterion *criterion_find(const char *name); /* NULL: unknown */
/* n = 0 scores 0. */
double criterion_score(const struct criterion *c, const struct expert_stats *s);

struct weight {
    const char *category;
    double w;
};

struct score_options {
    const struct criterion *criterion;
    int keep;                    /* experts kept per layer (uniform); > 0 */
    const struct weight *weight; /* category weights; those not named weigh default_weight */
    int weights;
    double default_weight; /* 1 without --weights; with it 0 */
    bool protect_super; /* super experts (methods: max over 99.5% quantile and max/10, first 75% of layers) */
    int protect_top;    /* N: the N most frequent experts of every category stay in each layer; 0: off */
    const char *note;   /* goes to the plan's criterion line */
};

struct score_report {
    int protected_super; /* experts kept only because of the guard */
    int protected_top;
    int zero;         /* kept or not: experts with n = 0 */
    double overlap;   /* share of kept experts that the criterion's sum (or mean) twin keeps too */
    const char *twin; /* its name */
};

/* A plan from statistics. Ties drop the higher index; ranks are 1..E per layer, protected experts
 * first. */
int score_plan(struct plan *p, const struct stats *s, const struct score_options *o, struct score_report *r,
               struct err *e);

struct plan_diff_layer {
    int layer, kept_a, kept_b, both;
    double jaccard, spearman;
};
struct plan_diff {
    struct plan_diff_layer *layer;
    int n;
    double jaccard, spearman;
};
int plan_diff(struct plan_diff *d, const struct plan *a, const struct plan *b, struct err *e);
void plan_diff_free(struct plan_diff *d);

#endif
