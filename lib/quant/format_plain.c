/* format_plain.c -- weights that are their own numbers. */
#include "quant/format_rows.h"

const struct format format_plain = {
    .title = "BF16, F16, F32",
    .coding = CODING_FLOAT,
    .piece = {{".weight", "", USE_WEIGHT, DT_FLOATS, .dim = {{DIM_OUT, 1}, {DIM_IN, 1}}}},
    .multiple = 1,
    .scalable = USE_WEIGHT,
};
