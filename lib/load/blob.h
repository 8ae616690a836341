/*
 * blob.h -- private to weights: tensors of a checkpoint, or parts of them, in one piece of memory, described
 * as stored maps.
 *
 *     blob_add(&b, tensor, e) ...; blob_sort(&b)      b.size is the memory that it needs
 *     b.bytes = memory, filled by reader.h
 *     blob_linear(&b, ...)
 *     blob_free(&b)                                   not the memory, which is somebody else's
 */
#ifndef MOE_LOAD_BLOB_H
#define MOE_LOAD_BLOB_H

#include "model/model.h"

/* Bytes from .. from+size-1 of a tensor, at byte `at` of the memory. */
struct blob_item {
    const struct tensor *t;
    uint64_t from, size, at;
};

struct blob {
    const struct model *m;
    struct blob_item *item; /* after blob_sort in the order in which they lie in the files */
    size_t n, cap;
    uint8_t *bytes;
    uint64_t size;
};

int blob_add(struct blob *b, const struct tensor *t, struct err *e);
int blob_add_part(struct blob *b, const struct tensor *t, uint64_t from, uint64_t size, struct err *e);
/* Adds the tensors of the map "NAME.weight", in whatever format, of a layer (-1: none). */
int blob_add_linear(struct blob *b, int layer, const char *name, struct err *e);
/* Before anything is asked for. */
void blob_sort(struct blob *b);
void blob_free(struct blob *b);

/* Where byte `from` of a tensor is; NULL if t is NULL or that was not added. */
const uint8_t *blob_part(const struct blob *b, const struct tensor *t, uint64_t from);
const uint8_t *blob_get(const struct blob *b, const struct tensor *t);
/* F32, F16 or BF16 tensor as f32: n elements into dst, every step-th from element first on. Refuses what is
 * not finite. */
int blob_vector(const struct blob *b, const struct tensor *t, int64_t first, int step, int n, float *dst,
                struct err *e);
/* A whole tensor of [out][in], see blob_add_linear. */
int blob_linear(const struct blob *b, int layer, const char *name, int out, int in, struct stored *s,
                struct err *e);
/* The three matrices of an expert: gate, up, down. */
int blob_expert(const struct blob *b, int layer, int expert, struct stored s[3], struct err *e);

#endif
