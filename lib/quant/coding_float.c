/* coding_float.c -- the numbers themselves: BF16, F16, F32. */
#include "quant/coding_rows.h"

static void float_f32(const struct stored *s, int64_t row, int64_t col, int n, float *dst)
{
    enum dtype d = s->piece[USE_WEIGHT].dtype;

    floats_to_f32(d, stored_row(s, USE_WEIGHT, row) + (size_t)col * (d == DT_F32 ? 4 : 2), (size_t)n, dst);
}

const struct coding_row coding_float = {1, USE_WEIGHT, float_f32, NULL};
