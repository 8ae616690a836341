/*
 * batches.h -- private to weights: what of the layers is read, sent to the device and packed together, in the
 * order in which it is needed.
 */
#ifndef MOE_ENGINE_GROUPS_H
#define MOE_ENGINE_GROUPS_H

#include "load/blob.h"

struct group {
    int layer;
    bool rest, last;   /* holds all but the experts' matrices; ends its layer */
    const int *expert; /* [experts] whose matrices it holds, ascending */
    int experts;
    struct blob blob;
};

struct groups {
    struct group *group; /* [n], layer by layer */
    size_t n;
    int *order;       /* storage of the expert numbers */
    uint64_t largest; /* memory for any one of them */
    int most_experts; /* in any one of them */
};

/* Groups of at least one expert and at most `bytes`, if that is possible; 0: a group is a layer. Experts that
 * lie beside each other in the files go together. */
int groups_plan(struct groups *g, const struct model *m, uint64_t bytes, struct err *e);
void groups_free(struct groups *g);

#endif
