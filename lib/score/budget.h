/*
 * budget.h -- private to score: how many experts each layer keeps.
 */
#ifndef MOE_SCORE_BUDGET_H
#define MOE_SCORE_BUDGET_H

#include "stats/groups.h"

/*
 * step: [n_layers][experts], what removing the i-th expert of a layer (in its own order) costs, comparable
 * between layers. keep: [n_layers], on entry what each must keep at least, on return what it keeps, `total`
 * altogether. Experts are taken where the next step costs least (with groups: one of each, which cost their
 * sum), of equal ones from the later layer. Refused: more to keep than total.
 */
int budget_spread(const double *step, int n_layers, const struct expert_groups *g, long total, int *keep,
                  struct err *e);

#endif
