/*
 * inspect_aimer.h -- moe-inspect --aimer: the criterion file of the weights.
 */
#ifndef MOE_CMD_INSPECT_AIMER_H
#define MOE_CMD_INSPECT_AIMER_H

#include "model/model.h"

/* Writes it to -o, or to standard output. */
void inspect_aimer(const struct model *m);

#endif
