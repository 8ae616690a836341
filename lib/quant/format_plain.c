/* format_plain.c -- weights that are their own numbers. */
#include "quant/floats.h"
#include "quant/format_rows.h"

static void bf16_rows(struct encode_rows *r)
{
    uint16_t *dst = (uint16_t *)r->piece[USE_WEIGHT];
    size_t i, n = r->n * r->in;

    f32_to_bf16_n(r->src, dst, n);
    for (i = 0; i < n; i++) {
        double d = (double)r->src[i] - (double)bf16_to_f32(dst[i]);

        r->err2 += d * d;
        r->sum2 += (double)r->src[i] * (double)r->src[i];
    }
}

static const struct encoder encoders[] = {
    {.target = "bf16", .about = "BF16", .weight = DT_BF16, .rows = bf16_rows}, {.target = NULL}};

const struct format format_plain = {
    .title = "BF16, F16, F32",
    .coding = CODING_FLOAT,
    .piece = {{".weight", "", USE_WEIGHT, DT_FLOATS, .dim = {{DIM_OUT, 1}, {DIM_IN, 1}}}},
    .multiple = 1,
    .scalable = USE_WEIGHT,
    .encode = encoders,
};
