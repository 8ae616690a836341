/*
 * blob.h -- private to weights: tensors of a checkpoint read into one piece of memory, and described as
 * matrix sources.
 */
#ifndef MOE_ENGINE_BLOB_H
#define MOE_ENGINE_BLOB_H

#include "engine/source.h"
#include "model/model.h"

struct blob_item {
    const struct tensor *t;
    uint64_t at;
};

struct blob {
    const struct model *m;
    struct blob_item *item; /* in the order they lie in the files */
    size_t n, cap;
    uint8_t *bytes;
    uint64_t size, room;
};

void blob_clear(struct blob *b); /* forgets the tensors, keeps the memory */
int blob_add(struct blob *b, const struct tensor *t, struct err *e);
/* Adds the tensor "NAME.weight" (FP8: and "NAME.weight_scale_inv"), or "NAME.weight_packed" and
 * "NAME.weight_scale", of a layer (-1: none). */
int blob_add_linear(struct blob *b, int layer, const char *name, struct err *e);
int blob_add_layer(struct blob *b, int layer, struct err *e);
/* Reads all of them. Stops with ERR_CANCELLED when a signal came or *stop is set (from another thread). */
int blob_read(struct blob *b, const _Atomic int *stop, struct err *e);
void blob_free(struct blob *b);

/* NULL if t is NULL or was not added. */
const uint8_t *blob_get(const struct blob *b, const struct tensor *t);
/* F32, F16 or BF16 tensor as f32: n elements into dst, every step-th from element first on. Refuses what is
 * not finite. */
int blob_vector(const struct blob *b, const struct tensor *t, int64_t first, int step, int n, float *dst,
                struct err *e);
/* A whole tensor of [out][in], see blob_add_linear. */
int blob_linear(const struct blob *b, int layer, const char *name, int out, int in, struct source *s,
                struct err *e);
/* The three matrices of an expert: gate, up, down. */
int blob_expert(const struct blob *b, int layer, int expert, struct source s[3], struct err *e);

#endif
