/*
 * batches.h -- private to weights: what of the layers is read, sent to the device and packed together, in the
 * order in which it is needed.
 */
#ifndef MOE_LOAD_BATCHES_H
#define MOE_LOAD_BATCHES_H

#include "load/blob.h"

struct read_batch {
    int layer;
    bool rest, last;   /* holds all but the experts' matrices; ends its layer */
    const int *expert; /* [experts] whose matrices it holds, ascending */
    int experts;
    struct blob blob;
};

struct batches {
    struct read_batch *batch; /* [n], layer by layer */
    size_t n;
    int *order;       /* storage of the expert numbers */
    uint64_t largest; /* memory for any one of them */
    int most_experts; /* in any one of them */
};

/* Batches of at least one expert and at most `bytes`, if that is possible; 0: a batch is a layer. Experts
 * that lie beside each other in the files go together. */
int batches_plan(struct batches *g, const struct model *m, uint64_t bytes, struct err *e);
void batches_free(struct batches *g);

#endif
