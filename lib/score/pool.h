/*
 * pool.h -- private to score: the statistics of one expert, added up over categories and halves; what weighs
 * and what is protected by them.
 */
#ifndef MOE_SCORE_POOL_H
#define MOE_SCORE_POOL_H

#include "score/score.h"
#include "score/select.h"
#include "stats/groups.h"

struct pooled {
    double n; /* routed tokens; not whole under weights */
    double m[M_COUNT];
};

/* POWERS and COLUMN; n = 0 scores 0. */
double criterion_value(const struct criterion *c, const struct pooled *p);

/* What each category weighs. */
struct mix {
    double *w;     /* [categories] */
    double *scale; /* [categories] what a layer's sums are multiplied with: see score.h */
    bool weighted; /* false: plain sums, w and scale are 1 */
};
/* s: whose categories they are (statistics, or the head of matrices). */
int mix_init(struct mix *m, const struct stats *s, const struct score_options *o, struct err *e);
void mix_free(struct mix *m);
/* Sets scale for a layer: routed[c] are the routed tokens of category c in it, each counted once per expert
 * it was routed to. */
int mix_layer(struct mix *m, const struct stats *s, int layer_index, const double *routed, struct err *e);

/* Routed tokens of a category in a layer, each counted once for every expert it was routed to. */
double pool_routed(const struct stats *s, int layer_index, int category);
/* Adds one category, both halves, times scale, to out [experts]. */
void pool_add(struct pooled *out, const struct stats *s, int layer_index, int category, double scale);

enum { PROTECT_SUPER = 1, PROTECT_TOP = 2, PROTECT_TURNS = 4 };
/* Adds PROTECT_SUPER to flags, [n_layers][experts]. */
int protect_super(unsigned char *flags, const struct stats *s, struct err *e);
/* Adds PROTECT_TOP for the n most frequent experts of every category. */
int protect_top(unsigned char *flags, const struct stats *s, int n, struct err *e);
/* One layer: adds PROTECT_TURNS for up to n experts, which the categories take in turns: each the best of its
 * ranking, rank [categories][experts], with alone > 0 that is not taken; none of a group of which `stay` are
 * protected already. */
int protect_in_turns(unsigned char *flags, const struct expert_groups *g, const struct cost *category,
                     int categories, const int *rank, int n, int stay, struct err *e);

#endif
