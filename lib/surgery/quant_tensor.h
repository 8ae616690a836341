/*
 * quant_tensor.h -- private to surgery: a linear map from one number format to another, streamed to a writer,
 * in parallel over its rows.
 */
#ifndef MOE_SURGERY_QUANT_TENSOR_H
#define MOE_SURGERY_QUANT_TENSOR_H

#include "base/thread.h"
#include "surgery/rewrite.h"

/* Plain numbers that become a format, or the other way round: all tensors of n maps [out][in] of one name (of
 * all experts, or one). out_tensor.map and .use say which tensor of which one is to be written. */
struct quant_map {
    const struct format *format; /* of the coded side */
    bool encode;                 /* towards it; else to BF16 */
    bool io;                     /* the plain side is [in][out] */
    uint64_t n;
    size_t out, in;
    const struct tensor *from[STORED_PIECES]; /* by use; plain: USE_WEIGHT alone */

    /* Of what was made: pieces that wait for their turn in the file, and the errors. */
    bool made;
    uint8_t *kept[STORED_PIECES];
    size_t kept_n[STORED_PIECES];
    double err2, sum2;
};

struct quant_work {
    struct rewrite *rw;
    struct pool *pool;
};

/*
 * Writes tensor t: of a map, or (map NULL) a copy. All pieces of a map are made when the first of them is
 * written: that one goes to the file as it is made, the others wait. Refused, with tensor and index: NaN and
 * infinity, in the weights or decoded. Memory: one matrix (or 32 MiB of rows of it) in both forms, and the
 * pieces that wait.
 */
int quant_put(struct quant_work *q, const struct out_tensor *t, struct err *e);
void quant_map_free(struct quant_map *m);

#endif
