/* coding_mxfp8.c -- F8_E4M3 codes times 2^(scale - 127): blocks of 32 (OCP Microscaling 1.0), or of any size.
 */
#include "quant/coding_rows.h"
#include "quant/fp8.h"

static void mxfp8_f32(const struct stored *s, int64_t row, int64_t col, int n, float *dst)
{
    const uint8_t *scale = stored_row(s, USE_SCALE, row);
    int c;

    for (; n > 0; n -= c, col += c, dst += c) {
        c = same_scale(s, col, n);
        e4m3_to_f32(stored_row(s, USE_WEIGHT, row) + col, e8m0_value(scale[col / s->block]), (size_t)c, dst);
    }
}

const struct coding_row coding_mxfp8 = {1, USE_SCALE, mxfp8_f32, NULL};
