/*
 * plan_ranks.h -- private to judge: in which order a plan has the experts of a layer.
 */
#ifndef MOE_JUDGE_PLAN_RANKS_H
#define MOE_JUDGE_PLAN_RANKS_H

#include "stats/plan.h"

/* The rows of a layer (its index), best rank first; the caller frees the array. */
struct plan_row **plan_by_rank(const struct plan *p, int layer, struct err *e);
/* New ranks: kept experts before dropped ones, in either group as before. */
int plan_rank_kept(struct plan *p, int layer, struct err *e);

#endif
