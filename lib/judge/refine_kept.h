/*
 * refine_kept.h -- private to judge: what masks were found to be worth, kept on disk until refining is
 * complete.
 *
 * Refining is a function of these numbers alone, so a run that finds them here makes the same plan as one
 * that computes them. The file is a line that says what they are of, and a record for each mask, which ends
 * with a digest: what a run that was killed left of its last record is cut off.
 */
#ifndef MOE_JUDGE_REFINE_KEPT_H
#define MOE_JUDGE_REFINE_KEPT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct kept_sums;

/* of: one line without a newline: model, text, arithmetic. docs: numbers of a record. Refused: a file of
 * something else. */
int kept_open(struct kept_sums **out, const char *path, const char *of, int64_t docs, struct err *e);
/* Fills sum [docs] of a mask [n] and returns 1 if it is there, 0 if not, -1. */
int kept_find(struct kept_sums *k, const uint8_t *mask, size_t n, double *sum, struct err *e);
int kept_add(struct kept_sums *k, const uint8_t *mask, size_t n, const double *sum, struct err *e);
void kept_close(struct kept_sums *k);

#endif
