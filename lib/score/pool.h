/*
 * pool.h -- the statistics of one expert, added up over categories and halves.
 */
#ifndef MOE_SCORE_POOL_H
#define MOE_SCORE_POOL_H

#include "score/score.h"

struct pooled {
    double n; /* routed tokens; not whole under weights */
    double m[M_COUNT];
    double max;
};

double criterion_value(const struct criterion *c, const struct pooled *p);

/* What each category weighs. */
struct mix {
    double *w;     /* [categories] */
    bool weighted; /* false: plain sums, w is 1 */
};
int mix_init(struct mix *m, const struct stats *s, const struct score_options *o, struct err *e);
void mix_free(struct mix *m);
/* out: [experts] of one layer. */
int pool_layer(struct pooled *out, const struct stats *s, int layer_index, const struct mix *m,
               struct err *e);

enum { PROTECT_SUPER = 1, PROTECT_TOP = 2 };
/* Adds PROTECT_SUPER to flags, [n_layers][experts]. */
int protect_super(unsigned char *flags, const struct stats *s, struct err *e);
/* Adds PROTECT_TOP for the n most frequent experts of every category. */
int protect_top(unsigned char *flags, const struct stats *s, int n, struct err *e);

#endif
