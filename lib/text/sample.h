/*
 * sample.h -- drawing some of a sequence (selection sampling: every subset is equally likely, the order
 * stays).
 */
#ifndef MOE_TEXT_SAMPLE_H
#define MOE_TEXT_SAMPLE_H

#include <stdbool.h>
#include <stdint.h>

/* The state for the sequence of this name: what is drawn of one does not depend on others. */
uint64_t sample_start(uint64_t seed, const char *name);
/* Is the next of the `rest` that are left one of the `want` >= 1 that are still to be drawn of them? */
bool sample_take(uint64_t *state, int64_t rest, int64_t want);

#endif
