/*
 * coding_nvfp4.c -- two e2m1 codes to a byte, the first in the low nibble, times an E4M3 scale for each
 * block, times one number for the whole map or divided by it. The scale of a block is made of these two
 * before it meets a code, as both libraries that write the format do. Two codes of a byte are neighbours in a
 * stored row, or in a column where two stored rows share one.
 */
#include <math.h>

#include "quant/coding_rows.h"
#include "quant/fp8.h"
#include "quant/mxfp4.h"

/* The one number of the map; 1 where there is none. */
static float number_of_all(const struct stored *s)
{
    float all =
        s->piece[USE_GLOBAL].at ? float_at(s->piece[USE_GLOBAL].dtype, s->piece[USE_GLOBAL].at, 0) : 1;

    return isinf(all) ? NAN : all; /* divided by it, any scale would be 0 */
}

static float block_scale(const struct stored *s, int64_t row, int64_t col)
{
    float scale = e4m3_value[stored_row(s, USE_SCALE, row)[col / s->block]], all = number_of_all(s);

    return s->divides ? scale / all : scale * all;
}

/* n codes from col on of a row of which each element has a scale, and shares its byte with the next row. */
static void columns_f32(const struct stored *s, int64_t row, int64_t col, int n, float *dst)
{
    const uint8_t *code = stored_row(s, USE_WEIGHT, row) + col, *scale = stored_row(s, USE_SCALE, row) + col;
    int i, shift = row & 1 ? 4 : 0;
    float all = number_of_all(s);

    for (i = 0; i < n; i++) {
        float x = s->divides ? e4m3_value[scale[i]] / all : e4m3_value[scale[i]] * all;

        dst[i] = e2m1_value[code[i] >> shift & 15] * x;
    }
}

/* n codes from col on. */
static void codes_f32(const struct stored *s, int64_t row, int64_t col, int n, float scale, float *dst)
{
    const uint8_t *code = stored_row(s, USE_WEIGHT, row);
    int i;

    for (i = 0; i < n; i++)
        dst[i] = e2m1_value[code[(col + i) / 2] >> 4 * ((col + i) & 1) & 15] * scale;
}

static void nvfp4_f32(const struct stored *s, int64_t row, int64_t col, int n, float *dst)
{
    int c;

    if (s->piece[USE_WEIGHT].per == 2) {
        columns_f32(s, row, col, n, dst);
        return;
    }
    for (; n > 0; n -= c, col += c, dst += c) {
        c = same_scale(s, col, n);
        codes_f32(s, row, col, c, block_scale(s, row, col), dst);
    }
}

const struct coding_row coding_nvfp4 = {1, USE_SCALE, nvfp4_f32, NULL};
