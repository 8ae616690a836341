/*
 * head.h -- private to the last step: head.c runs it over a batch, head_top.c keeps the most likely tokens.
 */
#ifndef MOE_ENGINE_HEAD_H
#define MOE_ENGINE_HEAD_H

#include "engine/engine_private.h"
#include "load/weights.h"

/* ops->head() over all tokens of a batch, with the heads of n models (masks of one share it), in pieces; put
 * gets each: rows are [n][a->n], and the piece begins with token `first`. pick: [tokens][picks] as in
 * head_args.
 */
int head_run(struct engine *en, const struct judged *of, int n, const struct batch *b, const int32_t *pick,
             int picks, void (*put)(void *out, const struct head_args *a, int64_t first), void *out,
             struct err *e);
/* -ln p of the target; NaN where there is none. */
float head_nll(const struct head_row *r, int32_t target);

#endif
