/*
 * costs.h -- private to score: what removing experts of one layer costs, by the criterion, of all categories
 * together and of each.
 */
#ifndef MOE_SCORE_COSTS_H
#define MOE_SCORE_COSTS_H

#include "score/pool.h"
#include "score/select.h"

struct costs {
    const struct stats *s; /* statistics */
    const struct score_options *o;
    const struct stats *categories; /* whose they are: s, or the head of the matrices */
    struct mix mix;
    struct cost all;
    struct cost *category;      /* [n] of those that weigh, scale = w / cost of removing everything */
    int *index;                 /* [n] into categories->category */
    int n;                      /* 0: not asked for */
    double *tokens;             /* [experts] routed to it, all categories; 1 where that is not known */
    struct pooled *pooled;      /* [experts] all categories; POWERS and COLUMN only */
    struct pooled *one;         /* [experts] of one category */
    double *routed;             /* [categories] */
    struct pair_sums *pair_sum; /* [experts][experts] */
};

/* Refused: a criterion of pairs without matrices or FILE without scores, those of another model or of other
 * layers, weights or categories (by_category) where there are none. */
int costs_new(struct costs *c, const struct stats *s, const struct score_options *o, bool by_category,
              struct err *e);
void costs_free(struct costs *c);
int costs_layer(struct costs *c, int layer_index, struct err *e);

#endif
