/*
 * aimer.h -- a criterion of the weights alone.
 *
 * AIMER (arXiv 2603.18492) is mean|w| / rms(w) over the elements of an expert's gate, up and down matrices
 * together, and prunes the largest: the experts whose weights are least concentrated. The score here is its
 * reciprocal rms / mean|w|, so that larger is better: at least 1, sqrt(pi / 2) = 1.2533 for normally
 * distributed weights; 0 for an expert without weights other than 0. Biases are left out; all storage
 * formats are decoded.
 */
#ifndef MOE_STATS_AIMER_H
#define MOE_STATS_AIMER_H

#include "base/thread.h"
#include "model/model.h"
#include "stats/scores.h"

/* Reads every expert once, in pieces of a few megabytes for each thread of the pool; the sums are made in one
 * order, so that scores do not depend on the threads. progress (may be NULL) is told after each layer.
 * Refused, with the tensor: values that are not finite, number formats that are not read. */
int aimer_scores(struct scores *s, const struct model *m, struct pool *pool,
                 void (*progress)(void *ctx, double fraction), void *ctx, struct err *e);

#endif
