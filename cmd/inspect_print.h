/*
 * inspect_print.h -- what moe-inspect shows, for people and as JSON.
 */
#ifndef MOE_CMD_INSPECT_PRINT_H
#define MOE_CMD_INSPECT_PRINT_H

#include "model/model.h"

void print_families(void);
void print_digest(const struct model *m);
void print_summary(const struct model *m);
/* One line per tensor; per expert and matrix: where its bytes are. */
void print_tensors(const struct model *m);
void print_experts(const struct model *m);
/* Sizes with `keep` experts in every layer, or with a plan, and what servers make of it; context: tokens in
 * the key-value cache. */
void print_keep(const struct model *m, int keep, int64_t context);
void print_plan_size(const struct model *m, const char *plan_path, int64_t context);
/* Exit status 3 when nothing fits. */
int print_fit(const struct model *m, uint64_t bytes, int64_t context);
/* Everything that can be checked; exit status 3 when something is wrong. */
int print_check(const struct model *m, int64_t context);

#endif
