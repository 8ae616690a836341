/* coding_mxfp4.c -- two e2m1 codes to a byte, the low nibble first, times 2^(scale - 127): mxfp4.h. */
#include "quant/coding_rows.h"
#include "quant/mxfp4.h"

static void mxfp4_f32(const struct stored *s, int64_t row, int64_t col, int n, float *dst)
{
    mxfp4_to_f32(stored_row(s, USE_WEIGHT, row) + col / 2, stored_row(s, USE_SCALE, row) + col / MXFP4_BLOCK,
                 (size_t)n / MXFP4_BLOCK, dst);
}

static void mxfp4_bf16(const struct stored *s, int64_t row, int64_t col, int n, uint16_t *dst)
{
    mxfp4_to_bf16(stored_row(s, USE_WEIGHT, row) + col / 2, stored_row(s, USE_SCALE, row) + col / MXFP4_BLOCK,
                  (size_t)n / MXFP4_BLOCK, dst);
}

const struct coding_row coding_mxfp4 = {MXFP4_BLOCK, USE_SCALE, mxfp4_f32, mxfp4_bf16};
