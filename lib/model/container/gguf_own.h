/*
 * gguf_own.h -- what a checkpoint of GGUF files owns; private to the reader and the writer of that container.
 */
#ifndef MOE_MODEL_CONTAINER_GGUF_OWN_H
#define MOE_MODEL_CONTAINER_GGUF_OWN_H

#include "model/container/gguf_rows.h"

/* Before our own keys: they speak of this file, not of the model, as those that gguf's Python package shows
 * under "GGUF." do, and which tools therefore leave out when they copy or compare metadata. */
#define GGUF_OURS "GGUF."

/* Of one file, in its order. */
struct gguf_tensors {
    struct tensor *t;
    enum gguf_shape *shape;
};

struct gguf_own {
    struct gguf_set set;
    int count;                    /* files that there should be */
    struct gguf_tensors *tensors; /* [set.parts] once they are read */
    const struct family *family;  /* likewise */
    char **meta;                  /* [set.part[0].n_values] those of ours; NULL: another's */
};

/* gguf_limits.c */
void gguf_limits(const struct checkpoint *c, void (*say)(void *ctx, const char *line), void *ctx);

#endif
