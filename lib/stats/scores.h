/*
 * scores.h -- a number for every expert from anywhere, and its text file (moe-scores(5)): a criterion that
 * moe-score does not compute itself, such as one of the weights.
 */
#ifndef MOE_STATS_SCORES_H
#define MOE_STATS_SCORES_H

#include "stats/stats.h"

struct scores {
    struct model_id model;
    char *criterion; /* the #criterion line after its tag: what the numbers are; "" if absent */
    int *layer;      /* [n_layers] MoE layers, ascending */
    int n_layers;
    double *score; /* [n_layers][experts], larger is better */
};

/* Zeroed scores; copies everything. */
int scores_new(struct scores *s, const struct model_id *id, const char *criterion, const int *layer,
               int n_layers, struct err *e);
void scores_free(struct scores *s);
int scores_write(const struct scores *s, const char *path, bool force, struct err *e);
/* Rows may stand in any order. Refused as plans are (stats/plan.h), and a score that is not finite. */
int scores_read(struct scores *s, const char *path, struct err *e);

#endif
