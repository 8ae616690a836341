/*
 * candidate.h -- private to judge: may this be compared with the reference, and with which mask?
 */
#ifndef MOE_JUDGE_CANDIDATE_H
#define MOE_JUDGE_CANDIDATE_H

#include "judge/judge.h"

/* *mask: the plan's (plan_mask), for mask_free; of a model nothing. Messages do not name the plan. */
int candidate_check(const struct candidate *c, const struct model *ref, struct mask *mask, struct err *e);

#endif
