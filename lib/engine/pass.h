/*
 * pass.h -- private to the layer loop: one pass over a batch (forward.c), and its attention (attention.c).
 */
#ifndef MOE_ENGINE_PASS_H
#define MOE_ENGINE_PASS_H

#include "engine/engine_private.h"
#include "engine/rope.h"
#include "engine/weights.h"

struct pass {
    struct engine *en;
    struct device *d;
    const struct ops *op;
    const struct arch *a;
    const struct batch *b;
    const uint8_t *mask;
    const struct observer *observer;
    struct hidden *h;
    struct weights *weights;
    struct rope_tables rope;
    int64_t piece;          /* tokens that go through the experts at once */
    int64_t *chunk;         /* [chunks + 1] first document of each */
    int64_t chunks, widest; /* widest: tokens of the largest chunk */
    int64_t *first;         /* first tokens of a chunk's documents, from the chunk's own */
    /* device */
    void *x, *ctx;
    float *qkv, *logits, *y, *gate, *norm, *max;
    int32_t *chosen;
    /* host, for the observer: [piece][topk] */
    float *host_gate, *host_norm, *host_max;
    int32_t *host_chosen;
    double flops;
};

/* h += attention of `docs` documents from `doc` on, whose first hidden state is h. */
int attention_block(struct pass *p, const struct layer_weights *w, int layer, int64_t doc, int64_t docs,
                    uint8_t *h, struct err *e);

#endif
