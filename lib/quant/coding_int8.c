/*
 * coding_int8.c -- I8 codes, less a zero point if there is one, times a scale of the plain dtypes. Zero
 * points are where scales are.
 */
#include "quant/coding_rows.h"

static void int8_f32(const struct stored *s, int64_t row, int64_t col, int n, float *dst)
{
    const int8_t *code = (const int8_t *)stored_row(s, USE_WEIGHT, row);
    const int8_t *zero = s->piece[USE_ZERO].at ? (const int8_t *)stored_row(s, USE_ZERO, row) : NULL;
    int c, i, z;

    for (; n > 0; n -= c, col += c, dst += c) {
        float scale = scale_at(s, row, col);

        c = same_scale(s, col, n);
        z = zero ? zero[col / s->block] : 0;
        for (i = 0; i < c; i++)
            dst[i] = (float)(code[col + i] - z) * scale;
    }
}

const struct coding_row coding_int8 = {1, USE_SCALE, int8_f32, NULL};
