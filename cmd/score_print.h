/*
 * score_print.h -- what moe-score prints: tables for people, JSON with --json.
 */
#ifndef MOE_CMD_SCORE_PRINT_H
#define MOE_CMD_SCORE_PRINT_H

#include "score/score.h"

void print_criteria(void);
void print_diff(const struct plan_diff *d);
void print_stability(const struct stability *t, double wanted);
void print_coverage(const struct coverage *c, uint64_t least);
/* out: where the plan is. */
void print_plan_json(const struct plan *p, const struct score_options *o, const struct score_report *r,
                     const char *out);

#endif
