/*
 * coding_rows.h -- private to quant: a row for each coding, coding_X of coding_X.c, and what they share.
 */
#ifndef MOE_QUANT_CODING_ROWS_H
#define MOE_QUANT_CODING_ROWS_H

#include "quant/floats.h"
#include "quant/stored.h"

struct coding_row {
    int block;              /* elements that a stored row can only be cut between */
    enum piece_use suspect; /* the piece that can hold what is no finite number */
    /* n elements of stored row `row` from element col on, both multiples of block. */
    void (*f32)(const struct stored *s, int64_t row, int64_t col, int n, float *dst);
    void (*bf16)(const struct stored *s, int64_t row, int64_t col, int n, uint16_t *dst); /* NULL: by f32 */
};

#define CODING_ROW(id, name) extern const struct coding_row coding_##name;
CODINGS(CODING_ROW)
#undef CODING_ROW

/* dtype_bad, of blocks of ggml. */
const char *ggml_bad(enum dtype d, const void *p, size_t n, size_t *at);

/* The elements from col on that share a scale, at most n. */
static inline int same_scale(const struct stored *s, int64_t col, int n)
{
    int64_t left = s->block - col % s->block;

    return left < n ? (int)left : n;
}

/* That scale, of the plain dtypes. */
static inline float scale_at(const struct stored *s, int64_t row, int64_t col)
{
    return float_at(s->piece[USE_SCALE].dtype, stored_row(s, USE_SCALE, row), (size_t)(col / s->block));
}

#endif
