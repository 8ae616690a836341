/*
 * quant_tensor.h -- private to surgery: one tensor from one number format to another, streamed to a writer,
 * in parallel over its rows.
 */
#ifndef MOE_SURGERY_QUANT_TENSOR_H
#define MOE_SURGERY_QUANT_TENSOR_H

#include "base/thread.h"
#include "surgery/rewrite.h"

/* What out_tensor.op says. E, out and in are the sizes; a linear's weight has E = 1. */
enum quant_op {
    QOP_COPY,
    QOP_ENCODE,    /* float [E, out, in] -> MXFP4 blocks; the scales are kept for the next tensor */
    QOP_ENCODE_IO, /* the same from [E, in, out] (GPT-OSS) */
    QOP_SCALES,    /* the scales of the tensor before */
    QOP_DECODE,    /* MXFP4 blocks (from) and scales (also) -> BF16 [E, out, in] */
    QOP_DECODE_IO, /* the same to [E, in, out] */
};

struct quant_work {
    struct rewrite *rw;
    struct pool *pool;
    uint8_t *scales; /* of the last QOP_ENCODE */
    size_t scales_n;
    double err2, sum2; /* of the last tensor encoded */
    uint64_t count;    /* its elements */
};

/* Writes tensor t as its op says. Refused, with tensor and index: NaN and infinity, in the weights or
 * decoded. Memory: one matrix of the tensor (or 32 MiB of rows of it) and its MXFP4 form. */
int quant_put(struct quant_work *q, const struct out_tensor *t, struct err *e);
void quant_work_free(struct quant_work *q);

#endif
