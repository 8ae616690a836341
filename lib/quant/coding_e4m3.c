/* coding_e4m3.c -- F8_E4M3 codes times a scale of the plain dtypes. */
#include "quant/coding_rows.h"
#include "quant/fp8.h"

static void e4m3_f32(const struct stored *s, int64_t row, int64_t col, int n, float *dst)
{
    int c;

    for (; n > 0; n -= c, col += c, dst += c) {
        c = same_scale(s, col, n);
        e4m3_to_f32(stored_row(s, USE_WEIGHT, row) + col, scale_at(s, row, col), (size_t)c, dst);
    }
}

static void e4m3_bf16(const struct stored *s, int64_t row, int64_t col, int n, uint16_t *dst)
{
    int c;

    for (; n > 0; n -= c, col += c, dst += c) {
        c = same_scale(s, col, n);
        e4m3_to_bf16(stored_row(s, USE_WEIGHT, row) + col, scale_at(s, row, col), (size_t)c, dst);
    }
}

const struct coding_row coding_e4m3 = {1, USE_WEIGHT, e4m3_f32, e4m3_bf16};
