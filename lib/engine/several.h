/*
 * several.h -- private to the engine: one pass on several devices. Each takes a run of whole documents
 * through all layers in a thread of its own; the layers are read once for all.
 */
#ifndef MOE_ENGINE_SEVERAL_H
#define MOE_ENGINE_SEVERAL_H

#include "engine/pass.h"

/* Document doc[i] is the first of share i of n, which doc[n] ends; shares are about equal in tokens and none
 * is without a document. Returns n, at most `most`. */
int several_cut(const struct batch *b, int most, int64_t *doc);

/*
 * like: the pass over all documents as one device would make it, whose reader has n users. The observer is
 * called in the order in which one device would call it: what later devices have to tell waits in host
 * memory. It may want neither sums nor samples. hidden: [variants], in host memory, or NULL. Adds work and
 * the longest wait to cost.
 */
int several_forward(const struct pass *like, const struct model *m, int n, const int64_t *doc,
                    struct hidden **hidden, struct engine_cost *cost, struct err *e);

#endif
