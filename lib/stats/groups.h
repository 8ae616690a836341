/*
 * groups.h -- how many experts, and which, may stay where the router works with groups.
 *
 * A router with groups (DeepSeek-V2 and -V3, GLM4) splits the experts into contiguous ranges of the same
 * size and takes a token's experts from its topk_group best ranges. Runtimes find the ranges by dividing the
 * number of experts, so a smaller model routes as the large one did only if
 *     - every group keeps the same number of experts,
 *     - which is at least 2 where a group's score is the sum of its two largest,
 *     - and topk_group groups still hold the experts of a token: else routers choose among masked ones.
 */
#ifndef MOE_STATS_GROUPS_H
#define MOE_STATS_GROUPS_H

#include "stats/plan.h"

struct expert_groups {
    int experts, topk;
    int groups, topk_group; /* 1, 1: none, every number may stay */
    bool top2;              /* a group's score is the sum of its two largest */
};

struct expert_groups groups_of(const struct model_id *id);
bool groups_allow(const struct expert_groups *g, int keep);
/* The nearest numbers that may stay: the largest below keep and the smallest above it; 0: there is none. */
void groups_near(const struct expert_groups *g, int keep, int *below, int *above);
/* Refused, with the reason and the nearest numbers that may: a keep that is not allowed. */
int groups_check(const struct expert_groups *g, int keep, enum err_kind kind, struct err *e);
/* Refused with layer and groups: a plan that keeps such a number in a layer, or more of one group than of
 * another. p must be for g->experts experts. */
int groups_check_plan(const struct expert_groups *g, const struct plan *p, struct err *e);

#endif
