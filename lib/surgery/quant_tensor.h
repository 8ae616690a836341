/*
 * quant_tensor.h -- private to surgery: a linear map from one number format to another, streamed to a writer,
 * in parallel over its rows.
 */
#ifndef MOE_SURGERY_QUANT_TENSOR_H
#define MOE_SURGERY_QUANT_TENSOR_H

#include "base/thread.h"
#include "surgery/rewrite.h"

/* Maps of a layer, or an expert, that runtimes multiply with in one go, and that must share USE_GLOBAL. */
enum together { ALONE, GATE_UP, SHARED_GATE_UP, QKV };

/* All tensors of n maps [out][in] of one name (of all experts, or one). out_tensor.map and .use say which
 * tensor of which one is to be written. */
struct quant_map {
    struct linear_tensors from;
    bool from_io; /* stored [in][out] */
    const struct format *to;
    const struct encoder *encode;
    bool io; /* towards plain numbers: [in][out] */
    uint64_t n;
    size_t out, in;
    enum together with;
    int layer, expert;    /* of these; expert -1: of none */
    const double *energy; /* [n][in], see struct encode_rows; NULL: none */
    float most;           /* largest magnitude of all maps that share a global scale; -1: not known yet */

    /* Of what was made: pieces that wait for their turn in the file, and the errors. */
    bool made;
    uint8_t *kept[STORED_PIECES];
    size_t kept_n[STORED_PIECES];
    double err2, sum2;
    uint64_t blocks, lossless;
};

struct quant_work {
    struct rewrite *rw;
    struct pool *pool;
    struct quant_map *map; /* [maps], in the order of the checkpoint */
    size_t maps;
};

/* -1: some piece of the source has not the size that its map asks for. */
int quant_check_source(const struct quant_map *m, const char *dir, struct err *e);
/*
 * Writes tensor t: of a map, or (map NULL) a copy. All pieces of a map are made when the first of them is
 * written: that one goes to the file as it is made, the others wait. What shares a global scale is read once
 * before, for its largest magnitude. Refused, with tensor and index: NaN and infinity, in the weights or
 * decoded. Memory: one matrix (or 32 MiB of rows of it) in both forms, and the pieces that wait.
 */
int quant_put(struct quant_work *q, const struct out_tensor *t, struct err *e);
void quant_map_free(struct quant_map *m);

#endif
