/*
 * stored.h -- a linear map, or some rows of it, as a checkpoint stores it, in memory; and its rows as
 * numbers. This is all that a device gets to know of storage formats.
 *
 * The map is W [out][in] with y = W x. Where its numbers are: row n of the map is stored row first + n *
 * step, `stride` elements long, of which the map's begin at the first one. With in_out the storage is
 * transposed: element (n, k) is element first + n * step of stored row k. This covers all layouts of
 * experts (model/family.h).
 */
#ifndef MOE_QUANT_STORED_H
#define MOE_QUANT_STORED_H

#include "base/err.h"
#include "quant/dtype.h"

/*
 * How numbers are made of the pieces: coding_X.c each. A device says which of them it decodes (bits
 * 1 << coding); others are decoded on the host, by stored_rows.
 */
/* clang-format off */
#define CODINGS(CODING) \
    CODING(FLOAT, float) \
    CODING(E4M3, e4m3) \
    CODING(MXFP4, mxfp4) \
    CODING(NVFP4, nvfp4) \
    CODING(MXFP8, mxfp8) \
    CODING(INT8, int8) \
    CODING(PACKED, packed) \
    CODING(GPTQ, gptq) \
    CODING(AWQ, awq) \
    CODING(GGML, ggml)
/* clang-format on */
#define CODING_ID(id, name) CODING_##id,
enum coding { CODINGS(CODING_ID) CODING_COUNT };
#undef CODING_ID

/* What a tensor is to a map. The first ones are what numbers are made of. */
enum piece_use {
    USE_WEIGHT, /* numbers or codes */
    USE_SCALE,
    USE_GLOBAL, /* one number for the whole map */
    USE_ZERO,
    USE_ORDER, /* the group of each input, 4 bytes; in_out: scales and zero points are whole, whatever row0 */
    STORED_PIECES,
    USE_BIAS = STORED_PIECES,
    USE_OTHER, /* goes along: scales of activations, shapes */
};

/* `per` stored rows share a row of `row` bytes. */
struct stored_piece {
    const uint8_t *at; /* NULL: there is none */
    size_t row;
    int per;
    enum dtype dtype;
    const char *name; /* of the tensor, for messages; may be NULL */
    size_t size;      /* bytes from `at` on, where the last row may be cut short; 0: all rows are whole */
};

struct stored {
    enum coding coding;
    struct stored_piece piece[STORED_PIECES]; /* each begins with the row of it that stored row row0 is in */
    int out, in;
    bool in_out;
    int first, step;
    int64_t stride;
    int block;    /* elements of a stored row that share a scale */
    int bits;     /* of a code, where the coding leaves that open */
    int zero;     /* what is added to zero points */
    bool divides; /* by the number in USE_GLOBAL, instead of multiplying with it */
    int row0;
    const char *name; /* for messages: the tensor that can hold a value that is not finite */
};

/* Where the row of a piece is that a stored row belongs to. */
static inline const uint8_t *stored_row(const struct stored *s, enum piece_use use, int64_t row)
{
    const struct stored_piece *p = &s->piece[use];

    return p->at + (size_t)(row / p->per - s->row0 / p->per) * p->row;
}

/* A whole map of BF16, F16 or F32. */
static inline struct stored stored_floats(enum dtype d, const void *w, int out, int in, const char *name)
{
    struct stored s = {.coding = CODING_FLOAT, .out = out, .in = in, .step = 1, .stride = in, .block = in};

    s.piece[USE_WEIGHT] =
        (struct stored_piece){(const uint8_t *)w, (size_t)in * (d == DT_F32 ? 4 : 2), 1, d, name, 0};
    s.name = name;
    return s;
}

/* Elements that a stored row can only be cut between. */
int coding_block(enum coding c);
/* The piece that can hold what is no finite number. */
enum piece_use coding_suspect(enum coding c);

/* n elements of a stored row from element col on (multiples of coding_block) as f32. */
void stored_span(const struct stored *s, int64_t row, int64_t col, int n, float *dst);
/*
 * Rows from .. from+n-1 of the map into dst[n][ld], as bf16 (2 bytes an element) or f32. Values are exact
 * except what bf16 has to round. false: one of them is NaN or infinite.
 */
bool stored_rows(const struct stored *s, int from, int n, void *dst, size_t ld, bool bf16);

/* Whether one of a map's tensors holds what makes no number. */
bool stored_damaged(const struct stored *s);
/* Of a map that stored_rows was false for: which of its tensors is to blame, in *e. Always -1. */
int stored_fault(const struct stored *s, struct err *e);

#endif
